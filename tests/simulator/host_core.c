/* A host and its core: events in, effects out, and death or standstill between any two of them. */
#include "host.h"

#include <string.h>

#include "check.h"
#include "world.h"

static const struct attempt *attempt_of(const struct host *h, uint64_t token)
{
	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].token == token)
			return &h->attempt[i];
	return NULL;
}

/* An ack speaks for every copy of its message that may still be under way. */
static void answer_attempts(struct host *h, const struct reply *r)
{
	const struct attempt *one = attempt_of(h, r->token);
	int64_t message = one != NULL ? one->message : 0;

	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].token == r->token || (r->sequence > 0 && h->attempt[i].message == message))
			h->attempt[i].answered = true;
}

void host_told_end(struct sim *s, struct host *h, uint16_t stream, uint64_t end)
{
	(void)s;
	h->told[stream].end = end;
	h->told[stream].notices++;
}

/* A sequence is given once, and above everything that was there before the message was sent. Nobody but this leader has
 * sent it, and only since it knew that end: what the ack tells is that the stream has lost it. */
static bool tells_of_loss(const struct host *h, const struct fact *f, const struct reply *r)
{
	const struct told *told = &h->told[f->stream];

	return !r->duplicate && h->caught_up && f->id > h->caught_up_to && f->first_sent_by == h->session &&
	       f->first_notices == told->notices && r->sequence <= f->first_end;
}

/* The core has the message, and hears now that it is stored. notices: of its stream, when it was sent. */
static void is_told(struct sim *s, struct host *h, int64_t message, uint64_t notices, const struct reply *r)
{
	struct fact *f = &s->pg.fact[message];
	struct told *told = &h->told[f->stream];

	f->told_by[h->index] = h->session;
	if (tells_of_loss(h, f, r)) {
		told->must_say = true;
		told->losses = f->stored_losses;
		host_told_end(s, h, f->stream, r->sequence);
	}
	/* (Of one that was sent before the notice it may be a sequence of what the stream was.) */
	if (notices == told->notices && r->sequence > told->end)
		told->end = r->sequence;
}

/* Of an owned stream: what is sent now is sent because f was stored, and it was stored before the stream became another one. */
static void window_may_open(struct sim *s, const struct fact *f)
{
	struct stream *st = &s->js.stream[f->stream];

	if (settings_owns(&s->plan.settings, f->stream) && f->stored_losses != st->losses)
		st->passed_at = s->now;
}

void host_acked(struct sim *s, struct host *h, const struct reply *r)
{
	const struct attempt *one = attempt_of(h, r->token);

	if (one != NULL && r->sequence > 0 && h->leading) {
		is_told(s, h, one->message, one->notices, r);
		window_may_open(s, &s->pg.fact[one->message]);
	}
	answer_attempts(h, r);
}

/* The core hears of those that are of its batch. */
void host_batch_answered(struct sim *s, struct host *h, const struct js_answer *a)
{
	bool stored = a->what == BATCH_ACK || a->what == BATCH_END;
	const struct stream_state *now = &h->now.stream[a->stream];

	if (!stored || !h->leading || now->batch != a->batch || a->number > now->batch_messages)
		return;
	for (size_t i = 0; i < h->attempts; i++) {
		struct attempt *one = &h->attempt[i];

		if (one->batch != a->batch || one->number > a->number)
			continue;
		one->answered = true;
		s->pg.fact[one->message].told_by[h->index] = h->session;
	}
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

/* It knows nothing but what the books say. */
static void leads(struct sim *s, struct host *h)
{
	host_lookbacks_end(h);
	host_forgets_found(h);
	memset(h->told, 0, sizeof h->told);
	for (uint32_t i = 0; i < s->plan.settings.streams; i++)
		h->told[i].losses = s->pg.floor[i].losses;
	h->caught_up = h->drained = false;
}

static void read_on(struct host *h, const struct event *e)
{
	for (size_t i = 0; i < e->rows.count && !h->caught_up; i++)
		h->caught_up_to = e->rows.rows[i].id > h->caught_up_to ? e->rows.rows[i].id : h->caught_up_to;
	h->caught_up |= h->forward && e->rows.complete;
}

/* What we learn from an event before the core does. */
static void before(struct sim *s, struct host *h, const struct event *e)
{
	int64_t asked_ms = INT64_MIN;

	switch (e->kind) {
	case EVENT_LEADING:
		h->leading = true;
		leads(s, h);
		h->sign_ms = e->leading.asked_ms;
		h->pause = e->leading.operator_pause;
		h->notified = h->fetch_failed = h->shut = false;
		h->fetch_ms = INT64_MIN / 2;
		h->caught_up_to = e->leading.position;
		host_asks_for_decisions(s, h);
		break;
	case EVENT_ROWS:
		asked_ms = e->rows.asked_ms;
		h->fetching = h->fetch_failed = false;
		read_on(h, e);
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
	case EVENT_PAUSED: h->pause = e->paused.operator_pause; break;
	case EVENT_DEPOSED:
		host_lookbacks_end(h);
		h->attempts = 0;
		if (s->flaw != FLAW_deposed_keeps_socket)
			wire_drop(h);
		break;
	default: break;
	}
	if (asked_ms > h->sign_ms)
		h->sign_ms = asked_ms;
}

/* It is stored already: said at once, in the middle of the core's effects, as the daemon does. */
static void acknowledge(struct sim *s, struct host *h, const struct effect *e, uint64_t sequence)
{
	struct event ack = { .kind = EVENT_ACKED, .now_ms = now_ms(s) };

	int64_t message = h->slot[e->publish.slot];

	is_told(s, h, message, h->told[s->pg.fact[message].stream].notices,
		&(struct reply){ .sequence = sequence, .duplicate = true });
	ack.acked.token = e->publish.token;
	ack.acked.sequence = sequence;
	ack.acked.duplicate = true;
	host_tells_event(s, h, &ack);
	s->core->step(h->core, &ack);
}

/* A message that was found, and says something that holds here. */
static const struct testimony *testimony_of(const struct sim *s, const struct host *h, int64_t message)
{
	const struct testimony *t = h->found[message] != 0 ? &s->js.testimony[h->said[message]] : NULL;
	bool ours = t != NULL && (t->timeline == h->timeline || s->flaw == FLAW_witness_of_another_history);

	return ours && t->evident ? t : NULL;
}

/* The sequence of a message that proves this one stored, or 0. */
static uint64_t proof(struct sim *s, const struct host *h, const struct effect *e)
{
	uint32_t slot = e->publish.slot;

	for (int32_t w = -1; (w = s->core->witness(h->core, slot, w)) >= 0;) {
		const struct testimony *t = testimony_of(s, h, h->slot[w]);

		if (t != NULL && s->core->is_proved(h->core, slot, (uint32_t)w, t->horizon)) {
			check_proved(s, h, h->slot[slot], h->slot[w]);
			return h->found[h->slot[w]];
		}
	}
	return 0;
}

static void is_sent(struct sim *s, struct host *h, int64_t message)
{
	struct fact *f = &s->pg.fact[message];

	f->sent_by = h->session;
	f->sent_ms = h->step_ms;
	if (f->first_sent_by != 0)
		return;
	f->first_sent_by = h->session;
	f->first_end = h->told[f->stream].end;
	f->first_notices = h->told[f->stream].notices;
}

static void publish(struct sim *s, struct host *h, const struct effect *e)
{
	int64_t message = h->slot[e->publish.slot];
	struct fact *f = &s->pg.fact[message];
	uint64_t sequence;

	check_publish(s, h, e);
	sequence = h->found[message];
	if (sequence != 0) {
		h->found[message] = 0;
		h->found_count--;
	} else {
		sequence = proof(s, h, e);
	}
	if (sequence != 0) {
		if (e->publish.batch != 0)
			h->batch[f->stream].sent--;
		acknowledge(s, h, e, sequence);
		return;
	}
	if (h->attempts == MAX_OUTSTANDING)
		forget_old_attempts(s, h);
	demand(s, h->attempts < MAX_OUTSTANDING, "the simulator has too few attempts");
	h->attempt[h->attempts++] = (struct attempt){ .message = message,
						      .token = e->publish.token,
						      .sent_ms = h->step_ms,
						      .handed_ms = now_ms(s),
						      .notices = h->told[f->stream].notices,
						      .bytes = f->bytes,
						      .batch = e->publish.batch,
						      .number = e->publish.number };
	h->published++;
	is_sent(s, h, message);
	/* Nobody could say whether it is there already. */
	f->repeatable |= e->publish.blind || h->known[f->stream].denied;
	wire_hand_over(s, h,
		       &(struct hand){ .message = message,
				       .batch = e->publish.batch,
				       .number = e->publish.number,
				       .op = e->publish.op,
				       .flow = e->publish.flow,
				       .stream = f->stream,
				       .token = e->publish.token,
				       .by_ms = e->publish.by_ms,
				       .testimony = { .horizon = h->horizon[e->publish.slot],
						      .timeline = h->timeline,
						      .evident = e->publish.evident,
						      .expected = e->publish.expected } });
}

static void say_of_batch(struct sim *s, struct host *h, const struct effect *e)
{
	check_batch(s, h, e);
	wire_hand_over(s, h,
		       &(struct hand){ .batch = e->batch.batch,
				       .number = e->batch.number,
				       .op = e->batch.op,
				       .flow = e->batch.flow,
				       .stream = e->batch.stream,
				       .by_ms = INT64_MAX });
}

static void fetch(struct sim *s, struct host *h, const struct effect *e)
{
	check_fetch(s, h, e);
	session_fetch(s, h, e);
	h->fetching = true;
	h->forward = e->fetch.forward;
	h->fetch_ms = now_ms(s);
	h->notified = h->shut = false;
}

static void release(struct sim *s, struct host *h, uint32_t slot)
{
	struct fact *f = &s->pg.fact[h->slot[slot]];

	if (f->sent_by == h->session && f->told_by[h->index] != h->session)
		f->alone_by = h->session;
	forget_attempts(h, h->slot[slot]);
	h->slot[slot] = 0;
}

static void carry_out(struct sim *s, struct host *h, const struct effect *e)
{
	host_tells_effect(s, h, e);
	switch (e->kind) {
	case EFFECT_PUBLISH: publish(s, h, e); break;
	case EFFECT_FETCH: fetch(s, h, e); break;
	case EFFECT_MARK:
		check_mark(s, h, e->mark);
		session_mark(s, h, e->mark);
		h->marking = true;
		break;
	case EFFECT_ANNOUNCE:
		check_asks(s, h, h->announcing, "an announcement");
		session_announce(s, h, e->announce.asleep);
		h->announcing = true;
		break;
	case EFFECT_RENEW:
		check_asks(s, h, false, "a renewal");
		session_renew(s, h);
		break;
	case EFFECT_LOOKBACK: host_looks_back(s, h, e); break;
	case EFFECT_RELEASE:
		check_release(s, h, e->release.slot);
		release(s, h, e->release.slot);
		break;
	case EFFECT_NOTE: check_note(s, h, &e->note); break;
	case EFFECT_QUIET:
		check_quiet(s, h, e->quiet.operator_pause);
		session_quiet(s, h, e->quiet.operator_pause);
		break;
	case EFFECT_DRAINED:
		check_drained(s, h);
		h->drained = true;
		if (h->leading)
			session_resign(s, h);
		break;
	case EFFECT_BATCH: say_of_batch(s, h, e); break;
	}
}

static void take_rows(struct sim *s, struct host *h, const struct event *e, const int32_t *message, uint64_t horizon)
{
	for (size_t i = 0; i < e->rows.count; i++) {
		const struct row *r = &e->rows.rows[i];

		if (r->slot < 0)
			continue;
		check_slot(s, h, r, message[i]);
		h->slot[r->slot] = message[i];
		h->horizon[r->slot] = horizon;
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
	/* As the daemon does. */
	if (!h->now.found_is_sought)
		host_forgets_found(h);
}

/* A tick when the core wants one; now and then a little late, as ticks are. */
static void plan_tick(struct sim *s, struct host *h, bool busy)
{
	int64_t deadline = s->core->deadline(h->core), at;

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
	while (s->core->next(h->core, &effect)) {
		busy = true;
		h->now = *s->core->look(h->core);
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
		s->core->audit(h->core);
	h->now = *s->core->look(h->core);
	h->shut |= all_shut(s, h);
	check_step(s, h);
	plan_tick(s, h, busy);
	h->send_deadline_ms = s->core->send_deadline(h->core);
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

static void step(struct sim *s, struct host *h, struct event *e, const int32_t *message, uint64_t horizon)
{
	if (!h->up)
		return;
	demand(s, !h->frozen, "the simulated host does two things at a time");
	demand(s, s->steps++ < MAX_STEPS, "host %u spins", h->index);
	host_tells_event(s, h, e);
	before(s, h, e);
	h->event = e->kind;
	e->now_ms = h->step_ms = now_ms(s);
	e->random = (uint32_t)prng_next(&s->dice);
	s->core->step(h->core, e);
	if (e->kind == EVENT_ROWS)
		take_rows(s, h, e, message, horizon);
	turn(s, h);
}

void host_step(struct sim *s, struct host *h, struct event *e)
{
	step(s, h, e, NULL, 0);
}

void host_rows(struct sim *s, struct host *h, struct event *e, const int32_t *message, uint64_t horizon)
{
	step(s, h, e, message, horizon);
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
		h->ack_timeout_ms = e.settings->ack_timeout_ms;
		host_step(s, h, &e);
	}
}
