/* How the rows of one captured table are read: what the catalogue says of it, and the statements made of that.
 *
 * A chunk is one statement, so rows and snapshot are of one moment:
 *
 *     (SELECT the columns FROM (SELECT columns, running sum of their sizes FROM ONLY t
 *       WHERE (k1, k2) > ($1, $2) AND (k1, k2) <= ($3, $4) AND filter ORDER BY k1, k2 LIMIT n)
 *       WHERE the sum is below the bytes allowed)
 *     UNION ALL SELECT NULL, ..., snapshot, file
 *
 * The last row is there when there are no others. A row comparison uses the index of the key; sizes are those of values as they are stored, so nothing is
 * read from out of line, or unpacked, that is then left out. At least one row comes, if there is one. */
#ifndef BOXHAUL_FLOW_CAPTURE_QUERY_H
#define BOXHAUL_FLOW_CAPTURE_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/capture/capture_types.h"
#include "edge/pg_result.h"
#include "flow/capture_range.h"
#include "format/capture_shape.h"

struct capture_query;

/* What to ask for one of these, in binary; $1: the capture, $2: the table's name. */
extern const char capture_query_question[];

/* Of its answer. whole: its rows are not read by a key, so it needs none. NULL: out of memory. */
struct capture_query *capture_query_create(const struct pg_result *answer, const char *tab, bool whole);
/* NULL is allowed. */
void capture_query_free(struct capture_query *q);

/* Why its rows cannot be read; "" = they can. Then there is no statement. */
const char *capture_query_why(const struct capture_query *q);

/* How many rows the statistics know of; 0: none, or nothing is known. */
int64_t capture_query_estimate(const struct capture_query *q);

/* Its columns, in the order of the columns of each statement's result. Lives as long as it does. */
const struct capture_shape *capture_query_shape(const struct capture_query *q);

/* The next rows: behind a key, or the first ones; up to a key, or to the end. The columns of these keys are the parameters, as capture_range_split()
 * makes them. To be freed; NULL: out of memory. Behind the columns of the table come two more,
 * which only the last row has: the snapshot, and the files of the table (capture_filenode()). */
char *capture_query_rows(const struct capture_query *q, const struct capture_range *range, uint32_t rows,
			 uint32_t bytes);

/* The row with the largest key, if there is one: its key alone, the other columns are NULL. As above. */
char *capture_query_top(const struct capture_query *q);

/* The rows that are to be read again: of capture $1, table $2, reading $3. As above. */
char *capture_query_repair(const struct capture_query *q);

/* A table that is read whole (flow/capture_whole.h): two cursors, "boxhaul rows" over its rows, and "boxhaul sizes" over their sizes, which is
 * of use where a column is long; and the snapshot and the files, as the last row of the above has them. To be freed; NULL: out of memory. */
char *capture_query_whole(const struct capture_query *q);
bool capture_query_is_long(const struct capture_query *q);
char *capture_query_sizes(const struct capture_query *q);
char *capture_query_snapshot(const struct capture_query *q);

/* Transactions under way in a snapshot. All 0: none. */
struct capture_query_xids {
	uint64_t *xids; /* to be freed at the end */
	size_t capacity;
};

/* A snapshot as PostgreSQL writes it: "727:730:727,729". Its xip is kept in *xids. False: out of memory, or it is none. */
bool capture_query_read_snapshot(const char *text, struct capture_query_xids *xids, struct capture_snapshot *snapshot);

#endif
