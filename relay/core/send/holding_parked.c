/* What is parked: what the source asks of it, and what it tells of it.
 *
 *     the source: is a probe wanted? -> this one -> offered (holding.c: gate) -> it opens the block, or is parked again
 *                 some of it is gone, decided by an operator, or on record from an earlier lead
 *
 * The source alone knows which tickets are parked for a scope; here stand how many there are, and which of them is the probe. */
#include "core/send/send.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/send/holding.h"

/* --- what the source asks --- */

bool holding_takes(struct sender *s, scope_id scope, int64_t ticket)
{
	const struct block *b = blocks_find(&s->blocks, scope);

	return block_is_probed_by(b, ticket) || !block_is_shut(b);
}

bool holding_is_probed_by(struct sender *s, scope_id scope, int64_t ticket)
{
	return block_is_probed_by(blocks_find(&s->blocks, scope), ticket);
}

bool holding_any_stream_open(const struct sender *s)
{
	for (uint32_t i = 0; i < s->set->streams; i++)
		if (!block_is_shut(&s->blocks.stream[i]))
			return true;
	return false;
}

bool holding_lanes_are_full(const struct sender *s)
{
	return s->blocks.lanes >= LIMIT_BLOCKED_LANES;
}

bool holding_is_due(const struct sender *s)
{
	return s->bus_up && s->now_ms >= s->due_ms;
}

bool holding_wants_probe(struct sender *s, scope_id scope)
{
	const struct block *b = blocks_find(&s->blocks, scope);

	return b->state == BLOCK_SHUT && b->probe == 0 && b->due_ms <= s->now_ms;
}

static void set_probe(struct block *b, int64_t ticket)
{
	assert(b->state == BLOCK_SHUT && b->probe == 0 && ticket != 0);
	b->probe = ticket;
}

void holding_probe(struct sender *s, scope_id scope, int64_t ticket)
{
	set_probe(blocks_find(&s->blocks, scope), ticket);
}

bool holding_waited_for_operator(struct sender *s, scope_id scope)
{
	const struct block *b = scope_is_lane(scope) ? blocks_find(&s->blocks, scope) : NULL;

	return b != NULL && b->state == BLOCK_HELD;
}

void holding_gone(struct sender *s, scope_id scope, int64_t ticket, size_t tickets)
{
	struct block *b = blocks_find(&s->blocks, scope);

	assert(b != NULL && tickets > 0);
	if (b->probe == ticket && !MUTANT(probe_vanished)) {
		b->probe = 0;
		if (block_is_held(b))
			b->state = BLOCK_SHUT;
		b->due_ms = s->due_ms = s->now_ms; /* another one is wanted at once */
	}
	holding_unparked(s, b, tickets);
}

bool holding_is_held_by(struct sender *s, scope_id scope, int64_t ticket)
{
	const struct block *b = blocks_find(&s->blocks, scope);

	return block_is_held(b) && b->held_by == ticket;
}

void holding_redrive(struct sender *s, scope_id scope, int64_t ticket)
{
	struct block *b = blocks_find(&s->blocks, scope);

	assert(holding_is_held_by(s, scope, ticket));
	b->state = BLOCK_SHUT;
	set_probe(b, ticket);
}

void holding_discard(struct sender *s, scope_id scope, int64_t ticket)
{
	struct block *b = blocks_find(&s->blocks, scope);

	assert(holding_is_held_by(s, scope, ticket));
	holding_unparked(s, b, 1);
	holding_open(s, b);
}

void holding_withdraw(struct sender *s, scope_id scope, int64_t ticket)
{
	struct block *b = blocks_find(&s->blocks, scope);

	assert(b != NULL && !holding_is_held_by(s, scope, ticket));
	holding_probe_fails(s, b, ticket);
	holding_unparked(s, b, 1);
}

/* --- the books, the clock --- */

bool holding_inherit(struct sender *s, scope_id lane, size_t tickets, int64_t held_by, bool decided)
{
	struct block *b = NULL;

	/* In an owned stream no lane is held back alone: they are looked for at once, in their order. But a letter that waits for an
	 * operator, from before the stream was owned, holds its lane still. */
	if (s->set->owned == 0 || held_by != 0 || blocks_find(&s->blocks, lane) != NULL)
		b = blocks_get(&s->blocks, lane);
	assert(scope_is_lane(lane) && tickets > 0);
	if (b == NULL)
		return false;
	b->inherited = true;
	if (b->state == BLOCK_OPEN)
		b->state = BLOCK_SHUT;
	if (held_by != 0) {
		b->state = decided || b->state == BLOCK_HELD_DECIDED ? BLOCK_HELD_DECIDED : BLOCK_HELD;
		b->held_by = held_by;
	}
	b->parked += tickets;
	b->due_ms = s->due_ms = s->now_ms;
	assert(block_is_shut(b) && b->parked >= tickets);
	return true;
}

/* To choose probes all that is parked is walked through. The more lanes are held back, the more of them are chosen at once. */
enum { LANES_PER_MS = 64 };

/* Returns the next one. */
static struct block *probe_chosen(struct sender *s, struct block *b)
{
	if (b->state != BLOCK_SHUT || b->probe != 0)
		return blocks_next(&s->blocks, b);
	if (b->parked == 0 && b->due_ms <= s->now_ms) {
		bool lane = scope_is_lane(b->scope);

		/* nothing is left that could probe; a lane's is dropped, and another one has its place */
		holding_open(s, b);
		return !lane ? blocks_next(&s->blocks, b) : blocks_holds(&s->blocks, b) ? b : NULL;
	}
	/* Due, and the source had no room to choose one: once more when something has been settled. */
	s->due_ms =
		sender_state_earlier(s->due_ms, b->due_ms > s->now_ms ? b->due_ms : s->now_ms + s->set->retry_min_ms);
	return blocks_next(&s->blocks, b);
}

void holding_probes_chosen(struct sender *s)
{
	int64_t pause_ms = (int64_t)(s->blocks.lanes / LANES_PER_MS);
	struct block *b = blocks_next(&s->blocks, NULL);

	s->due_ms = INT64_MAX;
	while (b != NULL)
		b = probe_chosen(s, b);
	if (s->due_ms < s->now_ms + pause_ms)
		s->due_ms = s->now_ms + pause_ms;
}
