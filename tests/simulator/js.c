/* From a publish to its reply, in the order in which a server does it:
 *
 *     wire -> (lost, late) -> down? silent? busy? -> too large? -> duplicate? -> full? -> [proposed ->] stored -> reply
 *
 * A proposal is what a cluster has promised itself but not stored: it may get lost, and until then (with
 * old servers: long after) every further copy is called a duplicate, with sequence 0. */
#include "js.h"

#include <stdlib.h>

#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

struct conn *js_conn(struct sim *s, uint64_t serial)
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
	struct conn *c = js_conn(s, conn);

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

int64_t js_travel(struct sim *s)
{
	return prng_between(&s->dice, s->plan.bus_us / 10, s->plan.bus_us);
}

/* --- replies --- */

static void on_reply(struct sim *s, const struct happening *h)
{
	struct conn *c = js_conn(s, h->a);
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
		post_reply(s, conn, &r, js_travel(s) + prng_between(&s->dice, 0, 4 * slow));
	if (mishap(s, c->ack_lost))
		return;
	post_reply(s, conn, &r,
		   js_travel(s) + (mishap(s, c->ack_late) ? prng_between(&s->dice, slow / 2, 4 * slow) : 0));
}

static void refuse(struct sim *s, uint64_t conn, uint64_t token, uint32_t reason, uint32_t status)
{
	reply(s, conn, (struct reply){ .token = token, .reason = reason, .status = status });
}

/* --- storing --- */

/* A message and its testimony, in one word. */
static uint64_t with_testimony(struct sim *s, int64_t id, const struct testimony *t)
{
	struct js *js = &s->js;

	if (js->testimonies + 1 >= js->testimonies_size) {
		js->testimonies_size = js->testimonies_size > 0 ? 2 * js->testimonies_size : 1024;
		js->testimony = realloc(js->testimony, js->testimonies_size * sizeof *js->testimony);
		if (js->testimony == NULL)
			abort();
		js->testimony[0] = (struct testimony){ .evident = false };
	}
	js->testimony[++js->testimonies] = *t;
	return (uint64_t)id | (uint64_t)js->testimonies << 32;
}

static int64_t message_of(uint64_t sent)
{
	return (int64_t)(sent & UINT32_MAX);
}

static bool is_owned(const struct sim *s, uint16_t stream)
{
	return settings_owns(&s->plan.settings, stream);
}

static uint64_t expected_of(const struct sim *s, uint64_t sent)
{
	return s->js.testimony[sent >> 32].expected;
}

static void put(struct sim *s, uint64_t sent)
{
	int64_t id = message_of(sent);
	struct fact *f = &s->pg.fact[id];
	struct stream *st = &s->js.stream[f->stream];

	for (uint64_t n = !is_owned(s, f->stream) && mishap(s, s->plan.chance.stranger) ? prng_between(&s->dice, 1, 3)
											: 0;
	     n > 0; n--)
		log_append(s, st, STRANGER, 0);
	check_storing(s, id);
	f->copy = COPY_STORED;
	/* A copy from before it was another stream, which nobody expects. */
	if (f->copies++ > 0)
		st->passed_at = s->now;
	f->window_ends = wall(s) + s->plan.window_us;
	f->sequence = log_append(s, st, (int32_t)id, (uint32_t)(sent >> 32));
	f->stored_losses = st->losses;
	trace(s, "js      stream %u seq %llu stores %s", f->stream, (unsigned long long)f->sequence, told(s, id));
	check_stored(s, id);
}

static void store(struct sim *s, uint64_t conn, uint64_t sent, uint64_t token)
{
	struct fact *f = &s->pg.fact[message_of(sent)];

	put(s, sent);
	if (f->mute) {
		f->mute = false;
		return;
	}
	reply(s, conn, (struct reply){ .token = token, .sequence = f->sequence });
}

/* A cluster looks once more when it stores: what was to stand before it may have been lost. */
static bool out_of_place(struct sim *s, const struct happening *h, struct fact *f)
{
	struct stream *st = &s->js.stream[f->stream];
	uint64_t expected = expected_of(s, h->b);

	if (expected == EXPECTED_ANY)
		return false;
	st->proposals--;
	if (f->doomed || expected == st->sequence)
		return false;
	f->copy = f->standing > 0 ? COPY_STORED : COPY_NONE;
	refuse(s, h->a, h->c, 10071, 400);
	return true;
}

static void lose(struct sim *s, struct fact *f, int64_t id)
{
	f->doomed = false;
	trace(s, "js      the proposal of %s is lost", told(s, id));
	f->copy = prng_below(&s->dice, 2) == 0 ? COPY_GHOST : COPY_NONE;
	f->window_ends = wall(s) + prng_between(&s->dice, 100, 2000) * MS;
}

static bool has_batches(const struct sim *s, uint16_t stream)
{
	return (s->plan.batches >> stream & 1) != 0;
}

static void on_proposal(struct sim *s, const struct happening *h)
{
	struct fact *f = &s->pg.fact[message_of(h->b)];

	if (out_of_place(s, h, f))
		return;

	if (!f->doomed && mishap(s, s->plan.chance.proposal_lost)) {
		f->doomed = true;
		if (has_batches(s, f->stream)) {
			js_loses_behind(s, f->stream, f->proposal);
			s->js.stream[f->stream].term++;
			js_batches_elect(s, f->stream, false);
		}
	}
	if (f->doomed) {
		lose(s, f, message_of(h->b));
		return;
	}
	store(s, h->a, h->b, h->c);
}

void js_loses_behind(struct sim *s, uint16_t stream, uint64_t proposal)
{
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];

		if (f->stream == stream && f->copy == COPY_PROPOSED && f->proposal >= proposal)
			f->doomed = true;
	}
}

/* The same of one in a batch; nobody is told of it alone. */
static void on_batch_proposal(struct sim *s, const struct happening *h)
{
	int64_t id = message_of(h->b);
	struct fact *f = &s->pg.fact[id];
	struct stream *st = &s->js.stream[f->stream];
	uint64_t expected = expected_of(s, h->b);

	if (expected != EXPECTED_ANY)
		st->proposals--;
	if (!f->doomed &&
	    (mishap(s, s->plan.chance.proposal_lost) || (expected != EXPECTED_ANY && expected != st->sequence))) {
		js_loses_behind(s, f->stream, f->proposal);
		st->term++;
		js_batches_elect(s, f->stream, false);
	}
	if (f->doomed) {
		lose(s, f, id);
		js_batch_stored(s, h->a, (uint32_t)h->c, 0);
		return;
	}
	put(s, h->b);
	f->mute = false;
	js_batch_stored(s, h->a, (uint32_t)h->c, f->sequence);
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
bool js_knows(struct sim *s, struct fact *f)
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
bool js_is_silent(const struct sim *s, const struct stream *st)
{
	return s->now < st->silent_until ||
	       (s->now < st->down_until &&
		(st->down_reason == REASON_NONE || (st->down_reason == REASON_NO_STREAM && s->plan.taps)));
}

static void refuse_for_good(struct sim *s, uint64_t conn, int64_t id, uint64_t token)
{
	static const uint32_t answer[][2] = { { 10054, 400 }, { REASON_STORE_TOO_LARGE, 503 }, { 10097, 400 } };

	refuse(s, conn, token, answer[id % 3][0], answer[id % 3][1]);
}

/* What takes about as long as a window lasts, nobody can know of. */
static void is_slow(struct sim *s, int64_t id, int64_t delay)
{
	s->pg.fact[id].repeatable |= delay >= s->plan.window_us / 4 - 4 * s->plan.bus_us;
}

/* The log of a cluster keeps the order. */
static int64_t in_the_log(struct sim *s, uint64_t sent, int64_t delay)
{
	struct fact *f = &s->pg.fact[message_of(sent)];
	struct stream *st = &s->js.stream[f->stream];
	bool chained = expected_of(s, sent) != EXPECTED_ANY;

	f->proposal = ++st->proposals_made;
	f->batch = 0;
	if (chained)
		st->proposed = (st->proposals++ > 0 ? st->proposed : st->sequence) + 1;
	if (!chained && !has_batches(s, f->stream))
		return delay;
	st->stored_at = s->now + delay > st->stored_at ? s->now + delay : st->stored_at;
	return st->stored_at - s->now;
}

static void propose(struct sim *s, uint64_t conn, uint64_t sent, uint64_t token, int64_t late)
{
	int64_t id = message_of(sent);
	int64_t delay = js_travel(s), slow = (int64_t)s->plan.settings.ack_timeout_ms * MS;

	if (mishap(s, s->plan.chance.proposal_slow))
		delay += prng_spread(&s->dice, MS, 5 * slow);
	delay = in_the_log(s, sent, delay);
	is_slow(s, id, late + delay);
	s->pg.fact[id].copy = COPY_PROPOSED;
	later(s, delay, on_proposal, conn, sent, token, 0);
}

void js_stores_of_batch(struct sim *s, const struct hand *x, size_t batch)
{
	uint64_t sent = with_testimony(s, x->message, &x->testimony);
	struct fact *f = &s->pg.fact[x->message];
	int64_t delay, slow = (int64_t)s->plan.settings.ack_timeout_ms * MS;

	if (!s->plan.clustered || f->standing > 0) {
		put(s, sent);
		js_batch_stored(s, batch, x->number, f->sequence);
		return;
	}
	delay = js_travel(s) + (mishap(s, s->plan.chance.proposal_slow) ? prng_spread(&s->dice, MS, 5 * slow) : 0);
	delay = in_the_log(s, sent, delay);
	is_slow(s, x->message, delay);
	f->copy = COPY_PROPOSED;
	f->batch = batch;
	f->number = x->number;
	later(s, delay, on_batch_proposal, batch, sent, x->number, 0);
}

/* Somebody else publishes to a stream that is ours. */
static void foreign_comes(struct sim *s, struct stream *st, uint16_t stream)
{
	if (!is_owned(s, stream) || st->proposals > 0 || !mishap(s, s->plan.chance.foreign))
		return;
	st->foreign++;
	st->passed_at = s->now;
	trace(s, "js      stream %u seq %llu is somebody else's", stream,
	      (unsigned long long)log_append(s, st, STRANGER, 0));
}

/* It is to stand behind a sequence that is not the last one. */
static bool wrong_place(const struct sim *s, const struct stream *st, uint64_t sent)
{
	uint64_t expected = expected_of(s, sent);

	return expected != EXPECTED_ANY && expected != (st->proposals > 0 ? st->proposed : st->sequence);
}

bool js_wrong_place(const struct sim *s, const struct hand *x)
{
	const struct stream *st = &s->js.stream[x->stream];
	uint64_t expected = x->testimony.expected;

	return expected != EXPECTED_ANY && expected != (st->proposals > 0 ? st->proposed : st->sequence);
}

/* `late`: so long it was on its way. */
static void process(struct sim *s, uint64_t conn, uint64_t sent, uint64_t token, int64_t late)
{
	int64_t id = message_of(sent);
	struct fact *f = &s->pg.fact[id];
	struct stream *st = &s->js.stream[f->stream];

	check_arrived(s, id);
	if (js_is_silent(s, st))
		return;
	/* A copy of a chain that lay in the network for longer than its ack timeout: rows that came late since may have its number. */
	if (late >= (int64_t)s->plan.settings.ack_timeout_ms * MS && expected_of(s, sent) != EXPECTED_ANY &&
	    !js_knows(s, f) && !wrong_place(s, st, sent))
		st->passed_at = s->now;
	foreign_comes(s, st, f->stream);
	if (s->now < st->down_until)
		refuse(s, conn, token, st->down_reason, st->down_status);
	else if (s->now < st->busy_until)
		refuse(s, conn, token, 10167, 429);
	else if (f->poison)
		refuse_for_good(s, conn, id, token);
	else if (s->plan.order_first && wrong_place(s, st, sent))
		refuse(s, conn, token, 10071, 400);
	else if (js_knows(s, f))
		answer_duplicate(s, conn, f, token);
	else if (wrong_place(s, st, sent))
		refuse(s, conn, token, 10071, 400);
	else if (s->now < st->full_until)
		refuse(s, conn, token, st->full_reason, st->full_status);
	else if (lane_refused(st, s, f))
		refuse(s, conn, token, st->refused_reason, st->refused_status);
	else if (s->plan.clustered && f->standing == 0)
		propose(s, conn, sent, token, late);
	else
		store(s, conn, sent, token);
}

static void on_processing(struct sim *s, const struct happening *h)
{
	/* It was stuck in a leader that is none any more. */
	uint64_t term = h->d >> 32;

	if (term != s->js.stream[s->pg.fact[message_of(h->b)].stream].term && prng_below(&s->dice, 2) == 0)
		return;
	process(s, h->a, h->b, h->c, (int64_t)(h->d & UINT32_MAX));
}

static void on_arrival(struct sim *s, const struct happening *h)
{
	struct conn *c = js_conn(s, h->a);
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

		is_slow(s, message_of(h->b), delay);
		later(s, delay, on_processing, h->a, h->b, h->c,
		      s->js.stream[s->pg.fact[message_of(h->b)].stream].term << 32 | (uint64_t)delay);
	} else {
		process(s, h->a, h->b, h->c, 0);
	}
}

void js_publish(struct sim *s, uint64_t conn, int64_t id, uint64_t token, const struct testimony *t)
{
	struct conn *c = js_conn(s, conn);
	int64_t at = s->now + js_travel(s);

	if (c == NULL || !c->wire)
		return;
	/* One connection is one stream of bytes: nothing overtakes. */
	c->last_arrival = at > c->last_arrival ? at : c->last_arrival;
	later(s, c->last_arrival - s->now, on_arrival, conn, with_testimony(s, id, t), token, ++c->sent);
}

static void on_batch_arrival(struct sim *s, const struct happening *h)
{
	struct conn *c = js_conn(s, h->a);
	int64_t slow = (int64_t)s->plan.settings.ack_timeout_ms * MS;
	struct hand x = s->js.hand[h->b];

	if (c == NULL || (!c->wire && h->d > c->cut && h->c == 0))
		return;
	if (c->wire && h->c == 0)
		c->arrived = h->d;
	if (h->c == 0 && mishap(s, s->plan.chance.publish_lost))
		return;
	if (h->c == 0 && mishap(s, s->plan.chance.publish_late)) {
		int64_t delay = prng_between(&s->dice, slow / 2, 10 * slow);

		if (x.message != 0)
			is_slow(s, x.message, delay);
		later(s, delay, on_batch_arrival, h->a, h->b, 1, 0);
		return;
	}
	js_batch_arrives(s, h->a, &x);
}

void js_publish_in_batch(struct sim *s, uint64_t conn, const struct hand *x)
{
	struct conn *c = js_conn(s, conn);
	struct js *js = &s->js;
	int64_t at = s->now + js_travel(s);

	if (c == NULL || !c->wire)
		return;
	if (js->hands == js->hands_size) {
		js->hands_size = js->hands_size > 0 ? 2 * js->hands_size : 256;
		js->hand = realloc(js->hand, js->hands_size * sizeof *js->hand);
		if (js->hand == NULL)
			abort();
	}
	js->hand[js->hands] = *x;
	c->last_arrival = at > c->last_arrival ? at : c->last_arrival;
	later(s, c->last_arrival - s->now, on_batch_arrival, conn, js->hands++, 0, ++c->sent);
}

void js_close(struct sim *s)
{
	js_batches_close(s);
	free(s->js.hand);
	for (int i = 0; i < MAX_STREAMS; i++)
		free(s->js.stream[i].log);
	free(s->js.testimony);
}

void js_heal(struct sim *s)
{
	for (int i = 0; i < MAX_STREAMS; i++) {
		struct stream *st = &s->js.stream[i];

		st->down_until = st->full_until = st->silent_until = st->busy_until = st->refused_until = 0;
		st->lookback_until = st->single_until = st->crowded_until = 0;
	}
}
