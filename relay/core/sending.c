/* Sending, and what the answers mean.
 *
 *     READY -> IN_FLIGHT -- ack ----------------------------> settled
 *                        -- refusal, silence --> again, parked with its lane or stream, or a dead letter
 *
 * with a stop at ASKING on the way where it may be stored already (tail.c).
 *
 * Refused is not unreachable: an outage never uses up anything. */
#include "core/machine.h"

#include <assert.h>

#include "core/refusal.h"

/* One mark has one record of a letter: of its last death, if an operator was quick in between. */
static void bury(struct delivery *d, struct dead letter)
{
	size_t i = 0;

	while (i < d->dead_count && d->dead[i].id != letter.id)
		i++;
	d->dead_count += i == d->dead_count;
	d->dead[i] = letter;
}

static void poison(struct delivery *d, struct message *m, uint32_t reason)
{
	bool hold = d->s.poison == POISON_HOLD && m->keyed;

	assert(d->dead_count < d->dead_limit);
	if (hold && blocks_get(&d->blocks, m->lane->hash) == NULL) {
		block_lane(d, m, reason, true);
		return;
	}
	d->letter_in_doubt |= m->floor != FLOOR_NONE;
	bury(d, (struct dead){ .id = m->id, .reason = reason, .attempts = m->attempts, .held = hold });
	d->stats.dead++;
	m->defect = true;
	if (hold) {
		struct block *stream = stream_block(d, m);

		/* The stream did answer. */
		if (stream->probe_id == m->id)
			block_opens(d, stream);
		m->redriven = false;
		block_lane(d, m, reason, true);
		return;
	}
	take_note(d, (struct note){ .kind = NOTE_DEAD,
				    .id = m->id,
				    .stream = m->stream,
				    .reason = reason,
				    .attempts = m->attempts });
	settle(d, m);
}

static uint64_t token_of(const struct delivery *d, const struct message *m)
{
	return (uint64_t)(m - d->lanes.message) | (uint64_t)m->attempt << 16 | (uint64_t)m->generation << 32;
}

/* The message a token names, or NULL where it is long settled. An ack counts whichever attempt it answers: the
 * message is stored. A refusal counts only for the attempt under way: an older one says nothing about it. */
static struct message *resolve(struct delivery *d, uint64_t token, bool any_attempt)
{
	size_t slot = token & 0xffff;
	struct message *m = slot < d->s.queue_messages ? &d->lanes.message[slot] : NULL;

	if (m == NULL || m->generation != token >> 32 || m->place == PLACE_FREE || m->place == PLACE_DONE ||
	    m->attempt == 0 ||
	    (!any_attempt && (m->place != PLACE_IN_FLIGHT || m->attempt != ((token >> 16) & 0xffff)))) {
		d->stats.stale_replies++;
		return NULL;
	}
	return m;
}

void acked(struct delivery *d, const struct event *ev)
{
	struct message *m = d->leading ? resolve(d, ev->acked.token, true) : NULL;

	if (m == NULL)
		return;
	d->stats.acked++;
	d->stats.duplicates += ev->acked.duplicate;
	d->stats.last_ack_ms = d->now;
	d->stats.stream[m->stream].acked++;
	d->silent[m->stream] = 0;
	if (ev->acked.sequence > d->stats.stream[m->stream].sequence)
		d->stats.stream[m->stream].sequence = ev->acked.sequence;
	tail_grows(d, m, ev->acked.sequence, ev->acked.duplicate);
	if (d->window < d->s.window_messages && ++d->window_credit >= d->window) {
		d->window_credit = 0;
		d->window += 1 + d->window / 8;
		if (d->window > d->s.window_messages)
			d->window = d->s.window_messages;
	}
	tail_taken(d, m->stream);
	lanes_acked(&d->lanes, m);
	settle(d, m);
}

static void retry(struct delivery *d, struct message *m, uint32_t reason)
{
	m->reason = reason;
	d->stats.retries++;
	take_note(d, (struct note){ .kind = NOTE_RETRY,
				    .id = m->id,
				    .stream = m->stream,
				    .reason = reason,
				    .attempts = m->attempts });
	d->flight_bytes -= m->bytes;
	lanes_retry(&d->lanes, m, backoff(d, m->tries > 0 ? m->tries - 1u : 0));
}

/* Not stored, or nobody knows, and not for good: in memory for a while, then parked with its lane. */
static void try_again(struct delivery *d, struct message *m, uint32_t reason)
{
	struct block *stream = stream_block(d, m), *lane = lane_block(d, m);

	bool lane_blocked = lane != NULL && lane->blocked;

	if (lane_blocked && lane->probe_id != m->id) {
		m->reason = reason;
		park(d, m, lane);
	} else if (stream->blocked && !lane_blocked) {
		block_stream(d, m, reason);
	} else if (lane_blocked || m->tries >= LIMIT_TRIES_IN_MEMORY) {
		block_lane(d, m, reason, false);
	} else {
		retry(d, m, reason);
	}
}

static void count_refusal(struct delivery_stats *s, uint32_t reason)
{
	size_t i = 0;

	while (i < LIMIT_REASONS && s->refusals[i].count > 0 && s->refusals[i].reason != reason)
		i++;
	s->refusals[i].reason = i < LIMIT_REASONS ? reason : REASON_NONE;
	s->refusals[i].count++;
	s->refused++;
}

static void refuse(struct delivery *d, struct message *m, uint32_t reason, uint32_t status)
{
	enum verdict verdict = refusal_verdict(reason, status);

	count_refusal(&d->stats, reason);
	if (verdict != VERDICT_UNKNOWN && m->attempts < UINT16_MAX)
		m->attempts++;
	if (verdict != VERDICT_UNKNOWN && !refusal_means_copy(reason))
		doubt_ends(m);
	if (refusal_means_busy(reason)) {
		d->window = d->window / 2 > LIMIT_WINDOW_MIN_MESSAGES ? d->window / 2 : LIMIT_WINDOW_MIN_MESSAGES;
		if (d->window > d->s.window_messages)
			d->window = d->s.window_messages;
		d->window_credit = 0;
	}
	switch (verdict) {
	case VERDICT_POISON:
		if (d->dead_count == d->dead_limit)
			retry(d, m, reason);
		else
			poison(d, m, reason);
		break;
	case VERDICT_STREAM: block_stream(d, m, reason); break;
	case VERDICT_LANE: block_lane(d, m, reason, false); break;
	case VERDICT_RETRY:
	case VERDICT_UNKNOWN:
	case VERDICT_SUSPECT: try_again(d, m, reason); break;
	}
}

void refused(struct delivery *d, const struct event *ev)
{
	struct message *m = d->leading ? resolve(d, ev->refused.token, false) : NULL;

	if (m == NULL)
		return;
	d->silent[m->stream] = 0;
	refuse(d, m, ev->refused.reason, ev->refused.status);
}

/* Silence says nothing about the message, so it costs no attempt. Several in a row say something about the
 * stream: it is gone, or its answers cannot reach us; one probe at a time is enough to find out. */
void timed_out(struct delivery *d, struct message *m)
{
	d->stats.timeouts++;
	if (++d->silent[m->stream] >= LIMIT_SILENT_PUBLISHES && !is_probe(d, m))
		block_stream(d, m, REASON_NO_REPLY);
	else
		try_again(d, m, REASON_NO_REPLY);
}

bool next_publish(struct delivery *d, struct effect *f)
{
	struct message *m;

	/* The lease: without a sign of life of the session that carries the lead, somebody else may lead. */
	while (d->leading && d->bus_up && !d->draining && d->pause == 0 && d->now < d->lease_until &&
	       (m = d->lanes.place[PLACE_READY].first) != NULL) {
		if (m->defect) {
			if (d->dead_count == d->dead_limit)
				return false;
			poison(d, m, m->reason);
			continue;
		}
		f->publish.blind = d->tail[m->stream].blind || d->tail[m->stream].blind_id == m->id;
		if (must_ask(d, m))
			continue;
		if (d->lanes.place[PLACE_IN_FLIGHT].count >= d->window ||
		    (d->flight_bytes > 0 && d->flight_bytes + m->bytes > d->s.window_bytes))
			return false;
		/* Never 0: that is "not sent yet". Never back to an attempt whose reply may still come. */
		m->attempt = m->attempt == UINT16_MAX ? 1 : (uint16_t)(m->attempt + 1);
		if (m->tries < UINT16_MAX)
			m->tries++;
		m->at_ms = d->now;
		f->publish.by_ms = write_by(d, m);
		f->publish.again = m->late || m->tries > 1;
		doubt_begins(d, m);
		d->flight_bytes += m->bytes;
		message_move(&d->lanes, m, PLACE_IN_FLIGHT);
		d->stats.published++;
		d->stats.bytes_published += m->bytes;
		f->kind = EFFECT_PUBLISH;
		f->publish.slot = (uint32_t)(m - d->lanes.message);
		f->publish.id = m->id;
		f->publish.token = token_of(d, m);
		return true;
	}
	return false;
}
