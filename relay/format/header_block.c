#include "format/header_block.h"

#include <stdlib.h>
#include <string.h>

static const char version[] = "NATS/1.0";

enum { FIRST_HEADERS = 8 };

/* --- texts --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A text ends where a reader before us has ended it, with a zero byte. */
static bool is_end(char c)
{
	return is_blank(c) || c == '\r' || c == '\0';
}

/* Ends the text that stands between, without the blanks around it. A zero byte inside of it would end it where the server goes on: "a"
 * would be the id of "a", zero, "b". */
static char *text_of(struct header_block *h, char *from, char *to)
{
	while (from < to && is_blank(*from))
		from++;
	while (to > from && is_end(to[-1]))
		to--;
	if (memchr(from, '\0', (size_t)(to - from)) != NULL)
		h->trouble = "one holds a zero byte";
	*to = '\0';
	return from;
}

/* --- lines --- */

static bool make_room(struct header_block *h)
{
	size_t room = h->room > 0 ? h->room * 2 : FIRST_HEADERS;
	struct header *more = h->count == h->room ? realloc(h->header, room * sizeof h->header[0]) : h->header;

	if (more == NULL)
		return false;
	h->room = h->count == h->room ? room : h->room;
	h->header = more;
	return true;
}

static bool add_line(struct header_block *h, char *line, char *end)
{
	char *colon = line;

	if (!make_room(h))
		return false;
	while (colon < end && *colon != ':' && *colon != '\0')
		colon++;
	if (colon == end) {
		h->trouble = "a line has no colon";
		return true;
	}
	h->header[h->count] = (struct header){ .order = h->count };
	h->header[h->count].value = text_of(h, colon + 1, end);
	h->header[h->count++].name = text_of(h, line, colon);
	return true;
}

/* Both are of one block, with a line end between them: there is room for a blank. */
static void go_on(struct header_block *h, char *line, char *end)
{
	const char *more = text_of(h, line, end);
	char *before;

	if (h->count == 0) {
		h->trouble = "the first line begins with a blank";
		return;
	}
	before = h->header[h->count - 1].value;
	before += strlen(before);
	if (*more == '\0')
		return;
	if (before > h->header[h->count - 1].value)
		*before++ = ' ';
	memmove(before, more, strlen(more) + 1);
}

static char *behind_line(char *line, char *end)
{
	char *lf = memchr(line, '\n', (size_t)(end - line));

	return lf != NULL ? lf + 1 : end;
}

static int by_name(const void *a, const void *b)
{
	const struct header *x = a, *y = b;
	int names = strcmp(x->name, y->name);

	return names != 0 ? names : x->order < y->order ? -1 : x->order > y->order;
}

bool header_block_read(struct header_block *h, char *block, size_t bytes)
{
	char *end = block + bytes, *next, *line = behind_line(block, end);

	*h = (struct header_block){ .count = 0 };
	if (strncmp(block, version, sizeof version - 1) != 0)
		h->trouble = "they do not begin with NATS/1.0";
	for (; line < end && h->trouble == NULL; line = next) {
		char *last;

		next = behind_line(line, end);
		last = next[-1] == '\n' ? next - 1 : next;
		last -= last > line && last[-1] == '\r';
		if (line == last)
			break;
		if (is_blank(*line))
			go_on(h, line, last);
		else if (!add_line(h, line, last))
			return false;
	}
	if (h->count > 1)
		qsort(h->header, h->count, sizeof h->header[0], by_name);
	return true;
}

void header_block_free(struct header_block *h)
{
	free(h->header);
	*h = (struct header_block){ .count = 0 };
}

/* --- looking --- */

const char *header_block_value(const struct header_block *h, const char *name)
{
	size_t low = 0, high = h->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(h->header[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < h->count && strcmp(h->header[low].name, name) == 0 ? h->header[low].value : NULL;
}

size_t header_block_same(const struct header_block *h, size_t first)
{
	size_t n = 1;

	while (first + n < h->count && strcmp(h->header[first + n].name, h->header[first].name) == 0)
		n++;
	return n;
}
