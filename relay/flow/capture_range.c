#include "flow/capture_range.h"

#include <stdlib.h>
#include <string.h>

/* Returns what comes behind it. */
static char *copy_key(struct capture_range_key *to, const struct capture_range_key *from, char *memory)
{
	if (from->bytes == NULL)
		return memory;
	*to = (struct capture_range_key){ .bytes = memory, .count = from->count };
	return mempcpy(memory, from->bytes, from->count);
}

bool capture_range_copy(struct capture_range *to, const struct capture_range *from)
{
	*to = (struct capture_range){ .memory = malloc(from->after.count + from->upto.count + 1) };
	if (to->memory == NULL)
		return false;
	copy_key(&to->upto, &from->upto, copy_key(&to->after, &from->after, to->memory));
	return true;
}

void capture_range_free(struct capture_range *r)
{
	free(r->memory);
	*r = (struct capture_range){ .memory = NULL };
}

/* Adds its columns. Returns where the next text goes; NULL: it has another number of them. */
static char *split(const struct capture_range_key *k, uint16_t columns, struct capture_range_parameters *p, char *texts)
{
	const char *at = k->bytes, *text;
	size_t left = k->count, bytes;
	int wanted = p->count + columns;

	if (at == NULL)
		return texts;
	while (p->count < wanted && capture_key_next(&at, &left, &text, &bytes)) {
		p->text[p->count++] = texts;
		texts = mempcpy(texts, text, bytes);
		*texts++ = '\0';
	}
	return left == 0 && p->count == wanted ? texts : NULL;
}

enum capture_range_fit capture_range_split(const struct capture_range *r, uint16_t columns,
					   struct capture_range_parameters *p)
{
	char *texts;

	*p = (struct capture_range_parameters){ .count = 0 };
	if (columns > CAPTURE_KEY_COLUMNS)
		return CAPTURE_RANGE_OTHER_KEY;
	/* A column has four bytes before it in a key, and one behind it here. */
	p->memory = texts = malloc(r->after.count + r->upto.count + 1);
	if (texts == NULL)
		return CAPTURE_RANGE_NO_MEMORY;
	texts = split(&r->after, columns, p, texts);
	if (texts != NULL && split(&r->upto, columns, p, texts) != NULL)
		return CAPTURE_RANGE_FITS;
	return CAPTURE_RANGE_OTHER_KEY;
}
