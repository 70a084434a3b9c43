/* The reader session: which question is under way, and what is asked for it. Here the questions that are about no row: the barrier's
 * draw and horizon, the end of a window, and what a table looks like. */
#include "flow/capture_chunk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/capture_tables.h"
#include "flow/capture_chunk_answer.h"
#include "flow/capture_chunk_rows.h"

/* Prepared statements of the reader session, which has ledger.h's STATEMENT_READY besides. */
enum { PIN, DRAW, HORIZON, SHAPE, END };

enum { KEEP_MS = 60000 }; /* a session that nobody has asked anything for so long is not needed */

/* Rows by the index of the key, and no other way; one process reads them. What must be sorted nevertheless costs so much by the planner's count that each such chunk
 * would be compiled: a second, for some rows. A table that is read whole is read from its beginning, and its transaction may wait for
 * the stream. A position that was asked for is flushed when it is answered, so the stream gets there
 * at once (before 17 a message outside of a transaction waits for the WAL writer). */
static const char pin[] =
	"SELECT pg_catalog.set_config(s.name, v.value, false)"
	" FROM (VALUES ('synchronous_commit', 'local'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),"
	" ('enable_sort', 'off'), ('enable_incremental_sort', 'off'), ('max_parallel_workers_per_gather', '0'),"
	" ('jit', 'off'), ('synchronize_seqscans', 'off'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'))"
	" AS v (name, value) JOIN pg_catalog.pg_settings s USING (name)";

static const struct pg_statement statements[] = {
	[PIN] = { PIN, pin },
	[DRAW] = { DRAW, "SELECT pg_catalog.pg_current_xact_id()" },
	[HORIZON] = { HORIZON, "SELECT h.horizon, h.xmax, boxhaul.capture_who(h.pids, h.prepared)"
			       " FROM boxhaul.capture_horizon($1, $2) h" },
	/* The position before the message: everything that was seen lies below it, and the message above. */
	[END] = { END, "SELECT pg_catalog.pg_current_wal_insert_lsn(),"
		       " pg_catalog.pg_logical_emit_message(true, 'boxhaul.chunk', '')" },
};

/* --- the barrier, and the end of a window --- */

static void on_drawn(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_event event = { .kind = CAPTURE_EVENT_DRAWN };

	if (!capture_chunk_takes(c))
		return;
	if (pg_error(r) != NULL) {
		capture_chunk_fail(c, REASON_NONE);
		return;
	}
	c->drawn = event.drawn.xid = (uint64_t)pg_int8(r, 0, 0);
	capture_chunk_answer(c, &event, NULL);
}

static void on_horizon(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_event event = { .kind = CAPTURE_EVENT_HORIZON };
	size_t bytes;

	if (!capture_chunk_takes(c))
		return;
	if (pg_error(r) != NULL) {
		capture_chunk_fail(c, REASON_NONE);
		return;
	}
	event.horizon.horizon = (uint64_t)pg_int8(r, 0, 0);
	event.horizon.xmax = (uint64_t)pg_int8(r, 0, 1);
	snprintf(c->waits_for, sizeof c->waits_for, "%s", pg_is_null(r, 0, 2) ? "" : pg_bytes(r, 0, 2, &bytes));
	capture_chunk_answer(c, &event, NULL);
}

static void on_end(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_event event = { .kind = CAPTURE_EVENT_CHUNK_END };

	if (!capture_chunk_takes(c))
		return;
	if (pg_error(r) != NULL) {
		capture_chunk_fail(c, REASON_NONE);
		return;
	}
	event.chunk_end.lsn = (uint64_t)pg_int8(r, 0, 0);
	capture_chunk_answer(c, &event, NULL);
}

/* --- what a table looks like --- */

static void tell_key(struct capture_chunk *c, const struct capture_shape *shape)
{
	const char *names[CAPTURE_KEY_COLUMNS];
	size_t count = 0;

	for (; count < shape->key_count && count < CAPTURE_KEY_COLUMNS; count++)
		names[count] = shape->columns[capture_shape_key(shape, (uint16_t)(count + 1))].name;
	c->handlers.key(c->handlers.arg, c->question.chunk.table, names, count);
}

static void on_shape(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_chunk_table *t;

	if (!capture_chunk_takes(c))
		return;
	t = capture_chunk_table(c);
	if (pg_error(r) != NULL) {
		capture_chunk_on_error(c, r);
		return;
	}
	t->query = capture_query_create(r, capture_tables_name(capture_chunk_config(c), c->question.chunk.table),
					capture_chunk_is_whole(c, c->question.chunk.table));
	if (t->query == NULL) {
		capture_chunk_fail(c, REASON_NONE);
		return;
	}
	t->fresh = true;
	/* As its rows begin to be read, and not as it is afterwards: what comes meanwhile is not among them. */
	if (t->estimate == 0 || capture_chunk_is_look(c))
		t->estimate = capture_query_estimate(t->query);
	if (capture_query_why(t->query)[0] != '\0') {
		char why[CAPTURE_CHUNK_WHY_BYTES];

		snprintf(why, sizeof why, "%s", capture_query_why(t->query));
		capture_query_free(t->query); /* asked again next time */
		t->query = NULL;
		capture_chunk_refuse(c, why);
		return;
	}
	if (capture_query_shape(t->query)->key_count > 0)
		tell_key(c, capture_query_shape(t->query));
	capture_chunk_go_on(c);
}

static void send_shape(struct capture_chunk *c)
{
	const char *parameters[] = { capture_chunk_config(c)->name,
				     capture_tables_name(capture_chunk_config(c), c->question.chunk.table) };

	capture_chunk_sent(
		c, pg_send(c->pg, &(struct pg_statement){ SHAPE, capture_query_question }, parameters, 2, on_shape, c));
}

/* --- the question --- */

static void send_chunk(struct capture_chunk *c)
{
	bool opens = capture_chunk_is_of_cursor(c) && c->question.chunk.kind == CAPTURE_CHUNK_OPEN;

	if (opens && !capture_whole_is_locked(c->whole))
		capture_chunk_send_lock(c);
	else if (capture_chunk_table(c)->query == NULL)
		send_shape(c);
	else if (capture_chunk_is_look(c))
		capture_chunk_tell_look(c);
	else if (opens)
		capture_chunk_send_open(c);
	else if (capture_chunk_is_of_cursor(c))
		capture_chunk_send_piece(c);
	else if (c->question.chunk.kind == CAPTURE_CHUNK_REPAIR)
		capture_chunk_send_repair(c);
	else if (c->question.chunk.kind == CAPTURE_CHUNK_TOP)
		capture_chunk_send_top(c);
	else
		capture_chunk_send_rows(c);
}

static void send_horizon(struct capture_chunk *c)
{
	char fence[24];

	snprintf(fence, sizeof fence, "%" PRIu64, c->drawn);
	capture_chunk_sent(c, pg_send(c->pg, &statements[HORIZON],
				      (const char *[]){ capture_chunk_config(c)->name, fence }, 2, on_horizon, c));
}

/* Only where the process may serve: rows of an old primary are beside what is streamed. */
void capture_chunk_go_on(struct capture_chunk *c)
{
	if (!c->up || !c->asked || !served_session_may_go_on(&c->session))
		return;
	switch (c->question.kind) {
	case CAPTURE_EFFECT_DRAW: capture_chunk_sent(c, pg_send(c->pg, &statements[DRAW], NULL, 0, on_drawn, c)); break;
	case CAPTURE_EFFECT_HORIZON: send_horizon(c); break;
	case CAPTURE_EFFECT_CHUNK_END:
		capture_chunk_sent(c, pg_send(c->pg, &statements[END], NULL, 0, on_end, c));
		break;
	default: send_chunk(c); break;
	}
}

void capture_chunk_ask(struct capture_chunk *c, const struct capture_effect *effect, const struct capture_range *range)
{
	capture_range_free(&c->range);
	c->question = *effect;
	c->asked = true;
	c->asked_ms = loop_now_ms();
	if (effect->kind == CAPTURE_EFFECT_CHUNK)
		capture_chunk_table(c)->fresh = false;
	/* What was known of the table was not asked under the lock that it is about to get. */
	if (capture_chunk_is_of_cursor(c) && effect->chunk.kind == CAPTURE_CHUNK_OPEN) {
		capture_whole_end(c->whole);
		capture_query_free(capture_chunk_table(c)->query);
		capture_chunk_table(c)->query = NULL;
	}
	if (range != NULL && !capture_range_copy(&c->range, range)) {
		capture_chunk_sent(c, false); /* it fails: without its cursor it would begin at the start */
		return;
	}
	capture_chunk_go_on(c);
}

void capture_chunk_look(struct capture_chunk *c, uint32_t table)
{
	/* Columns that were added say so in the log with the next change alone: what was known before the rows began is too little. */
	capture_query_free(c->tables[table].query);
	c->tables[table].query = NULL;
	capture_chunk_ask(c, &(struct capture_effect){ .kind = CAPTURE_EFFECT_CONTROL, .chunk = { .table = table } },
			  NULL);
}

void capture_chunk_forget(struct capture_chunk *c)
{
	/* (What the cursor was asked it forgets itself; but what the table looks like is asked here.) */
	c->stale += c->sent && !capture_whole_is_busy(c->whole);
	capture_whole_end(c->whole);
	c->asked = c->sent = false;
	capture_range_free(&c->range);
	c->waits_for[0] = '\0';
}

/* --- the session --- */

static void on_served(void *arg)
{
	struct capture_chunk *c = arg;

	c->up = true;
	capture_chunk_go_on(c);
}

void capture_chunk_session_up(struct capture_chunk *c)
{
	served_session_up(&c->session);
}

void capture_chunk_session_down(struct capture_chunk *c)
{
	bool lost = c->sent;

	c->up = false;
	c->stale = 0;
	capture_whole_lost(c->whole);
	for (size_t i = 0; i < c->table_count; i++) {
		capture_query_free(c->tables[i].query);
		c->tables[i].query = NULL;
	}
	if (lost)
		capture_chunk_fail(c, REASON_NONE);
}

struct capture_chunk *capture_chunk_create(struct pg *pg, const struct config *config, size_t index, struct log *log,
					   struct served *served, const struct capture_chunk_handlers *handlers)
{
	size_t tables = capture_tables_count(&config->captures[index]);
	struct capture_chunk *c = calloc(1, sizeof *c + tables * sizeof c->tables[0]);

	if (c == NULL)
		return NULL;
	c->pg = pg;
	c->config = config;
	c->index = index;
	c->log = log;
	c->handlers = *handlers;
	c->table_count = tables;
	c->session = (struct served_session){
		.served = served, .pg = pg, .listen = &statements[PIN], .up = on_served, .arg = c
	};
	c->whole = capture_whole_create(pg, capture_chunk_on_cursor, c);
	if (c->whole == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

void capture_chunk_free(struct capture_chunk *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->table_count; i++)
		capture_query_free(c->tables[i].query);
	capture_range_free(&c->range);
	capture_whole_free(c->whole);
	free(c->xip.xids);
	free(c);
}

/* --- what is known --- */

struct capture_chunk_value capture_chunk_value(const struct capture_chunk_rows *rows, size_t row, size_t column)
{
	struct capture_chunk_value value = { .text = NULL, .bytes = 0 };

	if (!pg_is_null(rows->result, (int)row, (int)column))
		value.text = pg_bytes(rows->result, (int)row, (int)column, &value.bytes);
	return value;
}

const char *capture_chunk_said(const struct capture_chunk_rows *rows, size_t row)
{
	int column = (int)rows->shape->count + 2; /* behind snapshot and files */
	size_t bytes;

	return pg_is_null(rows->result, (int)row, column) ? NULL : pg_bytes(rows->result, (int)row, column, &bytes);
}

void capture_chunk_set_pass(struct capture_chunk *c, uint32_t table, const struct capture_ledger_pass *pass)
{
	c->tables[table].pass = pass;
}

const struct capture_shape *capture_chunk_shape(const struct capture_chunk *c, uint32_t table)
{
	return c->tables[table].query != NULL ? capture_query_shape(c->tables[table].query) : NULL;
}

bool capture_chunk_is_wanted(const struct capture_chunk *c)
{
	return c->asked || capture_whole_is_open(c->whole) ||
	       (c->asked_ms != 0 && loop_now_ms() - c->asked_ms < KEEP_MS);
}

const char *capture_chunk_trouble(const struct capture_chunk *c, uint32_t table)
{
	return c->tables[table].why;
}

int64_t capture_chunk_estimate(const struct capture_chunk *c, uint32_t table)
{
	return c->tables[table].estimate;
}

const char *capture_chunk_waits_for(const struct capture_chunk *c)
{
	return c->waits_for;
}
