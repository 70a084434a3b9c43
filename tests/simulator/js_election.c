/* What a cluster goes through, and a server's life: elections, restarts, and the many ways to say "not now".
 *
 *     proposed:  1 2 3 4 5 6 7 8       the leader dies
 *     stored:    1 2   4 5     8       a new one leads; 3, 6 and 7 never were
 *     told:      1       5             and who waits for the others waits in vain
 */
#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

struct answer {
	uint32_t reason, status;
};

/* No leader, no stream, or not ready yet. */
static const struct answer not_now[] = {
	{ REASON_NO_STREAM, 503 },
	{ 10008, 503 },
	{ 10009, 500 },
	{ 10035, 503 },
	{ 10039, 503 },
	{ 10076, 503 },
	{ 10118, 500 },
	{ REASON_NONE, 0 }, /* silence */
};

/* There, and takes nothing: its limits, its disk, its account. What 10077 means depends on its text. */
static const struct answer no_room[] = {
	{ REASON_STREAM_FULL, 503 },
	{ REASON_STREAM_FULL, 503 },
	{ REASON_STORE_FAILED, 503 },
	{ 10023, 503 },
	{ 10002, 400 },
	{ 10028, 500 },
	{ 10047, 500 },
	{ 10109, 400 },
};

#define ANY_OF(s, table) ((table)[prng_below(&(s)->dice, sizeof(table) / sizeof((table)[0]))])

void js_goes_away(struct sim *s, struct stream *st, int64_t until)
{
	struct answer a = ANY_OF(s, not_now);

	st->down_until = until;
	st->down_reason = a.reason;
	st->down_status = a.status;
}

void js_fills_up(struct sim *s, struct stream *st, int64_t until)
{
	struct answer a = ANY_OF(s, no_room);

	st->full_until = until;
	st->full_reason = a.reason;
	st->full_status = a.status;
}

/* Where batches are sent to a stream, what is lost is the end of the log: what stands before it is not. */
static uint64_t cut_of(struct sim *s, uint16_t stream)
{
	uint64_t first = UINT64_MAX, last = s->js.stream[stream].proposals_made;

	if ((s->plan.batches >> stream & 1) == 0)
		return 0;
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		const struct fact *f = &s->pg.fact[m];

		if (f->stream == stream && f->copy == COPY_PROPOSED && !f->doomed && f->proposal < first)
			first = f->proposal;
	}
	return first > last ? last + 1 : (uint64_t)prng_between(&s->dice, (int64_t)first, (int64_t)last + 1);
}

/* Each of those in the pipeline may get lost, stored without a word, or stored and answered as if nothing were. */
static void shake_pipeline(struct sim *s, uint16_t stream)
{
	uint64_t from = cut_of(s, stream);

	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];

		if (f->stream != stream || f->copy != COPY_PROPOSED)
			continue;
		/* What an election has cut off does not come back with the next one. */
		f->doomed = (s->plan.batches >> stream & 1) != 0 ? f->doomed || f->proposal >= from
								 : prng_below(&s->dice, 2) == 0;
		f->mute = !f->doomed && prng_below(&s->dice, 2) == 0;
	}
}

void js_elects(struct sim *s, struct stream *st, int64_t until)
{
	st->term++;
	shake_pipeline(s, (uint16_t)(st - s->js.stream));
	js_batches_elect(s, (uint16_t)(st - s->js.stream), !s->plan.clustered);
	js_goes_away(s, st, until);
}

/* The window is rebuilt from what is stored: nothing but that is remembered. Where messages are taken out of the
 * stream (consumed, expired), not even all of that. */
static void forget_window(struct sim *s)
{
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];

		if (f->copy == COPY_GHOST)
			f->copy = COPY_NONE;
		if (f->copy == COPY_STORED && s->plan.forgets && prng_below(&s->dice, 2) == 0) {
			f->copy = COPY_NONE;
			f->repeatable = true;
		}
	}
}

/* The window runs on the servers' clock: what it remembers now it may forget sooner than anybody can know. */
void js_sets_clock(struct sim *s, int64_t by)
{
	s->js.clock += by;
	for (int64_t m = 1; m <= s->pg.messages; m++)
		s->pg.fact[m].repeatable |= s->pg.fact[m].copies > 0;
}

void js_restarts(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		host_bus_lost(s, s->host[i], prng_below(&s->dice, 2) == 0);
	for (uint32_t i = 0; i < s->plan.settings.streams; i++)
		js_elects(s, &s->js.stream[i], s->now + prng_spread(&s->dice, 5 * MS, SECOND));
	forget_window(s);
}
