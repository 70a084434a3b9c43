/* A database session: queries go in one after the other (pipeline mode), are done in that order, one at a time, and
 * are answered in that order.
 *
 *     host --net--> waiting -> executing (in one or two steps) -> done --net--> host
 *
 * It dies at either end first. Client first: the server still does what it has been sent, and keeps the
 * leader's lock until then. Server first: the lock is free at once, a mark under way may have been
 * committed or not, and the host goes on believing in its lead until it hears of it. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { MAX_SESSIONS = 64 };

static struct session session[MAX_SESSIONS];
static uint64_t serials;

/* --- queries --- */

void *copy_of(const void *from, size_t count, size_t size)
{
	void *to = malloc(count > 0 ? count * size : 1);

	if (to == NULL)
		abort();
	if (count > 0)
		memcpy(to, from, count * size);
	return to;
}

/* Ours, though the mark only lets one read it. */
static void free_copy(const void *copy)
{
	free((void *)(uintptr_t)copy);
}

void query_free(struct query *q)
{
	free(q->wanted);
	free(q->row);
	free(q->message);
	free(q->exception);
	free_copy(q->mark.gone);
	free_copy(q->mark.added);
	free_copy(q->mark.dead);
	free_copy(q->mark.resolved);
	free_copy(q->mark.sent);
	free(q);
}

static void mark_copy(struct mark *to, const struct mark *from)
{
	*to = *from;
	to->gone = COPY(from->gone, from->gone_count);
	to->added = COPY(from->added, from->added_count);
	to->dead = COPY(from->dead, from->dead_count);
	to->resolved = COPY(from->resolved, from->resolved_count);
	to->sent = COPY(from->sent, from->sent_count);
}

/* --- sessions --- */

struct session *session_find(uint64_t serial)
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
	if (x->aside != NULL)
		query_free(x->aside);
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

static void on_execute(struct sim *s, const struct happening *h)
{
	struct session *x = session_find(h->a);
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
	struct session *x = session_find(h->a);

	if (x != NULL && x->server)
		release(s, x);
}

void session_drop(struct sim *s, uint64_t serial)
{
	struct session *x = session_find(serial);

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
	struct session *x = session_find(h->a);
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
	struct session *x = session_find(serial);
	struct query *q;
	int64_t unheard = (int64_t)s->plan.settings.lease_ms * 2 * MS;

	if (x == NULL || !x->server)
		return;
	q = x->aside != NULL && x->aside->stage == EXECUTING ? x->aside : first_at(x, EXECUTING);
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

/* --- a mark on a way of its own ---
 *
 * The core's arguments do not lean on the order in which a mark and a fetch are done and answered, so here they may overtake each
 * other. */

static void on_answer_aside(struct sim *s, const struct happening *h)
{
	struct session *x = session_find(h->a);
	struct query *q = x != NULL ? x->aside : NULL;
	struct host *host;

	if (q == NULL || !x->client)
		return;
	host = s->host[x->host];
	if (host_is_away(s, host)) {
		later(s, host->paused_until - s->now, on_answer_aside, h->a, 0, 0, 0);
		return;
	}
	x->aside = NULL;
	session_answer(s, host, q);
	query_free(q);
}

static void on_execute_aside(struct sim *s, const struct happening *h)
{
	struct session *x = session_find(h->a);

	if (x == NULL || !x->server || x->aside == NULL)
		return;
	execute_mark(s, x, x->aside);
	x->aside->stage = DONE;
	later(s, (int64_t)prng_between(&s->dice, 1, 8) * net(s), on_answer_aside, x->serial, 0, 0, 0);
}

static void go_aside(struct sim *s, struct session *x, struct query *q)
{
	q->stage = EXECUTING;
	later(s, net(s), on_execute_aside, x->serial, 0, 0, 0);
}

/* --- questions --- */

static struct query *ask(struct sim *s, struct host *h, enum query_kind kind)
{
	struct session *x = session_find(h->session);
	struct query *q = calloc(1, sizeof *q);

	if (q == NULL)
		abort();
	demand(s, x != NULL, "the simulated host has no session");
	q->kind = kind;
	q->asked_ms = now_ms(s);
	if (kind == QUERY_MARK && s->plan.mark_apart) {
		x->aside = q;
		return q;
	}
	*(x->last != NULL ? &x->last->next : &x->first) = q;
	x->last = q;
	return q;
}

void session_lead(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_LEAD);
	pump(s, session_find(h->session));
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
	demand(s, !q->kept || session_find(h->session)->keeps,
	       "host %u reads on in a snapshot that its session never took", h->index);
	q->safety_poll = h->now.pace == PACE_ASLEEP && !h->notified && e->fetch.wanted_count == 0;
	pump(s, session_find(h->session));
}

void session_mark(struct sim *s, struct host *h, const struct mark *m)
{
	struct query *q = ask(s, h, QUERY_MARK);

	mark_copy(&q->mark, m);
	q->original = m;
	for (int i = 0; i < MAX_STREAMS; i++)
		q->losses[i] = h->told[i].losses;
	if (s->plan.mark_apart)
		go_aside(s, session_find(h->session), q);
	else
		pump(s, session_find(h->session));
}

void session_announce(struct sim *s, struct host *h, bool asleep)
{
	ask(s, h, QUERY_ANNOUNCE)->asleep = asleep;
	pump(s, session_find(h->session));
}

void session_renew(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_RENEW);
	pump(s, session_find(h->session));
}

void session_decisions(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_DECISIONS);
	pump(s, session_find(h->session));
}

void session_pause(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_PAUSE);
	pump(s, session_find(h->session));
}

void session_quiet(struct sim *s, struct host *h, uint64_t pause)
{
	ask(s, h, QUERY_QUIET)->pause = pause;
	pump(s, session_find(h->session));
}

void session_resign(struct sim *s, struct host *h)
{
	ask(s, h, QUERY_RESIGN)->others_ms =
		h->predecessor_until_ms > now_ms(s) ? h->predecessor_until_ms - now_ms(s) : 0;
	pump(s, session_find(h->session));
}

/* --- answers leave --- */

static void on_answer(struct sim *s, const struct happening *h)
{
	struct session *x = session_find(h->a);
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
	session_answer(s, host, q);
	query_free(q);
}
