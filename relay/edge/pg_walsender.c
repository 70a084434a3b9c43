/* One libpq connection in COPY both.
 *
 *     server:  w w w k w ...  --> socket --> libpq's buffer --> message(), keepalive()
 *     we:      <-- r           by the clock, whatever stands still; when the server wants one; when more is confirmed
 *
 * Connecting and START_REPLICATION block, so they happen on a thread of their own. From then on nothing blocks: a status that the socket has
 * no room for waits in libpq's buffer, and is written when there is room.
 *
 * Memory: libpq holds a message whole, and gives a copy of it. So the largest row costs twice its size here, and not more: one message is
 * handed over and freed before the next one is taken, and nothing is taken while nobody wants to read. */
#include "edge/pg_walsender.h"

#include <ev.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/pg_answer.h"
#include "edge/pg_replication.h"
#include "edge/pg_wal_data.h"

enum {
	/* Of one turn of the loop: what else is ready is served in between, and what was read is carried out. */
	TURN_MESSAGES = 1000,
	TURN_BYTES = 1 << 20,
	STATUS_MAX_MS = 10000,  /* between two of them, also where the server has no time-out */
	STATUS_MIN_MS = 20,     /* at least a third of 100 ms must fit */
	CONFIRM_PAUSE_MS = 100, /* between two that only say that more is confirmed */
};

struct pg_walsender {
	struct loop *loop;
	struct pg_walsender_handlers handlers;
	PGconn *conn; /* NULL = not streaming */
	struct pg_replication_start start;
	struct pg_replication_made made;
	bool connecting, unwanted, closing, wants_read;
	ev_io readable, writable;
	struct loop_timer *status, *again;
	uint32_t status_ms;
	int64_t told_ms;
	int64_t heard_us;
	int64_t server_us; /* its clock, as it said last; a status tells it back, for nobody compares it with ours */
	uint64_t received_lsn, confirmed_lsn, told_lsn;
	char last_words[256], last_state[6]; /* what the server said when it ended the session */
	struct pg_walsender_figures figures;
};

bool pg_walsender_add_publication(char *out, size_t size, const char *name)
{
	size_t n = strlen(out);

	if (n + 2 * strlen(name) + 4 > size)
		return false;
	if (n > 0)
		out[n++] = ',';
	out[n++] = '"';
	for (; *name != '\0'; name++) {
		if (*name == '"')
			out[n++] = '"';
		out[n++] = *name;
	}
	out[n++] = '"';
	out[n] = '\0';
	return true;
}

/* --- connecting --- */

static void on_notice(void *arg, const PGresult *r)
{
	struct pg_walsender *w = arg;
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);

	if (severity == NULL || text == NULL || (strcmp(severity, "FATAL") != 0 && strcmp(severity, "PANIC") != 0))
		return;
	snprintf(w->last_words, sizeof w->last_words, "%s", text);
	snprintf(w->last_state, sizeof w->last_state, "%s", state != NULL ? state : "");
}

/* On a thread of its own. */
static void connect_work(void *arg)
{
	struct pg_walsender *w = arg;

	pg_replication_begin(&w->start, &w->made);
	if (w->made.conn != NULL)
		PQsetNoticeReceiver(w->made.conn, on_notice, w);
}

/* --- its end --- */

static void let_go(struct pg_walsender *w)
{
	loop_timer_at(w->status, INT64_MAX);
	loop_timer_at(w->again, INT64_MAX);
	ev_io_stop(loop_ev(w->loop), &w->readable);
	ev_io_stop(loop_ev(w->loop), &w->writable);
	PQfinish(w->conn);
	w->conn = NULL;
}

static void take_down(struct pg_walsender *w, const char *state, const char *words, bool by_server)
{
	struct pg_walsender_end end = { .was_up = true, .by_server = by_server };
	char line[512];

	pg_answer_one_line(words, line, sizeof line);
	snprintf(end.sqlstate, sizeof end.sqlstate, "%s", state);
	end.words = line[0] != '\0' ? line : "connection lost";
	let_go(w);
	w->handlers.down(w->handlers.arg, &end);
}

/* The connection is dead: the server's last words, if it sent any. */
static void died(struct pg_walsender *w)
{
	char words[256];

	if (w->last_words[0] != '\0') {
		snprintf(words, sizeof words, "%s", w->last_words);
		take_down(w, w->last_state, words, false);
	} else {
		take_down(w, "", PQerrorMessage(w->conn), false);
	}
}

/* COPY is over: what the server says of it. At its shutdown it ends the stream by itself, with no error. */
static void copy_ended(struct pg_walsender *w)
{
	PGresult *r = PQgetResult(w->conn);
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	ExecStatusType status = PQresultStatus(r);
	bool well = status == PGRES_COPY_IN || status == PGRES_COMMAND_OK;
	char words[256], code[6];

	snprintf(words, sizeof words, "%s",
		 primary != NULL ? primary
		 : well          ? "the server has ended the stream"
				 : PQerrorMessage(w->conn));
	snprintf(code, sizeof code, "%s", state != NULL ? state : "");
	PQclear(r);
	take_down(w, code, words, well);
}

/* --- what we tell --- */

/* False: it is over, and down() was called. */
static bool flush(struct pg_walsender *w)
{
	int more = PQflush(w->conn);

	if (more < 0) {
		died(w);
		return false;
	}
	if (more > 0)
		ev_io_start(loop_ev(w->loop), &w->writable);
	else
		ev_io_stop(loop_ev(w->loop), &w->writable);
	return true;
}

/* Negative: the connection is dead. Where libpq has no room now, the clock brings it before long. */
static int put_status(struct pg_walsender *w, bool reply_wanted)
{
	char status[PG_WAL_DATA_STATUS_BYTES];
	int64_t now = loop_now_ms();
	int took;

	pg_wal_data_write_status(status, &(struct pg_wal_data_status){ .received_lsn = w->received_lsn,
								       .confirmed_lsn = w->confirmed_lsn,
								       .time_us = w->server_us,
								       .reply_wanted = reply_wanted });
	took = PQputCopyData(w->conn, status, sizeof status);
	if (took > 0) {
		w->told_lsn = w->confirmed_lsn;
		w->told_ms = now;
		w->figures.statuses++;
	}
	loop_timer_at(w->status, now + (took > 0 ? w->status_ms : STATUS_MIN_MS));
	return took;
}

/* False: it is over, and down() was called. */
static bool tell(struct pg_walsender *w, bool reply_wanted)
{
	if (put_status(w, reply_wanted) < 0) {
		died(w);
		return false;
	}
	return flush(w);
}

/* Whatever stands still: a server that hears nothing ends the stream, and what it had sent comes again. */
static void status_due(void *arg)
{
	struct pg_walsender *w = arg;

	if (w->conn != NULL)
		tell(w, false);
}

void pg_walsender_confirm(struct pg_walsender *w, uint64_t lsn)
{
	int64_t at_ms;

	if (lsn <= w->confirmed_lsn || w->conn == NULL)
		return;
	w->confirmed_lsn = lsn;
	if (w->received_lsn < lsn)
		w->received_lsn = lsn;
	at_ms = w->told_ms + (w->status_ms < CONFIRM_PAUSE_MS ? w->status_ms : CONFIRM_PAUSE_MS);
	loop_timer_at(w->status, at_ms);
}

void pg_walsender_ask(struct pg_walsender *w)
{
	if (w->conn != NULL)
		tell(w, true);
}

/* --- what comes --- */

/* False: it is over, or was stopped meanwhile. */
static bool take(struct pg_walsender *w, const char *data, size_t bytes)
{
	struct pg_wal_data d;
	const char *why = pg_wal_data_read(data, bytes, &d);

	if (why != NULL) {
		take_down(w, "", why, false);
		return false;
	}
	w->figures.bytes += bytes;
	w->server_us = d.time_us;
	w->heard_us = loop_now_us();
	if (d.kind == PG_WAL_DATA_PLUGIN) {
		w->figures.messages++;
		if (d.lsn > w->received_lsn)
			w->received_lsn = d.lsn;
		w->handlers.message(w->handlers.arg, d.lsn, d.content, d.bytes);
		return w->conn != NULL;
	}
	w->figures.keepalives++;
	if (d.end_lsn > w->received_lsn)
		w->received_lsn = d.end_lsn;
	/* First the caller: what it confirms at once is told with the reply. */
	w->handlers.keepalive(w->handlers.arg, d.end_lsn);
	return w->conn != NULL && (!d.reply_wanted || tell(w, false));
}

/* Hands over what libpq holds; false: it is over. *more: so much that the rest is for the next turn. */
static bool hand_over(struct pg_walsender *w, size_t *messages, size_t *bytes, bool *more)
{
	while (w->wants_read) {
		char *data = NULL;
		int n = PQgetCopyData(w->conn, &data, 1);
		bool goes_on;

		if (n == 0)
			return true;
		if (n == -1)
			copy_ended(w);
		else if (n < 0)
			died(w);
		if (n < 0)
			return false;
		goes_on = take(w, data, (size_t)n);
		PQfreemem(data);
		if (!goes_on)
			return false;
		*bytes += (size_t)n;
		if (++*messages >= TURN_MESSAGES || *bytes >= TURN_BYTES) {
			*more = true;
			return true;
		}
	}
	return true;
}

static bool socket_has_more(const struct pg_walsender *w)
{
	struct pollfd p = { .fd = PQsocket(w->conn), .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* What libpq holds goes first, and only when no whole message is left is more taken from the socket: else its buffer would grow each time
 * that somebody takes a message and then no more, up to all that the server has.
 *
 * Under TLS libpq leaves what it has no room for in the library's buffer, where no poll sees it: it is read until nothing can be there. One
 * record is 16 KiB, and libpq makes room for at least 8 each time; so what it reads with nothing in the socket is the rest. */
static void read_on(struct pg_walsender *w)
{
	size_t messages = 0, bytes = 0;
	bool more = false, last = false;

	while (hand_over(w, &messages, &bytes, &more)) {
		if (last || more || !w->wants_read) {
			if (more)
				loop_timer_at(w->again, loop_now_ms());
			flush(w);
			return;
		}
		last = !socket_has_more(w);
		if (PQconsumeInput(w->conn) == 0) {
			died(w);
			return;
		}
	}
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
	struct pg_walsender *w = io->data;

	(void)ev;
	(void)revents;
	if (w->conn != NULL && w->wants_read)
		read_on(w);
}

static void read_again(void *arg)
{
	struct pg_walsender *w = arg;

	if (w->conn != NULL && w->wants_read)
		read_on(w);
}

static void on_writable(struct ev_loop *ev, ev_io *io, int revents)
{
	struct pg_walsender *w = io->data;

	(void)ev;
	(void)revents;
	if (w->conn != NULL)
		flush(w);
}

void pg_walsender_read(struct pg_walsender *w, bool on)
{
	if (w->conn == NULL || on == w->wants_read)
		return;
	w->wants_read = on;
	if (!on) {
		ev_io_stop(loop_ev(w->loop), &w->readable);
		loop_timer_at(w->again, INT64_MAX);
		return;
	}
	ev_io_start(loop_ev(w->loop), &w->readable);
	loop_timer_at(w->again, loop_now_ms()); /* what libpq holds already is seen by no poll */
}

/* --- from start to end --- */

static uint32_t status_pause_ms(uint32_t timeout_ms)
{
	uint32_t third = timeout_ms / 3;

	return timeout_ms == 0 || third > STATUS_MAX_MS ? STATUS_MAX_MS : third < STATUS_MIN_MS ? STATUS_MIN_MS : third;
}

static void begin(struct pg_walsender *w)
{
	w->conn = w->made.conn;
	w->last_words[0] = w->last_state[0] = '\0';
	w->status_ms = status_pause_ms(w->made.place.timeout_ms);
	w->told_ms = loop_now_ms();
	w->received_lsn = w->confirmed_lsn = w->told_lsn = 0;
	w->wants_read = true;
	ev_io_set(&w->readable, PQsocket(w->conn), EV_READ);
	ev_io_set(&w->writable, PQsocket(w->conn), EV_WRITE);
	ev_io_start(loop_ev(w->loop), &w->readable);
	loop_timer_at(w->status, w->told_ms + w->status_ms);
	loop_timer_at(w->again, w->told_ms); /* libpq may have read some of the stream behind the answer */
	w->handlers.up(w->handlers.arg, &w->made.place);
}

static void connect_done(void *arg)
{
	struct pg_walsender *w = arg;
	struct pg_replication_made *m = &w->made;
	struct pg_walsender_end end = { .pid = m->pid };

	w->connecting = false;
	if (w->closing || w->unwanted) {
		PQfinish(m->conn);
		free(m->why);
		m->why = NULL;
		if (w->closing)
			free(w);
		return;
	}
	if (m->conn != NULL) {
		begin(w);
		return;
	}
	memcpy(end.sqlstate, m->sqlstate, sizeof end.sqlstate);
	end.words = m->why != NULL ? m->why : "out of memory";
	w->handlers.down(w->handlers.arg, &end);
	free(m->why);
	m->why = NULL;
}

bool pg_walsender_start(struct pg_walsender *w, const struct pg_walsender_start *s)
{
	if (!pg_walsender_is_idle(w) || strlen(s->slot) >= sizeof w->start.slot ||
	    strlen(s->publications) >= sizeof w->start.publications)
		return false;
	w->start = (struct pg_replication_start){ .options = s->options,
						  .from_lsn = s->from_lsn,
						  .former_timeline = s->former_timeline,
						  .messages = s->messages };
	w->start.options.replication = w->start.options.pinned_text = true;
	snprintf(w->start.slot, sizeof w->start.slot, "%s", s->slot);
	snprintf(w->start.publications, sizeof w->start.publications, "%s", s->publications);
	w->made = (struct pg_replication_made){ .conn = NULL };
	w->unwanted = false;
	w->connecting = loop_offload(w->loop, connect_work, connect_done, w);
	return w->connecting;
}

bool pg_walsender_is_idle(const struct pg_walsender *w)
{
	return w->conn == NULL && !w->connecting;
}

/* CopyDone behind the last status, as far as the socket takes both: the server need not guess whether we are gone. */
void pg_walsender_stop(struct pg_walsender *w)
{
	w->unwanted = true;
	if (w->conn == NULL)
		return;
	if (w->confirmed_lsn > w->told_lsn)
		put_status(w, false);
	if (PQputCopyEnd(w->conn, NULL) > 0)
		PQflush(w->conn);
	let_go(w);
}

int64_t pg_walsender_server_us(const struct pg_walsender *w)
{
	return w->server_us != 0 ? w->server_us + loop_now_us() - w->heard_us : 0;
}

const struct pg_walsender_figures *pg_walsender_figures(const struct pg_walsender *w)
{
	return &w->figures;
}

struct pg_walsender *pg_walsender_open(struct loop *l, const struct pg_walsender_handlers *handlers)
{
	struct pg_walsender *w = calloc(1, sizeof *w);

	if (w == NULL)
		return NULL;
	w->loop = l;
	w->handlers = *handlers;
	w->status = loop_timer(l, status_due, w);
	w->again = loop_timer(l, read_again, w);
	if (w->status == NULL || w->again == NULL) {
		free(w);
		return NULL;
	}
	ev_init(&w->readable, on_readable);
	ev_init(&w->writable, on_writable);
	w->readable.data = w->writable.data = w;
	return w;
}

void pg_walsender_close(struct pg_walsender *w)
{
	if (w == NULL)
		return;
	pg_walsender_stop(w);
	w->closing = true;
	if (!w->connecting)
		free(w);
}
