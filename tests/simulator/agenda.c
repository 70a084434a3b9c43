/* A binary heap. */
#include "agenda.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1024 };

static char *at(const struct agenda *q, size_t i)
{
	return q->of + i * q->bytes;
}

static bool sooner(const void *a, const void *b)
{
	struct due x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return x.at != y.at ? x.at < y.at : x.order < y.order;
}

void agenda_put(struct agenda *q, const void *what)
{
	size_t i = q->count++;

	if (i == q->room) {
		q->room = q->room > 0 ? 2 * q->room : ROOM;
		q->of = realloc(q->of, q->room * q->bytes);
		if (q->of == NULL)
			abort();
	}
	for (; i > 0 && sooner(what, at(q, (i - 1) / 2)); i = (i - 1) / 2)
		memcpy(at(q, i), at(q, (i - 1) / 2), q->bytes);
	memcpy(at(q, i), what, q->bytes);
}

void agenda_take(struct agenda *q, void *what)
{
	const char *last = at(q, --q->count);
	size_t i = 0;

	memcpy(what, at(q, 0), q->bytes);
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= q->count)
			break;
		if (child + 1 < q->count && sooner(at(q, child + 1), at(q, child)))
			child++;
		if (!sooner(at(q, child), last))
			break;
		memcpy(at(q, i), at(q, child), q->bytes);
		i = child;
	}
	memmove(at(q, i), last, q->bytes);
}

void agenda_free(struct agenda *q)
{
	free(q->of);
	*q = (struct agenda){ .bytes = q->bytes };
}
