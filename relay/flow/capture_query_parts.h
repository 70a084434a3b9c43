/* What the statements that read a captured table are put together of. For capture_query*.c alone. */
#ifndef BOXHAUL_FLOW_CAPTURE_QUERY_PARTS_H
#define BOXHAUL_FLOW_CAPTURE_QUERY_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "format/capture_shape.h"
#include "format/sql_name.h"

struct capture_query_column {
	char *name, *quoted, *type_name;
	char *operators; /* the schema of those by which the type is ordered, quoted; NULL: of none of the key */
	char *collation; /* that of its values, quoted; NULL: they have none, or it may not be named */
	bool is_long;    /* its values may be long: their size counts */
};

struct capture_query {
	struct sql_name name;
	char *relation, *filter; /* quoted; NULL: there is none */
	bool whole;              /* its rows are not read by a key */
	bool only;               /* its children are tables of their own */
	int64_t oid, estimate;
	char why[256];
	struct capture_shape shape;
	struct capture_column *columns;
	uint16_t *members;                 /* the shape's */
	struct capture_query_column *more; /* of each column */
};

/* The columns of the key, in its order, each with `of` before and `behind` behind it: "t.a, t.b", "t.a DESC, t.b DESC". */
void capture_query_write_key_and(FILE *f, const struct capture_query *q, const char *of, const char *behind);

/* The same, with nothing behind. */
void capture_query_write_key(FILE *f, const struct capture_query *q, const char *of);

/* " AND (t.a, t.b) > ($1, $2)": `is` is the sign between, > or <=, `first` the number of the first parameter. Returns the number of the next. Where a column is not ordered by
 * operators of pg_catalog, it is written out: column by column, each by its own. asked: of keys that were asked for: k."boxhaul 1", k."boxhaul 2". */
unsigned capture_query_write_limit(FILE *f, const struct capture_query *q, bool asked, const char *is, unsigned first);

/* All columns that are sent, in the order of the shape. */
void capture_query_write_columns(FILE *f, const struct capture_query *q);

/* The bytes of a row as it is stored: so many, and those of its columns that can be long. */
enum { CAPTURE_QUERY_ROW_BYTES = 24 };
void capture_query_write_size(FILE *f, const struct capture_query *q);

/* " FROM ONLY the table AS t WHERE (its filter) AND ": a condition must follow. */
void capture_query_write_from(FILE *f, const struct capture_query *q);

/* "(SELECT DISTINCT k.key[1]::type AS "boxhaul 1" FROM ": the keys in `key`, an array of texts, of a relation k that must follow, as values of the columns of the key. With their
 * types and their collations, so that two texts of one value are one key, and all are in the order of the columns. */
void capture_query_write_asked(FILE *f, const struct capture_query *q);

/* " JOIN (the table) t ON t.a = k."boxhaul 1"": its rows to keys k. */
void capture_query_write_join(FILE *f, const struct capture_query *q);

/* A statement of one row, with as many NULLs as there are columns, the snapshot, and which files of the table were read. */
void capture_query_write_snapshot(FILE *f, const struct capture_query *q);

/* That row as the last one of the statement so far. */
void capture_query_write_end(FILE *f, const struct capture_query *q);

/* Ends the stream of open_memstream() that *text belongs to. Returns the text, to be freed; NULL: something could not be written. */
char *capture_query_finish(FILE *f, char **text);

#endif
