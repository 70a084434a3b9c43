#include "flow/books_look.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/row_check.h"

void books_look_ask(struct books_look *look, const struct codec_books *books, int64_t read, const char *since,
		    const char **to)
{
	const int64_t numbers[] = { books->epoch, books->position, books->outbox, books->sequence,
				    books->node,  books->highest,  read };

	for (size_t i = 0; i < BOOKS_LOOK_PARAMETERS - 1; i++) {
		snprintf(look->numbers[i], sizeof look->numbers[i], "%" PRId64, numbers[i]);
		to[i] = look->numbers[i];
	}
	to[BOOKS_LOOK_PARAMETERS - 1] = since;
}

bool books_look_differs(const struct pg_result *r, books_look_is_missing *is_missing, void *arg, char *why, size_t size)
{
	size_t n;
	const char *late;
	char *end;

	if (!pg_is_null(r, 0, COL_SUBJECT)) {
		snprintf(why, size, "%s", pg_bytes(r, 0, COL_SUBJECT, &n));
		return true;
	}
	for (late = pg_bytes(r, 0, COL_HEADERS, &n); *late != '\0'; late = *end != '\0' ? end + 1 : end) {
		int64_t id = strtoll(late, &end, 10);

		if (end != late && is_missing(arg, id))
			continue;
		snprintf(why, size, "a row has come with the id %" PRId64 ", where all had been read", id);
		return true;
	}
	return false;
}

const char *books_look_snapshot(const struct pg_result *r)
{
	size_t n;

	return pg_bytes(r, 0, COL_KEY, &n);
}
