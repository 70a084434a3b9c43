/* Sending, and what the answers mean.
 *
 *     READY -> IN_FLIGHT -- ack ----------------------------> settled
 *                        -- refusal, silence --> again, parked with its lane or stream, or a dead letter
 *
 * with a stop at ASKING on the way where it may be stored already (lookback.c).
 *
 * Refused is not unreachable: an outage never uses up anything. */
#include "core/send/sending.h"

#include <assert.h>
#include <string.h>

#include "core/mutant.h"
#include "core/refusal.h"
#include "core/send/batch.h"
#include "core/send/batch_end.h"
#include "core/send/chain.h"
#include "core/send/chain_break.h"
#include "core/send/chain_shut.h"
#include "core/send/doubt.h"
#include "core/send/holding.h"
#include "core/send/lookback.h"
#include "core/send/lookback_end.h"
#include "core/send/memory.h"
#include "core/send/proof.h"
#include "core/send/send.h"

void sending_begin(struct sender *s)
{
	s->send_window = s->set->window_messages;
	memset(s->silent, 0, sizeof s->silent);
}

/* A smaller window takes nothing back: what is in flight is answered first. */
void sending_adjust(struct sender *s)
{
	uint32_t in_flight = (uint32_t)s->lanes.place[PLACE_IN_FLIGHT].count, most = s->set->window_messages;

	assert(most >= 1);
	s->flight_limit = in_flight > most ? in_flight : most;
	if (s->send_window > most)
		s->send_window = most;
	chain_adjust(s);
}

/* --- the send window --- */

/* After a refusal it grows again, by about an eighth for each window's worth of acks. */
static void grow_send_window(struct sender *s)
{
	if (s->send_window >= s->set->window_messages || ++s->send_window_credit < s->send_window)
		return;
	s->send_window_credit = 0;
	s->send_window += 1 + s->send_window / 8;
	if (s->send_window > s->set->window_messages)
		s->send_window = s->set->window_messages;
}

void sending_slow_down(struct sender *s)
{
	s->send_window =
		s->send_window / 2 > LIMIT_WINDOW_MIN_MESSAGES ? s->send_window / 2 : LIMIT_WINDOW_MIN_MESSAGES;
	if (s->send_window > s->set->window_messages)
		s->send_window = s->set->window_messages;
	s->send_window_credit = 0;
	assert(s->send_window >= 1);
}

static bool fits_send_window(const struct sender *s, const struct message *m)
{
	if (s->lanes.place[PLACE_IN_FLIGHT].count >= s->send_window + MUTANT(window_by_one))
		return false;
	/* One that is larger than the whole window goes alone. */
	return s->flight_bytes == 0 ||
	       s->flight_bytes + (MUTANT(window_of_bytes) ? 0 : m->bytes) <= s->set->window_bytes;
}

bool sending_fits_behind(const struct sender *s, const struct message *m, const struct message *x)
{
	return s->lanes.place[PLACE_IN_FLIGHT].count + 2 <= s->send_window &&
	       s->flight_bytes + m->bytes + x->bytes <= s->set->window_bytes;
}

/* --- answers --- */

static uint64_t token_of(const struct sender *s, const struct message *m)
{
	return (uint64_t)(m - s->lanes.message) | (uint64_t)m->attempt << 16 | (uint64_t)m->generation << 32;
}

static uint16_t attempt_of(uint64_t token)
{
	return (token >> 16) & 0xffff;
}

/* The message a token names, or NULL where it is long settled. An ack counts whichever attempt it answers: the
 * message is stored. A refusal counts only for the attempt under way: an older one says nothing about it. */
static struct message *resolve(struct sender *s, uint64_t token, bool any_attempt)
{
	size_t slot = token & 0xffff;
	struct message *m = slot < s->lanes.slots ? &s->lanes.message[slot] : NULL;

	if (m == NULL || (m->generation != token >> 32 && !MUTANT(token_of_slot)) || m->place == PLACE_FREE ||
	    m->place >= PLACE_UNRECORDED /* or DONE */ || m->attempt == 0 ||
	    (!any_attempt && (m->place != PLACE_IN_FLIGHT || m->attempt != attempt_of(token)))) {
		s->stats->stale_replies++;
		return NULL;
	}
	return m;
}

static inline void stored(struct sender *s, struct message *m)
{
	s->stats->acked++;
	s->stats->last_ack_ms = s->now_ms;
	s->silent[m->stream] = 0;
	s->acked[m->stream].count++;
	grow_send_window(s);
	lanes_acked(m);
	holding_settle(s, m);
}

void sending_stored(struct sender *s, struct message *m)
{
	stored(s, m);
}

void sending_acked(struct sender *s, const struct event *ev)
{
	struct message *m = resolve(s, ev->acked.token, true);
	uint16_t stream;
	bool owned;

	if (m == NULL)
		return;
	stream = m->stream;
	owned = settings_owns(s->set, stream);
	s->stats->duplicates += ev->acked.duplicate;
	if (m->number != 0)
		batch_found(s, m);
	lookback_acked(s, m, attempt_of(ev->acked.token), ev->acked.sequence, ev->acked.duplicate);
	if (owned)
		chain_acked(s, m, attempt_of(ev->acked.token), ev->acked.sequence, ev->acked.duplicate);
	stored(s, m);
	if (owned)
		chain_changed(s, stream);
}

static void retry(struct sender *s, struct message *m, uint32_t reason)
{
	sender_state_tell_retry(s, m, reason);
	memory_retry(s, m, sender_state_retry_at(s, m->tries > 0 ? m->tries - 1u : 0));
}

/* What backs off must not fill memory: others would wait for it. (But where the server is merely too busy, which takes a moment.) */
static bool has_tried_enough(const struct sender *s, const struct message *m, uint32_t reason)
{
	return m->tries >= LIMIT_TRIES_IN_MEMORY ||
	       (s->lanes.place[PLACE_BACKOFF].count > s->lanes.slots / LIMIT_BACKOFF_SHARE &&
		!refusal_means_busy(reason) && !MUTANT(backoff_fills));
}

/* Not stored, or nobody knows, and not for good: in memory for a while, then parked with its lane. */
static void try_again(struct sender *s, struct message *m, uint32_t reason)
{
	struct block *stream = sender_state_stream_block(s, m), *lane = sender_state_lane_block(s, m);
	bool lane_is_shut = block_is_shut(lane);

	assert(!settings_owns(s->set, m->stream));
	if (lane_is_shut && lane->probe != m->ticket) {
		m->reason = reason;
		holding_park_with_lane_or(s, m, lane);
	} else if (block_is_shut(stream) && !lane_is_shut) {
		holding_block_stream(s, m, reason);
	} else if (lane_is_shut || has_tried_enough(s, m, reason)) {
		holding_block_lane(s, m, reason);
	} else {
		retry(s, m, reason);
	}
}

static void count_refusal(struct delivery_stats *c, uint32_t reason)
{
	size_t i = 0;

	while (i < LIMIT_REASONS && c->refusals[i].count > 0 && c->refusals[i].reason != reason)
		i++;
	c->refusals[i].reason = i < LIMIT_REASONS ? reason : REASON_NONE;
	c->refusals[i].count++;
	c->refused++;
}

static void give_up(struct sender *s, struct message *m, uint32_t reason)
{
	uint16_t stream = m->stream;
	bool owned = settings_owns(s->set, stream);

	if (owned)
		chain_poisoned(s, m);
	if (s->dead_credit > 0)
		holding_dead_letter(s, m, reason);
	else if (owned)
		chain_refused(s, m, reason, VERDICT_RETRY);
	else
		retry(s, m, reason);
	if (owned)
		chain_changed(s, stream);
}

static void refuse(struct sender *s, struct message *m, uint32_t reason, uint32_t status)
{
	enum refusal_verdict verdict = refusal_verdict(reason, status);

	assert(m->place == PLACE_IN_FLIGHT || MUTANT(late_refusal));
	count_refusal(s->stats, reason);
	if (verdict != VERDICT_UNKNOWN && !refusal_means_chain(reason) && m->attempts < UINT16_MAX)
		m->attempts++;
	/* It is not stored; but for one that met another copy of itself. */
	if (verdict != VERDICT_UNKNOWN && (!refusal_means_copy(reason) || MUTANT(copy_is_refusal)))
		doubt_end(m);
	if (refusal_means_busy(reason))
		sending_slow_down(s);
	if (verdict != VERDICT_POISON && settings_owns(s->set, m->stream)) {
		chain_refused(s, m, reason, verdict);
		return;
	}
	switch (verdict) {
	case VERDICT_POISON: give_up(s, m, reason); break;
	case VERDICT_STREAM: holding_block_stream(s, m, reason); break;
	case VERDICT_LANE: holding_block_lane(s, m, reason); break;
	case VERDICT_RETRY:
	case VERDICT_UNKNOWN:
	case VERDICT_SUSPECT: try_again(s, m, reason); break;
	}
}

void sending_was_refused(struct sender *s, struct message *m, uint32_t reason, uint32_t status)
{
	s->silent[m->stream] = 0;
	refuse(s, m, reason, status);
}

/* (What is in a batch is answered there.) */
void sending_refused(struct sender *s, const struct event *ev)
{
	struct message *m = resolve(s, ev->refused.token, MUTANT(late_refusal));

	if (m != NULL && m->number == 0)
		sending_was_refused(s, m, ev->refused.reason, ev->refused.status);
}

void sending_interrupted(struct sender *s)
{
	memory_rewind(s);
	assert(s->flight_bytes == 0);
	memset(s->silent, 0, sizeof s->silent);
}

/* --- time --- */

/* Silence says nothing about the message, so it costs no attempt. Several in a row say something about the
 * stream: it is gone, or its answers cannot reach us; one probe at a time is enough to find out. */
static void timed_out(struct sender *s, struct message *m)
{
	if (MUTANT(forgotten_retry)) {
		m->at_ms = s->now_ms;
		return;
	}
	s->stats->timeouts++;
	s->silent[m->stream]++;
	if (settings_owns(s->set, m->stream))
		chain_refused(s, m, REASON_NO_REPLY, VERDICT_UNKNOWN);
	else if (s->silent[m->stream] >= LIMIT_SILENT_PUBLISHES && !holding_is_probe(s, m))
		holding_block_stream(s, m, REASON_NO_REPLY);
	else
		try_again(s, m, REASON_NO_REPLY);
}

void sending_timers(struct sender *s)
{
	struct message *m;

	while (s->bus_up && (m = s->lanes.place[PLACE_IN_FLIGHT].first) != NULL &&
	       s->now_ms - m->at_ms >= s->set->ack_timeout_ms) {
		if (m->number != 0)
			batch_silent(s, m);
		else
			timed_out(s, m);
	}
	while ((m = s->lanes.place[PLACE_BACKOFF].first) != NULL && s->now_ms >= m->at_ms)
		lanes_move(&s->lanes, m, PLACE_READY);
	if (s->batching != 0)
		batch_timers(s);
	if (s->set->owned != 0)
		chain_timers(s);
}

/* --- sending --- */

static void publish(struct sender *s, struct message *m, struct effect *f)
{
	f->kind = EFFECT_PUBLISH;
	/* Never 0: that is "not sent yet". Never back to an attempt whose reply may still come. */
	m->attempt = m->attempt == UINT16_MAX ? 1 : (uint16_t)(m->attempt + 1);
	if (m->tries < UINT16_MAX)
		m->tries++;
	m->at_ms = s->now_ms;
	f->publish.again = m->turn != TURN_REGULAR || m->tries > 1;
	f->publish.evident = proof_is_evident(s, m);
	lookback_sent(s, m, f);
	f->publish.batch = 0;
	if (s->batching != 0)
		batch_sent(s, m, f);
	memory_departs(s, m);
	assert(m->place == PLACE_IN_FLIGHT && m->copies.count > 0);
	s->stats->published++;
	s->stats->bytes_published += m->bytes;
	f->publish.slot = (uint32_t)(m - s->lanes.message);
	f->publish.id = m->ticket + (MUTANT(id_of_attempt) && m->tries > 1);
	f->publish.token = token_of(s, m);
	f->publish.expected = EXPECTED_ANY;
	if (settings_owns(s->set, m->stream))
		chain_sent(s, m, f);
}

bool sending_next(struct sender *s, struct effect *f, bool *asks)
{
	struct message *m;

	while (s->bus_up && (m = s->lanes.place[PLACE_READY].first) != NULL) {
		if (m->defect) {
			if (s->dead_credit == 0)
				return false;
			give_up(s, m, m->reason);
			continue;
		}
		if (settings_owns(s->set, m->stream)) {
			if (!chain_may_send(s, m)) {
				*asks = true;
				continue;
			}
		} else if (lookback_needed(s, m)) {
			lookback_ask(s, m);
			*asks = true;
			continue;
		}
		if (s->batching != 0 && batch_must_wait(s, m)) {
			lanes_move(&s->lanes, m, PLACE_STANDBY);
			continue;
		}
		if (!fits_send_window(s, m))
			return false;
		publish(s, m, f);
		return true;
	}
	return false;
}
