/* The transaction under which a table is read whole, on the reader session:
 *
 *     open: BEGIN REPEATABLE READ -> LOCK TABLE .. ACCESS SHARE -> (the table's columns are asked) -> declare: its cursors -> the snapshot
 *     fetch: FETCH as many rows as fit -> ... -> none is left -> end
 *
 * The lock comes before the first snapshot: a reader whose snapshot is older than a rewriting ALTER that it waited for finds an empty table. As long as it is held
 * nobody can change the table, so the columns that were asked under it hold to the end.
 *
 * Memory is bounded by rows and by bytes, as for a chunk. A cursor cannot say how large its next rows are: so where a table has long columns a second cursor brings
 * the sizes of the same rows in the same order (one snapshot, one plan), a moment ahead. Should they differ, a fetch brings more or less than it should, and nothing is lost. */
#ifndef BOXHAUL_FLOW_CAPTURE_WHOLE_H
#define BOXHAUL_FLOW_CAPTURE_WHOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/pg.h"
#include "flow/capture_query.h"

struct capture_whole;

/* The answer to what was asked last; or what went wrong with it (pg_error()). */
typedef void capture_whole_answer(void *arg, const struct pg_result *r);

/* The session is the caller's. NULL when out of memory. */
struct capture_whole *capture_whole_create(struct pg *pg, capture_whole_answer *answer, void *arg);
void capture_whole_free(struct capture_whole *c);

/* Of the next three one at a time; each returns false when it could not be sent, or there is no memory. */

/* A new transaction, instead of the one that there may be, with a lock on this table (as it is written in SQL). */
bool capture_whole_open(struct capture_whole *c, const char *tab);

/* In it. The answer has one row, as the last one of a chunk: the snapshot, and the files. */
bool capture_whole_declare(struct capture_whole *c, const struct capture_query *q);

/* The next rows, at most so many, and so many bytes of them but for one that is larger; none: that was all. The columns are those of a chunk's rows. */
bool capture_whole_fetch(struct capture_whole *c, uint32_t rows, uint32_t bytes);

/* Is there a transaction? Did it get its lock? */
bool capture_whole_is_open(const struct capture_whole *c);
bool capture_whole_is_locked(const struct capture_whole *c);

/* Is an answer awaited? */
bool capture_whole_is_busy(const struct capture_whole *c);

/* It ends; no answer comes to what was asked. Nothing happens where there is none. */
void capture_whole_end(struct capture_whole *c);

/* The session is gone, and it with it. */
void capture_whole_lost(struct capture_whole *c);

#endif
