/* Everything is written as SQL takes it: names are quoted where they were read (capture_query_question). */
#include "flow/capture_query_parts.h"

#include <inttypes.h>
#include <stdlib.h>

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

unsigned capture_query_write_limit(FILE *f, const struct capture_query *q, const char *is, unsigned first)
{
	fputs(" AND (", f);
	capture_query_write_key(f, q, "t.");
	fprintf(f, ") %s (", is);
	for (uint16_t part = 0; part < q->shape.key_count; part++)
		fprintf(f, "%s$%u", part > 0 ? ", " : "", first + part);
	fputs(")", f);
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
	fputs("24", f);
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
