#include "format/signal_row.h"

#include <string.h>

#include "format/emitted.h"

bool signal_row_is_of(const struct capture_shape *s)
{
	return strcmp(s->schema, "boxhaul") == 0 && strcmp(s->table, "capture_signal") == 0;
}

static struct pgoutput_value value_of(const struct capture_shape *s, struct pgoutput_list row, const char *column)
{
	struct pgoutput_value value;

	for (size_t i = 0; i < s->count && pgoutput_next_value(&row, &value); i++)
		if (strcmp(s->columns[i].name, column) == 0)
			return value;
	return (struct pgoutput_value){ .kind = PGOUTPUT_NULL };
}

bool signal_row_read(const struct capture_shape *s, const struct pgoutput_list *row,
		     char prefix[static SIGNAL_PREFIX_BYTES], struct pgoutput_message *message)
{
	struct pgoutput_value name = value_of(s, *row, "prefix"), content = value_of(s, *row, "content");

	if (name.kind != PGOUTPUT_TEXT || content.kind != PGOUTPUT_TEXT || name.bytes >= SIGNAL_PREFIX_BYTES)
		return false;
	memcpy(prefix, name.text, name.bytes);
	prefix[name.bytes] = '\0';
	*message = (struct pgoutput_message){
		.kind = PGOUTPUT_MESSAGE,
		.message = { .transactional = true, .prefix = prefix, .content = content.text, .bytes = content.bytes },
	};
	return strncmp(prefix, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
}
