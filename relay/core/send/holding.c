/* Holding back.
 *
 *     in memory --park--> the source --probe, or open again--> offered --gate--> in memory
 *                                                                  `--turned away: parked again
 *
 * A message that is parked parks what comes behind it. Probes are always the oldest of their scope. And what was parked
 * is offered again before anything newer of its scope may pass (open_from). So a scope comes back in the order it went. */
#include "core/send/holding.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/refusal.h"
#include "core/send/doubt.h"
#include "core/send/memory.h"
#include "core/send/send.h"

void holding_begin(struct sender *s)
{
	blocks_clear(&s->blocks);
	s->due_ms = INT64_MAX;
}

/* --- probes --- */

void holding_probe_fails(struct sender *s, struct block *b, int64_t ticket)
{
	if (b == NULL || b->probe != ticket)
		return;
	b->probe = 0;
	b->due_ms = sender_state_retry_at(s, b->failures);
	s->due_ms = sender_state_earlier(s->due_ms, b->due_ms);
}

/* The probe waits behind a lane that is held back, so it was never sent: the next one is asked at once. With a pause after each
 * of them a stream that is well again would stay shut for as many pauses as that lane has messages. */
static void probe_says_nothing(struct sender *s, struct block *b, int64_t ticket)
{
	if (b->probe != ticket)
		return;
	b->probe = 0;
	b->due_ms = s->due_ms = s->now_ms;
}

/* The ticket is about to be parked for b, which may be the stream's block or the lane's. Was it a probe, it has failed. And
 * was it to go before the probe of b, that one must not overtake it: it is chosen again. */
static void probes_yield(struct sender *s, struct block *b, struct block *stream, struct block *lane, int64_t ticket,
			 bool probe_may_stay)
{
	holding_probe_fails(s, stream, ticket);
	holding_probe_fails(s, lane, ticket);
	if (b->probe > ticket && !probe_may_stay)
		holding_probe_fails(s, b, b->probe);
}

bool holding_is_probe(struct sender *s, const struct message *m)
{
	return block_is_probed_by(sender_state_stream_block(s, m), m->ticket) ||
	       block_is_probed_by(sender_state_lane_block(s, m), m->ticket);
}

/* --- opening --- */

/* Lanes whose probe waited for its stream may try again. (A stream that is never due waits for an operator.) */
static void wake_waiting_lanes(struct sender *s)
{
	struct block *b = s->blocks.lanes > 0 ? blocks_next(&s->blocks, NULL) : NULL;

	for (; b != NULL; b = blocks_next(&s->blocks, b))
		if ((scope_is_lane(b->scope) || MUTANT(stopped_wakes)) && block_is_shut(b) && b->due_ms == INT64_MAX)
			b->due_ms = s->due_ms = s->now_ms;
}

void holding_open(struct sender *s, struct block *b)
{
	bool lane = scope_is_lane(b->scope);
	struct outcome *o = outcomes_add(&s->outcomes, OUTCOME_OPEN);

	if (block_is_shut(b))
		notes_add(s->notes, (struct note){ .kind = lane ? NOTE_LANE_OPEN : NOTE_STREAM_OPEN,
						   .id = b->probe,
						   .stream = lane ? 0 : (uint16_t)(b->scope - 1) });
	b->state = BLOCK_OPEN;
	b->probe = b->held_by = 0;
	b->failures = 0;
	/* Only the next round asks for what was parked: rows of the one under way may not overtake it, and are parked, too. */
	b->open_from = s->round + !MUTANT(opens_early);
	o->scope = b->scope;
	o->parked = b->parked;
	if (!lane)
		wake_waiting_lanes(s);
	else if (b->parked == 0)
		blocks_drop(&s->blocks, b);
}

void holding_unparked(struct sender *s, struct block *b, size_t tickets)
{
	assert(b->parked >= tickets);
	b->parked -= tickets;
	if (scope_is_lane(b->scope) && b->state == BLOCK_OPEN && b->parked == 0)
		blocks_drop(&s->blocks, b);
}

/* m was stored, or is a dead letter: what waited for its fate goes on. */
static void probes_succeed(struct sender *s, const struct message *m)
{
	struct block *stream = sender_state_stream_block(s, m), *lane = sender_state_lane_block(s, m);

	if (block_is_probed_by(stream, m->ticket))
		holding_open(s, stream);
	if (block_is_probed_by(lane, m->ticket))
		holding_open(s, lane);
}

/* --- leaving memory --- */

void holding_settle(struct sender *s, struct message *m)
{
	struct outcome *o;

	assert(m->attempt != 0); /* it was sent */
	if (s->blocks.stream[m->stream].probe == m->ticket || s->blocks.lanes > 0)
		probes_succeed(s, m);
	o = outcomes_add(&s->outcomes, OUTCOME_SETTLED);
	o->ticket = m->ticket;
	o->turn = m->turn;
	o->stream = m->stream;
	memory_release(s, m);
}

static void tell(struct sender *s, const struct message *m, enum outcome_kind kind, const struct block *b, bool oldest)
{
	*outcomes_add(&s->outcomes, kind) = (struct outcome){
		.kind = kind,
		.turn = m->turn,
		.stream = m->stream,
		.oldest = oldest,
		.ticket = m->ticket,
		.scope = b != NULL ? b->scope : SCOPE_NONE,
		.reason = m->reason,
		.scope_reason = b != NULL ? b->reason : REASON_NONE,
		.attempts = m->attempts,
		.parked = b != NULL ? b->parked : 0,
		.doubt = doubt_of(m),
	};
}

/* oldest: b is shut because of m. */
static void park(struct sender *s, struct message *m, struct block *b, enum outcome_kind kind, bool oldest)
{
	bool may_stay = b->probe > m->ticket && (memory_find(s, b->probe) != NULL || MUTANT(probe_unread));

	assert(block_is_shut(b));
	/* A probe that is in memory stands behind m there, if it is of m's lane; one that is still to be read may overtake it. */
	probes_yield(s, b, sender_state_stream_block(s, m), sender_state_lane_block(s, m), m->ticket, may_stay);
	b->parked++;
	s->stats->parked++;
	assert(b->probe != m->ticket);
	tell(s, m, kind, b, oldest);
	memory_release(s, m);
}

/* m, which is in flight or of another stream, is to be parked with its lane, and the lane's probe stands behind it in memory: the
 * probe was chosen as the oldest of those that were parked, which it will not be any more. It would be sent before m. So it is
 * parked, too. (Once it is in flight it was sent behind m. An owned stream parks whatever waits.) */
static void probe_goes_too(struct sender *s, const struct message *m)
{
	struct block *lane = sender_state_lane_block(s, m);
	struct message *probe = block_is_shut(lane) && lane->probe > m->ticket ? memory_find(s, lane->probe) : NULL;

	if (probe != NULL && !m->lane->owned && probe->place != PLACE_IN_FLIGHT && probe->place != PLACE_UNRECORDED &&
	    !MUTANT(probe_stays_behind))
		park(s, probe, lane, OUTCOME_PARKED, false);
}

/* --- shutting --- */

static void shut(struct sender *s, struct block *b, uint32_t reason)
{
	if (b->state == BLOCK_OPEN) {
		b->since_ms = s->now_ms;
		b->failures = 0;
		b->state = BLOCK_SHUT;
	}
	b->reason = reason;
	b->failures++;
	b->due_ms = sender_state_retry_at(s, b->failures - 1);
	s->due_ms = sender_state_earlier(s->due_ms, b->due_ms);
}

/* Nothing of its lane stands in memory before the probe: parking others does not make it overtake them. */
static bool probe_leads_its_lane(const struct sender *s, const struct block *b)
{
	const struct message *m = memory_find(s, b->probe);

	return m == NULL || m->lane == NULL || m->lane->first == m;
}

/* What belongs to a lane that is held back, too, stays with its lane: the lane's probe must find its oldest. */
void holding_park_with_lane_or(struct sender *s, struct message *m, struct block *b)
{
	struct block *lane = sender_state_lane_block(s, m);

	probe_goes_too(s, m);
	park(s, m, block_is_shut(lane) ? lane : b, OUTCOME_PARKED, false);
}

void holding_block_stream(struct sender *s, struct message *m, uint32_t reason)
{
	struct block *b = sender_state_stream_block(s, m);
	int64_t probe = probe_leads_its_lane(s, b) || MUTANT(probe_overtakes) ? b->probe : 0;
	struct message *x, *next;

	m->reason = reason;
	if (b->state == BLOCK_OPEN)
		notes_add(s->notes, (struct note){ .kind = NOTE_STREAM_BLOCKED,
						   .id = m->ticket,
						   .stream = m->stream,
						   .reason = reason });
	if (b->state == BLOCK_OPEN || b->probe == m->ticket)
		shut(s, b, reason);
	assert(block_is_shut(b));
	holding_park_with_lane_or(s, m, b);
	for (x = s->lanes.oldest; x != NULL; x = next) {
		bool parks = scope_of_stream(x->stream) == b->scope && x->place != PLACE_IN_FLIGHT &&
			     x->ticket != probe && !(MUTANT(stream_half_parked) && x->keyed);

		if (parks)
			probe_goes_too(s, x); /* which may be the next one */
		next = x->age_next;
		if (parks)
			holding_park_with_lane_or(s, x, b);
	}
}

static void park_lane_behind(struct sender *s, struct lane *lane, struct block *b)
{
	struct message *x = lane->first, *next;

	for (; x != NULL; x = next) {
		next = x->lane_next;
		if (x->place != PLACE_IN_FLIGHT && x->place != PLACE_UNRECORDED)
			park(s, x, b, OUTCOME_PARKED, false);
	}
}

/* A lane of its own for an unordered message that has to be held back alone. */
static scope_id lane_of_one(int64_t ticket)
{
	return scope_of_lane(((uint64_t)ticket * UINT64_C(0xd6e8feb86659fd93)) >> 1);
}

static void block_lane(struct sender *s, struct message *m, uint32_t reason, enum outcome_kind kind)
{
	struct lane *lane = m->lane;
	struct block *b = blocks_get(&s->blocks, lane != NULL ? lane->hash : lane_of_one(m->ticket));
	bool last = lane == NULL || (lane->first == m && lane->last == m);
	bool held = kind == OUTCOME_HELD;

	m->reason = reason;
	if (b == NULL) { /* too many are held back: this one keeps its place in memory */
		/* another message may tell more about the stream */
		holding_probe_fails(s, sender_state_stream_block(s, m), m->ticket);
		memory_retry(s, m, s->now_ms + s->set->retry_max_ms);
		return;
	}
	notes_add(s->notes, (struct note){ .kind = held ? NOTE_HELD : NOTE_LANE_BLOCKED,
					   .id = m->ticket,
					   .stream = m->stream,
					   .reason = reason,
					   .attempts = m->attempts });
	shut(s, b, reason);
	assert(block_is_shut(b) && b->failures > 0);
	if (held) {
		b->state = BLOCK_HELD;
		b->held_by = m->ticket;
	}
	park(s, m, b, kind, true);
	b->probe = 0;
	if (!last && !MUTANT(lane_not_parked))
		park_lane_behind(s, lane, b);
}

void holding_block_lane(struct sender *s, struct message *m, uint32_t reason)
{
	block_lane(s, m, reason, OUTCOME_PARKED);
}

void holding_dead_letter(struct sender *s, struct message *m, uint32_t reason)
{
	bool hold =
		s->set->poison == POISON_HOLD && m->keyed && !settings_owns(s->set, m->stream) && !MUTANT(hold_ignored);
	struct block *stream = sender_state_stream_block(s, m);

	assert(s->dead_credit > 0 && (m->place == PLACE_IN_FLIGHT || m->defect));
	if (hold && blocks_get(&s->blocks, m->lane->hash) == NULL) {
		holding_block_lane(s, m, reason);
		return;
	}
	s->dead_credit--;
	s->stats->dead++;
	if (hold) {
		if (stream->probe == m->ticket) /* the stream did answer */
			holding_open(s, stream);
		block_lane(s, m, reason, OUTCOME_HELD);
		return;
	}
	notes_add(s->notes, (struct note){ .kind = NOTE_DEAD,
					   .id = m->ticket,
					   .stream = m->stream,
					   .reason = reason,
					   .attempts = m->attempts });
	m->reason = reason;
	probes_succeed(s, m);
	tell(s, m, OUTCOME_DEAD, NULL, false);
	if (m->lane == NULL || s->lanes.pipelined || MUTANT(unrecorded_passed))
		memory_release(s, m);
	else
		memory_dead_letter(s, m);
}

/* --- offers --- */

static bool keeps_out(const struct sender *s, const struct block *b, int64_t ticket)
{
	if (b == NULL || b->probe == ticket)
		return false;
	return block_is_shut(b) || ((int32_t)(s->round - b->open_from) < 0 && !MUTANT(overtake_parked));
}

struct block *holding_gate(struct sender *s, uint16_t stream, scope_id lane, int64_t ticket)
{
	struct block *of_lane = lane != SCOPE_NONE && s->blocks.lanes > 0 ? blocks_find(&s->blocks, lane) : NULL;
	struct block *of_stream = &s->blocks.stream[stream];

	if (keeps_out(s, of_lane, ticket))
		return of_lane;
	if (keeps_out(s, of_stream, ticket))
		return block_is_shut(of_lane) ? of_lane : of_stream;
	return NULL;
}

void holding_turn_away(struct sender *s, struct block *b, uint16_t stream, scope_id lane, int64_t ticket)
{
	struct block *of_lane = blocks_find(&s->blocks, lane), *of_stream = &s->blocks.stream[stream];
	bool waits = block_is_shut(of_stream) && block_is_probed_by(of_lane, ticket);
	/* The lane's probe must be its oldest; a stream's may be of this lane and still to be read. */
	bool may_stay = b->probe > ticket && !scope_is_lane(b->scope) &&
			(memory_find(s, b->probe) != NULL || MUTANT(probe_reread));

	if (b != of_stream)
		probe_says_nothing(s, of_stream, ticket);
	probes_yield(s, b, of_stream, of_lane, ticket, may_stay);
	assert(b->probe != ticket && !block_is_probed_by(of_stream, ticket));
	if (waits) /* it would only be read and parked again, before the stream's own probe */
		of_lane->due_ms = INT64_MAX;
	b->parked++;
	s->stats->parked++;
}
