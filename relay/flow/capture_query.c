/* What the catalogue says of a table, and the statements that read it: by its key, its largest key, some rows again, all of it. */
#include "flow/capture_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/capture_query_parts.h"

/* One row a column; of a table without one, or that is not there, one row with NULLs. quoted: the name of the table, and of the column, as SQL takes them.
 * base, element: see format/capture_value.h. */
const char capture_query_question[] =
	"SELECT s.relation::pg_catalog.regclass::pg_catalog.text, s.kind, s.filter, s.rows_estimate, s.why, c.name,"
	" pg_catalog.quote_ident(c.name), c.type, c.long, coalesce(pg_catalog.array_position(s.key, c.name), 0),"
	" a.atttypid::pg_catalog.int8, a.atttypmod, coalesce(y.base, 0), coalesce(y.element, 0), s.relation::pg_catalog.int8,"
	" CASE WHEN c.name = ANY (s.key) THEN pg_catalog.quote_ident(coalesce(boxhaul.capture_operators(a.atttypid), 'pg_catalog')) END,"
	" CASE WHEN c.name = ANY (s.key) THEN (SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(l.collname)"
	" FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace"
	" WHERE l.oid = a.attcollation AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) END"
	" FROM boxhaul.capture_shape($1, $2) s"
	" LEFT JOIN LATERAL ROWS FROM (pg_catalog.unnest(s.columns), pg_catalog.unnest(s.types), pg_catalog.unnest(s.long)) WITH ORDINALITY c (name, type, long, n) ON true"
	" LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = s.relation AND a.attname = c.name"
	" LEFT JOIN LATERAL boxhaul.capture_type(a.atttypid) y ON true ORDER BY c.n";

enum {
	RELATION,
	KIND,
	FILTER,
	ESTIMATE,
	WHY,
	NAME,
	QUOTED,
	TYPE_NAME,
	LONG,
	KEY,
	TYPE,
	TYPMOD,
	BASE,
	ELEMENT,
	OID,
	OPERATORS,
	COLLATION
};

/* NULL for NULL, and when out of memory. */
static char *copy_of(const struct pg_result *r, int row, int column)
{
	size_t bytes;

	return pg_is_null(r, row, column) ? NULL : strdup(pg_bytes(r, row, column, &bytes));
}

static int64_t number_of(const struct pg_result *r, int row, int column)
{
	return pg_is_null(r, row, column) ? 0 : pg_int8(r, row, column);
}

static bool read_column(struct capture_query *q, const struct pg_result *r, int row)
{
	struct capture_column *c = &q->columns[row];
	struct capture_query_column *m = &q->more[row];

	*m = (struct capture_query_column){ .name = copy_of(r, row, NAME),
					    .quoted = copy_of(r, row, QUOTED),
					    .type_name = copy_of(r, row, TYPE_NAME),
					    .operators = copy_of(r, row, OPERATORS),
					    .collation = copy_of(r, row, COLLATION),
					    .is_long = number_of(r, row, LONG) != 0 };
	*c = (struct capture_column){ .name = m->name,
				      .type = { .oid = (uint32_t)number_of(r, row, TYPE),
						.base = (uint32_t)number_of(r, row, BASE),
						.element = (uint32_t)number_of(r, row, ELEMENT) },
				      .typmod = (int32_t)number_of(r, row, TYPMOD),
				      .type_name = m->type_name,
				      .key = (uint16_t)number_of(r, row, KEY) };
	if (c->key > q->shape.key_count)
		q->shape.key_count = c->key;
	q->shape.count++;
	return m->name != NULL && m->quoted != NULL && m->type_name != NULL && (c->key == 0 || m->operators != NULL);
}

static bool read_all(struct capture_query *q, const struct pg_result *r)
{
	int rows = pg_rows(r);
	size_t bytes;

	if (rows == 0 || pg_is_null(r, 0, RELATION) || pg_is_null(r, 0, NAME)) {
		snprintf(q->why, sizeof q->why, "%s",
			 rows == 0 || pg_is_null(r, 0, WHY) ? "it has no column" : pg_bytes(r, 0, WHY, &bytes));
		return true;
	}
	q->relation = copy_of(r, 0, RELATION);
	q->filter = copy_of(r, 0, FILTER);
	q->only = strcmp(pg_bytes(r, 0, KIND, &bytes), "p") != 0;
	q->estimate = number_of(r, 0, ESTIMATE);
	q->oid = number_of(r, 0, OID);
	q->columns = calloc((size_t)rows, sizeof q->columns[0]);
	q->more = calloc((size_t)rows, sizeof q->more[0]);
	if (q->relation == NULL || (q->filter == NULL && !pg_is_null(r, 0, FILTER)) || q->columns == NULL ||
	    q->more == NULL)
		return false;
	q->shape.columns = q->columns;
	for (int row = 0; row < rows; row++)
		if (!read_column(q, r, row))
			return false;
	q->shape.members = q->members = capture_shape_members(&q->shape);
	if (q->members == NULL)
		return false;
	if (!pg_is_null(r, 0, WHY))
		snprintf(q->why, sizeof q->why, "%s", pg_bytes(r, 0, WHY, &bytes));
	else if (q->shape.key_count == 0 && !q->whole)
		snprintf(q->why, sizeof q->why,
			 "it has no key by which its rows could be read: neither a primary key, nor an identity index");
	return true;
}

struct capture_query *capture_query_create(const struct pg_result *answer, const char *tab, bool whole)
{
	struct capture_query *q = calloc(1, sizeof *q);

	if (q != NULL)
		q->whole = whole;
	if (q != NULL && sql_name_read(tab, &q->name) && read_all(q, answer)) {
		q->shape.schema = q->name.schema;
		q->shape.table = q->name.table;
		return q;
	}
	capture_query_free(q);
	return NULL;
}

void capture_query_free(struct capture_query *q)
{
	if (q == NULL)
		return;
	for (size_t i = 0; i < q->shape.count; i++) {
		free(q->more[i].name);
		free(q->more[i].quoted);
		free(q->more[i].type_name);
		free(q->more[i].operators);
		free(q->more[i].collation);
	}
	free(q->members);
	free(q->more);
	free(q->columns);
	free(q->relation);
	free(q->filter);
	free(q);
}

const char *capture_query_why(const struct capture_query *q)
{
	return q->why;
}

int64_t capture_query_estimate(const struct capture_query *q)
{
	return q->estimate;
}

const struct capture_shape *capture_query_shape(const struct capture_query *q)
{
	return &q->shape;
}

/* --- statements --- */

/* The rows of the range, in the order of the key. */
static void write_range(FILE *f, const struct capture_query *q, const struct capture_range *range)
{
	unsigned parameter = 1;

	capture_query_write_from(f, q);
	fputs("true", f);
	if (range->after.bytes != NULL)
		parameter = capture_query_write_limit(f, q, false, ">", parameter);
	if (range->upto.bytes != NULL)
		capture_query_write_limit(f, q, false, "<=", parameter);
	fputs(" ORDER BY ", f);
	capture_query_write_key(f, q, "t.");
}

static void write_sizes(FILE *f, const struct capture_query *q, const struct capture_range *range, uint32_t rows)
{
	capture_query_write_size(f, q);
	fputs(" AS \"boxhaul size\"", f);
	write_range(f, q, range);
	fprintf(f, " LIMIT %" PRIu32 ")", rows);
}

/* How many of the rows may come: so many that those before the last one have fewer bytes. Most chunks are of small rows, of which all may: that is seen by one sum, for which the rows are read
 * once more, and copied nowhere. A running sum beside the rows themselves would cost as much as reading them. And where no column can be long all rows have one size. */
static void write_how_many(FILE *f, const struct capture_query *q, const struct capture_range *range, uint32_t rows,
			   uint32_t bytes)
{
	uint32_t of_one_size = bytes / CAPTURE_QUERY_ROW_BYTES + 1;

	if (!capture_query_is_long(q)) {
		fprintf(f, "%" PRIu32, rows < of_one_size ? rows : of_one_size);
		return;
	}
	fprintf(f,
		"(SELECT CASE WHEN pg_catalog.sum(s.\"boxhaul size\") <= %" PRIu32 " THEN %" PRIu32
		" ELSE (SELECT pg_catalog.count(*) FROM (SELECT pg_catalog.sum(r.\"boxhaul size\") OVER (ORDER BY ",
		bytes, rows);
	capture_query_write_key(f, q, "r.");
	fputs(" ROWS UNBOUNDED PRECEDING) - r.\"boxhaul size\" AS \"boxhaul before\" FROM (SELECT ", f);
	capture_query_write_key(f, q, "t.");
	fputs(", ", f);
	write_sizes(f, q, range, rows);
	fprintf(f, " r) r WHERE r.\"boxhaul before\" < %" PRIu32 ") END FROM (SELECT ", bytes);
	write_sizes(f, q, range, rows);
	fputs(" s)", f);
}

char *capture_query_rows(const struct capture_query *q, const struct capture_range *range, uint32_t rows,
			 uint32_t bytes)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fputs("(SELECT ", f);
	capture_query_write_columns(f, q);
	fputs(", NULL::pg_catalog.text, NULL::pg_catalog.int8", f);
	write_range(f, q, range);
	fputs(" LIMIT ", f);
	write_how_many(f, q, range, rows, bytes);
	fputs(")", f);
	capture_query_write_end(f, q);
	return capture_query_finish(f, &text);
}

char *capture_query_top(const struct capture_query *q)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fputs("(SELECT ", f);
	for (size_t i = 0; i < q->shape.count; i++)
		fprintf(f, "%s, ", q->columns[i].key > 0 ? q->more[i].quoted : "NULL");
	fputs("NULL::pg_catalog.text, NULL::pg_catalog.int8", f);
	capture_query_write_from(f, q);
	fputs("true ORDER BY ", f);
	capture_query_write_key_and(f, q, "t.", " DESC");
	fputs(" LIMIT 1)", f);
	capture_query_write_end(f, q);
	return capture_query_finish(f, &text);
}

/* The rows of the keys first, each looked up, then their order: OFFSET keeps the two apart. In one, a session that must not sort would walk over the whole table by its index, and look
 * for each row among the keys. */
char *capture_query_repair(const struct capture_query *q)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fputs("(SELECT r.*, NULL::pg_catalog.text, NULL::pg_catalog.int8 FROM (SELECT ", f);
	capture_query_write_columns(f, q);
	fputs(" FROM ", f);
	capture_query_write_asked(f, q);
	fputs("boxhaul.capture_repair k WHERE k.capture = $1 AND k.tab = $2 AND k.reading = $3::pg_catalog.int8) k", f);
	capture_query_write_join(f, q);
	fputs(" OFFSET 0) r ORDER BY ", f);
	capture_query_write_key(f, q, "r.");
	fputs(")", f);
	capture_query_write_end(f, q);
	return capture_query_finish(f, &text);
}

/* --- all rows, in one piece --- */

/* In the order in which they lie in the table: no index is of use, and both cursors have the same. */
static char *declare(const struct capture_query *q, const char *name,
		     void (*write_what)(FILE *f, const struct capture_query *q))
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fprintf(f, "DECLARE \"boxhaul %s\" NO SCROLL CURSOR FOR SELECT ", name);
	write_what(f, q);
	capture_query_write_from(f, q);
	fputs("true", f);
	return capture_query_finish(f, &text);
}

char *capture_query_whole(const struct capture_query *q)
{
	return declare(q, "rows", capture_query_write_columns);
}

bool capture_query_is_long(const struct capture_query *q)
{
	for (size_t i = 0; i < q->shape.count; i++)
		if (q->more[i].is_long)
			return true;
	return false;
}

char *capture_query_sizes(const struct capture_query *q)
{
	return declare(q, "sizes", capture_query_write_size);
}

char *capture_query_snapshot(const struct capture_query *q)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	capture_query_write_snapshot(f, q);
	return capture_query_finish(f, &text);
}

/* --- the snapshot --- */

static bool add_xid(struct capture_query_xids *x, size_t at, uint64_t xid)
{
	if (at == x->capacity) {
		size_t capacity = x->capacity * 2 + 64;
		uint64_t *xids = realloc(x->xids, capacity * sizeof *xids);

		if (xids == NULL)
			return false;
		x->xids = xids;
		x->capacity = capacity;
	}
	x->xids[at] = xid;
	return true;
}

bool capture_query_read_snapshot(const char *text, struct capture_query_xids *x, struct capture_snapshot *s)
{
	char *end;

	*s = (struct capture_snapshot){ .xmin = strtoull(text, &end, 10) };
	if (end == text || *end != ':')
		return false;
	s->xmax = strtoull(end + 1, &end, 10);
	if (*end != ':')
		return false;
	for (end++; *end != '\0'; end += *end == ',') {
		const char *at = end;
		uint64_t xid = strtoull(at, &end, 10);

		if (end == at || !add_xid(x, s->xip_count, xid))
			return false;
		s->xip_count++;
	}
	s->xip = x->xids;
	return true;
}
