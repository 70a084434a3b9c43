/* The statements of a chunk, and what they bring (flow/capture_query.h has their texts):
 *
 *     by the key: rows | top | repair -> one statement, one answer
 *     whole: lock -> what the table looks like -> open -> piece after piece, until there is none
 */
#include "flow/capture_chunk_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "books/capture_tables.h"
#include "flow/capture_chunk_answer.h"
#include "flow/capture_query_verify.h"

/* --- by the key --- */

/* The last row has the snapshot and the files, whatever came before it. */
static void take_chunk(struct capture_chunk *c, const struct pg_result *r)
{
	struct capture_chunk_table *t = capture_chunk_table(c);
	const struct capture_shape *shape = capture_query_shape(t->query);
	struct capture_event event = { .kind = CAPTURE_EVENT_CHUNK };
	struct capture_chunk_rows rows = { .shape = shape,
					   .result = r,
					   .of_pass = t->pass != NULL && c->question.chunk.kind != CAPTURE_CHUNK_TOP };
	int last = pg_rows(r) - 1;

	if (last < 0 ||
	    !capture_query_read_snapshot(pg_text(r, last, (int)shape->count), &c->xip, &event.chunk.snapshot)) {
		pg_break(c->pg, "the answer to a chunk makes no sense, or there is no memory for it");
		return;
	}
	rows.count = event.chunk.count = (size_t)last;
	/* Fewer rows than asked for may mean that they are large: only none at all is the end. */
	event.chunk.complete = last == 0 && c->question.chunk.kind == CAPTURE_CHUNK_ROWS;
	event.chunk.filenode = (uint64_t)strtoll(pg_text(r, last, (int)shape->count + 1), NULL, 10);
	t->why[0] = '\0';
	capture_chunk_answer(c, &event, &rows);
}

static void on_chunk(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;

	if (!capture_chunk_takes(c))
		return;
	if (pg_error(r) != NULL)
		capture_chunk_on_error(c, r);
	else
		take_chunk(c, r);
}

/* A pass begins within a lead: it may know of columns that came since somebody has looked at the table. */
static void pass_does_not_fit(struct capture_chunk *c, const char *why)
{
	struct capture_chunk_table *t = capture_chunk_table(c);

	if (t->fresh) {
		capture_chunk_refuse(c, why);
		return;
	}
	capture_query_free(t->query);
	t->query = NULL;
	capture_chunk_go_on(c);
}

void capture_chunk_send_rows(struct capture_chunk *c)
{
	const struct capture_query *q = capture_chunk_table(c)->query;
	const struct capture_ledger_pass *pass = capture_chunk_table(c)->pass;
	const char *why = "";
	struct capture_range_parameters p;
	enum capture_range_fit fit = capture_range_split(&c->range, capture_query_shape(q)->key_count, &p);
	char *sql = pass != NULL ? capture_query_verify(q, pass, &c->range, c->question.chunk.rows,
							capture_chunk_config(c)->chunk_bytes, &why)
				 : capture_query_rows(q, &c->range, c->question.chunk.rows,
						      capture_chunk_config(c)->chunk_bytes);

	if (fit == CAPTURE_RANGE_OTHER_KEY)
		capture_chunk_refuse(
			c,
			"its key has other columns than the rows that are stored: boxhaul capture resync reads it again");
	else if (why[0] != '\0')
		pass_does_not_fit(c, why);
	else
		capture_chunk_sent(c, fit == CAPTURE_RANGE_FITS && sql != NULL &&
					      pg_send_once(c->pg, sql, p.text, p.count, on_chunk, c));
	free(sql);
	free(p.memory);
}

/* --- a table that is read whole --- */

/* No row is the end: then its transaction is over, too. */
static void take_piece(struct capture_chunk *c, const struct pg_result *r)
{
	struct capture_chunk_rows rows = { .shape = capture_query_shape(capture_chunk_table(c)->query),
					   .result = r,
					   .count = (size_t)pg_rows(r) };
	struct capture_event event = { .kind = CAPTURE_EVENT_CHUNK };

	event.chunk.count = rows.count;
	event.chunk.complete = rows.count == 0;
	if (event.chunk.complete)
		capture_whole_end(c->whole);
	capture_chunk_answer(c, &event, &rows);
}

void capture_chunk_on_cursor(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;

	if (pg_error(r) != NULL)
		capture_chunk_on_error(c, r);
	else if (c->question.chunk.kind == CAPTURE_CHUNK_PIECE)
		take_piece(c, r);
	else if (capture_chunk_table(c)->query == NULL)
		capture_chunk_go_on(c); /* it has its lock: now what the table looks like stays as it is */
	else
		take_chunk(c, r);
}

void capture_chunk_send_piece(struct capture_chunk *c)
{
	if (!capture_whole_is_open(c->whole))
		capture_chunk_fail(c, REASON_NONE);
	else
		capture_chunk_sent(
			c, capture_whole_fetch(c->whole, c->question.chunk.rows, capture_chunk_config(c)->chunk_bytes));
}

void capture_chunk_send_open(struct capture_chunk *c)
{
	capture_chunk_sent(c, capture_whole_declare(c->whole, capture_chunk_table(c)->query));
}

void capture_chunk_send_lock(struct capture_chunk *c)
{
	capture_chunk_sent(
		c, capture_whole_open(c->whole, capture_tables_name(capture_chunk_config(c), c->question.chunk.table)));
}

void capture_chunk_send_top(struct capture_chunk *c)
{
	const struct capture_chunk_table *t = capture_chunk_table(c);
	char *sql = t->pass != NULL && t->pass->keys ? capture_query_verify_top(t->query, t->pass)
						     : capture_query_top(t->query);

	capture_chunk_sent(c, sql != NULL && pg_send_once(c->pg, sql, NULL, 0, on_chunk, c));
	free(sql);
}

void capture_chunk_send_repair(struct capture_chunk *c)
{
	char *sql = capture_query_repair(capture_chunk_table(c)->query);
	char reading[16];
	const char *parameters[] = { capture_chunk_config(c)->name,
				     capture_tables_name(capture_chunk_config(c), c->question.chunk.table), reading };

	snprintf(reading, sizeof reading, "%" PRIu32, c->question.chunk.reading);
	capture_chunk_sent(c, sql != NULL && pg_send_once(c->pg, sql, parameters, 3, on_chunk, c));
	free(sql);
}
