/* What a verify pass says, in JSON:
 *
 *     {"op":"v","table":"public.orders","pass":"8d3c....","reading":2,"what":"rows","repair":false,"keys":false,
 *      "columns":["id","note"],"key":["id"],"rows":[[["42"],"b1946ac92492d2347c6235b4d2611184"],[["43"],{"id":"43","note":null}],[["44"],null]]}
 *
 *     what     begin, rows, end. Of the last two `keys` and `repair` are those of the pass, too
 *     reading  raised where the pass had to begin again: what an earlier one has said of keys that are not there any more is void
 *     keys     the pass is about some keys alone: it says of each whether there is such a row
 *     repair   who compares sets its row to what is said here
 *     columns  that are compared, in the order of the hash; key: of these the rows are told apart by
 *     shape    of begin: all columns, as snapshot-begin says them (format/capture_shape.h): perhaps nothing has told of them yet
 *     rows     a key, as texts, and: the hash of the columns (boxhaul.row_hash()); or all of them, as format = text has them; or null: there is no such row
 *
 * A row that is alone has a message of its own; the rows of a window are put together from those (capture_verify_row() of each). */
#ifndef BOXHAUL_FORMAT_CAPTURE_VERIFY_H
#define BOXHAUL_FORMAT_CAPTURE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/capture_shape.h"
#include "format/capture_text.h"
#include "format/pgoutput.h"

struct capture_verify {
	const char *pass; /* a uuid */
	uint64_t reading;
	const char *columns; /* names in one piece (format/capture_key.h); NULL: all of the table */
	size_t columns_bytes;
	bool repair, keys;
	const struct capture_shape *shape; /* schema and table; and columns, where they are known */
};

/* Is this column compared? */
bool capture_verify_has(const char *columns, size_t columns_bytes, const char *name);

/* All up to the first row; then the rows, with commas between them; then the end. what: "begin", "rows", "end". */
void capture_verify_open(struct capture_text *out, const struct capture_verify *v, const char *what);
/* hash NULL: all columns. values NULL of a row that is not there but for its key (`absent`). False: a value is not valid UTF-8. */
bool capture_verify_row(struct capture_text *out, const struct capture_verify *v, const struct pgoutput_value *values,
			const char *hash, bool absent);
void capture_verify_close(struct capture_text *out, const char *what);

#endif
