/* Everything is written as SQL takes it: names are quoted where they were read (capture_query_question). */
#include "flow/capture_query_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void capture_query_write_key_and(FILE *f, const struct capture_query *q, const char *of, const char *behind)
{
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%s%s%s%s", part > 1 ? ", " : "", of, q->more[capture_shape_key(&q->shape, part)].quoted,
			behind);
}

void capture_query_write_key(FILE *f, const struct capture_query *q, const char *of)
{
	capture_query_write_key_and(f, q, of, "");
}

static const struct capture_query_column *key_column(const struct capture_query *q, uint16_t part)
{
	return &q->more[capture_shape_key(&q->shape, part)];
}

static bool is_plain(const struct capture_query *q)
{
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		if (strcmp(key_column(q, part)->operators, "pg_catalog") != 0)
			return false;
	return true;
}

static void write_part(FILE *f, const struct capture_query *q, uint16_t part, bool asked)
{
	if (asked)
		fprintf(f, "k.\"boxhaul %u\"", part);
	else
		fprintf(f, "t.%s", key_column(q, part)->quoted);
}

/* What a limit is made of: its sign, the number of its first parameter, and of which columns it is. */
struct limit {
	const char *is;
	unsigned first;
	bool asked;
};

static void write_comparison(FILE *f, const struct capture_query *q, uint16_t part, const char *is,
			     const struct limit *limit)
{
	write_part(f, q, part, limit->asked);
	fprintf(f, " OPERATOR(%s.%s) $%u", key_column(q, part)->operators, is, limit->first + part - 1);
}

/* "(t.a > $1 OR t.a = $1 AND t.b > $2)". Before it the first column by itself, of which an index makes use. */
static void write_limit_out(FILE *f, const struct capture_query *q, const struct limit *limit)
{
	const char strict[] = { limit->is[0], '\0' }, loose[] = { limit->is[0], '=', '\0' };
	uint16_t last = q->shape.key_count;

	write_comparison(f, q, 1, loose, limit);
	fputs(" AND ", f);
	for (uint16_t part = 1; part < last; part++) {
		fputs("(", f);
		write_comparison(f, q, part, strict, limit);
		fputs(" OR ", f);
		write_comparison(f, q, part, "=", limit);
		fputs(" AND ", f);
	}
	write_comparison(f, q, last, limit->is, limit);
	for (uint16_t part = 1; part < last; part++)
		fputs(")", f);
}

static void write_limit(FILE *f, const struct capture_query *q, const struct limit *limit)
{
	fputs("(", f);
	for (uint16_t part = 1; part <= q->shape.key_count; part++) {
		fputs(part > 1 ? ", " : "", f);
		write_part(f, q, part, limit->asked);
	}
	fprintf(f, ") %s (", limit->is);
	for (uint16_t part = 0; part < q->shape.key_count; part++)
		fprintf(f, "%s$%u", part > 0 ? ", " : "", limit->first + part);
	fputs(")", f);
}

unsigned capture_query_write_limit(FILE *f, const struct capture_query *q, bool asked, const char *is, unsigned first)
{
	const struct limit limit = { is, first, asked };

	fputs(" AND ", f);
	if (is_plain(q))
		write_limit(f, q, &limit);
	else
		write_limit_out(f, q, &limit);
	return first + q->shape.key_count;
}

void capture_query_write_columns(FILE *f, const struct capture_query *q)
{
	for (size_t i = 0; i < q->shape.count; i++)
		fprintf(f, "%s%s", i > 0 ? ", " : "", q->more[i].quoted);
}

/* As an int4: a sum of int8 were a numeric, which is slow. */
void capture_query_write_size(FILE *f, const struct capture_query *q)
{
	fprintf(f, "%d", CAPTURE_QUERY_ROW_BYTES);
	for (size_t i = 0; i < q->shape.count; i++)
		if (q->more[i].is_long)
			fprintf(f, " + coalesce(pg_catalog.pg_column_size(t.%s), 0)", q->more[i].quoted);
}

void capture_query_write_from(FILE *f, const struct capture_query *q)
{
	fprintf(f, " FROM %s%s AS t WHERE ", q->only ? "ONLY " : "", q->relation);
	if (q->filter != NULL)
		fprintf(f, "(%s) AND ", q->filter);
}

void capture_query_write_asked(FILE *f, const struct capture_query *q)
{
	fputs("(SELECT DISTINCT ", f);
	for (uint16_t part = 1; part <= q->shape.key_count; part++) {
		const struct capture_query_column *c = key_column(q, part);

		fprintf(f, "%sk.key[%u]::%s", part > 1 ? ", " : "", part, c->type_name);
		if (c->collation != NULL)
			fprintf(f, " COLLATE %s", c->collation);
		fprintf(f, " AS \"boxhaul %u\"", part);
	}
	fputs(" FROM ", f);
}

void capture_query_write_join(FILE *f, const struct capture_query *q)
{
	fprintf(f, " JOIN (SELECT * FROM %s%s AS t WHERE %s) t ON ", q->only ? "ONLY " : "", q->relation,
		q->filter != NULL ? q->filter : "true");
	for (uint16_t part = 1; part <= q->shape.key_count; part++) {
		const struct capture_query_column *c = key_column(q, part);

		fprintf(f, "%st.%s OPERATOR(%s.=) k.\"boxhaul %u\"", part > 1 ? " AND " : "", c->quoted, c->operators,
			part);
	}
}

void capture_query_write_snapshot(FILE *f, const struct capture_query *q)
{
	fputs("SELECT ", f);
	for (size_t i = 0; i < q->shape.count; i++)
		fputs("NULL, ", f);
	fprintf(f, "pg_catalog.pg_current_snapshot()::pg_catalog.text, boxhaul.capture_filenode(%" PRId64 ")", q->oid);
}

void capture_query_write_end(FILE *f, const struct capture_query *q)
{
	fputs(" UNION ALL ", f);
	capture_query_write_snapshot(f, q);
}

char *capture_query_finish(FILE *f, char **text)
{
	bool ok = f != NULL && !ferror(f);

	if (f != NULL && fclose(f) != 0)
		ok = false;
	if (ok)
		return *text;
	free(*text);
	return NULL;
}
