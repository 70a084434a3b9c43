/* Where a stream ends, as far as is known: what was read of it, and what it has acknowledged.
 *
 *     read, or ours without a gap: up to read_up_to      acked: single ones above, ours      the highest acknowledged
 *
 * All of it is void when the stream is another one, or has lost its end: a sequence that was given comes again then. */
#include "core/send/lookback_end.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/send/doubt.h"
#include "core/send/lookback_step.h"
#include "core/send/send.h"

uint64_t lookback_last_known(const struct sender *s, uint16_t stream)
{
	uint64_t acked = s->acked[stream].highest, seen = s->lookback[stream].read_up_to;

	return acked > seen ? acked : seen;
}

bool lookback_is_known(const struct sender *s, uint16_t stream)
{
	const struct lookback *l = &s->lookback[stream];

	return s->bus_up && l->knowledge == LOOKBACK_KNOWN && l->question == QUESTION_NONE;
}

uint64_t lookback_inherited(const struct sender *s, uint16_t stream)
{
	return s->lookback[stream].inherited;
}

void lookback_advance_to(struct lookback *l, uint64_t sequence)
{
	l->read_up_to = sequences_skip(&l->acked, sequence + 1) - 1;
	sequences_forget(&l->acked, l->read_up_to);
	assert(l->read_up_to >= sequence && (l->acked.count == 0 || l->acked.range[0].lo > l->read_up_to + 1));
}

/* What was sent and is in doubt may stand anywhere: low waters are void until they are taken anew. What was found of earlier
 * leaders is void, so it is looked for again. */
void lookback_truncated(struct sender *s, uint16_t stream, uint64_t last)
{
	struct lookback *l = &s->lookback[stream];
	uint64_t *highest = &s->acked[stream].highest;

	l->read_up_to = l->acked.count = 0;
	if (l->phase == PHASE_OURS && s->predecessor.remains)
		l->phase = PHASE_READ;
	*highest = *highest < last ? *highest : last;
	if (l->inherited != LOW_WATER_NONE)
		l->inherited = LOW_WATER_UNKNOWN;
	for (struct message *m = s->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream) {
			doubt_anywhere(m);
			m->lost_attempt = m->attempt;
		}
	assert(lookback_last_known(s, stream) <= last);
	outcomes_add(&s->outcomes, OUTCOME_TRUNCATED)->stream = stream;
	batch_truncated(s, stream);
	if (settings_owns(s->set, stream))
		chain_truncated(s, stream);
}

/* A sequence is given once, and above everything that was there when m was sent first. Else the stream has lost its end, and
 * what stands there now is not what we knew. (The next question may not show that: by then it may have grown beyond.) */
static bool tells_of_truncation(const struct lookback *l, const struct message *m, uint64_t sequence)
{
	bool again = l->acked.count > 0 && sequence > l->read_up_to && sequences_skip(&l->acked, sequence) != sequence;
	bool below = m->copies.low_water != LOW_WATER_NONE && sequence <= m->copies.low_water;

	return again || below;
}

/* What was sent before it was seen that the stream is another one, or has lost its end, may have been stored before that, and its ack
 * comes late: its sequence does not stand there any more. Taken for the end, the books would say that whatever comes is stored
 * above it. */
static bool tells_the_end(const struct message *m, uint16_t attempt)
{
	return attempt > m->lost_attempt || MUTANT(acked_by_lost);
}

/* m is settled with this, so nobody need look for it there. Acks come in any order, and between two of ours may stand what
 * others store. */
void lookback_acked(struct sender *s, const struct message *m, uint16_t attempt, uint64_t sequence, bool duplicate)
{
	struct lookback *l = &s->lookback[m->stream];
	uint64_t *highest = &s->acked[m->stream].highest;
	bool counts = tells_the_end(m, attempt);

	if (counts && sequence > *highest)
		*highest = sequence;
	if (!duplicate && tells_of_truncation(l, m, sequence)) {
		lookback_truncated(s, m->stream, sequence);
		lookback_step(l, LOOKBACK_TRUNCATED);
		l->truncated = true;
	}
	if (counts && l->phase >= PHASE_READ && sequence > l->read_up_to) {
		if ((sequence == l->read_up_to + 1 && l->acked.count == 0) || MUTANT(own_over_gaps))
			l->read_up_to = sequence;
		else if (sequences_add(&l->acked, sequence))
			lookback_advance_to(l, l->read_up_to);
	}
	/* It took a message though it could not be read: a good time to ask again. */
	if (l->knowledge != LOOKBACK_KNOWN && l->failures >= LIMIT_LOOKBACKS_REFUSED &&
	    !settings_owns(s->set, m->stream))
		lookback_step(l, LOOKBACK_TAKEN);
}

/* Others may have stored between ours, so what is known is the end, and no range. */
void lookback_batch_stored(struct sender *s, uint16_t stream, uint64_t floor, uint64_t sequence)
{
	if (sequence <= floor) {
		lookback_truncated(s, stream, sequence);
		lookback_step(&s->lookback[stream], LOOKBACK_TRUNCATED);
		s->lookback[stream].truncated = true;
	} else if (sequence > s->acked[stream].highest) {
		s->acked[stream].highest = sequence;
	}
}

uint64_t lookback_known_end(const struct sender *s, uint16_t stream)
{
	const struct lookback *l = &s->lookback[stream];
	uint64_t top = lookback_last_known(s, stream);

	if (l->acked.count > 0 && top < l->acked.range[l->acked.count - 1].hi)
		top = l->acked.range[l->acked.count - 1].hi;
	return l->inherited != LOW_WATER_NONE && top < l->inherited ? l->inherited : top;
}
