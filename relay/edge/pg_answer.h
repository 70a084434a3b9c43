/* A result as libpq gives it. For pg*.c only: nobody else may see libpq-fe.h. */
#ifndef BOXHAUL_EDGE_PG_ANSWER_H
#define BOXHAUL_EDGE_PG_ANSWER_H

#include <stddef.h>

#include <libpq-fe.h>

/* What edge/pg_result.h offers to read. */
struct pg_result {
	PGresult *r;
	char error[512]; /* one line; "" = none */
};

/* Sets error to one line of a text, which is an error even where it says nothing. */
void pg_answer_set_error(struct pg_result *result, const char *text);

/* Fills error from r: "" where r has none. */
void pg_answer_describe(struct pg_result *result);

/* libpq's messages end with a newline and put details on lines of their own. */
void pg_answer_one_line(const char *text, char *out, size_t size);
char *pg_answer_line_of(const char *text); /* malloc'ed */

#endif
