/* Results of libpq's own making, for targets that look at what comes back from the database. They include relay/edge/pg.c:
 * what stands in a session is its own. */
#ifndef BOXHAUL_FUZZ_ANSWER_H
#define BOXHAUL_FUZZ_ANSWER_H

#include "fuzz.h"

static PGresult *new_result(int columns)
{
	PGresult *r = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc *attributes = calloc((size_t)columns, sizeof *attributes);

	for (int i = 0; i < columns; i++)
		attributes[i] = (PGresAttDesc){ .name = (char[]){ "c" }, .format = 1, .typlen = -1 };
	if (r == NULL || PQsetResultAttrs(r, columns, attributes) == 0)
		abort();
	free(attributes);
	return r;
}

static void set(PGresult *r, int row, int column, const void *bytes, size_t n)
{
	char none[1] = "";

	if (PQsetvalue(r, row, column, bytes != NULL ? (char *)(uintptr_t)bytes : none, bytes != NULL ? (int)n : -1) ==
	    0)
		abort();
}

#endif
