/* One libpq connection in pipeline mode.
 *
 *     pg_send:  Prepare (first time) | Query | Sync          requests, oldest first:
 *     server:   ParseComplete | rows | ReadyForQuery         [head] -> [..] -> [tail]
 *                                        `-- the head is answered
 *
 * Connecting blocks (names are resolved, TLS is negotiated), so it happens on a thread of its own; the session is set
 * up there too. From then on nothing blocks. */
#include "edge/pg.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/pg_answer.h"
#include "edge/pg_setup.h"

enum {
	ONCE = PG_STATEMENTS, /* the number of a statement that is not kept */
	RECONNECT_MIN_MS = 50,
	RECONNECT_MAX_MS = 3000,
	WATCH_MS = 1000,
	/* The server ends a statement after its time-out; a session that says nothing for longer, by a margin, is dead. */
	SILENCE_MARGIN_MS = 10000,
};

struct request {
	pg_answer *answer;
	void *arg;
	PGresult *result; /* the first error, else the last result */
	int64_t sent_ms;
	unsigned statement;
	bool preparing; /* its first result is that of Prepare */
	struct request *next;
};

struct pg {
	struct loop *loop;
	struct pg_options options, tried; /* tried: the connecting thread's */
	struct pg_handlers handlers;
	PGconn *conn;  /* NULL = down */
	PGconn *fresh; /* from the connecting thread */
	char *why;     /* why fresh is NULL */
	bool closing, connecting, rests;
	uint32_t turn; /* pg_turn(), so many times */
	bool outdated; /* what is being made must not be used any more */
	ev_io readable, writable;
	struct loop_timer *reconnect, *watch;
	int64_t pause_ms, up_ms;
	bool prepared[PG_STATEMENTS + 1]; /* that of ONCE never is */
	uint64_t sent[PG_STATEMENTS + 1];
	struct request *head, *tail;
	bool broken;          /* to be taken down at the end of the turn, */
	char broken_why[512]; /* and why */
	char last_words[256]; /* what the server said when it ended the session */
};

/* --- connecting, on any thread --- */

/* What the server says unasked. libpq would write it to stderr, into the log. */
static void on_notice(void *arg, const PGresult *r)
{
	struct pg *pg = arg;
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);

	if (severity != NULL && text != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
		snprintf(pg->last_words, sizeof pg->last_words, "%s", text);
}

static void connect_work(void *arg)
{
	struct pg *pg = arg;

	pg->fresh = pg_setup_session(&pg->tried, &pg->why);
	if (pg->fresh != NULL)
		PQsetNoticeReceiver(pg->fresh, on_notice, pg);
}

/* --- the session's life, on the loop --- */

static void reconnect_later(struct pg *pg)
{
	int64_t jitter = random() % (pg->pause_ms / 2 + 1);

	if (pg->rests)
		return;
	loop_timer_at(pg->reconnect, loop_now_ms() + pg->pause_ms / 2 + jitter);
	pg->pause_ms = pg->pause_ms * 2 < RECONNECT_MAX_MS ? pg->pause_ms * 2 : RECONNECT_MAX_MS;
}

static void drop_requests(struct pg *pg)
{
	while (pg->head != NULL) {
		struct request *q = pg->head;

		pg->head = q->next;
		PQclear(q->result);
		free(q);
	}
	pg->tail = NULL;
}

static void take_down(struct pg *pg, const char *why)
{
	char line[512];

	pg_answer_one_line(why, line, sizeof line);
	ev_io_stop(loop_ev(pg->loop), &pg->readable);
	ev_io_stop(loop_ev(pg->loop), &pg->writable);
	PQfinish(pg->conn);
	pg->conn = NULL;
	memset(pg->prepared, 0, sizeof pg->prepared);
	drop_requests(pg);
	pg->broken = false;
	/* Only a session that lasted was a success: one that breaks at its first statement must not be tried at once. */
	if (loop_now_ms() - pg->up_ms > RECONNECT_MAX_MS)
		pg->pause_ms = RECONNECT_MIN_MS;
	reconnect_later(pg);
	pg->handlers.down(pg->handlers.arg, line[0] != '\0' ? line : "connection lost");
}

static void flush(struct pg *pg)
{
	int more = PQflush(pg->conn);

	if (more < 0)
		take_down(pg, PQerrorMessage(pg->conn));
	else if (more > 0)
		ev_io_start(loop_ev(pg->loop), &pg->writable);
	else
		ev_io_stop(loop_ev(pg->loop), &pg->writable);
}

static void keep_result(struct pg *pg, struct request *q, PGresult *r)
{
	ExecStatusType kept = q->result != NULL ? PQresultStatus(q->result) : PGRES_EMPTY_QUERY;

	if (q->preparing) {
		q->preparing = false;
		if (PQresultStatus(r) == PGRES_FATAL_ERROR)
			pg->prepared[q->statement] = false; /* tried again with the next request */
	}
	/* The first error says what went wrong; what follows it is only "aborted". */
	if (kept == PGRES_FATAL_ERROR || PQresultStatus(r) == PGRES_PIPELINE_ABORTED) {
		PQclear(r);
		return;
	}
	PQclear(q->result);
	q->result = r;
}

static void answer_head(struct pg *pg)
{
	struct request *q = pg->head;
	struct pg_result result = { .r = q->result };

	pg->head = q->next;
	if (pg->head == NULL)
		pg->tail = NULL;
	pg_answer_describe(&result);
	q->answer(q->arg, &result);
	PQclear(q->result);
	free(q);
}

static void read_results(struct pg *pg)
{
	while (pg->conn != NULL && !pg->broken && pg->head != NULL && !PQisBusy(pg->conn)) {
		PGresult *r = PQgetResult(pg->conn);

		if (r == NULL) {
			/* The end of one statement's results. A dead connection gives nothing else for ever. */
			if (PQstatus(pg->conn) != CONNECTION_OK)
				return;
		} else if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			answer_head(pg);
		} else {
			keep_result(pg, pg->head, r);
		}
	}
}

static void read_notifications(struct pg *pg)
{
	PGnotify *n;

	while (pg->conn != NULL && !pg->broken && (n = PQnotifies(pg->conn)) != NULL) {
		pg->handlers.notified(pg->handlers.arg, n->extra);
		PQfreemem(n);
	}
}

/* Why a dead session died: the server's last words, if it sent any. */
static void died(struct pg *pg)
{
	char *why = pg_answer_line_of(pg->last_words[0] != '\0' ? pg->last_words : PQerrorMessage(pg->conn));

	take_down(pg, why != NULL ? why : "connection lost");
	free(why);
}

static void on_readable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct pg *pg = w->data;

	(void)ev;
	(void)revents;
	if (PQconsumeInput(pg->conn) == 0) {
		died(pg);
		return;
	}
	read_results(pg);
	read_notifications(pg);
	if (pg->conn == NULL)
		return;
	if (pg->broken)
		take_down(pg, pg->broken_why);
	else if (PQstatus(pg->conn) != CONNECTION_OK)
		died(pg);
	else
		flush(pg);
}

static void on_writable(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	(void)revents;
	flush(w->data);
}

static void connect_done(void *arg)
{
	struct pg *pg = arg;
	char *why = pg->why;

	pg->connecting = false;
	pg->why = NULL;
	if (pg->closing) {
		PQfinish(pg->fresh);
		free(why);
		free(pg);
		return;
	}
	if (pg->rests) {
		PQfinish(pg->fresh);
		pg->fresh = NULL;
		free(why);
		return;
	}
	if (pg->fresh != NULL && pg->outdated) {
		PQfinish(pg->fresh);
		pg->fresh = NULL;
		why = strdup("made with settings that have changed since");
	}
	if (pg->fresh == NULL) {
		reconnect_later(pg);
		pg->handlers.down(pg->handlers.arg, why != NULL ? why : "out of memory");
		free(why);
		return;
	}
	pg->conn = pg->fresh;
	pg->fresh = NULL;
	pg->last_words[0] = '\0';
	pg->up_ms = loop_now_ms();
	ev_io_set(&pg->readable, PQsocket(pg->conn), EV_READ);
	ev_io_set(&pg->writable, PQsocket(pg->conn), EV_WRITE);
	ev_io_start(loop_ev(pg->loop), &pg->readable);
	pg->handlers.up(pg->handlers.arg);
}

static void connect_begins(void *arg)
{
	struct pg *pg = arg;

	pg->tried = pg->options;
	pg->tried.turn = pg->turn;
	pg->outdated = false;
	pg->connecting = loop_offload(pg->loop, connect_work, connect_done, pg);
	if (!pg->connecting)
		reconnect_later(pg);
}

static void watch(void *arg)
{
	struct pg *pg = arg;

	loop_timer_at(pg->watch, loop_now_ms() + WATCH_MS);
	if (pg->conn == NULL)
		return;
	if (pg->broken)
		take_down(pg, pg->broken_why);
	else if (pg->head != NULL &&
		 loop_now_ms() - pg->head->sent_ms > (int64_t)pg_setup_timeout_ms(&pg->options) + SILENCE_MARGIN_MS)
		take_down(pg, "the server does not answer");
}

struct pg *pg_open(struct loop *l, const struct pg_options *options, const struct pg_handlers *handlers)
{
	struct pg *pg = calloc(1, sizeof *pg);

	if (pg == NULL)
		return NULL;
	pg->loop = l;
	pg->options = *options;
	pg->handlers = *handlers;
	pg->pause_ms = RECONNECT_MIN_MS;
	pg->reconnect = loop_timer(l, connect_begins, pg);
	pg->watch = loop_timer(l, watch, pg);
	if (pg->reconnect == NULL || pg->watch == NULL) {
		free(pg);
		return NULL;
	}
	ev_init(&pg->readable, on_readable);
	ev_init(&pg->writable, on_writable);
	/* Whether we still lead is learnt before anything is written elsewhere. */
	ev_set_priority(&pg->readable, EV_MAXPRI);
	pg->readable.data = pg->writable.data = pg;
	loop_timer_at(pg->reconnect, loop_now_ms());
	loop_timer_at(pg->watch, loop_now_ms() + WATCH_MS);
	return pg;
}

void pg_close(struct pg *pg)
{
	if (pg == NULL)
		return;
	loop_timer_at(pg->reconnect, INT64_MAX);
	loop_timer_at(pg->watch, INT64_MAX);
	ev_io_stop(loop_ev(pg->loop), &pg->readable);
	ev_io_stop(loop_ev(pg->loop), &pg->writable);
	PQfinish(pg->conn);
	pg->conn = NULL;
	drop_requests(pg);
	pg->broken = false;
	pg->closing = true;
	if (!pg->connecting)
		free(pg);
}

void pg_break(struct pg *pg, const char *why)
{
	if (pg->conn == NULL || pg->broken)
		return;
	pg->broken = true;
	snprintf(pg->broken_why, sizeof pg->broken_why, "%s", why);
	/* libpq may have closed the socket just now: nobody may watch its number any more. */
	ev_io_stop(loop_ev(pg->loop), &pg->readable);
	ev_io_stop(loop_ev(pg->loop), &pg->writable);
	/* Not under the feet of a caller that may stand in one of our callbacks. */
	loop_timer_at(pg->watch, loop_now_ms());
}

void pg_turn(struct pg *pg)
{
	pg->turn++;
}

void pg_rest(struct pg *pg, bool rests)
{
	if (rests == pg->rests)
		return;
	pg->rests = rests;
	if (rests) {
		loop_timer_at(pg->reconnect, INT64_MAX);
		pg_break(pg, "it is not needed now");
	} else if (pg->conn == NULL && !pg->connecting) {
		loop_timer_at(pg->reconnect, loop_now_ms());
	}
}

void pg_use(struct pg *pg, const struct pg_options *options, const char *why)
{
	pg->options = *options;
	if (why == NULL)
		return;
	pg->outdated = true;
	pg->pause_ms = RECONNECT_MIN_MS;
	if (pg->conn != NULL)
		pg_break(pg, why);
	else if (!pg->connecting && !pg->rests)
		loop_timer_at(pg->reconnect, loop_now_ms());
}

static bool send_statement(struct pg *pg, const struct pg_statement *st, const char *const *parameters,
			   const int *bytes, int count, pg_answer *answer, void *arg)
{
	int formats[PG_PARAMETERS];
	char name[16] = ""; /* of ONCE: the next one takes its place */
	struct request *q;

	if (pg->conn == NULL || pg->broken || count > PG_PARAMETERS)
		return false;
	for (int i = 0; i < count; i++)
		formats[i] = bytes != NULL && bytes[i] > 0;
	q = calloc(1, sizeof *q);
	if (q == NULL)
		return false;
	*q = (struct request){ .answer = answer,
			       .arg = arg,
			       .sent_ms = loop_now_ms(),
			       .statement = st->number,
			       .preparing = !pg->prepared[st->number] };
	if (st->number != ONCE)
		snprintf(name, sizeof name, "bh%u", st->number);
	if ((!pg->prepared[st->number] && PQsendPrepare(pg->conn, name, st->sql, 0, NULL) == 0) ||
	    PQsendQueryPrepared(pg->conn, name, count, parameters, bytes, formats, st->number != ONCE) == 0 ||
	    PQpipelineSync(pg->conn) == 0) {
		free(q);
		pg_break(pg, PQerrorMessage(pg->conn));
		return false;
	}
	pg->prepared[st->number] = st->number != ONCE;
	pg->sent[st->number]++;
	*(pg->tail != NULL ? &pg->tail->next : &pg->head) = q;
	pg->tail = q;
	/* Nearly always there is room: one try, before the loop sleeps, is cheaper than to ask first. */
	ev_feed_event(loop_ev(pg->loop), &pg->writable, EV_WRITE);
	return true;
}

bool pg_send_binary(struct pg *pg, const struct pg_statement *st, const char *const *parameters, const int *bytes,
		    int count, pg_answer *answer, void *arg)
{
	return send_statement(pg, st, parameters, bytes, count, answer, arg);
}

bool pg_send_once(struct pg *pg, const char *sql, const char *const *parameters, int count, pg_answer *answer,
		  void *arg)
{
	return send_statement(pg, &(struct pg_statement){ ONCE, sql }, parameters, NULL, count, answer, arg);
}

bool pg_send(struct pg *pg, const struct pg_statement *st, const char *const *parameters, int count, pg_answer *answer,
	     void *arg)
{
	return pg_send_binary(pg, st, parameters, NULL, count, answer, arg);
}

const uint64_t *pg_sent(const struct pg *pg)
{
	return pg->sent;
}
