/* A pass is about a whole table, or about some keys that it names. Its statement is that of a chunk (capture_query.h), but that
 *
 *     it reads the columns of the pass alone, and the key
 *     where it is about keys it reads them, each with its row if there is one, in the order of the keys that were asked for
 *     it says the hash of a row instead of the row, unless the pass wants rows
 */
#include "flow/capture_query_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "flow/capture_query_parts.h"
#include "format/capture_key.h"
#include "format/capture_verify.h"

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

/* The keys that were asked for. */
static void write_asked(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	capture_query_write_asked(f, q);
	fprintf(f, "boxhaul.capture_verify_key k WHERE k.pass = %" PRIu64 ") k", pass->number);
}

/* The rows of the inner select: those of the table; or the keys that were asked for, each with its row, if there is one. */
static void write_rows_of_pass(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	if (!pass->keys) {
		fputs(", false AS \"boxhaul absent\"", f);
		capture_query_write_from(f, q);
		return;
	}
	fprintf(f, ", t.%s IS NULL AS \"boxhaul absent\" FROM ", q->more[capture_shape_key(&q->shape, 1)].quoted);
	write_asked(f, q, pass);
	fputs(" LEFT", f);
	capture_query_write_join(f, q);
	fputs(" WHERE ", f);
}

/* Of the table; or of the keys that were asked for. */
static void write_key_of_pass(FILE *f, const struct capture_query *q, const struct capture_ledger_pass *pass)
{
	if (!pass->keys) {
		capture_query_write_key(f, q, "t.");
		return;
	}
	for (uint16_t part = 1; part <= q->shape.key_count; part++)
		fprintf(f, "%sk.\"boxhaul %u\"", part > 1 ? ", " : "", part);
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
	capture_query_write_key(f, q, "r.");
	fputs(" ROWS UNBOUNDED PRECEDING) - r.\"boxhaul size\" AS \"boxhaul before\" FROM (SELECT ", f);
	write_inner_columns(f, q, pass);
	capture_query_write_size(f, q);
	fputs(" AS \"boxhaul size\"", f);
	write_rows_of_pass(f, q, pass);
	fputs("true", f);
	if (range->after.bytes != NULL)
		parameter = capture_query_write_limit(f, q, pass->keys, ">", parameter);
	if (range->upto.bytes != NULL)
		capture_query_write_limit(f, q, pass->keys, "<=", parameter);
	fputs(" ORDER BY ", f);
	write_key_of_pass(f, q, pass);
	fprintf(f, " LIMIT %" PRIu32 ") r) r WHERE r.\"boxhaul before\" < %" PRIu32 " ORDER BY ", rows, bytes);
	capture_query_write_key(f, q, "r.");
	fputs(")", f);
	capture_query_write_end(f, q);
	fputs(", NULL", f);
	return capture_query_finish(f, &text);
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
	capture_query_write_end(f, q);
	return capture_query_finish(f, &text);
}
