/* The host: what relay.c is in the daemon. Events in, effects out, and death between any two of them. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/refusal.h"
#include "world.h"

static const char *const event_name[] = {
	[EVENT_TICK] = "tick",
	[EVENT_LEADING] = "LEADING",
	[EVENT_DEPOSED] = "DEPOSED",
	[EVENT_BUS_UP] = "BUS UP",
	[EVENT_BUS_DOWN] = "BUS DOWN",
	[EVENT_ROWS] = "rows",
	[EVENT_FETCH_FAILED] = "fetch failed",
	[EVENT_ACKED] = "acked",
	[EVENT_REFUSED] = "refused",
	[EVENT_MARKED] = "marked",
	[EVENT_ANNOUNCED] = "announced",
	[EVENT_RENEWED] = "renewed",
	[EVENT_NOTIFIED] = "notified",
	[EVENT_DECIDED] = "decided",
	[EVENT_DRAIN] = "DRAIN",
	[EVENT_SETTINGS] = "other settings",
	[EVENT_TAIL] = "tail",
	[EVENT_PAUSED] = "paused",
};

static const char *const note_name[] = {
	[NOTE_STREAM_BLOCKED] = "stream blocked",
	[NOTE_STREAM_OPEN] = "stream open",
	[NOTE_LANE_BLOCKED] = "lane blocked",
	[NOTE_LANE_OPEN] = "lane open",
	[NOTE_DEAD] = "dead",
	[NOTE_HELD] = "held",
	[NOTE_VANISHED] = "vanished",
	[NOTE_FULL] = "full",
	[NOTE_RETRY] = "retry",
	[NOTE_OTHERS] = "waits for others",
	[NOTE_BLIND] = "cannot be looked at",
};

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
	memset(h->tail, 0, sizeof h->tail);
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
	h->others_until_ms = 0;
	h->paused_until = 0;
	forget(h);
	/* The core is freed by host_start: a step may be under way above us. */
	later(s, prng_spread(&s->dice, MS, 2 * SECOND), on_start, h->index, h->life, 0, 0);
}

static void connect_bus(struct sim *s, struct host *h);
static void connect_database(struct sim *s, struct host *h);

static void host_start(struct sim *s, struct host *h)
{
	delivery_free(h->core);
	h->core = delivery_create(&s->plan.settings);
	demand(s, h->core != NULL, "delivery_create fails");
	h->up = true;
	h->reloaded = false;
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
	memset(h->tail, 0, sizeof h->tail);
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
static void answer_attempts(struct host *h, const struct reply *r)
{
	int64_t message = 0;

	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].token == r->token)
			message = h->attempt[i].message;
	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].token == r->token || (r->sequence > 0 && h->attempt[i].message == message))
			h->attempt[i].answered = true;
}

static void forget_attempts(struct host *h, int64_t message)
{
	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].message == message)
			h->attempt[i--] = h->attempt[--h->attempts];
}

static void forget_old_attempts(struct sim *s, struct host *h)
{
	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].answered &&
		    now_ms(s) - h->attempt[i].sent_ms > 5 * s->plan.settings.ack_timeout_ms + 50)
			h->attempt[i--] = h->attempt[--h->attempts];
}

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
	answer_attempts(h, r);
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

/* --- what the streams hold --- */

static void take_tail(struct sim *s, struct host *h, uint64_t serial, const struct tail_answer *a)
{
	struct event e = { .kind = EVENT_TAIL };
	uint16_t stream = a->stream;

	if (!h->up || !h->leading || h->tail[stream].serial != serial)
		return;
	h->tail[stream].serial = 0;
	demand(s, !a->ok || a->last >= h->tail[stream].top,
	       "host %u takes stream %u for one that has lost its end: %llu, not %llu", h->index, stream,
	       (unsigned long long)a->last, (unsigned long long)h->tail[stream].top);
	for (int64_t m = 1; a->ok && m <= s->pg.messages; m++) {
		const struct fact *f = &s->pg.fact[m];

		if (f->copies > 0 && f->stream == stream && f->sequence > a->above && f->sequence <= a->last &&
		    sequences_skip(&h->tail[stream].acked, f->sequence) == f->sequence)
			h->held[m] = true;
	}
	e.tail.stream = stream;
	e.tail.ok = a->ok;
	e.tail.reason = a->reason;
	e.tail.asked_ms = h->tail[stream].asked_ms;
	e.tail.window_ms = s->plan.window_us / MS;
	e.tail.last = a->last;
	host_step(s, h, &e);
}

static void on_delayed_tail(struct sim *s, const struct happening *happening);

void host_tail(struct sim *s, uint32_t host, uint64_t conn, uint64_t serial, const struct tail_answer *a)
{
	struct host *h = s->host[host];

	if (h->conn != conn)
		return;
	if (host_is_away(s, h))
		later(s, h->paused_until - s->now, on_delayed_tail, (uint64_t)host << 56 | conn,
		      serial << 8 | a->stream, a->above, a->ok ? a->last : UINT64_C(1) << 63 | a->reason);
	else
		take_tail(s, h, serial, a);
}

static void on_delayed_tail(struct sim *s, const struct happening *happening)
{
	struct tail_answer a = { .stream = (uint16_t)(happening->b & 0xff),
				 .above = happening->c,
				 .ok = happening->d >> 63 == 0,
				 .last = happening->d,
				 .reason = (uint32_t)happening->d };

	host_tail(s, (uint32_t)(happening->a >> 56), happening->a & (UINT64_MAX >> 8), happening->b >> 8, &a);
}

/* Nobody answers. */
static void on_tail_timeout(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	struct tail_answer silence = { .reason = REASON_NO_REPLY, .stream = (uint16_t)happening->d };

	if (h->life != happening->b || h->tail[happening->d].serial != happening->c)
		return;
	if (host_is_away(s, h))
		later(s, h->paused_until - s->now, on_tail_timeout, happening->a, happening->b, happening->c,
		      happening->d);
	else
		take_tail(s, h, happening->c, &silence);
}

static void ask_tail(struct sim *s, struct host *h, const struct effect *e)
{
	uint16_t stream = e->tail.stream;

	trace(s, "host %u  > tail of stream %u above %lld", h->index, stream, (long long)e->tail.above);
	check_asks(s, h, h->tail[stream].serial != 0, "a tail");
	h->tail[stream].serial = ++h->tail_serials;
	h->tail[stream].asked_ms = now_ms(s);
	demand(s, !e->tail.anew, "host %u takes stream %u for one that has lost its end", h->index, stream);
	h->tail[stream].acked = *e->tail.acked;
	h->tail[stream].top = e->tail.top;
	wire_hand_over(s, h, &(struct hand){ .stream = stream, .above = e->tail.above, .serial = h->tail_serials });
	later(s, (int64_t)s->plan.settings.ack_timeout_ms * MS, on_tail_timeout, h->index, h->life, h->tail_serials,
	      stream);
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

static void on_operator(struct sim *s, const struct happening *happening)
{
	struct fact *f = &s->pg.fact[happening->a];

	if (f->dead && f->held && f->decision == UNDECIDED)
		books_decide(s, (int64_t)happening->a, prng_below(&s->dice, 2) == 0 ? DISCARD : REDRIVE);
}

void hosts_ask_operator(struct sim *s, int64_t message)
{
	if (s->plan.decides || s->phase >= PHASE_DECIDE)
		later(s, prng_spread(&s->dice, 10 * MS, 2 * SECOND), on_operator, (uint64_t)message, 0, 0, 0);
}

/* --- the core --- */

static void tell_event(struct sim *s, const struct host *h, const struct event *e)
{
	const char *name = event_name[e->kind];

	if (e->kind == EVENT_ROWS)
		trace(s, "host %u  < %zu rows %lld..%lld%s%s, horizon %llu", h->index, e->rows.count,
		      e->rows.count ? (long long)e->rows.rows[0].id : 0LL,
		      e->rows.count ? (long long)e->rows.rows[e->rows.count - 1].id : 0LL,
		      e->rows.complete ? "" : ", more", e->rows.beyond ? " beyond" : "",
		      (unsigned long long)e->rows.horizon);
	else if (e->kind == EVENT_ACKED)
		trace(s, "host %u  < acked token %llx seq %llu%s", h->index, (unsigned long long)e->acked.token,
		      (unsigned long long)e->acked.sequence, e->acked.duplicate ? " (duplicate)" : "");
	else if (e->kind == EVENT_REFUSED)
		trace(s, "host %u  < refused token %llx: %u %s", h->index, (unsigned long long)e->refused.token,
		      e->refused.reason, refusal_text(e->refused.reason));
	else if (e->kind == EVENT_LEADING)
		trace(s, "host %u  < LEADING position %lld, fence %llu", h->index, (long long)e->leading.position,
		      (unsigned long long)e->leading.fence);
	else if (e->kind == EVENT_MARKED)
		trace(s, "host %u  < marked, fence %llu", h->index, (unsigned long long)e->marked.fence);
	else if (e->kind == EVENT_ANNOUNCED)
		trace(s, "host %u  < announced %s, fence %llu", h->index, e->announced.asleep ? "asleep" : "awake",
		      (unsigned long long)e->announced.fence);
	else if (e->kind == EVENT_DECIDED)
		trace(s, "host %u  < decided %lld: %s", h->index, (long long)e->decided.id,
		      e->decided.redrive ? "redrive" : "discard");
	else if (e->kind == EVENT_PAUSED)
		trace(s, "host %u  < %s", h->index, e->paused.pause != 0 ? "PAUSED" : "not paused");
	else
		trace(s, "host %u  < %s", h->index, name);
}

/* What we learn from an event before the core does. */
static void before(struct sim *s, struct host *h, const struct event *e)
{
	int64_t asked_ms = INT64_MIN;

	switch (e->kind) {
	case EVENT_LEADING:
		h->leading = true;
		memset(h->tail, 0, sizeof h->tail);
		memset(h->held, 0, sizeof h->held);
		h->sign_ms = e->leading.asked_ms;
		h->pause = e->leading.pause;
		h->notified = h->fetch_failed = h->shut = false;
		h->fetch_ms = INT64_MIN / 2;
		later(s, prng_between(&s->dice, 0, 100 * MS), on_decisions_due, h->index, h->life, h->session, 0);
		break;
	case EVENT_ROWS:
		asked_ms = e->rows.asked_ms;
		h->fetching = h->fetch_failed = false;
		break;
	case EVENT_FETCH_FAILED:
		h->fetching = false;
		h->fetch_failed = true;
		break;
	case EVENT_MARKED:
		asked_ms = e->marked.asked_ms;
		h->marking = false;
		break;
	case EVENT_ANNOUNCED:
		asked_ms = e->announced.asked_ms;
		h->announcing = false;
		break;
	case EVENT_RENEWED: asked_ms = e->renewed.asked_ms; break;
	case EVENT_NOTIFIED: h->notified = true; break;
	case EVENT_DRAIN: h->draining = true; break;
	case EVENT_PAUSED: h->pause = e->paused.pause; break;
	case EVENT_DEPOSED:
		h->attempts = 0;
		if (s->flaw != FLAW_deposed_keeps_socket)
			wire_drop(h);
		break;
	default: break;
	}
	if (asked_ms > h->sign_ms)
		h->sign_ms = asked_ms;
}

/* It is stored already: said at once, in the middle of the core's effects, as relay.c does. */
static void found(struct sim *s, struct host *h, const struct effect *e)
{
	struct event ack = { .kind = EVENT_ACKED, .now_ms = now_ms(s) };
	int64_t message = h->slot[e->publish.slot];

	h->held[message] = false;
	ack.acked.token = e->publish.token;
	ack.acked.sequence = s->pg.fact[message].sequence;
	ack.acked.duplicate = true;
	tell_event(s, h, &ack);
	delivery_step(h->core, &ack);
}

static void publish(struct sim *s, struct host *h, const struct effect *e)
{
	uint32_t slot = e->publish.slot;

	trace(s, "host %u  > publish %lld token %llx", h->index, (long long)e->publish.id,
	      (unsigned long long)e->publish.token);
	check_publish(s, h, e);
	if (h->held[h->slot[slot]]) {
		found(s, h, e);
		return;
	}
	if (h->attempts == MAX_OUTSTANDING)
		forget_old_attempts(s, h);
	demand(s, h->attempts < MAX_OUTSTANDING, "the simulator has too few attempts");
	h->attempt[h->attempts++] = (struct attempt){ .message = h->slot[slot],
						      .token = e->publish.token,
						      .sent_ms = h->step_ms,
						      .bytes = s->pg.fact[h->slot[slot]].bytes };
	h->published++;
	s->pg.fact[h->slot[slot]].repeatable |= e->publish.blind;
	wire_hand_over(
		s, h, &(struct hand){ .message = h->slot[slot], .token = e->publish.token, .by_ms = e->publish.by_ms });
}

static void fetch(struct sim *s, struct host *h, const struct effect *e)
{
	trace(s, "host %u  > fetch%s%s %lld, %zu ranges %lld..%lld, %u rows%s%s%s", h->index,
	      h->now.pace ? " (asleep)" : "", e->fetch.forward ? " after" : " not after", (long long)e->fetch.after,
	      e->fetch.wanted_count, e->fetch.wanted_count ? (long long)e->fetch.wanted[0].lo : 0LL,
	      e->fetch.wanted_count ? (long long)e->fetch.wanted[e->fetch.wanted_count - 1].hi : 0LL, e->fetch.rows,
	      e->fetch.horizon ? ", horizon" : "", e->fetch.evidence ? ", evidence" : "",
	      e->fetch.kept ? ", as kept" : "");
	check_fetch(s, h, e);
	session_fetch(s, h, e);
	h->fetching = true;
	h->fetch_ms = now_ms(s);
	h->notified = h->shut = false;
}

static void carry_out(struct sim *s, struct host *h, const struct effect *e)
{
	switch (e->kind) {
	case EFFECT_PUBLISH: publish(s, h, e); break;
	case EFFECT_FETCH: fetch(s, h, e); break;
	case EFFECT_MARK:
		trace(s, "host %u  > mark position %lld, %zu gone, %zu new, %zu dead", h->index,
		      (long long)e->mark->position, e->mark->gone_count, e->mark->added_count, e->mark->dead_count);
		check_mark(s, h, e->mark);
		session_mark(s, h, e->mark);
		h->marking = true;
		break;
	case EFFECT_ANNOUNCE:
		trace(s, "host %u  > announce %s", h->index, e->announce.asleep ? "asleep" : "awake");
		check_asks(s, h, h->announcing, "an announcement");
		session_announce(s, h, e->announce.asleep);
		h->announcing = true;
		break;
	case EFFECT_RENEW:
		trace(s, "host %u  > renew", h->index);
		check_asks(s, h, false, "a renewal");
		session_renew(s, h);
		break;
	case EFFECT_TAIL: ask_tail(s, h, e); break;
	case EFFECT_RELEASE:
		check_release(s, h, e->release.slot);
		forget_attempts(h, h->slot[e->release.slot]);
		h->slot[e->release.slot] = 0;
		break;
	case EFFECT_NOTE:
		trace(s, "host %u  > note: %s %lld..%lld, stream %u, reason %u, attempts %u", h->index,
		      note_name[e->note.kind], (long long)e->note.id, (long long)e->note.last, e->note.stream,
		      e->note.reason, e->note.attempts);
		check_note(s, h, &e->note);
		break;
	case EFFECT_QUIET:
		trace(s, "host %u  > quiet", h->index);
		check_quiet(s, h, e->quiet.pause);
		session_quiet(s, h, e->quiet.pause);
		break;
	case EFFECT_DRAINED:
		trace(s, "host %u  > drained", h->index);
		check_drained(s, h);
		h->drained = true;
		if (h->leading)
			session_resign(s, h);
		break;
	}
}

static void take_rows(struct sim *s, struct host *h, const struct event *e, const int32_t *message)
{
	for (size_t i = 0; i < e->rows.count; i++) {
		const struct row *r = &e->rows.rows[i];

		if (r->slot < 0)
			continue;
		check_slot(s, h, r, message[i]);
		h->slot[r->slot] = message[i];
	}
}

static void on_tick(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	struct event e = { .kind = EVENT_TICK };

	if (h->life != happening->b || h->tick_number != happening->c)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_tick, happening->a, happening->b, happening->c, 0);
		return;
	}
	h->tick_at = INT64_MAX;
	host_step(s, h, &e);
	/* As relay.c does. */
	if (!h->now.sought)
		memset(h->held, 0, sizeof h->held);
}

/* A tick when the core wants one; now and then a little late, as ticks are. */
static void plan_tick(struct sim *s, struct host *h, bool busy)
{
	int64_t deadline = delivery_deadline(h->core), at;

	if (deadline == INT64_MAX)
		return;
	h->idle_ticks = deadline <= now_ms(s) && !busy ? h->idle_ticks + 1 : 0;
	demand(s, h->idle_ticks < 20, "host %u wants a tick at once, again and again, and then does nothing", h->index);
	at = deadline * MS > s->now ? deadline * MS : s->now;
	if (prng_below(&s->dice, 8) == 0)
		at += prng_between(&s->dice, 0, 2 * MS);
	if (h->tick_at <= at && h->tick_at >= deadline * MS)
		return;
	h->tick_at = at;
	later(s, at - s->now, on_tick, h->index, h->life, ++h->tick_number, 0);
}

static void on_wake(struct sim *s, const struct happening *happening);

static bool all_shut(const struct sim *s, const struct host *h)
{
	uint32_t open = 0;

	for (uint32_t i = 0; i < s->plan.settings.streams; i++)
		open += !h->now.stream[i].blocked;
	return open == 0;
}

/* The effects, one after the other; death and standstill come between any two. */
static void turn(struct sim *s, struct host *h)
{
	uint64_t life = h->life;
	struct effect effect;
	bool busy = h->frozen;

	h->frozen = false;
	while (delivery_next(h->core, &effect)) {
		busy = true;
		h->now = *delivery_look(h->core);
		if (mishap(s, s->plan.chance.crash)) {
			host_kill(s, h);
			return;
		}
		carry_out(s, h, &effect);
		demand(s, h->life == life, "the simulated host died in the middle of a step");
		if (mishap(s, s->plan.chance.freeze)) {
			host_freeze(s, h);
			h->frozen = true;
			later(s, h->paused_until - s->now, on_wake, h->index, h->life, 0, 0);
			return;
		}
	}
	if (s->plan.audits)
		delivery_audit(h->core);
	h->now = *delivery_look(h->core);
	h->shut |= all_shut(s, h);
	check_step(s, h);
	plan_tick(s, h, busy);
	h->send_deadline_ms = delivery_send_deadline(h->core);
	wire_write(s, h);
}

static void on_wake(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];

	if (h->life != happening->b || !h->frozen)
		return;
	if (h->paused_until > s->now)
		later(s, h->paused_until - s->now, on_wake, happening->a, happening->b, 0, 0);
	else
		turn(s, h);
}

static void step(struct sim *s, struct host *h, struct event *e, const int32_t *message)
{
	if (!h->up)
		return;
	demand(s, !h->frozen, "the simulated host does two things at a time");
	demand(s, s->steps++ < MAX_STEPS, "host %u spins", h->index);
	tell_event(s, h, e);
	before(s, h, e);
	h->event = e->kind;
	e->now_ms = h->step_ms = now_ms(s);
	e->random = (uint32_t)prng_next(&s->dice);
	delivery_step(h->core, e);
	if (e->kind == EVENT_ROWS)
		take_rows(s, h, e, message);
	turn(s, h);
}

void host_step(struct sim *s, struct host *h, struct event *e)
{
	step(s, h, e, NULL);
}

void host_rows(struct sim *s, struct host *h, struct event *e, const int32_t *message)
{
	step(s, h, e, message);
}

void host_drain(struct sim *s, struct host *h)
{
	struct event e = { .kind = EVENT_DRAIN };

	host_step(s, h, &e);
}

void host_reload(struct sim *s, struct host *h, const struct delivery_settings *settings)
{
	struct event e = { .kind = EVENT_SETTINGS, .settings = settings != NULL ? settings : &s->plan.settings };

	if (h->up && !host_is_away(s, h) && (h->reloaded || settings != NULL)) {
		h->reloaded = settings != NULL;
		host_step(s, h, &e);
	}
}

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
		if (s->host[i] != NULL)
			delivery_free(s->host[i]->core);
		free(s->host[i]);
		s->host[i] = NULL;
	}
}
