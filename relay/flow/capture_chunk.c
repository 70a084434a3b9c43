#include "flow/capture_chunk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/capture_tables.h"
#include "flow/capture_query.h"
#include "flow/capture_whole.h"

/* Prepared statements of the reader session, which has ledger.h's STATEMENT_READY besides. */
enum { PIN, DRAW, HORIZON, SHAPE, END };

enum {
	WAITS_BYTES = 512,
	WHY_BYTES = 512,
	KEEP_MS = 60000, /* a session that nobody has asked anything for so long is not needed */
};

/* Rows by the index of the key, and no other way; one process reads them. A table that is read whole is read from its beginning, and its transaction may wait for
 * the stream. A position that was asked for is flushed when it is answered, so the stream gets there
 * at once (before 17 a message outside of a transaction waits for the WAL writer). */
static const char pin[] =
	"SELECT pg_catalog.set_config(s.name, v.value, false)"
	" FROM (VALUES ('synchronous_commit', 'local'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),"
	" ('enable_sort', 'off'), ('enable_incremental_sort', 'off'), ('max_parallel_workers_per_gather', '0'),"
	" ('synchronize_seqscans', 'off'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'))"
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

struct table {
	struct capture_query *query;            /* NULL: what it looks like is to be asked */
	bool fresh;                             /* it was, for the question under way */
	const struct capture_ledger_pass *pass; /* borrowed; NULL: its rows are read */
	char why[WHY_BYTES];
	int64_t estimate;
};

struct capture_chunk {
	struct pg *pg;
	const struct config *config;
	size_t index;
	struct log *log;
	struct capture_chunk_handlers handlers;
	struct served_session session;
	bool up;
	bool asked, sent; /* a question is to be answered; it is under way */
	unsigned stale;   /* so many answers are still to come that nobody wants any more: they come first */
	struct capture_effect question;
	struct capture_range range; /* of a chunk of rows; owned */
	uint64_t drawn;             /* the xid that was drawn last: the barrier's fence */
	int64_t asked_ms;
	char waits_for[WAITS_BYTES];
	struct capture_query_xids xip;
	struct capture_whole *whole;
	size_t table_count;
	struct table tables[];
};

static void go_on(struct capture_chunk *c);

static const struct config_capture *capture(const struct capture_chunk *c)
{
	return &c->config->captures[c->index];
}

/* --- answers --- */

static void answer(struct capture_chunk *c, struct capture_event *event, const struct capture_chunk_rows *rows)
{
	c->asked = c->sent = false;
	capture_range_free(&c->range);
	c->handlers.answer(c->handlers.arg, event, rows);
}

/* A question that is not the core's own (capture_chunk_look()): it has this kind. */
static bool is_look(const struct capture_chunk *c)
{
	return c->question.kind == CAPTURE_EFFECT_CONTROL;
}

static void tell_look(struct capture_chunk *c)
{
	const struct table *t = &c->tables[c->question.chunk.table];

	c->asked = c->sent = false;
	c->handlers.looked(c->handlers.arg, c->question.chunk.table,
			   t->query != NULL ? capture_query_shape(t->query) : NULL);
}

static bool is_of_cursor(const struct capture_chunk *c)
{
	return c->question.kind == CAPTURE_EFFECT_CHUNK &&
	       (c->question.chunk.kind == CAPTURE_CHUNK_OPEN || c->question.chunk.kind == CAPTURE_CHUNK_PIECE);
}

/* reason 0: another time; else only an operator can mend it. */
static void fail(struct capture_chunk *c, uint32_t reason)
{
	if (is_of_cursor(c))
		capture_whole_end(c->whole);
	if (is_look(c)) {
		tell_look(c);
		return;
	}
	answer(c, &(struct capture_event){ .kind = CAPTURE_EVENT_CHUNK_FAILED, .chunk_failed = { .reason = reason } },
	       NULL);
}

static struct table *table_of(struct capture_chunk *c)
{
	return &c->tables[c->question.chunk.table];
}

static void refuse(struct capture_chunk *c, const char *why)
{
	struct table *t = table_of(c);

	if (strcmp(t->why, why) != 0)
		log_error(c->log, "the rows of a captured table cannot be read", KS("capture", capture(c)->name),
			  KS("table", capture_tables_name(capture(c), c->question.chunk.table)), KS("why", why));
	snprintf(t->why, sizeof t->why, "%s", why);
	fail(c, DEFECT_UNREADABLE);
}

/* A lock that was not to be had, a time-out, a deadlock, a server that is short of something or goes down: nothing is wrong with the table. */
static bool is_passing(const char *sqlstate)
{
	static const char *const classes[] = { "08", "40", "53", "55", "57", "58" };

	for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

static void on_error(struct capture_chunk *c, const struct pg_result *r)
{
	struct table *t = table_of(c);

	/* Whatever it is, the table may look different by now. */
	capture_query_free(t->query);
	t->query = NULL;
	if (pg_wants_session(r)) {
		pg_break(c->pg, pg_error(r)); /* and the question fails with it */
	} else if (is_passing(pg_sqlstate(r))) {
		log_warn(c->log, "a chunk of a captured table could not be read, and is tried again",
			 KS("capture", capture(c)->name),
			 KS("table", capture_tables_name(capture(c), c->question.chunk.table)), KS("why", pg_error(r)));
		fail(c, REASON_NONE);
	} else {
		refuse(c, pg_error(r));
	}
}

/* Is this the answer to the question under way? */
static bool is_mine(struct capture_chunk *c)
{
	if (c->stale == 0)
		return true;
	c->stale--;
	return false;
}

static void ask(struct capture_chunk *c, bool asked)
{
	c->sent = true;
	if (!asked)
		pg_break(c->pg, "a statement could not be sent");
}

/* --- the barrier, and the end of a window --- */

static void on_drawn(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_event event = { .kind = CAPTURE_EVENT_DRAWN };

	if (!is_mine(c))
		return;
	if (pg_error(r) != NULL) {
		fail(c, REASON_NONE);
		return;
	}
	c->drawn = event.drawn.xid = (uint64_t)pg_int8(r, 0, 0);
	answer(c, &event, NULL);
}

static void on_horizon(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_event event = { .kind = CAPTURE_EVENT_HORIZON };
	size_t bytes;

	if (!is_mine(c))
		return;
	if (pg_error(r) != NULL) {
		fail(c, REASON_NONE);
		return;
	}
	event.horizon.horizon = (uint64_t)pg_int8(r, 0, 0);
	event.horizon.xmax = (uint64_t)pg_int8(r, 0, 1);
	snprintf(c->waits_for, sizeof c->waits_for, "%s", pg_is_null(r, 0, 2) ? "" : pg_bytes(r, 0, 2, &bytes));
	answer(c, &event, NULL);
}

static void on_end(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;
	struct capture_event event = { .kind = CAPTURE_EVENT_CHUNK_END };

	if (!is_mine(c))
		return;
	if (pg_error(r) != NULL) {
		fail(c, REASON_NONE);
		return;
	}
	event.chunk_end.lsn = (uint64_t)pg_int8(r, 0, 0);
	answer(c, &event, NULL);
}

/* --- a chunk --- */

/* The last row has the snapshot and the files, whatever came before it. */
static void take_chunk(struct capture_chunk *c, const struct pg_result *r)
{
	struct table *t = table_of(c);
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
	answer(c, &event, &rows);
}

static void on_chunk(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;

	if (!is_mine(c))
		return;
	if (pg_error(r) != NULL)
		on_error(c, r);
	else
		take_chunk(c, r);
}

/* A pass begins within a lead: it may know of columns that came since somebody has looked at the table. */
static void pass_does_not_fit(struct capture_chunk *c, const char *why)
{
	struct table *t = table_of(c);

	if (t->fresh) {
		refuse(c, why);
		return;
	}
	capture_query_free(t->query);
	t->query = NULL;
	go_on(c);
}

static void send_rows(struct capture_chunk *c)
{
	const struct capture_query *q = table_of(c)->query;
	const struct capture_ledger_pass *pass = table_of(c)->pass;
	const char *why = "";
	struct capture_range_parameters p;
	enum capture_range_fit fit = capture_range_split(&c->range, capture_query_shape(q)->key_count, &p);
	char *sql = pass != NULL ? capture_query_verify(q, pass, &c->range, c->question.chunk.rows,
							capture(c)->chunk_bytes, &why)
				 : capture_query_rows(q, &c->range, c->question.chunk.rows, capture(c)->chunk_bytes);

	if (fit == CAPTURE_RANGE_OTHER_KEY)
		refuse(c,
		       "its key has other columns than the rows that are stored: boxhaul capture resync reads it again");
	else if (why[0] != '\0')
		pass_does_not_fit(c, why);
	else
		ask(c,
		    fit == CAPTURE_RANGE_FITS && sql != NULL && pg_send_once(c->pg, sql, p.text, p.count, on_chunk, c));
	free(sql);
	free(p.memory);
}

/* --- a table that is read whole --- */

static bool is_whole(const struct capture_chunk *c, uint32_t table)
{
	return strcmp(capture_tables_snapshot(capture(c), table), "whole") == 0;
}

/* No row is the end: then its transaction is over, too. */
static void take_piece(struct capture_chunk *c, const struct pg_result *r)
{
	struct capture_chunk_rows rows = { .shape = capture_query_shape(table_of(c)->query),
					   .result = r,
					   .count = (size_t)pg_rows(r) };
	struct capture_event event = { .kind = CAPTURE_EVENT_CHUNK };

	event.chunk.count = rows.count;
	event.chunk.complete = rows.count == 0;
	if (event.chunk.complete)
		capture_whole_end(c->whole);
	answer(c, &event, &rows);
}

static void on_cursor(void *arg, const struct pg_result *r)
{
	struct capture_chunk *c = arg;

	if (pg_error(r) != NULL)
		on_error(c, r);
	else if (c->question.chunk.kind == CAPTURE_CHUNK_PIECE)
		take_piece(c, r);
	else if (table_of(c)->query == NULL)
		go_on(c); /* it has its lock: now what the table looks like stays as it is */
	else
		take_chunk(c, r);
}

static void send_piece(struct capture_chunk *c)
{
	if (!capture_whole_is_open(c->whole))
		fail(c, REASON_NONE);
	else
		ask(c, capture_whole_fetch(c->whole, c->question.chunk.rows, capture(c)->chunk_bytes));
}

static void send_open(struct capture_chunk *c)
{
	ask(c, capture_whole_declare(c->whole, table_of(c)->query));
}

static void send_lock(struct capture_chunk *c)
{
	ask(c, capture_whole_open(c->whole, capture_tables_name(capture(c), c->question.chunk.table)));
}

static void send_top(struct capture_chunk *c)
{
	const struct table *t = table_of(c);
	char *sql = t->pass != NULL && t->pass->keys ? capture_query_verify_top(t->query, t->pass)
						     : capture_query_top(t->query);

	ask(c, sql != NULL && pg_send_once(c->pg, sql, NULL, 0, on_chunk, c));
	free(sql);
}

static void send_repair(struct capture_chunk *c)
{
	char *sql = capture_query_repair(table_of(c)->query);
	char reading[16];
	const char *parameters[] = { capture(c)->name, capture_tables_name(capture(c), c->question.chunk.table),
				     reading };

	snprintf(reading, sizeof reading, "%" PRIu32, c->question.chunk.reading);
	ask(c, sql != NULL && pg_send_once(c->pg, sql, parameters, 3, on_chunk, c));
	free(sql);
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
	struct table *t;

	if (!is_mine(c))
		return;
	t = table_of(c);
	if (pg_error(r) != NULL) {
		on_error(c, r);
		return;
	}
	t->query = capture_query_create(r, capture_tables_name(capture(c), c->question.chunk.table),
					is_whole(c, c->question.chunk.table));
	if (t->query == NULL) {
		fail(c, REASON_NONE);
		return;
	}
	t->fresh = true;
	/* As its rows begin to be read, and not as it is afterwards: what comes meanwhile is not among them. */
	if (t->estimate == 0 || is_look(c))
		t->estimate = capture_query_estimate(t->query);
	if (capture_query_why(t->query)[0] != '\0') {
		char why[WHY_BYTES];

		snprintf(why, sizeof why, "%s", capture_query_why(t->query));
		capture_query_free(t->query); /* asked again next time */
		t->query = NULL;
		refuse(c, why);
		return;
	}
	if (capture_query_shape(t->query)->key_count > 0)
		tell_key(c, capture_query_shape(t->query));
	go_on(c);
}

static void send_shape(struct capture_chunk *c)
{
	const char *parameters[] = { capture(c)->name, capture_tables_name(capture(c), c->question.chunk.table) };

	ask(c, pg_send(c->pg, &(struct pg_statement){ SHAPE, capture_query_question }, parameters, 2, on_shape, c));
}

/* --- the question --- */

static void send_chunk(struct capture_chunk *c)
{
	bool opens = is_of_cursor(c) && c->question.chunk.kind == CAPTURE_CHUNK_OPEN;

	if (opens && !capture_whole_is_locked(c->whole))
		send_lock(c);
	else if (table_of(c)->query == NULL)
		send_shape(c);
	else if (is_look(c))
		tell_look(c);
	else if (opens)
		send_open(c);
	else if (is_of_cursor(c))
		send_piece(c);
	else if (c->question.chunk.kind == CAPTURE_CHUNK_REPAIR)
		send_repair(c);
	else if (c->question.chunk.kind == CAPTURE_CHUNK_TOP)
		send_top(c);
	else
		send_rows(c);
}

static void send_horizon(struct capture_chunk *c)
{
	char fence[24];

	snprintf(fence, sizeof fence, "%" PRIu64, c->drawn);
	ask(c, pg_send(c->pg, &statements[HORIZON], (const char *[]){ capture(c)->name, fence }, 2, on_horizon, c));
}

/* Only where the process may serve: rows of an old primary are beside what is streamed. */
static void go_on(struct capture_chunk *c)
{
	if (!c->up || !c->asked || !served_session_may_go_on(&c->session))
		return;
	switch (c->question.kind) {
	case CAPTURE_EFFECT_DRAW: ask(c, pg_send(c->pg, &statements[DRAW], NULL, 0, on_drawn, c)); break;
	case CAPTURE_EFFECT_HORIZON: send_horizon(c); break;
	case CAPTURE_EFFECT_CHUNK_END: ask(c, pg_send(c->pg, &statements[END], NULL, 0, on_end, c)); break;
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
		table_of(c)->fresh = false;
	/* What was known of the table was not asked under the lock that it is about to get. */
	if (is_of_cursor(c) && effect->chunk.kind == CAPTURE_CHUNK_OPEN) {
		capture_whole_end(c->whole);
		capture_query_free(table_of(c)->query);
		table_of(c)->query = NULL;
	}
	if (range != NULL && !capture_range_copy(&c->range, range)) {
		ask(c, false); /* it fails: without its cursor it would begin at the start */
		return;
	}
	go_on(c);
}

void capture_chunk_look(struct capture_chunk *c, uint32_t table)
{
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
	go_on(c);
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
		fail(c, REASON_NONE);
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
	c->whole = capture_whole_create(pg, on_cursor, c);
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
