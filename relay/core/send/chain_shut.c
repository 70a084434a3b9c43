/* An owned stream that takes nothing, or waits for an operator. The picture and the argument stand in chain.c. */
#include "core/send/chain_shut.h"

#include "core/send/chain_break.h"
#include "core/send/chain_foreign.h"
#include "core/send/holding.h"
#include "core/send/memory.h"
#include "core/send/send.h"

bool chain_is_shut_in_memory(const struct sender *s, uint16_t stream)
{
	return s->set->owned_stays && block_is_shut(&s->blocks.stream[stream]);
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

void chain_open_in_memory(struct sender *s, uint16_t stream)
{
	struct block *b = &s->blocks.stream[stream];

	b->state = BLOCK_OPEN;
	b->failures = 0;
	b->probe = 0;
	notes_add(s->notes, (struct note){ .kind = NOTE_STREAM_OPEN, .stream = stream });
}

/* --- stopped --- */

void chain_stop(struct sender *s, uint16_t stream, uint32_t reason)
{
	if (s->chain[stream].state == CHAIN_STOPPED)
		return;
	s->chain[stream].state = CHAIN_STOPPED;
	chain_stand(s, stream);
	shut_unprobed(s, stream, chain_lane(s, stream)->first, reason);
	chain_park_what_waits(s, stream);
}

bool chain_has_no_foreign(struct sender *s, uint16_t stream)
{
	if (!chain_foreign_found(s, stream) || chain_foreign_passes(s, stream))
		return true;
	chain_stop(s, stream, REASON_FOREIGN);
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
		chain_open_in_memory(s, stream);
	else
		b->due_ms = s->due_ms = s->now_ms;
	chain_look_if_settled(s, stream);
}

void chain_adjust(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (chain_foreign_passes(s, i) && s->blocks.stream[i].reason == REASON_FOREIGN)
			chain_go_on(s, i);
}

/* --- refused --- */

void chain_shut(struct sender *s, struct message *m, uint32_t reason)
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
	chain_put_off(&s->chain[stream], sender_state_retry_at(s, s->blocks.stream[stream].failures - 1));
}

static void again(struct sender *s, struct message *m, uint32_t reason)
{
	struct block *b = sender_state_stream_block(s, m);

	if (block_is_shut(b) && (s->set->owned_stays ? b->probe == m->ticket : true)) {
		chain_shut(s, m, reason);
		return;
	}
	/* That another one was not stored says nothing about this one. */
	if (refusal_means_chain(reason)) {
		m->tries = m->tries > 0 ? (uint16_t)(m->tries - 1) : 0;
	} else if (m->tries >= LIMIT_TRIES_IN_MEMORY) {
		chain_shut(s, m, reason);
		return;
	} else {
		sender_state_tell_retry(s, m, reason);
		chain_put_off(&s->chain[m->stream], sender_state_retry_at(s, m->tries > 0 ? m->tries - 1u : 0));
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

	chain_break(s, stream);
	if (s->chain[stream].state == CHAIN_STOPPED)
		chain_call_back(s, m);
	else if (must_shut(s, m, reason, verdict))
		chain_shut(s, m, reason);
	else
		again(s, m, reason);
	chain_look_if_settled(s, stream);
}
