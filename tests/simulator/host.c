/* The host: what relay.c is in the daemon. Events in, effects out, and death between any two of them. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/refusal.h"
#include "world.h"

/* --- life and death --- */

static void host_start(struct sim *s, struct host *h);

static void on_start(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];

	if (h->life == happening->b && !h->up)
		host_start(s, h);
}

uint64_t host_identity(const struct sim *s, uint32_t host)
{
	return s->host[host]->life << 8 | (host + 1);
}

static void forget(struct host *h)
{
	host_lookbacks_end(h);
	host_forgets_found(h);
	memset(h->known, 0, sizeof h->known);
	memset(h->told, 0, sizeof h->told);
	h->leading = h->fetching = h->marking = h->announcing = h->notified = false;
	h->tick_at = INT64_MAX;
	h->attempts = 0;
	h->frozen = false;
	wire_drop(h);
	memset(h->slot, 0, sizeof h->slot);
	memset(&h->now, 0, sizeof h->now);
}

void host_kill(struct sim *s, struct host *h)
{
	if (!h->up)
		return;
	trace(s, "host %u  KILLED", h->index);
	h->up = false;
	h->life++;
	js_cut(s, h->conn);
	session_drop(s, h->session);
	h->conn = h->session = 0;
	h->bus_up = h->draining = h->drained = false;
	h->predecessor_until_ms = 0;
	h->paused_until = 0;
	forget(h);
	/* The core is freed by host_start: a step may be under way above us. */
	later(s, prng_spread(&s->dice, MS, 2 * SECOND), on_start, h->index, h->life, 0, 0);
}

static void connect_bus(struct sim *s, struct host *h);
static void connect_database(struct sim *s, struct host *h);

static void host_start(struct sim *s, struct host *h)
{
	s->core->free(h->core);
	h->core = s->core->create(&s->plan.settings);
	demand(s, h->core != NULL, "delivery_create fails");
	h->up = true;
	h->reloaded = false;
	h->ack_timeout_ms = s->plan.settings.ack_timeout_ms;
	h->published = 0;
	forget(h);
	trace(s, "host %u  starts", h->index);
	connect_bus(s, h);
	connect_database(s, h);
}

void host_pause(struct sim *s, struct host *h, int64_t us)
{
	trace(s, "host %u  stands still for %lld ms", h->index, (long long)us / MS);
	if (s->now + us > h->paused_until)
		h->paused_until = s->now + us;
}

bool host_is_away(const struct sim *s, const struct host *h)
{
	return h->paused_until > s->now || h->frozen;
}

/* --- the bus --- */

/* What a stream takes is asked for behind each connection, and now and then. */
static void on_wire_known(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	uint16_t stream = (uint16_t)happening->d;
	bool takes = js_takes_batches(s, stream);
	struct event e = { .kind = EVENT_WIRE,
			   .wire = {
				   .stream = stream, .batches = takes, .reason = takes ? WIRE_BATCHES : WIRE_STREAM } };

	if (h->life != happening->b || !h->up || h->conn != happening->c)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_wire_known, happening->a, happening->b, happening->c,
		      happening->d);
		return;
	}
	if (prng_below(&s->dice, 4) == 0)
		later(s, prng_between(&s->dice, 100 * MS, 2 * SECOND), on_wire_known, happening->a, happening->b,
		      happening->c, happening->d);
	host_step(s, h, &e);
}

static void on_connected(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	struct event e = { .kind = EVENT_BUS_UP };

	if (h->life != happening->b || !h->up || h->conn != 0)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_connected, happening->a, happening->b, 0, 0);
		return;
	}
	h->conn = js_connect(s, h->index);
	h->bus_up = true;
	for (uint32_t i = 0; s->plan.batches != 0 && i < s->plan.settings.streams; i++)
		later(s, prng_between(&s->dice, 0, 50 * MS), on_wire_known, h->index, h->life, h->conn, i);
	host_step(s, h, &e);
}

static void connect_bus(struct sim *s, struct host *h)
{
	later(s, prng_spread(&s->dice, MS, healed(s) ? 50 * MS : SECOND), on_connected, h->index, h->life, 0, 0);
}

static void on_bus_lost(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	struct event e = { .kind = EVENT_BUS_DOWN };

	if (h->life != happening->b || h->conn != happening->c)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_bus_lost, happening->a, happening->b, happening->c, 0);
		return;
	}
	h->conn = 0;
	h->bus_up = false;
	h->attempts = 0;
	host_lookbacks_end(h);
	for (int i = 0; i < MAX_STREAMS; i++)
		h->known[i].denied = false;
	wire_drop(h);
	connect_bus(s, h);
	host_step(s, h, &e);
}

void host_bus_lost(struct sim *s, struct host *h, bool at_once)
{
	if (h->conn == 0)
		return;
	trace(s, "host %u  its bus connection dies", h->index);
	js_cut(s, h->conn);
	later(s, at_once ? 0 : prng_spread(&s->dice, 0, SECOND), on_bus_lost, h->index, h->life, h->conn, 0);
}

/* An ack speaks for every copy of its message that may still be under way. */
static void on_delayed_reply(struct sim *s, const struct happening *happening);

void host_reply(struct sim *s, uint32_t host, uint64_t conn, const struct reply *r)
{
	struct host *h = s->host[host];
	struct event e = { .kind = r->sequence > 0 ? EVENT_ACKED : EVENT_REFUSED };

	if (h->conn != conn || !h->up)
		return;
	if (s->flaw == FLAW_seq_0 && r->reason == REASON_DUPLICATE_SEQ_0)
		e.kind = EVENT_ACKED;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_delayed_reply, conn, r->token, r->sequence,
		      (uint64_t)host << 60 | (uint64_t)r->duplicate << 59 | (uint64_t)r->status << 32 | r->reason);
		return;
	}
	host_acked(s, h, r);
	if (e.kind == EVENT_ACKED) {
		e.acked.token = r->token;
		e.acked.sequence = r->sequence;
		e.acked.duplicate = r->duplicate;
	} else {
		e.refused.token = r->token;
		e.refused.reason = r->reason;
		e.refused.status = r->status;
	}
	host_step(s, h, &e);
}

static void on_delayed_answer(struct sim *s, const struct happening *happening)
{
	host_batch_answer(s, (uint32_t)happening->c, happening->a, happening->b, &s->js.answer[happening->b]);
}

void host_batch_answer(struct sim *s, uint32_t host, uint64_t conn, size_t index, const struct js_answer *a)
{
	struct host *h = s->host[host];
	struct event e = { .kind = EVENT_BATCH,
			   .batch = { .stream = a->stream,
				      .batch = a->batch,
				      .what = a->what,
				      .number = a->number,
				      .reason = a->reason,
				      .status = a->status,
				      .sequence = a->sequence } };

	if (h->conn != conn || !h->up)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_delayed_answer, conn, index, host, 0);
		return;
	}
	host_batch_answered(s, h, a);
	host_step(s, h, &e);
}

static void on_delayed_reply(struct sim *s, const struct happening *happening)
{
	struct reply r = {
		.token = happening->b,
		.sequence = happening->c,
		.duplicate = happening->d >> 59 & 1,
		.status = (uint32_t)(happening->d >> 32) & 0xffff,
		.reason = (uint32_t)happening->d,
	};

	host_reply(s, (uint32_t)(happening->d >> 60), happening->a, &r);
}

/* --- the database --- */

static void on_database(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];

	if (h->life != happening->b || !h->up || h->session != happening->c || h->leading)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_database, happening->a, happening->b, happening->c, 0);
		return;
	}
	if (h->session == 0)
		h->session = session_open(s, h);
	if (!h->draining)
		session_lead(s, h);
}

static void connect_database(struct sim *s, struct host *h)
{
	later(s, prng_spread(&s->dice, MS, healed(s) ? 50 * MS : SECOND), on_database, h->index, h->life, 0, 0);
}

void host_stands_by(struct sim *s, struct host *h)
{
	later(s, prng_between(&s->dice, 20 * MS, 200 * MS), on_database, h->index, h->life, h->session, 0);
}

void host_session_lost(struct sim *s, struct host *h)
{
	struct event e = { .kind = EVENT_DEPOSED };
	bool led = h->leading;

	session_drop(s, h->session);
	h->session = 0;
	h->leading = h->fetching = h->marking = h->announcing = false;
	connect_database(s, h);
	if (led)
		host_step(s, h, &e);
}

/* What operators decide is in the database: ask for it now and then, whatever NOTIFY says. */
static void on_decisions_due(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];

	if (h->life != happening->b || h->session != happening->c || !h->leading)
		return;
	if (!host_is_away(s, h)) {
		session_decisions(s, h);
		session_pause(s, h);
	}
	later(s, 2 * SECOND, on_decisions_due, happening->a, happening->b, happening->c, 0);
}

void host_asks_for_decisions(struct sim *s, struct host *h)
{
	later(s, prng_between(&s->dice, 0, 100 * MS), on_decisions_due, h->index, h->life, h->session, 0);
}

struct host *hosts_leader(struct sim *s)
{
	for (int i = 0; i < MAX_HOSTS; i++)
		if (s->host[i] != NULL && s->host[i]->leading && session_leads(s, s->host[i]->session))
			return s->host[i];
	return NULL;
}

static void on_notification(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	struct event e = { .kind = EVENT_NOTIFIED };

	if (h->session != happening->b || !h->leading)
		return;
	if (host_is_away(s, h))
		later(s, h->paused_until - s->now, on_notification, happening->a, happening->b, happening->c, 0);
	else if (happening->c == NOTIFY_DECIDED)
		session_decisions(s, h);
	else if (happening->c == NOTIFY_PAUSED)
		session_pause(s, h);
	else
		host_step(s, h, &e);
}

void hosts_notify(struct sim *s, enum notification what)
{
	struct host *h = hosts_leader(s);

	if (h == NULL || mishap(s, s->plan.chance.notify_lost))
		return;
	later(s, prng_between(&s->dice, s->plan.pg_us / 10, s->plan.pg_us), on_notification, h->index, h->session, what,
	      0);
}

static void on_other_mind(struct sim *s, const struct happening *happening)
{
	struct fact *f = &s->pg.fact[happening->a];

	if (f->dead && f->held && f->decision == REDRIVE)
		books_decide(s, (int64_t)happening->a, DISCARD);
}

static void on_operator(struct sim *s, const struct happening *happening)
{
	struct fact *f = &s->pg.fact[happening->a];

	if (!f->dead || !f->held || f->decision != UNDECIDED)
		return;
	books_decide(s, (int64_t)happening->a, prng_below(&s->dice, 2) == 0 ? DISCARD : REDRIVE);
	if (f->decision == REDRIVE && mishap(s, s->plan.chance.mind_changed))
		later(s, prng_spread(&s->dice, MS, 4 * SECOND), on_other_mind, happening->a, 0, 0, 0);
}

void hosts_ask_operator(struct sim *s, int64_t message)
{
	if (s->plan.decides || s->phase >= PHASE_DECIDE)
		later(s, prng_spread(&s->dice, 10 * MS, 2 * SECOND), on_operator, (uint64_t)message, 0, 0, 0);
}

/* --- the core --- */

void hosts_open(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++) {
		s->host[i] = calloc(1, sizeof *s->host[i]);
		if (s->host[i] == NULL)
			abort();
		s->host[i]->index = i;
		later(s, prng_spread(&s->dice, 0, 200 * MS), on_start, i, 0, 0, 0);
	}
}

void hosts_close(struct sim *s)
{
	for (int i = 0; i < MAX_HOSTS; i++) {
		if (s->host[i] == NULL)
			continue;
		s->core->free(s->host[i]->core);
		for (int j = 0; j < MAX_STREAMS; j++)
			free(s->host[i]->lookback[j].found);
		free(s->host[i]);
		s->host[i] = NULL;
	}
}