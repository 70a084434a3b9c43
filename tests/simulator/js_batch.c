/* Fast ingest, as nats-server 2.14 and 2.15 play it, with all that was seen of them:
 *
 *     1 2 3 . 5 6        a number is missing: 1 to 3 are stored, nothing else is, and the batch ends
 *     1 2 3 x 5 6        4 is refused: the same
 *
 * A copy of a message that is only proposed counts as stored (so do not send one). The end is known to the leader alone, but that of a
 * batch whose last message came: the next leader may take a number that comes late for the next one. What it says of how much is stored
 * may be less than is. What comes after the end is answered one by one (10208). A batch that idles is forgotten without a word. */
#include <stdlib.h>

#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

static struct js_batch *batch_at(struct sim *s, size_t index)
{
	return &s->js.batch[index];
}

static size_t find(const struct sim *s, uint16_t stream, uint64_t id)
{
	for (size_t i = s->js.batches; i-- > 1;)
		if (s->js.batch[i].id == id && s->js.batch[i].stream == stream)
			return i;
	return 0;
}

static size_t make(struct sim *s, uint16_t stream, uint64_t id)
{
	struct js *js = &s->js;

	if (js->batches + 1 >= js->batches_size) {
		js->batches_size = js->batches_size > 0 ? 2 * js->batches_size : 256;
		js->batch = realloc(js->batch, js->batches_size * sizeof *js->batch);
		if (js->batch == NULL)
			abort();
	}
	js->batches += js->batches == 0;
	js->batch[js->batches] = (struct js_batch){ .id = id, .stream = stream };
	return js->batches++;
}

bool js_takes_batches(const struct sim *s, uint16_t stream)
{
	return (s->plan.batches >> stream & 1) != 0 && s->now >= s->js.stream[stream].single_until;
}

/* --- answers --- */

static void on_answer(struct sim *s, const struct happening *h)
{
	const struct js_answer *a = &s->js.answer[h->b];
	struct conn *c = js_conn(s, h->a);

	if (c != NULL && c->wire)
		host_batch_answer(s, c->host, h->a, h->b, a);
}

static void answer(struct sim *s, uint64_t conn, const struct js_batch *b, struct js_answer a)
{
	const struct chances *c = &s->plan.chance;
	int64_t slow = (int64_t)s->plan.settings.ack_timeout_ms * MS;
	struct js *js = &s->js;

	a.stream = b->stream;
	a.batch = b->id;
	if (js->answers == js->answers_size) {
		js->answers_size = js->answers_size > 0 ? 2 * js->answers_size : 256;
		js->answer = realloc(js->answer, js->answers_size * sizeof *js->answer);
		if (js->answer == NULL)
			abort();
	}
	js->answer[js->answers] = a;
	trace(s, "js      batch %llx of stream %u: answer %u at %u, reason %u", (unsigned long long)a.batch, a.stream,
	      a.what, a.number, a.reason);
	if (mishap(s, c->ack_twice))
		later(s, js_travel(s) + prng_between(&s->dice, 0, 4 * slow), on_answer, conn, js->answers, 0, 0);
	if (!mishap(s, c->ack_lost))
		later(s, js_travel(s) + (mishap(s, c->ack_late) ? prng_between(&s->dice, slow / 2, 4 * slow) : 0),
		      on_answer, conn, js->answers, 0, 0);
	js->answers++;
}

static void say(struct sim *s, uint64_t conn, const struct js_batch *b, enum batch_answer what, uint32_t number)
{
	answer(s, conn, b, (struct js_answer){ .what = what, .number = number });
}

static void refuse(struct sim *s, uint64_t conn, const struct js_batch *b, enum batch_answer what, uint32_t number,
		   uint32_t reason, uint32_t status)
{
	if (reason == REASON_NO_STREAM)
		what = BATCH_NO_RESPONDERS;
	answer(s, conn, b, (struct js_answer){ .what = what, .number = number, .reason = reason, .status = status });
}

/* --- how far it is --- */

/* A leader that came to lead while it was open may know of less. */
static uint32_t count_said(struct sim *s, const struct js_batch *b)
{
	return b->shaken && prng_below(&s->dice, 2) == 0
		       ? (uint32_t)prng_between(&s->dice, b->acked < b->stored ? b->acked : b->stored, b->stored)
		       : b->stored;
}

static void tell(struct sim *s, struct js_batch *b)
{
	if (b->pending == 0)
		b->stored = b->accepted;
	if (b->ends && b->pending == 0 && !b->told) {
		b->told = true;
		answer(s, b->conn, b,
		       (struct js_answer){ .what = BATCH_END, .number = count_said(s, b), .sequence = b->sequence });
		return;
	}
	if (b->told || b->stored < b->acked + b->every)
		return;
	b->acked = b->stored;
	b->every = b->every * 2 < b->flow ? b->every * 2 : b->flow;
	say(s, b->conn, b, BATCH_ACK, b->acked);
}

/* Its end is this leader's alone. */
static void end_here(struct sim *s, struct js_batch *b)
{
	b->open = false;
	b->revives = true;
	b->ends = true;
	tell(s, b);
}

static void gap(struct sim *s, struct js_batch *b)
{
	say(s, b->conn, b, BATCH_GAP, b->accepted + 1);
	end_here(s, b);
}

void js_batch_stored(struct sim *s, size_t index, uint32_t number, uint64_t sequence)
{
	struct js_batch *b = batch_at(s, index);

	if (sequence != 0) {
		b->sequence = sequence;
		b->stored = number > b->stored ? number : b->stored;
	}
	if (b->pending > 0)
		b->pending--;
	tell(s, b);
}

/* --- what comes --- */

static bool is_open(struct sim *s, struct js_batch *b)
{
	if (b->open && s->now - b->touched > s->plan.batch_idle_us)
		b->open = false;
	return b->open;
}

/* Those that are answered before the batch is looked at; all of these are lost. */
static bool turned_away(struct sim *s, const struct hand *x, const struct js_batch *b, struct stream *st, uint64_t conn)
{
	uint32_t reason = 0, status = 400;

	if (s->now < st->down_until) {
		reason = st->down_reason;
		status = st->down_status;
	} else if (s->now < st->busy_until && x->message != 0) {
		reason = 10167;
		status = 429;
	} else if (!js_takes_batches(s, x->stream)) {
		reason = 10205;
	} else if (x->message != 0 && s->pg.fact[x->message].poison && x->message % 3 != 1) {
		reason = x->message % 3 == 0 ? 10054 : 10097;
	}
	if (reason != 0)
		refuse(s, conn, b, BATCH_REFUSED, x->number, reason, status);
	return reason != 0;
}

/* The batch that x belongs to, or NULL. */
static struct js_batch *open_batch(struct sim *s, const struct hand *x, uint64_t conn, size_t *index)
{
	struct js_batch none = { .id = x->batch, .stream = x->stream };
	struct stream *st = &s->js.stream[x->stream];
	struct js_batch *b;
	bool begins = x->message != 0 && x->number == 1 && (x->op == BATCH_BEGINS || x->op == BATCH_ENDS);

	*index = find(s, x->stream, x->batch);
	if (*index == 0 && begins && s->now < st->crowded_until) {
		refuse(s, conn, &none, BATCH_REFUSED, x->number, 10211, 400);
		return NULL;
	}
	if (*index == 0 && begins) {
		*index = make(s, x->stream, x->batch);
		b = batch_at(s, *index);
		b->open = true;
		b->flow = x->flow;
		b->every = prng_below(&s->dice, 2) == 0 ? 1 : x->flow;
		b->touched = s->now;
		b->conn = conn;
		say(s, conn, b, BATCH_ACK, 0);
		return b;
	}
	b = *index != 0 ? batch_at(s, *index) : NULL;
	if (b == NULL || !is_open(s, b)) {
		refuse(s, conn, &none, BATCH_REFUSED, x->number, 10208, 400);
		return NULL;
	}
	b->conn = conn;
	b->touched = s->now;
	return b;
}

static void control(struct sim *s, const struct hand *x, struct js_batch *b)
{
	if (x->op == BATCH_END_ONLY) {
		if (x->number == b->accepted + 1)
			end_here(s, b);
		else
			gap(s, b);
	} else if (x->number > b->accepted) {
		gap(s, b);
	} else {
		say(s, b->conn, b, BATCH_ACK, b->acked);
	}
}

/* An error of this message: it is the last of its batch. */
static void fail(struct sim *s, const struct hand *x, struct js_batch *b, uint32_t reason, uint32_t status)
{
	bool by_name = (reason < 10000 && reason != REASON_NOT_PERMITTED) || reason == 10071 || reason >= 10900;

	if (!by_name) {
		refuse(s, b->conn, b, BATCH_REFUSED, x->number, reason, status);
		return;
	}
	refuse(s, b->conn, b, BATCH_ERROR, x->number, reason, status);
	end_here(s, b);
}

static void accept(struct sim *s, const struct hand *x, size_t index)
{
	struct js_batch *b = batch_at(s, index);
	struct fact *f = &s->pg.fact[x->message];
	bool new = !js_knows(s, f);

	b->accepted = x->number;
	if (x->op == BATCH_ENDS) {
		b->open = false;
		b->ends = true;
	}
	if (!new) {
		tell(s, b);
		return;
	}
	b->pending++;
	js_stores_of_batch(s, x, index);
}

void js_batch_arrives(struct sim *s, uint64_t conn, const struct hand *x)
{
	struct stream *st = &s->js.stream[x->stream];
	struct fact *f = &s->pg.fact[x->message];
	struct js_batch none = { .id = x->batch, .stream = x->stream }, *b;
	size_t index;

	if (x->message != 0)
		check_arrived(s, x->message);
	if (js_is_silent(s, st) || turned_away(s, x, &none, st, conn))
		return;
	b = open_batch(s, x, conn, &index);
	if (b == NULL)
		return;
	if (x->message == 0)
		control(s, x, b);
	else if (x->number != b->accepted + 1)
		gap(s, b);
	else if (f->poison)
		fail(s, x, b, REASON_STORE_TOO_LARGE, 503);
	else if (!js_knows(s, f) && js_wrong_place(s, x))
		fail(s, x, b, 10071, 400);
	else if (!js_knows(s, f) && s->now < st->full_until)
		fail(s, x, b, st->full_reason, st->full_status);
	else if (!js_knows(s, f) && s->now < st->refused_until && f->key == st->refused_key)
		fail(s, x, b, st->refused_reason, st->refused_status);
	else
		accept(s, x, index);
}

/* --- elections --- */

/* Of its batches what is doomed will not be stored, nor anything behind it; some that had ended begin to live again, some are forgotten. */
void js_batches_elect(struct sim *s, uint16_t stream, bool forgotten)
{
	for (size_t i = 1; i < s->js.batches; i++) {
		struct js_batch *b = &s->js.batch[i];

		if (b->stream != stream)
			continue;
		for (int64_t m = 1; m <= s->pg.messages; m++) {
			const struct fact *f = &s->pg.fact[m];

			if (f->copy == COPY_PROPOSED && f->doomed && f->batch == i && f->number <= b->accepted) {
				b->accepted = f->number - 1;
				b->revives |= b->ends && !b->open;
			}
		}
		b->shaken = true;
		if (forgotten || prng_below(&s->dice, 4) == 0)
			b->open = b->revives = false;
		else if (b->revives && prng_below(&s->dice, 2) == 0)
			b->open = true, b->ends = b->told = b->revives = false;
		if (b->open && b->pending == 0)
			say(s, b->conn, b, BATCH_ACK, b->acked = b->stored = b->accepted);
	}
}

void js_batches_close(struct sim *s)
{
	free(s->js.batch);
	free(s->js.answer);
}
