/* A database session: queries go in one after the other (pipeline mode), are done in that order, one at a time, and
 * are answered in that order.
 *
 *     host --net--> waiting -> executing (in one or two steps) -> done --net--> host
 *
 * It dies at either end first. Client first: the server still does what it has been sent, and keeps the
 * leader's lock until then. Server first: the lock is free at once, a mark under way may have been
 * committed or not, and the host goes on believing in its lead until it hears of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "host.h"
#include "world.h"

enum { MAX_SESSIONS = 64 };

enum stage { WAITING, EXECUTING, DONE };

struct query {
	enum query_kind kind;
	enum stage stage;
	int64_t asked_ms;
	struct query *next;

	/* the question */
	int64_t after;
	bool forward, horizon_wanted, evidence_wanted, kept, asleep;
	uint32_t limit_rows, limit_bytes;
	struct id_range *wanted;
	size_t wanted_count;
	struct mark mark;
	const struct mark *original; /* the core's: must not change while the mark is under way */
	bool safety_poll;

	/* the answer */
	bool failed;
	bool leads;
	uint64_t fence, horizon;
	int64_t position, others_ms;
	uint64_t pause; /* of a question as well */
	uint64_t floors[MAX_STREAMS];
	struct row *row;
	int32_t *message; /* which each of them is */
	size_t rows;
	bool complete, beyond;
	struct exception_row *exception;
	size_t exceptions;
};

struct session {
	uint64_t serial; /* 0 = free */
	uint32_t host;
	bool client, server; /* which ends are alive */
	uint64_t epoch;      /* 0 = does not lead */
	bool keeps;          /* the relay keeps a snapshot: */
	uint64_t kept;       /* so many transactions had ended; 0 = it could not be had, and nothing is in it */
	bool shares; /* the last answer was not all there was: the next gives each row the same share of the bytes */
	struct query *first, *last;
	int64_t answered_at;
};

static struct session session[MAX_SESSIONS];
static uint64_t serials;

/* --- queries --- */

static void *copy_of(const void *from, size_t count, size_t size)
{
	void *to = malloc(count > 0 ? count * size : 1);

	if (to == NULL)
		abort();
	if (count > 0)
		memcpy(to, from, count * size);
	return to;
}

#define COPY(array, count) copy_of((array), (count), sizeof *(array))

/* Ours, though the mark only lets one read it. */
static void free_copy(const void *copy)
{
	free((void *)(uintptr_t)copy);
}

static void query_free(struct query *q)
{
	free(q->wanted);
	free(q->row);
	free(q->message);
	free(q->exception);
	free_copy(q->mark.gone);
	free_copy(q->mark.added);
	free_copy(q->mark.dead);
	free_copy(q->mark.undead);
	free_copy(q->mark.sent);
	free(q);
}

static void mark_copy(struct mark *to, const struct mark *from)
{
	*to = *from;
	to->gone = COPY(from->gone, from->gone_count);
	to->added = COPY(from->added, from->added_count);
	to->dead = COPY(from->dead, from->dead_count);
	to->undead = COPY(from->undead, from->undead_count);
	to->sent = COPY(from->sent, from->sent_count);
}

/* --- sessions --- */

static struct session *find(uint64_t serial)
{
	struct session *x = &session[serial % MAX_SESSIONS];

	return serial != 0 && x->serial == serial ? x : NULL;
}

static void session_free(struct session *x)
{
	struct query *next;

	for (struct query *q = x->first; q != NULL; q = next) {
		next = q->next;
		query_free(q);
	}
	*x = (struct session){ .serial = 0 };
}

void sessions_close(struct sim *s)
{
	(void)s;
	for (int i = 0; i < MAX_SESSIONS; i++)
		session_free(&session[i]);
	serials = 0;
}

uint64_t session_open(struct sim *s, struct host *h)
{
	struct session *x = &session[++serials % MAX_SESSIONS];

	demand(s, x->serial == 0, "the simulator has too few sessions");
	*x = (struct session){ .serial = serials, .host = h->index, .client = true, .server = true };
	return serials;
}

bool session_leads(const struct sim *s, uint64_t serial)
{
	return serial != 0 && s->pg.lock_owner == serial;
}

uint64_t session_newest(void)
{
	return serials;
}

static int64_t net(struct sim *s)
{
	return prng_between(&s->dice, s->plan.pg_us / 10, s->plan.pg_us);
}

static struct query *first_at(struct session *x, enum stage stage)
{
	struct query *q = x->first;

	while (q != NULL && q->stage != stage)
		q = q->next;
	return q;
}

static void pump(struct sim *s, struct session *x);

/* Done: the answer leaves, never before the one to the question before it. */
static void on_answer(struct sim *s, const struct happening *h);

static void finish(struct sim *s, struct session *x, struct query *q)
{
	int64_t at = s->now + net(s);

	q->stage = DONE;
	x->answered_at = at > x->answered_at ? at : x->answered_at;
	later(s, x->answered_at - s->now, on_answer, x->serial, 0, 0, 0);
	pump(s, x);
}

/* --- the server --- */

static bool wanted(const struct query *q, int64_t id, size_t *range)
{
	while (*range < q->wanted_count && q->wanted[*range].hi < id)
		++*range;
	return (q->forward && id > q->after) || (*range < q->wanted_count && q->wanted[*range].lo <= id);
}

static void row_of(const struct fact *f, int64_t id, struct row *r)
{
	*r = (struct row){
		.id = id,
		.lane = f->key == NO_KEY ? 0 : UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(f->key + 1),
		.bytes = f->bytes,
		.stream = f->stream,
		.defect = f->defect,
		.keyed = f->key != NO_KEY,
		.slot = -1,
	};
}

static bool is_beyond(const struct sim *s, const struct session *x, const struct query *q, int64_t id)
{
	return q->kept && id > q->after && !pg_visible_then(s, s->pg.row[id], x->kept) &&
	       s->flaw != FLAW_kept_reads_now;
}

/* One snapshot: now. Where that is asked for, it ends before the first row that was not in the kept one. */
static void select_rows(struct sim *s, struct session *x, struct query *q)
{
	uint32_t share = x->shares ? q->limit_bytes / q->limit_rows : UINT32_MAX;
	int64_t id = q->wanted_count > 0 ? q->wanted[0].lo : q->after + 1;
	uint64_t bytes = 0;
	size_t range = 0;

	if (q->forward && q->after + 1 < id)
		id = q->after + 1;
	q->complete = true;
	q->row = malloc((q->limit_rows + 1) * sizeof *q->row);
	q->message = malloc((q->limit_rows + 1) * sizeof *q->message);
	if (q->row == NULL || q->message == NULL)
		abort();
	for (; id <= s->pg.last_id; id++) {
		const struct fact *f = FACT_OF(s, id);

		if (!wanted(q, id, &range) || !pg_visible(s, s->pg.row[id]))
			continue;
		q->beyond = q->rows < q->limit_rows && is_beyond(s, x, q, id);
		if (q->beyond || q->rows == q->limit_rows || f->bytes > share ||
		    (q->rows > 0 && bytes + f->bytes > q->limit_bytes)) {
			q->complete = false;
			break;
		}
		q->message[q->rows] = s->pg.row[id];
		row_of(f, id, &q->row[q->rows++]);
		bytes += f->bytes;
		if (q->safety_poll)
			check_safety_poll(s, s->pg.row[id]);
	}
	x->shares = !x->shares && !q->complete;
	/* A LIMIT that is just reached cannot know that there is nothing more. */
	if (q->rows == q->limit_rows && prng_below(&s->dice, 2) == 0)
		q->complete = false;
}

/* The statement that looks at the horizon, before the one that reads. */
static void look_at_horizon(struct sim *s, struct session *x, struct query *q)
{
	if (q->horizon_wanted) {
		bool failed = mishap(s, s->plan.chance.fetch_failed);

		q->horizon = failed ? 0 : pg_xmin(s);
		x->keeps = true;
		x->kept = failed ? 0 : s->pg.ended;
	}
	if (q->evidence_wanted && pg_outbox_xmin(s) > q->horizon)
		q->horizon = pg_outbox_xmin(s);
}

static void take_lead(struct sim *s, struct session *x, struct query *q)
{
	if (s->pg.lock_owner != 0)
		return;
	s->pg.lock_owner = x->serial;
	q->leads = true;
	for (int i = 0; i < MAX_STREAMS; i++)
		q->floors[i] = s->pg.epoch == 0 && s->pg.timeline == 0 ? FLOOR_NONE : s->pg.floor[i].sequence;
	/* Who led before and is the same process knows that it has stopped. On another timeline somebody else may have led
	 * since. */
	q->others_ms = s->pg.led_on != s->pg.timeline                   ? s->plan.settings.lease_ms
		       : s->pg.leader_life == host_identity(s, x->host) ? 0
									: s->pg.lease_ms;
	for (size_t i = 0; i < s->pg.exceptions && s->pg.led_on != s->pg.timeline; i++)
		s->pg.exception[i].doubted |= s->pg.exception[i].floor == FLOOR_NONE;
	s->pg.led_on = s->pg.timeline;
	s->pg.leader_life = host_identity(s, x->host);
	s->pg.lease_ms = s->plan.settings.lease_ms;
	q->fence = books_lead(s);
	x->epoch = s->pg.epoch;
	q->position = s->pg.position;
	q->pause = s->pg.pause;
	q->exception = COPY(s->pg.exception, s->pg.exceptions);
	q->exceptions = s->pg.exceptions;
	for (size_t i = 0; i < q->exceptions; i++)
		q->exception[i].decided = FACT_OF(s, q->exception[i].lo)->decision != UNDECIDED;
	trace(s, "pg      session %llu (host %u) takes the lead, position %lld, %zu exceptions",
	      (unsigned long long)x->serial, x->host, (long long)s->pg.position, s->pg.exceptions);
}

static void execute_mark(struct sim *s, struct session *x, struct query *q)
{
	if (x->client && q->original != NULL)
		check_mark_unchanged(s, &q->mark, q->original);
	trace(s, "pg      host %u marks position %lld, %zu gone, %zu new, %zu dead, %zu undead", x->host,
	      (long long)q->mark.position, q->mark.gone_count, q->mark.added_count, q->mark.dead_count,
	      q->mark.undead_count);
	q->fence = s->flaw == FLAW_xmax ? pg_xmax(s) : 0;
	q->failed = !books_mark(s, x->epoch, &q->mark);
	if (q->fence == 0)
		q->fence = tx_own(s);
}

/* First steps; false: there is a second one. */
static bool execute_first(struct sim *s, struct session *x, struct query *q)
{
	switch (q->kind) {
	case QUERY_LEAD: take_lead(s, x, q); return true;
	case QUERY_FETCH: look_at_horizon(s, x, q); return false;
	case QUERY_MARK: execute_mark(s, x, q); return true;
	case QUERY_ANNOUNCE: s->pg.asleep = q->asleep; return !q->asleep;
	case QUERY_RESIGN: books_resign(s, x->epoch, q->others_ms); return true;
	case QUERY_PAUSE: q->pause = s->pg.pause; return true;
	case QUERY_QUIET: books_quiet(s, x->epoch, q->pause); return true;
	case QUERY_RENEW:
	case QUERY_DECISIONS: return true;
	}
	return true;
}

static void execute_second(struct sim *s, struct session *x, struct query *q)
{
	if (q->kind == QUERY_ANNOUNCE)
		q->fence = tx_own(s);
	else if (mishap(s, s->plan.chance.fetch_failed))
		q->failed = true;
	else
		select_rows(s, x, q);
}

static void on_execute(struct sim *s, const struct happening *h)
{
	struct session *x = find(h->a);
	struct query *q = x != NULL && x->server ? first_at(x, EXECUTING) : NULL;

	if (q == NULL)
		return;
	if (h->b != 0) {
		execute_second(s, x, q);
		finish(s, x, q);
	} else if (execute_first(s, x, q)) {
		finish(s, x, q);
	} else {
		later(s, prng_between(&s->dice, 0, s->plan.pg_us), on_execute, x->serial, 1, 0, 0);
	}
}

static void pump(struct sim *s, struct session *x)
{
	struct query *q = first_at(x, WAITING);
	int64_t delay = net(s);

	if (q == NULL || !x->server || first_at(x, EXECUTING) != NULL)
		return;
	q->stage = EXECUTING;
	if (mishap(s, s->plan.chance.query_slow))
		delay += prng_spread(&s->dice, 10 * MS, 3 * SECOND);
	later(s, delay, on_execute, x->serial, 0, 0, 0);
}

/* --- the two ends --- */

static void release(struct sim *s, struct session *x)
{
	if (s->pg.lock_owner == x->serial) {
		trace(s, "pg      session %llu (host %u) ends, the lock is free", (unsigned long long)x->serial,
		      x->host);
		s->pg.lock_owner = 0;
	}
	x->server = false;
	if (!x->client)
		session_free(x);
}

static void on_server_notices(struct sim *s, const struct happening *h)
{
	struct session *x = find(h->a);

	if (x != NULL && x->server)
		release(s, x);
}

void session_drop(struct sim *s, uint64_t serial)
{
	struct session *x = find(serial);

	if (x == NULL)
		return;
	x->client = false;
	if (x->server)
		later(s, prng_spread(&s->dice, 0, 200 * MS), on_server_notices, serial, 0, 0, 0);
	else
		session_free(x);
}

static void on_client_notices(struct sim *s, const struct happening *h)
{
	struct session *x = find(h->a);
	struct host *host;

	if (x == NULL || !x->client)
		return;
	host = s->host[x->host];
	if (host_is_away(s, host))
		later(s, host->paused_until - s->now, on_client_notices, h->a, 0, 0, 0);
	else
		host_session_lost(s, host);
}

void session_end(struct sim *s, uint64_t serial)
{
	struct session *x = find(serial);
	struct query *q;
	int64_t unheard = (int64_t)s->plan.settings.lease_ms * 2 * MS;

	if (x == NULL || !x->server)
		return;
	q = first_at(x, EXECUTING);
	if (q != NULL && q->kind == QUERY_MARK && prng_below(&s->dice, 2) == 0)
		execute_mark(s, x, q);
	if (x->client)
		later(s, prng_spread(&s->dice, 0, unheard), on_client_notices, serial, 0, 0, 0);
	release(s, x);
}

void sessions_end_all(struct sim *s)
{
	for (int i = 0; i < MAX_SESSIONS; i++)
		if (session[i].serial != 0)
			session_end(s, session[i].serial);
}

/* --- questions --- */

static struct query *ask(struct sim *s, struct host *h, enum query_kind kind)
{
	struct session *x = find(h->session);
	struct query *q = calloc(1, sizeof *q);

	if (q == NULL)
		abort();
	demand(s, x != NULL, "the simulated host has no session");
	q->kind = kind;
	q->asked_ms = now_ms(s);
	*(x->last != NULL ? &x->last->next : &x->first) = q;
	x->last = q;
	return q;
}

void session_lead(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_LEAD);
	pump(s, find(h->session));
}

void session_fetch(struct sim *s, struct host *h, const struct effect *e)
{
	struct query *q = ask(s, h, QUERY_FETCH);

	q->after = e->fetch.after;
	q->forward = e->fetch.forward;
	q->wanted = COPY(e->fetch.wanted, e->fetch.wanted_count);
	q->wanted_count = e->fetch.wanted_count;
	q->limit_rows = e->fetch.rows;
	q->limit_bytes = e->fetch.bytes;
	q->horizon_wanted = e->fetch.horizon;
	q->evidence_wanted = e->fetch.evidence;
	q->kept = e->fetch.kept;
	demand(s, !q->kept || find(h->session)->keeps, "host %u reads on in a snapshot that its session never took",
	       h->index);
	q->safety_poll = h->now.pace == PACE_ASLEEP && !h->notified && e->fetch.wanted_count == 0;
	pump(s, find(h->session));
}

void session_mark(struct sim *s, struct host *h, const struct mark *m)
{
	struct query *q = ask(s, h, QUERY_MARK);

	mark_copy(&q->mark, m);
	q->original = m;
	pump(s, find(h->session));
}

void session_announce(struct sim *s, struct host *h, bool asleep)
{
	ask(s, h, QUERY_ANNOUNCE)->asleep = asleep;
	pump(s, find(h->session));
}

void session_renew(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_RENEW);
	pump(s, find(h->session));
}

void session_decisions(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_DECISIONS);
	pump(s, find(h->session));
}

void session_pause(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_PAUSE);
	pump(s, find(h->session));
}

void session_quiet(struct sim *s, struct host *h, uint64_t pause)
{
	ask(s, h, QUERY_QUIET)->pause = pause;
	pump(s, find(h->session));
}

void session_resign(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_RESIGN)->others_ms = h->others_until_ms > now_ms(s) ? h->others_until_ms - now_ms(s) : 0;
	pump(s, find(h->session));
}

/* --- answers --- */

static void answer_lead(struct sim *s, struct host *h, struct query *q)
{
	struct event e = { .kind = EVENT_LEADING };

	if (!q->leads) {
		host_stands_by(s, h);
		return;
	}
	e.leading.position = q->position;
	e.leading.fence = q->fence;
	e.leading.asked_ms = q->asked_ms;
	e.leading.exceptions = q->exception;
	e.leading.exception_count = q->exceptions;
	e.leading.floors = q->floors;
	/* (Whoever led before the one before may still live, too.) */
	if (now_ms(s) + q->others_ms > h->others_until_ms && q->others_ms > 0)
		h->others_until_ms = now_ms(s) + q->others_ms;
	e.leading.others_until_ms = h->others_until_ms;
	e.leading.pause = q->pause;
	host_step(s, h, &e);
}

static void answer_fetch(struct sim *s, struct host *h, struct query *q)
{
	struct event e = { .kind = q->failed ? EVENT_FETCH_FAILED : EVENT_ROWS };

	if (!q->failed) {
		e.rows.rows = q->row;
		e.rows.count = q->rows;
		e.rows.complete = q->complete;
		e.rows.beyond = q->beyond;
		e.rows.horizon = q->horizon;
		e.rows.asked_ms = q->asked_ms;
	}
	host_rows(s, h, &e, q->message);
}

/* Every dead letter somebody has decided about, whatever became of it since. */
static void answer_decisions(struct sim *s, struct host *h)
{
	uint64_t life = h->life;

	for (int64_t id = 1; id <= s->pg.last_id && s->pg.dead > 0; id++) {
		const struct fact *f = FACT_OF(s, id);
		struct event e = { .kind = EVENT_DECIDED };

		if (!f->dead || !f->held || f->decision == UNDECIDED)
			continue;
		e.decided.id = id;
		e.decided.redrive = f->decision == REDRIVE;
		host_step(s, h, &e);
		if (h->life != life || !h->leading || host_is_away(s, h))
			return; /* asked again soon */
	}
}

static void answer(struct sim *s, struct host *h, struct query *q)
{
	struct event e = { .kind = EVENT_RENEWED };

	switch (q->kind) {
	case QUERY_LEAD: answer_lead(s, h, q); return;
	case QUERY_FETCH: answer_fetch(s, h, q); return;
	case QUERY_MARK:
		if (q->failed) {
			host_session_lost(s, h);
			return;
		}
		e.kind = EVENT_MARKED;
		e.marked.fence = q->fence;
		e.marked.asked_ms = q->asked_ms;
		break;
	case QUERY_ANNOUNCE:
		e.kind = EVENT_ANNOUNCED;
		e.announced.asleep = q->asleep;
		e.announced.fence = q->fence;
		e.announced.asked_ms = q->asked_ms;
		break;
	case QUERY_RENEW: e.renewed.asked_ms = q->asked_ms; break;
	case QUERY_PAUSE:
		if (!h->leading)
			return;
		e.kind = EVENT_PAUSED;
		e.paused.pause = q->pause;
		break;
	case QUERY_QUIET:
	case QUERY_RESIGN: return;
	case QUERY_DECISIONS: answer_decisions(s, h); return;
	}
	host_step(s, h, &e);
}

static void on_answer(struct sim *s, const struct happening *h)
{
	struct session *x = find(h->a);
	struct query *q = x != NULL ? x->first : NULL;
	struct host *host;

	if (q == NULL || !x->client)
		return;
	host = s->host[x->host];
	if (host_is_away(s, host)) {
		later(s, host->paused_until - s->now, on_answer, h->a, 0, 0, 0);
		return;
	}
	demand(s, q->stage == DONE, "the simulator answers out of order");
	x->first = q->next;
	if (x->first == NULL)
		x->last = NULL;
	answer(s, host, q);
	query_free(q);
}
