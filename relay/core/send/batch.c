/* Batches: a whole window in flight on any stream, all keys, each key in order (G3).
 *
 *     NONE --begins--> OPEN --its last message, or its end--> ENDING --all of it is stored--> NONE
 *                        |                                       |
 *                        `-- a gap, an error, a 503 --> BROKEN <-'
 *                              |  the server's word on what it has stored, or a while without it
 *                              v
 *                            NONE, and what was not told to be stored is UNCERTAIN: each goes by itself, in its lane;
 *                            no batch begins before all of them are settled, or parked
 *
 * Why what is stored is a prefix of what was sent. The server counts a batch: a message that is not the next one ends it, and nothing behind
 * that is stored. (That was looked for with care, and holds but for headers which no message of ours has: the names that begin with Nats-
 * are refused before anything is sent.) So of each lane what is stored is a prefix, too, and there may be many of it in flight.
 *
 * Why a batch holds only what was never sent before, by anybody. A cluster takes a message for stored in a batch though a copy of it is only
 * being stored, and may be lost yet; to a message by itself it says that (10158). So what is in doubt, what an earlier leader may have sent,
 * and what was in a batch whose end was unclean go by themselves. Then no message of a batch has a copy, what the server says of it is
 * said of this one, and an ack of number n says that 1 to n are stored.
 *
 * Why the next batch waits for the end of the one before. Two that are open are two sequences: the end of one may be lost, and the
 * other go on. Once all of the first is stored nothing of it is on its way. And if nobody knows, what is left of it is sent by lanes: one of a
 * key, and the next when that is stored. A copy that is still on its way from the batch is stored only if those before it there are: it
 * comes late, but not out of order, as with lanes.
 * Beside a batch that is ending, what has none of its lane in it goes by itself, as ever: it would wait for others, and its order is its lane's alone.
 *
 * Why it waits until nothing is uncertain. Not for the order: a lane goes on when its uncertain message is stored. But what shows that the
 * stream takes messages again is that these are taken. A batch begun in an outage adds a window of uncertain ones, and each of them
 * is sent once more.
 *
 * A clean end is all of it stored; or one message refused by name, everything before it stored, and nothing said that a server would say who
 * has just begun to lead. Then what stands behind the refused one is not stored, and cannot be any more, for the refused one is missing: it
 * counts as never sent. Whatever else ends a batch is unclean. That costs little: what is uncertain is dropped as a duplicate.
 *
 * Blocks, and not one batch for as long as there is work. Only the end says where the stream ends now (the sequence), and the low waters
 * of the books come from there. A batch that ended with its last message is ended on all servers; one that a server has forgotten, or
 * that idles, is not. And the block costs a few parts in a hundred (settings.batch_messages).
 *
 * Many answers say nothing: they are of a batch that is over, or of a former leader. The number tells the batch, and progress is that more is
 * stored, not that somebody answers. */
#include "core/send/batch.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/refusal.h"
#include "core/send/batch_end.h"
#include "core/send/chain_break.h"
#include "core/send/lookback_end.h"
#include "core/send/memory.h"
#include "core/send/send.h"

enum {
	TOO_MANY_MS = 10 * 1000, /* after so long a server has forgotten batches that idle */
};

/* --- answers --- */

static void break_off(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->state == BATCH_IS_BROKEN)
		return;
	b->state = BATCH_IS_BROKEN;
	b->say = SAY_NOTHING;
	b->until_ms = s->now_ms + batch_within(s, BATCH_WORD_MS, 2);
}

/* Everything before it is stored, it is refused, and what stands behind it is not stored, nor ever will be. Of an owned stream what is in
 * flight is looked for: that costs no more there. */
static void ends_at_the_refused(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];
	struct message *m = b->first;
	uint32_t reason = b->reason, status = b->status;

	batch_disband(s, stream, false, m);
	/* From now on it goes by itself: it would end each batch. And nothing of its lane goes with it. */
	m->single = !MUTANT(batch_refused_again);
	sending_was_refused(s, m, reason, status);
	batch_run_if_settled(s, stream);
}

static void on_end(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->batch.stream;
	struct batch *b = &s->batch[stream];
	uint32_t count = MUTANT(batch_count_is_sent) ? b->sent : ev->batch.number;
	uint64_t sequence = ev->batch.sequence;

	if (MUTANT(batch_counts_by_sequence) && sequence > b->floor)
		count = sequence - b->floor < b->sent ? (uint32_t)(sequence - b->floor) : b->sent;
	if (sequence != 0 && !b->lost && !batch_is_owned(s, stream))
		lookback_batch_stored(s, stream, b->floor, sequence);
	batch_stored_up_to(s, stream, count);
	if (b->first == NULL)
		batch_ends_whole(s, stream);
	else if (b->refused == count + 1 && b->first->number == b->refused && !batch_is_owned(s, stream) &&
		 (!b->disturbed || MUTANT(batch_gap_is_clean)))
		ends_at_the_refused(s, stream);
	else if (MUTANT(batch_gap_is_clean))
		batch_disband(s, stream, false, NULL), batch_run_if_settled(s, stream);
	else
		batch_ends_unclean(s, stream);
}

static void on_error(struct sender *s, const struct event *ev)
{
	struct batch *b = &s->batch[ev->batch.stream];

	if (b->refused == 0) {
		b->refused = ev->batch.number;
		b->reason = ev->batch.reason;
		b->status = ev->batch.status;
	} else {
		b->disturbed = true;
	}
	break_off(s, ev->batch.stream);
}

/* The stream takes no batches, or none now. */
static void turn_off(struct sender *s, uint16_t stream, uint32_t reason)
{
	struct batch *b = &s->batch[stream];

	if (refusal_means_many_batches(reason)) {
		b->again_ms = s->now_ms + TOO_MANY_MS;
		batch_set_wire(s, stream, WIRE_TOO_MANY);
	} else if (refusal_means_no_batches(reason)) {
		batch_set_wire(s, stream, WIRE_REFUSED);
	}
}

/* Also what a former leader said of a number that is long stored ends it: that says nothing about what is lost. */
static void on_refused(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->batch.stream;
	uint32_t reason = ev->batch.reason;

	if (refusal_means_busy(reason))
		sending_slow_down(s);
	s->batch[stream].disturbed = true;
	turn_off(s, stream, reason);
	/* An unknown batch is told no more about. */
	if (refusal_means_unknown_batch(reason) || s->batch[stream].wire != WIRE_BATCHES)
		batch_ends_unclean(s, stream);
	else
		break_off(s, stream);
}

void batch_answered(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->batch.stream;
	struct batch *b = &s->batch[stream];

	assert(stream < s->set->streams);
	if (b->state == BATCH_IS_NONE || (ev->batch.batch != b->id && !MUTANT(batch_of_another))) {
		s->stats->stale_replies++;
		return;
	}
	/* More than was sent: whoever says that knows nothing. */
	if ((ev->batch.what == BATCH_ACK || ev->batch.what == BATCH_END) && ev->batch.number > b->sent) {
		batch_ends_unclean(s, stream);
		return;
	}
	switch (ev->batch.what) {
	case BATCH_ACK: batch_stored_up_to(s, stream, ev->batch.number); break;
	case BATCH_END: on_end(s, ev); break;
	case BATCH_ERROR: on_error(s, ev); break;
	case BATCH_GAP:
		b->disturbed = true;
		break_off(s, stream);
		break;
	case BATCH_REFUSED: on_refused(s, ev); break;
	case BATCH_NO_RESPONDERS:
		/* That message is lost. When somebody leads again, he is asked, and tells. */
		b->disturbed = true;
		b->pinged_ms = s->now_ms;
		break_off(s, stream);
		break;
	case BATCH_ALONE:
		batch_set_wire(s, stream, WIRE_NO_BATCH);
		batch_ends_unclean(s, stream);
		break;
	}
}

void batch_silent(struct sender *s, const struct message *m)
{
	s->stats->timeouts++;
	batch_ends_unclean(s, m->stream);
}

/* --- what happens --- */

void batch_wire(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->wire.stream;
	struct batch *b = &s->batch[stream];
	bool batches = ev->wire.batches && s->set->ordering != ORDERING_PIPELINED;

	assert(stream < s->set->streams);
	batch_set_wire(s, stream, batches ? WIRE_BATCHES : ev->wire.batches ? WIRE_ORDERING : ev->wire.reason);
	if (batches && (s->batching >> stream & 1) == 0) {
		s->batching |= UINT64_C(1) << stream;
		batch_judge_all(s, stream);
	}
	if (batches)
		batch_run_if_settled(s, stream);
	else if (b->state == BATCH_IS_NONE)
		batch_stop(s, stream, NULL);
	else if (b->state == BATCH_IS_OPEN) /* that one is ended as any other */
		b->moved_ms = INT64_MIN / 2;
}

void batch_begin(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++) {
		assert(s->batch[i].first == NULL && s->batch[i].uncertain == 0);
		batch_run_if_settled(s, i);
	}
}

void batch_forget(struct sender *s)
{
	for (int i = 0; i < LIMIT_STREAMS; i++) {
		struct batch *b = &s->batch[i];

		while (b->first != NULL)
			batch_take_out(b, b->first);
		b->state = BATCH_IS_NONE;
		b->say = SAY_NOTHING;
	}
}

void batch_interrupted(struct sender *s)
{
	for (uint16_t i = 0; s->batching != 0 && i < s->set->streams; i++) {
		struct batch *b = &s->batch[i];

		b->wire = WIRE_UNTOLD;
		b->unclean += b->first != NULL;
		batch_disband(s, i, true, NULL);
	}
	s->batching = 0;
}

void batch_called_back(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	assert(batch_is_owned(s, stream));
	if (b->state == BATCH_IS_NONE)
		return;
	b->unclean += b->first != NULL;
	batch_disband(s, stream, true, NULL);
}

void batch_truncated(struct sender *s, uint16_t stream)
{
	s->batch[stream].lost = true;
}

void batch_admitted(struct sender *s, struct message *m)
{
	batch_judge(s, m);
	lanes_join(&s->lanes, m);
}

/* The batch waits for it no more; batch_run_if_settled() is not called here, for its lane may be on its way out. */
void batch_settled(struct sender *s, struct message *m)
{
	struct batch *b = &s->batch[m->stream];

	assert(m->uncertain && b->uncertain > 0);
	m->uncertain = false;
	b->uncertain--;
	b->settled++;
}
