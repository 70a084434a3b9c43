/* The face of the sender: offers in, outcomes out. What is decided is decided in sending.c, holding.c and lookback.c. */
#include "core/send/send.h"

#include <assert.h>
#include <stdlib.h>

#include "core/mutant.h"
#include "core/refusal.h"
#include "core/send/batch.h"
#include "core/send/chain.h"
#include "core/send/chain_break.h"
#include "core/send/doubt.h"
#include "core/send/holding.h"
#include "core/send/lanes_audit.h"
#include "core/send/lookback.h"
#include "core/send/memory.h"
#include "core/send/sending.h"

/* In one step each message leaves memory once, with up to one outcome of its own, and opens up to two blocks; each lane's block may
 * open; and each stream says a few things. */
static size_t most_outcomes(const struct delivery_settings *set)
{
	return 3 * (size_t)set->queue_messages + LIMIT_BLOCKED_LANES + 8 * (size_t)LIMIT_STREAMS;
}

struct sender *sender_create(const struct delivery_settings *set, struct notes *notes, struct delivery_stats *stats)
{
	struct sender *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->set = set;
	s->notes = notes;
	s->stats = stats;
	s->outcomes.capacity = most_outcomes(set);
	s->outcomes.list = calloc(s->outcomes.capacity, sizeof *s->outcomes.list);
	if (!lanes_create(&s->lanes, set->queue_messages, set->ordering == ORDERING_PIPELINED) ||
	    !blocks_create(&s->blocks, set->streams) || s->outcomes.list == NULL) {
		sender_free(s);
		return NULL;
	}
	holding_begin(s);
	sending_begin(s);
	sending_adjust(s);
	return s;
}

void sender_free(struct sender *s)
{
	if (s == NULL)
		return;
	lanes_destroy(&s->lanes);
	blocks_destroy(&s->blocks);
	free(s->outcomes.list);
	free(s);
}

/* --- the lead, the clock, the bus --- */

void sender_clock(struct sender *s, int64_t now_ms, uint32_t random)
{
	assert(now_ms >= s->now_ms && !outcomes_wait(&s->outcomes));
	s->now_ms = now_ms;
	backoff_stir(&s->backoff, random);
	s->batch_random = (s->batch_random << 7 | s->batch_random >> 57) ^ random;
}

void sender_forget(struct sender *s)
{
	batch_forget(s);
	memory_clear(s);
	holding_begin(s);
	sending_begin(s);
}

void sender_begin(struct sender *s, const uint64_t *low_water, int64_t predecessor_until_ms)
{
	assert(s->lanes.oldest == NULL && s->blocks.lanes == 0);
	s->predecessor = (struct predecessor){ .until_ms = predecessor_until_ms,
					       .last_ticket = INT64_MAX,
					       .remains = true,
					       .lives = predecessor_until_ms > s->now_ms };
	s->stats->last_ack_ms = s->now_ms;
	lookback_begin(s, low_water);
	chain_begin(s);
	batch_begin(s);
}

void sender_caught_up(struct sender *s, int64_t last_ticket)
{
	assert(!s->predecessor.last_is_known);
	s->predecessor.last_is_known = true;
	s->predecessor.last_ticket = last_ticket;
}

void sender_predecessor_settled(struct sender *s)
{
	assert(s->predecessor.last_is_known);
	s->predecessor.remains = false;
}

void sender_bus_up(struct sender *s)
{
	s->bus_up = true;
}

void sender_bus_down(struct sender *s)
{
	s->bus_up = false;
	batch_interrupted(s);
	lookback_interrupted(s);
	chain_interrupted(s);
	sending_interrupted(s);
	chain_rewound(s);
}

/* --- outcomes --- */

struct outcomes *sender_outcomes(struct sender *s)
{
	return &s->outcomes;
}

void sender_dead_credit(struct sender *s, size_t dead_letters)
{
	assert(dead_letters <= LIMIT_MARK_DEAD);
	s->dead_credit = (uint32_t)dead_letters;
}

/* --- offers --- */

uint32_t sender_round(struct sender *s)
{
	return ++s->round;
}

static int32_t admit(struct sender *s, const struct offer *o, scope_id lane, bool owned)
{
	const struct row *row = o->row;
	struct message *m = owned ? lanes_add_owned(&s->lanes, o->ticket, row->stream)
				  : lanes_add(&s->lanes, o->ticket, lane != SCOPE_NONE, lane);

	m->stream = row->stream;
	m->xid = row->xid;
	m->bytes = row->bytes;
	m->keyed = row->keyed && s->set->ordering != ORDERING_NONE;
	m->defect = row->defect != REASON_NONE;
	m->reason = row->defect;
	m->turn = o->turn;
	m->attempts = o->attempts > UINT16_MAX ? UINT16_MAX : (uint16_t)o->attempts;
	if (o->doubt != NULL)
		doubt_restore(m, *o->doubt);
	memory_admitted(s, m);
	if (owned)
		m->key = lane;
	if (s->batching != 0)
		batch_admitted(s, m);
	return (int32_t)(m - s->lanes.message);
}

static int32_t turn_away(struct sender *s, const struct offer *o, scope_id lane, struct block *b)
{
	holding_turn_away(s, b, o->row->stream, lane, o->ticket);
	if (b == &s->blocks.stream[STREAM_UNROUTED] && b->parked == 1)
		notes_add(s->notes, (struct note){ .kind = NOTE_UNROUTED, .id = o->ticket, .reason = b->reason });
	*outcomes_add(&s->outcomes, OUTCOME_PARKED) = (struct outcome){
		.kind = OUTCOME_PARKED,
		.turn = o->turn,
		.stream = o->row->stream,
		.ticket = o->ticket,
		.scope = b->scope,
		.scope_reason = b->reason,
		.attempts = o->attempts,
		.doubt = o->doubt != NULL ? *o->doubt : NO_DOUBT,
	};
	return -1;
}

/* What it is in, but for its stream. */
static scope_id lane_of(struct sender *s, const struct row *row, bool owned)
{
	scope_id lane = row->keyed && s->set->ordering != ORDERING_NONE ? scope_of_lane(row->lane) : SCOPE_NONE;
	const struct block *b;

	if (!owned || lane == SCOPE_NONE)
		return lane;
	/* What the same key meets in other streams is no matter of an owned one. */
	b = s->blocks.lanes > 0 ? blocks_find(&s->blocks, lane) : NULL;
	return b != NULL && b->inherited ? lane : SCOPE_NONE;
}

int32_t sender_offer(struct sender *s, const struct offer *o)
{
	bool owned = settings_owns(s->set, o->row->stream);
	scope_id lane = lane_of(s, o->row, owned);
	struct block *b;

	assert(o->ticket > 0 && (o->row->stream < s->set->streams || o->row->stream == STREAM_UNROUTED) &&
	       sender_state_resident(s) < s->lanes.slots);
	if (o->was_parked != SCOPE_NONE) {
		if (lane == SCOPE_NONE && scope_is_lane(o->was_parked))
			lane = o->was_parked; /* one without a key, which was held back alone */
		holding_unparked(s, blocks_find(&s->blocks, o->was_parked), 1);
	}
	b = owned && s->set->owned_stays ? NULL : holding_gate(s, o->row->stream, lane, o->ticket);
	return b != NULL ? turn_away(s, o, lane, b) : admit(s, o, lane, owned);
}

/* --- effects --- */

int64_t sender_deadline(const struct sender *s)
{
	const struct message *flight = s->lanes.place[PLACE_IN_FLIGHT].first,
			     *wait = s->lanes.place[PLACE_BACKOFF].first;
	int64_t at = wait != NULL ? wait->at_ms : INT64_MAX;

	if (!s->bus_up)
		return at;
	if (flight != NULL)
		at = sender_state_earlier(at, flight->at_ms + s->set->ack_timeout_ms);
	at = sender_state_earlier(at, chain_deadline(s));
	if (s->batching != 0)
		at = sender_state_earlier(at, batch_deadline(s));
	return sender_state_earlier(at, sender_state_earlier(s->due_ms, lookback_deadline(s)));
}

static void stream_stats(const struct sender *s, struct delivery_stats *stats)
{
	for (uint32_t i = 0; i < s->set->streams; i++) {
		const struct block *b = &s->blocks.stream[i];

		stats->stream[i] = (struct stream_state){
			.blocked = block_is_shut(b),
			.reason = b->reason,
			.since_ms = b->since_ms,
			.acked = s->acked[i].count,
			.sequence = s->acked[i].highest,
			.owned = settings_owns(s->set, i),
			.broken = s->chain[i].broken,
			.foreign = s->chain[i].foreign,
			.wire = s->batch[i].wire,
			.batches = s->batch[i].begun,
			.unclean = s->batch[i].unclean,
			.settled = s->batch[i].settled,
			.uncertain = s->batch[i].uncertain,
			.batch = s->batch[i].state != BATCH_IS_NONE ? s->batch[i].id : 0,
			.batch_messages = s->batch[i].state != BATCH_IS_NONE ? s->batch[i].sent : 0,
		};
	}
}

void sender_stats(const struct sender *s)
{
	struct delivery_stats *stats = s->stats;

	stats->bus_up = s->bus_up;
	stats->resident = (uint32_t)(sender_state_resident(s) - s->lanes.place[PLACE_DONE].count);
	stats->resident_bytes = (uint32_t)s->resident_bytes;
	stats->ready = (uint32_t)(s->lanes.place[PLACE_READY].count + s->lanes.place[PLACE_STANDBY].count);
	stats->in_flight = (uint32_t)s->lanes.place[PLACE_IN_FLIGHT].count;
	stats->asking = (uint32_t)s->lanes.place[PLACE_ASKING].count;
	stats->backing_off = (uint32_t)s->lanes.place[PLACE_BACKOFF].count;
	stats->unrouted = s->blocks.stream[STREAM_UNROUTED].parked;
	stats->blocked_lanes = (uint32_t)s->blocks.lanes;
	stats->window = s->send_window;
	stream_stats(s, stats);
}

void sender_audit(const struct sender *s)
{
	uint64_t flight = 0, all = 0;

	lanes_audit(&s->lanes);
	for (const struct message *m = s->lanes.oldest; m != NULL; m = m->age_next) {
		all += m->bytes;
		flight += m->place == PLACE_IN_FLIGHT ? m->bytes : 0;
	}
	for (const struct message *m = s->lanes.place[PLACE_UNRECORDED].first; m != NULL; m = m->next)
		all += m->bytes;
	assert(all == s->resident_bytes && flight == s->flight_bytes);
	assert(s->lanes.place[PLACE_IN_FLIGHT].count <= s->flight_limit);
	assert(!outcomes_wait(&s->outcomes));
}
