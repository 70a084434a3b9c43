#include "books/outbox_trigger.h"

#include <jansson.h>

#include "config/settings.h"

static json_t *list_of(char *const *texts, size_t count)
{
	json_t *list = count > 0 ? json_array() : NULL;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(texts[i]));
	return list;
}

char *outbox_trigger_mapping(const struct config_outbox_table *t)
{
	const struct outbox_mapping *m = &t->mapping;
	const char *preset = setting_find("outbox_tables.preset")->words[m->preset];
	/* What nobody has set is not there (*): then the preset counts. */
	json_t *mapping = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:o*}", "preset", preset, "subject", t->subject,
				    "id", m->id, "key", m->key, "payload", m->payload, "headers", m->headers,
				    "header_columns", list_of(m->header_columns, m->header_column_count));
	char *text = mapping != NULL ? json_dumps(mapping, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	json_decref(mapping);
	return text;
}
