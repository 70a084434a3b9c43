#include "flow/capture_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/capture_key.h"
#include "format/capture_verify.h"
#include "format/sql_name.h"

/* One row a column; of a table without one, or that is not there, one row with NULLs. quoted: the name of the table, and of the column, as SQL takes them.
 * base, element: see format/capture_value.h. */
const char capture_query_question[] =
	"SELECT s.relation::pg_catalog.regclass::pg_catalog.text, s.kind, s.filter, s.rows_estimate, s.why, c.name,"
	" pg_catalog.quote_ident(c.name), c.type, c.long, coalesce(pg_catalog.array_position(s.key, c.name), 0),"
	" a.atttypid::pg_catalog.int8, a.atttypmod, coalesce(y.base, 0), coalesce(y.element, 0), s.relation::pg_catalog.int8"
	" FROM boxhaul.capture_shape($1, $2) s"
	" LEFT JOIN LATERAL ROWS FROM (pg_catalog.unnest(s.columns), pg_catalog.unnest(s.types), pg_catalog.unnest(s.long)) WITH ORDINALITY c (name, type, long, n) ON true"
	" LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = s.relation AND a.attname = c.name"
	" LEFT JOIN LATERAL boxhaul.capture_type(a.atttypid) y ON true ORDER BY c.n";

enum { RELATION, KIND, FILTER, ESTIMATE, WHY, NAME, QUOTED, TYPE_NAME, LONG, KEY, TYPE, TYPMOD, BASE, ELEMENT, OID };

struct column {
	char *name, *quoted, *type_name;
	bool is_long; /* its values may be long: their size counts */
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
	struct column *more; /* of each column */
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
	struct column *m = &q->more[row];

	*m = (struct column){ .name = copy_of(r, row, NAME),
			      .quoted = copy_of(r, row, QUOTED),
			      .type_name = copy_of(r, row, TYPE_NAME),
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
	return m->name != NULL && m->quoted != NULL && m->type_name != NULL;
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
	}
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

/* The columns of the key, in its order, each with `behind` behind it: "t.a, t.b", "t.a DESC, t.b DESC". */
static void write_key_and(FILE *f, const struct capture_query *q, const char *of, const char *behind)
{
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%s%s%s%s", part > 1 ? ", " : "", of, q->more[capture_shape_key(&q->shape, part)].quoted,
			behind);
}

static void write_key(FILE *f, const struct capture_query *q, const char *of)
{
	write_key_and(f, q, of, "");
}

/* " AND (t.a, t.b) > ($1, $2)". Returns the number of the next parameter. */
static unsigned write_limit(FILE *f, const struct capture_query *q, const char *is, unsigned first)
{
	fputs(" AND (", f);
	write_key(f, q, "t.");
	fprintf(f, ") %s (", is);
	for (uint16_t part = 0; part < q->shape.key_count; part++)
		fprintf(f, "%s$%u", part > 0 ? ", " : "", first + part);
	fputs(")", f);
	return first + q->shape.key_count;
}

static void write_columns(FILE *f, const struct capture_query *q)
{
	for (size_t i = 0; i < q->shape.count; i++)
		fprintf(f, "%s%s", i > 0 ? ", " : "", q->more[i].quoted);
}

/* The bytes of a row as it is stored, as an int4: a sum of int8 were a numeric, which is slow. */
static void write_size(FILE *f, const struct capture_query *q)
{
	fputs("24", f);
	for (size_t i = 0; i < q->shape.count; i++)
		if (q->more[i].is_long)
			fprintf(f, " + coalesce(pg_catalog.pg_column_size(t.%s), 0)", q->more[i].quoted);
}

static void write_from(FILE *f, const struct capture_query *q)
{
	fprintf(f, " FROM %s%s AS t WHERE ", q->only ? "ONLY " : "", q->relation);
	if (q->filter != NULL)
		fprintf(f, "(%s) AND ", q->filter);
}

/* What the last row has: the snapshot of the statement, and which files it has read. */
static void write_snapshot(FILE *f, const struct capture_query *q)
{
	fputs("SELECT ", f);
	for (size_t i = 0; i < q->shape.count; i++)
		fputs("NULL, ", f);
	fprintf(f, "pg_catalog.pg_current_snapshot()::pg_catalog.text, boxhaul.capture_filenode(%" PRId64 ")", q->oid);
}

static void write_end(FILE *f, const struct capture_query *q)
{
	fputs(" UNION ALL ", f);
	write_snapshot(f, q);
}

/* The text of a stream that is done; NULL: it has failed. */
static char *finish(FILE *f, char **text)
{
	bool ok = f != NULL && !ferror(f);

	if (f != NULL && fclose(f) != 0)
		ok = false;
	if (ok)
		return *text;
	free(*text);
	return NULL;
}

char *capture_query_rows(const struct capture_query *q, const struct capture_range *range, uint32_t rows,
			 uint32_t bytes)
{
	char *text = NULL;
	size_t size;
	unsigned parameter = 1;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fputs("(SELECT ", f);
	write_columns(f, q);
	fputs(", NULL::pg_catalog.text, NULL::pg_catalog.int8 FROM (SELECT r.*, pg_catalog.sum(r.\"boxhaul size\") OVER (ORDER BY ",
	      f);
	write_key(f, q, "r.");
	fputs(" ROWS UNBOUNDED PRECEDING) - r.\"boxhaul size\" AS \"boxhaul before\" FROM (SELECT ", f);
	write_columns(f, q);
	fputs(", ", f);
	write_size(f, q);
	fputs(" AS \"boxhaul size\"", f);
	write_from(f, q);
	fputs("true", f);
	if (range->after.bytes != NULL)
		parameter = write_limit(f, q, ">", parameter);
	if (range->upto.bytes != NULL)
		write_limit(f, q, "<=", parameter);
	fputs(" ORDER BY ", f);
	write_key(f, q, "t.");
	fprintf(f, " LIMIT %" PRIu32 ") r) r WHERE r.\"boxhaul before\" < %" PRIu32 " ORDER BY ", rows, bytes);
	write_key(f, q, "r.");
	fputs(")", f);
	write_end(f, q);
	return finish(f, &text);
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
	write_from(f, q);
	fputs("true ORDER BY ", f);
	write_key_and(f, q, "t.", " DESC");
	fputs(" LIMIT 1)", f);
	write_end(f, q);
	return finish(f, &text);
}

char *capture_query_repair(const struct capture_query *q)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fputs("(SELECT ", f);
	write_columns(f, q);
	fputs(", NULL::pg_catalog.text, NULL::pg_catalog.int8", f);
	write_from(f, q);
	fputs("(", f);
	write_key(f, q, "t.");
	fputs(") IN (SELECT ", f);
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%sk.key[%u]::%s", part > 1 ? ", " : "", part,
			q->columns[capture_shape_key(&q->shape, part)].type_name);
	fputs(" FROM boxhaul.capture_repair k WHERE k.capture = $1 AND k.tab = $2 AND k.reading = $3::pg_catalog.int8) ORDER BY ",
	      f);
	write_key(f, q, "t.");
	fputs(")", f);
	write_end(f, q);
	return finish(f, &text);
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
	write_from(f, q);
	fputs("true", f);
	return finish(f, &text);
}

char *capture_query_whole(const struct capture_query *q)
{
	return declare(q, "rows", write_columns);
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
	return declare(q, "sizes", write_size);
}

char *capture_query_snapshot(const struct capture_query *q)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	write_snapshot(f, q);
	return finish(f, &text);
}

/* --- verify passes --- */

static bool is_compared(const struct capture_query *q, const struct capture_ledger_pass *pass, size_t i)
{
	return capture_verify_has(pass->columns, pass->columns_bytes, q->columns[i].name);
}

/* Every column that the pass names is there, and each of the key is among them. */
static bool fits(const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	const char *at = pass->columns, *name;
	size_t left = pass->columns_bytes, bytes;

	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		if (!is_compared(q, pass, capture_shape_key(&q->shape, part)))
			return false;
	while (at != NULL && capture_key_next(&at, &left, &name, &bytes)) {
		size_t i = 0;

		while (i < q->shape.count &&
		       (strlen(q->more[i].name) != bytes || memcmp(q->more[i].name, name, bytes) != 0))
			i++;
		if (i == q->shape.count)
			return false;
	}
	return true;
}

/* The text that its type writes, which is not that of a cast to text (char(n), inet, bool); NULL for NULL, which a row of NULLs is not. */
static void write_hash(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	const char *comma = "";

	fputs("boxhaul.row_hash(ARRAY[", f);
	for (size_t i = 0; i < q->shape.count; i++) {
		if (!is_compared(q, pass, i))
			continue;
		fprintf(f, "%sCASE WHEN pg_catalog.num_nulls(r.%s) = 0 THEN pg_catalog.format('%%s', r.%s) END", comma,
			q->more[i].quoted, q->more[i].quoted);
		comma = ", ";
	}
	fputs("]::pg_catalog.text[])", f);
}

/* The keys that were asked for, as values of their types. */
static void write_asked(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	fputs("(SELECT DISTINCT ", f);
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%sk.key[%u]::%s AS \"boxhaul %u\"", part > 1 ? ", " : "", part,
			q->columns[capture_shape_key(&q->shape, part)].type_name, part);
	fprintf(f, " FROM boxhaul.capture_verify_key k WHERE k.pass = %" PRIu64 ") k", pass->number);
}

/* The rows of the inner select: those of the table; or the keys that were asked for, each with its row, if there is one. */
static void write_rows_of_pass(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	if (!pass->keys) {
		fputs(", false AS \"boxhaul absent\"", f);
		write_from(f, q);
		return;
	}
	fprintf(f, ", t.%s IS NULL AS \"boxhaul absent\" FROM ", q->more[capture_shape_key(&q->shape, 1)].quoted);
	write_asked(f, q, pass);
	fprintf(f, " LEFT JOIN (SELECT * FROM %s%s AS t WHERE %s) t ON ", q->only ? "ONLY " : "", q->relation,
		q->filter != NULL ? q->filter : "true");
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%st.%s = k.\"boxhaul %u\"", part > 1 ? " AND " : "",
			q->more[capture_shape_key(&q->shape, part)].quoted, part);
	fputs(" WHERE ", f);
}

/* Of the table; or of the keys that were asked for. */
static void write_key_of_pass(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	if (!pass->keys) {
		write_key(f, q, "t.");
		return;
	}
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%sk.\"boxhaul %u\"", part > 1 ? ", " : "", part);
}

/* As write_limit(). */
static unsigned write_limit_of_pass(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass,
				    const char *is, unsigned first)
{
	fputs(" AND (", f);
	write_key_of_pass(f, q, pass);
	fprintf(f, ") %s (", is);
	for (uint16_t part = 0; part < q->shape.key_count; part++)
		fprintf(f, "%s$%u", part > 0 ? ", " : "", first + part);
	fputs(")", f);
	return first + q->shape.key_count;
}

static void write_inner_columns(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	for (size_t i = 0; i < q->shape.count; i++)
		if (pass->keys && q->columns[i].key > 0)
			fprintf(f, "coalesce(t.%s, k.\"boxhaul %u\") AS %s, ", q->more[i].quoted, q->columns[i].key,
				q->more[i].quoted);
		else if (is_compared(q, pass, i))
			fprintf(f, "t.%s, ", q->more[i].quoted);
}

static void write_outer_columns(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	for (size_t i = 0; i < q->shape.count; i++)
		if (q->columns[i].key > 0 || (pass->whole && is_compared(q, pass, i)))
			fprintf(f, "r.%s, ", q->more[i].quoted);
		else
			fputs("NULL::pg_catalog.text, ", f);
	fputs("NULL::pg_catalog.text, NULL::pg_catalog.int8, CASE WHEN r.\"boxhaul absent\" THEN 'absent' ", f);
	if (!pass->whole) {
		fputs("ELSE ", f);
		write_hash(f, q, pass);
	}
	fputs(" END", f);
}

char *capture_query_verify(const struct capture_query *q, const struct capture_ledger_pass *pass,
			   const struct capture_range *range, uint32_t rows, uint32_t bytes, const char **why)
{
	char *text = NULL;
	size_t size;
	unsigned parameter = 1;
	FILE *f;

	*why = fits(q, pass) ? "" : "the verify pass is about columns that the table has not, or leaves out its key";
	f = (*why)[0] == '\0' ? open_memstream(&text, &size) : NULL;
	if (f == NULL)
		return NULL;
	fputs("(SELECT ", f);
	write_outer_columns(f, q, pass);
	fputs(" FROM (SELECT r.*, pg_catalog.sum(r.\"boxhaul size\") OVER (ORDER BY ", f);
	write_key(f, q, "r.");
	fputs(" ROWS UNBOUNDED PRECEDING) - r.\"boxhaul size\" AS \"boxhaul before\" FROM (SELECT ", f);
	write_inner_columns(f, q, pass);
	write_size(f, q);
	fputs(" AS \"boxhaul size\"", f);
	write_rows_of_pass(f, q, pass);
	fputs("true", f);
	if (range->after.bytes != NULL)
		parameter = write_limit_of_pass(f, q, pass, ">", parameter);
	if (range->upto.bytes != NULL)
		write_limit_of_pass(f, q, pass, "<=", parameter);
	fputs(" ORDER BY ", f);
	write_key_of_pass(f, q, pass);
	fprintf(f, " LIMIT %" PRIu32 ") r) r WHERE r.\"boxhaul before\" < %" PRIu32 " ORDER BY ", rows, bytes);
	write_key(f, q, "r.");
	fputs(")", f);
	write_end(f, q);
	fputs(", NULL", f);
	return finish(f, &text);
}

char *capture_query_verify_top(const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return NULL;
	fputs("(SELECT ", f);
	for (size_t i = 0; i < q->shape.count; i++)
		if (q->columns[i].key > 0)
			fprintf(f, "k.\"boxhaul %u\", ", q->columns[i].key);
		else
			fputs("NULL, ", f);
	fputs("NULL::pg_catalog.text, NULL::pg_catalog.int8 FROM ", f);
	write_asked(f, q, pass);
	fputs(" ORDER BY ", f);
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%sk.\"boxhaul %u\" DESC", part > 1 ? ", " : "", part);
	fputs(" LIMIT 1)", f);
	write_end(f, q);
	return finish(f, &text);
}

/* --- the answer --- */

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
