/* Batches: which wire there is, what is in a batch, and how it ends. The picture and the argument stand in batch.c. */
#include "core/send/batch_end.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/send/chain.h"
#include "core/send/chain_break.h"
#include "core/send/doubt.h"
#include "core/send/lookback_end.h"
#include "core/send/memory.h"

/* Each at most a part of the time after which silence is a failure. */
int64_t batch_within(const struct sender *s, int64_t most_ms, uint32_t part)
{
	int64_t ms = s->set->ack_timeout_ms / part;

	return ms < 1 ? 1 : ms < most_ms ? ms : most_ms;
}

/* --- which wire --- */

/* A copy of it may be anywhere: also one in process, which only a message by itself is told of. */
static bool may_have_been_sent(const struct sender *s, const struct message *m)
{
	const struct predecessor *p = &s->predecessor;

	if (MUTANT(batch_inherits))
		return m->attempt != 0;
	if (m->attempt != 0 || m->copies.low_water != LOW_WATER_NONE || m->turn == TURN_REDRIVEN)
		return true;
	return p->remains && m->ticket <= p->last_ticket && s->lookback[m->stream].inherited != LOW_WATER_NONE;
}

/* m, which is in memory and not in a batch: may it be in one? What probes goes by itself. */
void batch_judge(struct sender *s, struct message *m)
{
	m->single |= may_have_been_sent(s, m) || block_is_shut(sender_state_stream_block(s, m)) ||
		     block_is_shut(sender_state_lane_block(s, m));
}

/* Until now nobody has looked at what came to memory. */
void batch_judge_all(struct sender *s, uint16_t stream)
{
	for (struct message *m = s->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && m->number == 0)
			batch_judge(s, m);
}

void batch_set_wire(struct sender *s, uint16_t stream, enum wire_reason reason)
{
	struct batch *b = &s->batch[stream];

	b->wire = reason;
	if (reason == b->said || reason == WIRE_UNTOLD)
		return;
	b->said = reason;
	notes_add(s->notes, (struct note){ .kind = NOTE_WIRE, .stream = stream, .reason = reason });
}

/* A batch may be begun, if nothing is uncertain. */
void batch_run_if_settled(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->runs || b->wire != WIRE_BATCHES || (b->uncertain > 0 && !MUTANT(batch_unsettled)))
		return;
	b->runs = true;
	if (!batch_is_owned(s, stream))
		lanes_widen(&s->lanes, stream);
}

void batch_stop(struct sender *s, uint16_t stream, const struct message *stays)
{
	struct batch *b = &s->batch[stream];

	if (!b->runs)
		return;
	b->runs = false;
	if (batch_is_owned(s, stream))
		lanes_resume(&s->lanes, stream);
	else
		lanes_narrow(&s->lanes, stream, stays);
}

/* --- what is in it --- */

void batch_append(struct batch *b, struct message *m)
{
	m->batch_prev = b->last;
	m->batch_next = NULL;
	*(b->last != NULL ? &b->last->batch_next : &b->first) = m;
	b->last = m;
}

void batch_take_out(struct batch *b, struct message *m)
{
	*(m->batch_prev != NULL ? &m->batch_prev->batch_next : &b->first) = m->batch_next;
	*(m->batch_next != NULL ? &m->batch_next->batch_prev : &b->last) = m->batch_prev;
	m->batch_next = m->batch_prev = NULL;
	m->number = 0;
}

/* Out of the batch, and still in memory. */
static void leaves(struct sender *s, struct message *m, bool uncertain)
{
	struct batch *b = &s->batch[m->stream];

	batch_take_out(b, m);
	/* It is not its failure. */
	m->tries -= m->tries > 0;
	if (!uncertain) {
		doubt_end(m);
		return;
	}
	if (MUTANT(batch_resends))
		return;
	m->single = m->uncertain = true;
	b->uncertain++;
}

/* The batch is over. What is still in flight in it, but for `stays`, is not any more. */
void batch_disband(struct sender *s, uint16_t stream, bool uncertain, struct message *stays)
{
	struct batch *b = &s->batch[stream];
	struct message *next;

	for (struct message *m = b->first; m != NULL && !batch_is_owned(s, stream); m = m->batch_next)
		if (m != stays)
			memory_grounded(s, m);
	if (!batch_is_owned(s, stream))
		batch_stop(s, stream, stays);
	if (stays != NULL)
		batch_take_out(b, stays);
	for (struct message *m = b->first; m != NULL; m = next) {
		next = m->batch_next;
		leaves(s, m, uncertain);
	}
	b->state = BATCH_IS_NONE;
	b->say = SAY_NOTHING;
	if (batch_is_owned(s, stream))
		batch_stop(s, stream, NULL);
}

/* Nobody knows what is stored of it. */
void batch_ends_unclean(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];
	struct message *first = b->first;

	b->unclean += first != NULL;
	batch_disband(s, stream, true, NULL);
	if (batch_is_owned(s, stream))
		chain_batch_failed(s, stream, first);
	batch_run_if_settled(s, stream);
}

/* All of it is stored. */
void batch_ends_whole(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	assert(b->first == NULL);
	b->state = BATCH_IS_NONE;
	b->say = SAY_NOTHING;
	if (b->wire == WIRE_BATCHES)
		lanes_resume(&s->lanes, stream);
	else
		batch_stop(s, stream, NULL);
}

/* --- what is stored --- */

static void is_stored(struct sender *s, struct message *m)
{
	batch_take_out(&s->batch[m->stream], m);
	if (batch_is_owned(s, m->stream)) {
		/* Each was to stand behind the one before, or not to be stored at all. */
		lookback_acked(s, m, m->attempt, m->due, false);
		chain_acked(s, m, m->attempt, m->due, false);
	}
	sending_stored(s, m);
}

void batch_stored_up_to(struct sender *s, uint16_t stream, uint32_t number)
{
	struct batch *b = &s->batch[stream];

	if (number <= b->acked)
		return;
	b->acked = number;
	b->moved_ms = b->progress_ms = s->now_ms;
	while (b->first != NULL && b->first->number <= number)
		is_stored(s, b->first);
	if (b->first == NULL)
		b->until_ms = s->now_ms + batch_within(s, BATCH_WORD_MS, 2);
	if (batch_is_owned(s, stream))
		chain_changed(s, stream);
}
