/* When a look for rows fails for one row: looking with care.
 *
 * What one row cannot be read for (a character that has no equivalent in UTF-8, a chunk of its payload that is broken) comes as an error of
 * the whole statement, and names no row. So after such an error the same is asked once more, a few rows at a time, by a statement
 * that tries every row by itself first (boxhaul.unreadable()) and tells what is wrong with it instead of failing. Its answer
 * is one snapshot in ascending order like any other: the core sees no difference, but for a row with a defect.
 *
 *     an error that a row may cause -----------> with care, until so many answers in a row had no bad row
 *     a row that cannot be read ---------------> a dead letter, by its id
 *     a row that there is no memory for -------> the look fails; the fifth time in a row: a dead letter
 *
 * Want of memory is no verdict on a row, until all others could be read beside it again and again. */
#ifndef BOXHAUL_FLOW_CAREFUL_H
#define BOXHAUL_FLOW_CAREFUL_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/pg.h"

/* So many rows at most in one such answer: each costs a transaction of its own inside the statement. */
enum { CAREFUL_ROWS = 256 };

/* As the other statements of the outbox's reader, with the same columns and one more: why the row cannot be read, its SQLSTATE first. The
 * ranges that are wanted may be none. */
extern const struct pg_statement careful_fetch;

/* All zero: without care. */
struct careful {
	unsigned left;  /* answers still to be asked for with care */
	int64_t id;     /* there was no memory for this row, */
	unsigned times; /* so often, one behind the other */
};

/* A look failed, with this SQLSTATE. */
void careful_failed(struct careful *c, const char *sqlstate);

/* This row cannot be read. True: it is to be given up; false: the whole is to be read again, a little later. */
bool careful_gives_up(struct careful *c, int64_t id, const char *sqlstate);

/* An answer has come; bad: there were rows in it that cannot be read; complete: it was all there is. */
void careful_answered(struct careful *c, bool bad, bool complete);

#endif
