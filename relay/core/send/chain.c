/* The chain of an owned stream: a whole window in flight, in one order (G3).
 *
 *     sent:     a  after 7      stored:  a = 8
 *               b  after 8               b = 9
 *               c  after 9               -            c is refused or lost: d, e are refused, too
 *               d  after 10              -
 *               e  after 11              -
 *
 *     FLOWS --refusal, silence, lost connection, another sequence than it should be--> BROKEN
 *     BROKEN --what is in flight is answered, or called back; the stream was looked at--> FLOWS
 *
 * Why what is stored is a prefix of what was sent. A message is stored only right after the sequence that it names, and that is the one
 * which the message before it was to have. So it is stored only if that one was, or if somebody else's took its place.
 *
 * Why nothing is believed but the look. "Wrong last sequence" (10071) may be said of a message that is stored, for some servers look at the
 * sequence before they look for a duplicate; and a duplicate was stored, but not here, and takes no sequence. The look says what
 * is there, and where the stream ends. What was found is settled when its turn comes, and gives its number back (chain_acked).
 *
 * Why copies that are still on their way do no harm, as long as we lead. What is sent again keeps its order, and has the number that it had, or a
 * lower one: what left its place in between (a duplicate, a dead letter) takes none. So when the stream ends where an old copy of c may be stored,
 * either c is the next one anyway, or c is stored. (What the outbox reads again may come in another order than before. By then what
 * was on its way has met its ack timeout.)
 *
 * Why the first one goes alone. When nothing is in flight, somebody else may have published, or the stream may be another one; then the first is
 * refused, and the second would fit right behind what is not ours. So the window opens when the first has come to stand where it should.
 *
 * Why a zombie does no harm. Once a message of ours is stored, its chain is broken: what it sent names sequences that are taken. But with a
 * window in flight there are numbers in it which the stream has not reached yet, and a message that is not ours could slip in there if it came
 * just then. So the first look waits until the lease of the earlier leader is over and what it sent has arrived (predecessor.c). The same
 * holds of a foreign message that comes while a window is in flight: it takes the place of one of ours, and the next one may stand right
 * behind it. It is seen by that one, which was refused, and said; but those two stand in another order. So it may be with a stream that is made
 * anew while a window, or the answer that opens one, is on its way, and whose sequences begin just there: nothing that a message can ask for tells the
 * two streams apart (Nats-Expected-Stream is a name, and an expected last message id that is wrong kills a stream with replicas). One at a time would
 * do, and is what the chain is there to be faster than. The look behind the next break finds the other stream. */
#include "core/send/chain.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/send/chain_break.h"
#include "core/send/chain_foreign.h"
#include "core/send/chain_shut.h"
#include "core/send/lookback.h"
#include "core/send/lookback_end.h"
#include "core/send/send.h"

void chain_begin(struct sender *s)
{
	for (uint32_t i = 0; i < LIMIT_STREAMS; i++) {
		const struct chain *c = &s->chain[i];

		/* The question is wanted already (lookback_begin). */
		s->chain[i] = (struct chain){ .looks = true,
					      .call_back_ms = NEVER,
					      .sent_ms = c->sent_ms,
					      .former_ms = c->sent_ms,
					      .broken = c->broken,
					      .foreign = c->foreign };
		lanes_stand(&s->lanes, (uint16_t)i);
	}
}

void chain_interrupted(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++) {
		struct chain *c = &s->chain[i];

		if (!settings_owns(s->set, i))
			continue;
		chain_break(s, i);
		if (c->state == CHAIN_STOPPED)
			continue;
		/* An outage is nobody's failure. And the question is wanted already (lookback_interrupted). */
		c->failures = 0;
		c->again_ms = 0;
		c->looks = true;
	}
}

void chain_rewound(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (settings_owns(s->set, i))
			chain_park_what_waits(s, i);
}

/* --- messages --- */

void chain_changed(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];
	struct lane *lane = chain_lane(s, stream);

	/* Nothing is left to be tried: the next one will tell. */
	if (lane->first == NULL && c->state != CHAIN_STOPPED && chain_is_shut_in_memory(s, stream))
		chain_open_in_memory(s, stream);
	if (c->state == CHAIN_FLOWS && lane->first == NULL)
		chain_has_no_foreign(s, stream);
	chain_look_if_settled(s, stream);
}

bool chain_may_send(struct sender *s, const struct message *m)
{
	bool first_time = m->copies.low_water == LOW_WATER_NONE;

	assert(s->chain[m->stream].state == CHAIN_FLOWS || MUTANT(chain_unbroken));
	if (lookback_needed(s, m)) {
		chain_break(s, m->stream);
		chain_look_if_settled(s, m->stream);
		return false;
	}
	if (first_time && !chain_has_no_foreign(s, m->stream))
		return false;
	if (chain_lane(s, m->stream)->limit > 1 && !chain_newest_is_in_flight(s, &s->chain[m->stream]) &&
	    s->chain[m->stream].proved_ms != s->now_ms && !MUTANT(first_not_alone)) {
		lanes_stand(&s->lanes, m->stream);
		lanes_go(&s->lanes, m->stream, 1);
	}
	return m->place == PLACE_READY;
}

void chain_sent(struct sender *s, struct message *m, struct effect *f)
{
	struct chain *c = &s->chain[m->stream];

	f->publish.expected = c->tail;
	/* What stands before it may be in flight still. */
	f->publish.evident = false;
	m->due = ++c->tail;
	c->newest = f->publish.token;
	c->sent_ms = s->now_ms;
	if (chain_is_shut_in_memory(s, m->stream))
		s->blocks.stream[m->stream].probe = m->ticket;
}

/* Its number is taken: all is well. It stood there already, and was the last to get a number: that one is free again. Else those
 * behind it have numbers that are too high.
 *
 * Is what stood there an older copy that was stored since the look, the look is worth nothing any more: copies of others may
 * have come with it. What the outbox has read again may go out in another order than these, and then one that finds its own number taken by
 * its copy would open a window whose later numbers come true behind what the copies hold, for the second of two that wait and not for the first. */
void chain_acked(struct sender *s, const struct message *m, uint16_t attempt, uint64_t sequence, bool duplicate)
{
	struct chain *c = &s->chain[m->stream];

	chain_foreign_claim(s, m->stream, sequence);
	if (c->state != CHAIN_FLOWS)
		return;
	/* An earlier attempt of one that was not sent again yet. Was it stored since the look, all numbers are too low. */
	if (m->place != PLACE_IN_FLIGHT) {
		if (sequence > c->base && !MUTANT(late_ack_passes))
			chain_break(s, m->stream);
		return;
	}
	if (sequence == m->due && ((attempt == m->attempt && !duplicate) || MUTANT(late_copy_passes))) {
		if (attempt == m->attempt)
			c->failures = 0;
		c->proved_ms = s->now_ms;
		chain_lane(s, m->stream)->limit = UINT32_MAX;
	} else if (c->tail == m->due && (sequence <= c->base || MUTANT(late_copy_passes)) &&
		   !MUTANT(duplicate_takes_number)) {
		c->tail--;
	} else {
		if (sequence > c->base)
			c->failures = 0; /* something was stored: nobody is in the way */
		chain_break(s, m->stream);
	}
}

void chain_poisoned(struct sender *s, const struct message *m)
{
	if (m->place == PLACE_IN_FLIGHT)
		chain_break(s, m->stream);
	if (m->copies.count > 0)
		chain_uncounted(s, m->stream);
}

/* --- the look --- */

void chain_looked(struct sender *s, uint16_t stream, uint64_t last)
{
	struct chain *c = &s->chain[stream];

	c->looks = false;
	if (c->state != CHAIN_BROKEN || (chain_lane(s, stream)->active > 0 && !MUTANT(chain_unsettled)))
		return;
	/* What was on its way may have been stored and acknowledged since the stream said where it ends. */
	if (last < s->acked[stream].highest && !MUTANT(chain_before_acks))
		last = s->acked[stream].highest;
	c->base = c->tail = last;
	c->state = CHAIN_FLOWS;
	lanes_go(&s->lanes, stream, MUTANT(first_not_alone) ? UINT32_MAX : 1);
	chain_changed(s, stream);
}

/* Without its end there is no number: nothing is sent blindly. */
void chain_unreadable(struct sender *s, uint16_t stream, uint32_t reason)
{
	struct chain *c = &s->chain[stream];
	struct message *first = chain_lane(s, stream)->first;

	c->looks = false;
	chain_put_off(c, s->lookback[stream].again_ms);
	while (first != NULL && first->place != PLACE_WAITING)
		first = first->lane_next;
	if (first != NULL && c->state == CHAIN_BROKEN)
		chain_shut(s, first, reason);
}

void chain_truncated(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	chain_break(s, stream);
	chain_uncounted(s, stream);
	if (s->set->owned_stays && !MUTANT(lost_end_passes))
		chain_stop(s, stream, REASON_LOST_END);
	else if (c->state == CHAIN_BROKEN)
		c->looks = true; /* the caller asks again, or has the answer */
}
