/* From a publish to its reply, in the order in which a server does it:
 *
 *     wire -> (lost, late) -> down? silent? busy? -> too large? -> duplicate? -> full? -> [proposed ->] stored -> reply
 *
 * A proposal is what a cluster has promised itself but not stored: it may get lost, and until then (with
 * old servers: long after) every further copy is called a duplicate, with sequence 0. */
#include "js.h"

#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

static struct conn *find(struct sim *s, uint64_t serial)
{
	struct conn *c = &s->js.conn[serial % MAX_CONNS];

	return serial != 0 && c->serial == serial ? c : NULL;
}

uint64_t js_connect(struct sim *s, uint32_t host)
{
	struct conn *c = &s->js.conn[++s->js.serials % MAX_CONNS];

	*c = (struct conn){ .serial = s->js.serials, .host = host, .wire = true };
	return c->serial;
}

void js_cut(struct sim *s, uint64_t conn)
{
	struct conn *c = find(s, conn);

	if (c == NULL || !c->wire)
		return;
	c->wire = false;
	c->cut = c->arrived + prng_below(&s->dice, c->sent - c->arrived + 1);
}

/* What the servers' clock says. */
static int64_t wall(const struct sim *s)
{
	return s->now + s->js.clock;
}

static int64_t travel(struct sim *s)
{
	return prng_between(&s->dice, s->plan.bus_us / 10, s->plan.bus_us);
}

/* --- replies --- */

static void on_reply(struct sim *s, const struct happening *h)
{
	struct conn *c = find(s, h->a);
	struct reply r = {
		.token = h->b,
		.sequence = h->c,
		.duplicate = h->d >> 63,
		.reason = (uint32_t)h->d & 0xffffff,
		.status = (uint32_t)(h->d >> 32) & 0xffff,
	};

	if (c != NULL && c->wire)
		host_reply(s, c->host, h->a, &r);
}

static void post_reply(struct sim *s, uint64_t conn, const struct reply *r, int64_t delay)
{
	later(s, delay, on_reply, conn, r->token, r->sequence,
	      (uint64_t)r->duplicate << 63 | (uint64_t)r->status << 32 | r->reason);
}

static void reply(struct sim *s, uint64_t conn, struct reply r)
{
	const struct chances *c = &s->plan.chance;
	int64_t slow = (int64_t)s->plan.settings.ack_timeout_ms * MS;

	if (mishap(s, c->garbage))
		r = (struct reply){ .token = r.token, .reason = REASON_GARBAGE };
	if (mishap(s, c->ack_twice))
		post_reply(s, conn, &r, travel(s) + prng_between(&s->dice, 0, 4 * slow));
	if (mishap(s, c->ack_lost))
		return;
	post_reply(s, conn, &r, travel(s) + (mishap(s, c->ack_late) ? prng_between(&s->dice, slow / 2, 4 * slow) : 0));
}

static void refuse(struct sim *s, uint64_t conn, uint64_t token, uint32_t reason, uint32_t status)
{
	reply(s, conn, (struct reply){ .token = token, .reason = reason, .status = status });
}

/* --- storing --- */

static void store(struct sim *s, uint64_t conn, int64_t id, uint64_t token)
{
	struct fact *f = &s->pg.fact[id];
	uint64_t sequence = ++s->js.stream[f->stream].sequence;

	check_storing(s, id);
	f->copy = COPY_STORED;
	f->copies++;
	f->window_ends = wall(s) + s->plan.window_us;
	if (f->copies == 1)
		f->sequence = sequence;
	trace(s, "js      stream %u seq %llu stores %s", f->stream, (unsigned long long)sequence, told(s, id));
	check_stored(s, id);
	if (f->mute) {
		f->mute = false;
		return;
	}
	reply(s, conn, (struct reply){ .token = token, .sequence = sequence });
}

static void on_proposal(struct sim *s, const struct happening *h)
{
	struct fact *f = &s->pg.fact[h->b];

	if (f->doomed || mishap(s, s->plan.chance.proposal_lost)) {
		f->doomed = false;
		trace(s, "js      the proposal of %s is lost", told(s, (int64_t)h->b));
		f->copy = prng_below(&s->dice, 2) == 0 ? COPY_GHOST : COPY_NONE;
		f->window_ends = wall(s) + prng_between(&s->dice, 100, 2000) * MS;
		return;
	}
	store(s, h->a, (int64_t)h->b, h->c);
}

/* A flawed relay would give the stream the id in place of the message's own: another message with this id is it. */
static bool mistaken(const struct sim *s, const struct fact *f)
{
	for (int64_t m = 1; m <= s->pg.messages && s->flaw == FLAW_id_is_message_id; m++) {
		const struct fact *other = &s->pg.fact[m];

		if (other->id == f->id && other->stream == f->stream && other->copies > 0 &&
		    wall(s) < other->window_ends)
			return true;
	}
	return false;
}

/* The window has an entry for it. */
static bool known(struct sim *s, struct fact *f)
{
	if (f->copies == 0 && mistaken(s, f)) {
		f->copy = COPY_STORED;
		f->sequence = s->js.stream[f->stream].sequence;
		f->window_ends = INT64_MAX;
	}
	if (f->copy == COPY_PROPOSED)
		return true;
	if (f->copy == COPY_GHOST && (healed(s) || wall(s) >= f->window_ends))
		f->copy = COPY_NONE;
	return f->copy != COPY_NONE && wall(s) < f->window_ends;
}

static void answer_duplicate(struct sim *s, uint64_t conn, struct fact *f, uint64_t token)
{
	if (f->copy == COPY_STORED)
		reply(s, conn, (struct reply){ .token = token, .sequence = f->sequence, .duplicate = true });
	else if (s->plan.in_process)
		refuse(s, conn, token, 10158, 409);
	else
		refuse(s, conn, token, REASON_DUPLICATE_SEQ_0, 0);
}

static bool lane_refused(struct stream *st, const struct sim *s, const struct fact *f)
{
	return s->now < st->refused_until && f->key == st->refused_key;
}

/* A missing stream is nobody's, unless somebody subscribes to everything. */
static bool down_is_silent(const struct sim *s, const struct stream *st)
{
	return st->down_reason == REASON_NONE || (st->down_reason == REASON_NO_STREAM && s->plan.taps);
}

static void refuse_for_good(struct sim *s, uint64_t conn, int64_t id, uint64_t token)
{
	static const uint32_t answer[][2] = { { 10054, 400 }, { REASON_STORE_TOO_LARGE, 503 }, { 10097, 400 } };

	refuse(s, conn, token, answer[id % 3][0], answer[id % 3][1]);
}

static void process(struct sim *s, uint64_t conn, int64_t id, uint64_t token)
{
	struct fact *f = &s->pg.fact[id];
	struct stream *st = &s->js.stream[f->stream];

	check_arrived(s, id);
	if (s->now < st->silent_until || (s->now < st->down_until && down_is_silent(s, st)))
		return;
	if (s->now < st->down_until)
		refuse(s, conn, token, st->down_reason, st->down_status);
	else if (s->now < st->busy_until)
		refuse(s, conn, token, 10167, 429);
	else if (f->poison)
		refuse_for_good(s, conn, id, token);
	else if (known(s, f))
		answer_duplicate(s, conn, f, token);
	else if (s->now < st->full_until)
		refuse(s, conn, token, st->full_reason, st->full_status);
	else if (lane_refused(st, s, f))
		refuse(s, conn, token, st->refused_reason, st->refused_status);
	else if (s->plan.clustered && f->copies == 0) {
		f->copy = COPY_PROPOSED;
		later(s, travel(s), on_proposal, conn, (uint64_t)id, token, 0);
	} else
		store(s, conn, id, token);
}

static void on_processing(struct sim *s, const struct happening *h)
{
	/* It was stuck in a leader that is none any more. */
	if (h->d != s->js.stream[s->pg.fact[h->b].stream].term && prng_below(&s->dice, 2) == 0)
		return;
	process(s, h->a, (int64_t)h->b, h->c);
}

static void on_arrival(struct sim *s, const struct happening *h)
{
	struct conn *c = find(s, h->a);
	int64_t slow = (int64_t)s->plan.settings.ack_timeout_ms * MS;

	if (c == NULL || (!c->wire && h->d > c->cut))
		return;
	if (c->wire)
		c->arrived = h->d;
	if (mishap(s, s->plan.chance.publish_lost))
		return;
	/* Stuck somewhere inside the cluster: it arrives when nobody waits for it any more. */
	if (mishap(s, s->plan.chance.publish_late)) {
		int64_t delay = prng_between(&s->dice, slow / 2, 10 * slow);

		s->pg.fact[h->b].repeatable |= delay >= s->plan.window_us / 4 - 4 * s->plan.bus_us;
		later(s, delay, on_processing, h->a, h->b, h->c, s->js.stream[s->pg.fact[h->b].stream].term);
	} else {
		process(s, h->a, (int64_t)h->b, h->c);
	}
}

void js_publish(struct sim *s, uint64_t conn, int64_t id, uint64_t token)
{
	struct conn *c = find(s, conn);
	int64_t at = s->now + travel(s);

	if (c == NULL || !c->wire)
		return;
	/* One connection is one stream of bytes: nothing overtakes. */
	c->last_arrival = at > c->last_arrival ? at : c->last_arrival;
	later(s, c->last_arrival - s->now, on_arrival, conn, (uint64_t)id, token, ++c->sent);
}

/* --- what a stream holds --- */

/* Serial and stream in one word, the end of the stream or why there is no answer in another. */
static void on_tail_answer(struct sim *s, const struct happening *h)
{
	struct conn *c = find(s, h->a);
	struct tail_answer a = { .stream = (uint16_t)(h->b & 0xff),
				 .above = h->c,
				 .ok = h->d >> 63 == 0,
				 .last = h->d,
				 .reason = (uint32_t)h->d };

	if (c != NULL && c->wire)
		host_tail(s, c->host, h->a, h->b >> 8, &a);
}

static void on_tail_asked(struct sim *s, const struct happening *h)
{
	struct conn *c = find(s, h->a);
	const struct stream *st = &s->js.stream[h->b & 0xff];

	if (c == NULL || !c->wire || s->now < st->silent_until || (s->now < st->down_until && down_is_silent(s, st)) ||
	    mishap(s, s->plan.chance.ack_lost))
		return;
	later(s, travel(s), on_tail_answer, h->a, h->b, h->c,
	      s->now < st->down_until ? UINT64_C(1) << 63 | st->down_reason : st->sequence);
}

void js_tail(struct sim *s, uint64_t conn, uint16_t stream, uint64_t above, uint64_t serial)
{
	struct conn *c = find(s, conn);
	int64_t at = s->now + travel(s);

	if (c == NULL || !c->wire)
		return;
	c->last_arrival = at > c->last_arrival ? at : c->last_arrival;
	later(s, c->last_arrival - s->now, on_tail_asked, conn, serial << 8 | stream, above, 0);
}

void js_heal(struct sim *s)
{
	for (int i = 0; i < MAX_STREAMS; i++) {
		struct stream *st = &s->js.stream[i];

		st->down_until = st->full_until = st->silent_until = st->busy_until = st->refused_until = 0;
	}
}
