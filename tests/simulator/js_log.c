/* What a stream holds, sequence by sequence, and the ways in which it loses that:
 *
 *     first            sequence     high
 *       |                 |          |
 *     ..[1 2 3 - 5 6 7 8 9]. . . . . .      purged or expired: the front goes; deleted: one goes (4)
 *                                           truncated: the end goes, and what comes next is given its sequences once more
 *                                           re-created: all goes, and it may begin anywhere
 *
 * What was deleted, purged or truncated is no copy any more (fact.standing). */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "host.h"
#include "world.h"

struct entry *log_at(const struct stream *st, uint64_t sequence)
{
	return sequence > st->base && sequence >= st->first && sequence <= st->sequence
		       ? &st->log[sequence - st->base - 1]
		       : NULL;
}

static uint16_t index_of(const struct sim *s, const struct stream *st)
{
	return (uint16_t)(st - s->js.stream);
}

uint64_t log_append(struct sim *s, struct stream *st, int32_t message, uint32_t said)
{
	uint64_t sequence = ++st->sequence;
	bool again = sequence <= st->high;

	if (sequence - st->base > st->log_size) {
		st->log_size = st->log_size > 0 ? 2 * st->log_size : 256;
		st->log = realloc(st->log, st->log_size * sizeof *st->log);
		if (st->log == NULL)
			abort();
	}
	st->high = again ? st->high : sequence;
	*log_at(st, sequence) =
		(struct entry){ .message = message, .said = said, .losses = st->losses, .again = again };
	if (message > 0 && message < MAX_IDS) {
		struct fact *f = &s->pg.fact[message];

		if (f->standing++ == 0 || sequence < f->lowest)
			f->lowest = sequence;
	}
	return sequence;
}

/* `forgotten`: the window does not know it any more, either. */
static void take_out(struct sim *s, struct stream *st, uint64_t sequence, bool forgotten)
{
	struct entry *e = log_at(st, sequence);
	int64_t message = e->message;
	struct fact *f;

	e->message = NOTHING;
	if (message <= 0)
		return;
	f = &s->pg.fact[message];
	f->standing--;
	while (f->standing > 0 && ((e = log_at(st, f->lowest)) == NULL || e->message != message))
		f->lowest++;
	if (f->standing > 0)
		return;
	if (forgotten && f->copy == COPY_STORED)
		f->copy = COPY_NONE;
	check_gone(s, message);
}

/* It has lost its end. What was under way there may be lost; and the window is built from what stands, so it does not know what had
 * been deleted. */
static void shake(struct sim *s, struct stream *st)
{
	st->losses++;
	st->passed_at = s->now;
	st->term++;
	if ((s->plan.batches >> index_of(s, st) & 1) != 0)
		js_loses_behind(s, index_of(s, st), 1 + prng_below(&s->dice, st->proposals_made + 1));
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];

		if (f->stream != index_of(s, st))
			continue;
		if (f->copy == COPY_PROPOSED && (s->plan.batches >> index_of(s, st) & 1) == 0)
			f->doomed |= prng_below(&s->dice, 2) == 0;
		if (f->copy == COPY_STORED && f->standing == 0)
			f->copy = COPY_NONE;
	}
	js_batches_elect(s, index_of(s, st), true);
}

void js_truncates(struct sim *s, struct stream *st)
{
	uint64_t count = st->sequence - st->base, n;

	if (count == 0)
		return;
	n = (uint64_t)prng_spread(&s->dice, 1, (int64_t)count);
	for (uint64_t i = 0; i < n; i++) {
		if (log_at(st, st->sequence) != NULL)
			take_out(s, st, st->sequence, true);
		st->sequence--;
	}
	if (st->first > st->sequence + 1)
		st->first = st->sequence + 1;
	shake(s, st);
	trace(s, "js      stream %u loses its end: %llu messages, it ends at %llu", index_of(s, st),
	      (unsigned long long)n, (unsigned long long)st->sequence);
	/* A server lost its power: its clients hear of that, or are connected to another one. */
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (prng_below(&s->dice, 2) == 0)
			host_bus_lost(s, s->host[i], prng_below(&s->dice, 2) == 0);
}

void js_recreates(struct sim *s, struct stream *st)
{
	for (uint64_t q = st->first; q <= st->sequence; q++)
		if (log_at(st, q) != NULL)
			take_out(s, st, q, true);
	/* first_seq of its configuration: left out, or anything. */
	st->base = st->sequence =
		prng_below(&s->dice, 2) == 0 ? 0 : (uint64_t)prng_between(&s->dice, 0, 2 * (int64_t)st->high + 10);
	st->first = st->base + 1;
	st->high = st->sequence > st->high ? st->sequence : st->high;
	st->created++;
	shake(s, st);
	trace(s, "js      stream %u is another one, which begins above %llu", index_of(s, st),
	      (unsigned long long)st->base);
	if (prng_below(&s->dice, 2) == 0)
		js_goes_away(s, st, s->now + prng_spread(&s->dice, MS, SECOND));
}

static bool is_empty(const struct stream *st)
{
	return st->first > st->sequence;
}

void js_purges(struct sim *s, struct stream *st)
{
	bool purged = prng_below(&s->dice, 2) == 0; /* by somebody; else what is old has expired */
	uint64_t upto;

	if (is_empty(st))
		return;
	upto = purged && prng_below(&s->dice, 3) == 0
		       ? st->sequence
		       : st->first + (uint64_t)prng_spread(&s->dice, 0, (int64_t)(st->sequence - st->first));
	trace(s, "js      stream %u %s up to %llu", index_of(s, st), purged ? "is purged" : "expires",
	      (unsigned long long)upto);
	for (uint64_t q = st->first; q <= upto; q++)
		if (log_at(st, q) != NULL)
			take_out(s, st, q, purged);
	st->first = upto + 1;
}

void js_is_consumed(struct sim *s, struct stream *st)
{
	uint64_t upto;

	if (is_empty(st))
		return;
	/* All, as often as not, but for the last few. */
	upto = st->sequence - (uint64_t)prng_spread(&s->dice, 0, (int64_t)(st->sequence - st->first));
	trace(s, "js      stream %u is consumed up to %llu", index_of(s, st), (unsigned long long)upto);
	for (uint64_t q = st->first; q <= upto; q++)
		if (log_at(st, q) != NULL)
			take_out(s, st, q, false);
	st->first = upto + 1;
}

void js_replaces(struct sim *s, struct stream *st)
{
	uint32_t keys = 0;

	trace(s, "js      stream %u keeps the last message of each key", index_of(s, st));
	for (uint64_t q = st->sequence; q >= st->first && q > st->base; q--) {
		int32_t message = log_at(st, q)->message;
		int32_t key = message > 0 ? s->pg.fact[message].key : NO_KEY;

		if (key == NO_KEY)
			continue;
		if ((keys & UINT32_C(1) << key) != 0)
			take_out(s, st, q, false);
		keys |= UINT32_C(1) << key;
	}
}

void js_deletes(struct sim *s, struct stream *st)
{
	for (uint64_t n = prng_between(&s->dice, 1, 5); n > 0 && !is_empty(st); n--)
		take_out(s, st, (uint64_t)prng_between(&s->dice, (int64_t)st->first, (int64_t)st->sequence), false);
	trace(s, "js      messages of stream %u are deleted", index_of(s, st));
}
