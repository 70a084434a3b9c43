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
 * anew while a window, or the answer that opens one, is on its way, and whose sequences begin just there. */
#include "core/send/chain.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/send/chain_foreign.h"
#include "core/send/doubt.h"
#include "core/send/holding.h"
#include "core/send/lookback.h"
#include "core/send/lookback_end.h"
#include "core/send/memory.h"
#include "core/send/send.h"

static struct lane *lane_of(struct sender *s, uint16_t stream)
{
	return &s->lanes.owned[stream];
}

/* It takes nothing, and its messages wait in memory. */
static bool is_shut_in_memory(const struct sender *s, uint16_t stream)
{
	return s->set->owned_stays && block_is_shut(&s->blocks.stream[stream]);
}

/* --- broken --- */

static void stand(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	lanes_stand(&s->lanes, stream);
	c->looks = false;
	c->call_back_ms = NEVER;
}

static void put_off(struct chain *c, int64_t until_ms)
{
	if (c->again_ms < until_ms)
		c->again_ms = until_ms;
}

/* Again and again, with nothing stored in between: somebody is in the way, or the server is not well. */
static void break_chain(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (c->state != CHAIN_FLOWS || MUTANT(chain_unbroken))
		return;
	c->state = CHAIN_BROKEN;
	c->broken++;
	if (c->failures++ > 0)
		put_off(c, sender_state_retry_at(s, c->failures - 2));
	stand(s, stream);
}

static bool newest_is_in_flight(const struct sender *s, const struct chain *c)
{
	const struct message *m = &s->lanes.message[c->newest & 0xffff];

	return m->place == PLACE_IN_FLIGHT && m->generation == c->newest >> 32 &&
	       m->attempt == (c->newest >> 16 & 0xffff);
}

/* Its stream parks, is shut, and m has nothing to do in memory: it neither probes, nor stands before what does. */
static bool is_to_be_parked(struct sender *s, const struct message *m)
{
	const struct block *b = sender_state_stream_block(s, m);

	return block_is_shut(b) && !s->set->owned_stays &&
	       (b->probe == 0 || (b->probe < m->ticket && !MUTANT(called_back_late)) ||
		(b->probe != m->ticket && MUTANT(called_back_late)));
}

/* Out of flight, whatever became of it. */
static void call_back(struct sender *s, struct message *m)
{
	if (is_to_be_parked(s, m))
		holding_park_with_lane_or(s, m, sender_state_stream_block(s, m));
	else
		memory_recall(s, m);
}

static void call_all_back(struct sender *s, uint16_t stream)
{
	struct message *next;

	batch_called_back(s, stream);
	for (struct message *m = lane_of(s, stream)->first; m != NULL; m = next) {
		next = m->lane_next;
		if (m->place == PLACE_IN_FLIGHT)
			call_back(s, m);
	}
}

/* Nothing of a stream that parks waits in memory while it is shut, but its probe. */
static void park_what_waits(struct sender *s, uint16_t stream)
{
	struct message *next;

	for (struct message *m = lane_of(s, stream)->first; m != NULL; m = next) {
		next = m->lane_next;
		if (m->place == PLACE_WAITING && is_to_be_parked(s, m))
			holding_park_with_lane_or(s, m, sender_state_stream_block(s, m));
	}
}

/* first: the message that shows it, or NULL. The source is not asked for a probe. */
static void shut_unprobed(struct sender *s, uint16_t stream, const struct message *first, uint32_t reason)
{
	struct block *b = &s->blocks.stream[stream];

	if (b->state == BLOCK_OPEN) {
		b->state = BLOCK_SHUT;
		b->since_ms = s->now_ms;
		b->failures = 0;
	}
	if (b->reason != reason || b->failures == 0)
		notes_add(s->notes, (struct note){ .kind = NOTE_STREAM_BLOCKED,
						   .id = first != NULL ? first->ticket : 0,
						   .stream = stream,
						   .reason = reason });
	b->reason = reason;
	b->failures++;
	b->probe = 0;
	b->due_ms = NEVER;
}

static void open_in_memory(struct sender *s, uint16_t stream)
{
	struct block *b = &s->blocks.stream[stream];

	b->state = BLOCK_OPEN;
	b->failures = 0;
	b->probe = 0;
	notes_add(s->notes, (struct note){ .kind = NOTE_STREAM_OPEN, .stream = stream });
}

/* Answers come in the order of publishes, so behind the answer to the last one little is to be waited for. */
static bool is_settled(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (lane_of(s, stream)->active == 0 || MUTANT(chain_unsettled))
		return true;
	if (newest_is_in_flight(s, c))
		return false;
	if (c->call_back_ms == NEVER)
		c->call_back_ms = s->now_ms + s->set->retry_min_ms;
	return s->now_ms >= c->call_back_ms;
}

static void look_if_settled(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (c->state != CHAIN_BROKEN || c->looks || !s->bus_up || !is_settled(s, stream) || s->now_ms < c->again_ms)
		return;
	call_all_back(s, stream);
	c->looks = true;
	lookback_want(s, stream);
}

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
		break_chain(s, i);
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
			park_what_waits(s, i);
}

/* --- what is not ours --- */

static void stop(struct sender *s, uint16_t stream, uint32_t reason)
{
	if (s->chain[stream].state == CHAIN_STOPPED)
		return;
	s->chain[stream].state = CHAIN_STOPPED;
	stand(s, stream);
	shut_unprobed(s, stream, lane_of(s, stream)->first, reason);
	park_what_waits(s, stream);
}

/* Returns whether it may go on. */
static bool no_foreign(struct sender *s, uint16_t stream)
{
	if (!chain_foreign_found(s, stream) || chain_foreign_passes(s, stream))
		return true;
	stop(s, stream, REASON_FOREIGN);
	return false;
}

bool chain_is_stopped(const struct sender *s, uint16_t stream)
{
	return s->chain[stream].state == CHAIN_STOPPED;
}

void chain_go_on(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];
	struct block *b = &s->blocks.stream[stream];

	if (c->state != CHAIN_STOPPED)
		return;
	c->state = CHAIN_BROKEN;
	c->failures = 0;
	c->again_ms = 0;
	if (s->set->owned_stays)
		open_in_memory(s, stream);
	else
		b->due_ms = s->due_ms = s->now_ms;
	look_if_settled(s, stream);
}

void chain_adjust(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (chain_foreign_passes(s, i) && s->blocks.stream[i].reason == REASON_FOREIGN)
			chain_go_on(s, i);
}

/* --- messages --- */

void chain_changed(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];
	struct lane *lane = lane_of(s, stream);

	/* Nothing is left to be tried: the next one will tell. */
	if (lane->first == NULL && c->state != CHAIN_STOPPED && is_shut_in_memory(s, stream))
		open_in_memory(s, stream);
	if (c->state == CHAIN_FLOWS && lane->first == NULL)
		no_foreign(s, stream);
	look_if_settled(s, stream);
}

bool chain_may_send(struct sender *s, const struct message *m)
{
	bool first_time = m->copies.low_water == LOW_WATER_NONE;

	assert(s->chain[m->stream].state == CHAIN_FLOWS || MUTANT(chain_unbroken));
	if (lookback_needed(s, m)) {
		break_chain(s, m->stream);
		look_if_settled(s, m->stream);
		return false;
	}
	if (first_time && !no_foreign(s, m->stream))
		return false;
	if (lane_of(s, m->stream)->limit > 1 && !newest_is_in_flight(s, &s->chain[m->stream]) &&
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
	if (is_shut_in_memory(s, m->stream))
		s->blocks.stream[m->stream].probe = m->ticket;
}

/* Its number is taken: all is well. It stands somewhere else, and was the last to get a number: that one is free again. Else those
 * behind it have numbers that are too high. (An old attempt tells the same: the one in flight takes no sequence any more.) */
void chain_acked(struct sender *s, const struct message *m, uint16_t attempt, uint64_t sequence)
{
	struct chain *c = &s->chain[m->stream];

	chain_foreign_claim(s, m->stream, sequence);
	if (c->state != CHAIN_FLOWS)
		return;
	/* An earlier attempt of one that was not sent again yet. Was it stored since the look, all numbers are too low. */
	if (m->place != PLACE_IN_FLIGHT) {
		if (sequence > c->base && !MUTANT(late_ack_passes))
			break_chain(s, m->stream);
		return;
	}
	if (sequence == m->due) {
		if (attempt == m->attempt)
			c->failures = 0;
		c->proved_ms = s->now_ms;
		lane_of(s, m->stream)->limit = UINT32_MAX;
	} else if (c->tail == m->due && !MUTANT(duplicate_takes_number)) {
		c->tail--;
	} else {
		break_chain(s, m->stream);
	}
}

/* The stream takes nothing now, and m is the one that shows it. */
static void shut(struct sender *s, struct message *m, uint32_t reason)
{
	uint16_t stream = m->stream;

	if (!s->set->owned_stays) {
		holding_block_stream(s, m, reason);
		return;
	}
	if (m->place == PLACE_IN_FLIGHT)
		memory_recall(s, m);
	m->reason = reason;
	shut_unprobed(s, stream, m, reason);
	put_off(&s->chain[stream], sender_state_retry_at(s, s->blocks.stream[stream].failures - 1));
}

static void again(struct sender *s, struct message *m, uint32_t reason)
{
	struct block *b = sender_state_stream_block(s, m);

	if (block_is_shut(b) && (s->set->owned_stays ? b->probe == m->ticket : true)) {
		shut(s, m, reason);
		return;
	}
	/* That another one was not stored says nothing about this one. */
	if (refusal_means_chain(reason)) {
		m->tries = m->tries > 0 ? (uint16_t)(m->tries - 1) : 0;
	} else if (m->tries >= LIMIT_TRIES_IN_MEMORY) {
		shut(s, m, reason);
		return;
	} else {
		m->reason = reason;
		s->stats->retries++;
		notes_add(s->notes, (struct note){ .kind = NOTE_RETRY,
						   .id = m->ticket,
						   .stream = m->stream,
						   .reason = reason,
						   .attempts = m->attempts });
		put_off(&s->chain[m->stream], sender_state_retry_at(s, m->tries > 0 ? m->tries - 1u : 0));
	}
	memory_recall(s, m);
}

/* Is it the stream that takes nothing, and not this message alone? */
static bool must_shut(struct sender *s, const struct message *m, uint32_t reason, enum refusal_verdict verdict)
{
	if (refusal_means_chain(reason))
		return false;
	return verdict == VERDICT_STREAM || verdict == VERDICT_LANE ||
	       (reason == REASON_NO_REPLY && s->silent[m->stream] >= LIMIT_SILENT_PUBLISHES && !holding_is_probe(s, m));
}

void chain_refused(struct sender *s, struct message *m, uint32_t reason, enum refusal_verdict verdict)
{
	uint16_t stream = m->stream;

	break_chain(s, stream);
	if (s->chain[stream].state == CHAIN_STOPPED)
		call_back(s, m);
	else if (must_shut(s, m, reason, verdict))
		shut(s, m, reason);
	else
		again(s, m, reason);
	look_if_settled(s, stream);
}

/* Nothing goes by itself while a batch is under way, so all that is in flight behind its first one was in it. */
void chain_batch_failed(struct sender *s, uint16_t stream, struct message *first)
{
	struct message *next;

	break_chain(s, stream);
	for (struct message *m = MUTANT(batch_calls_all) ? lane_of(s, stream)->first : first; m != NULL; m = next) {
		next = m->lane_next;
		if (m->place == PLACE_IN_FLIGHT)
			call_back(s, m);
	}
	look_if_settled(s, stream);
}

void chain_poisoned(struct sender *s, const struct message *m)
{
	if (m->place == PLACE_IN_FLIGHT)
		break_chain(s, m->stream);
	if (m->copies.count > 0)
		chain_uncounted(s, m->stream);
}

/* --- the look --- */

void chain_looked(struct sender *s, uint16_t stream, uint64_t last)
{
	struct chain *c = &s->chain[stream];

	c->looks = false;
	if (c->state != CHAIN_BROKEN || (lane_of(s, stream)->active > 0 && !MUTANT(chain_unsettled)))
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
	struct message *first = lane_of(s, stream)->first;

	c->looks = false;
	put_off(c, s->lookback[stream].again_ms);
	while (first != NULL && first->place != PLACE_WAITING)
		first = first->lane_next;
	if (first != NULL && c->state == CHAIN_BROKEN)
		shut(s, first, reason);
}

void chain_truncated(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	break_chain(s, stream);
	chain_uncounted(s, stream);
	if (s->set->owned_stays && !MUTANT(lost_end_passes))
		stop(s, stream, REASON_LOST_END);
	else if (c->state == CHAIN_BROKEN)
		c->looks = true; /* the caller asks again, or has the answer */
}

/* --- time --- */

bool chain_has_work(const struct sender *s)
{
	if (s->set->owned == 0)
		return false;
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (settings_owns(s->set, i) && s->chain[i].state == CHAIN_BROKEN &&
		    s->now_ms >= s->chain[i].again_ms && s->lanes.owned[i].first != NULL)
			return true;
	return false;
}

void chain_timers(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (settings_owns(s->set, i))
			look_if_settled(s, i);
}

int64_t chain_deadline(const struct sender *s)
{
	int64_t at = NEVER;

	if (s->set->owned == 0)
		return at;
	for (uint16_t i = 0; i < s->set->streams; i++) {
		const struct chain *c = &s->chain[i];

		if (!settings_owns(s->set, i) || c->state != CHAIN_BROKEN || c->looks)
			continue;
		if (s->lanes.owned[i].active == 0 || c->call_back_ms < c->again_ms)
			at = sender_state_earlier(at, c->again_ms);
		else
			at = sender_state_earlier(at, c->call_back_ms);
	}
	return at;
}
