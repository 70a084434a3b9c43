#include "core/capture/capture_sending.h"

#include <assert.h>

#include "core/capture/capture_mutant.h"
#include "core/capture/capture_walks.h"

void capture_sending_begin(struct capture *c, const struct capture_event *ev)
{
	c->wal_end = ev->leading.wal_end;
	c->caught_up = INT64_MAX;
	c->settled = false;
	c->offer_parked = false;
	c->rows_then = c->stats.rows_read;
	sender_dead_credit(c->send, capture_marking_letter_room(&c->marking));
}

/* --- outcomes --- */

/* The stream is not the one we filled. In commit order we are alone in filling it: somebody must say what is to become of what is
 * gone (capture.md 9.5). */
static void truncated(struct capture *c)
{
	low_water_void(&c->marking.low_water, 0);
	capture_carried_void(&c->carried);
	for (int64_t o = c->rows.oldest; c->rows.parked > 0 && o < c->rows.unoffered; o++) {
		struct capture_entry *e = capture_rows_entry(&c->rows, o);

		if (e->state == ENTRY_PARKED && e->doubt.low_water != LOW_WATER_NONE)
			e->doubt.low_water = LOW_WATER_UNKNOWN;
	}
	c->lost_end |= c->set.in_commit_order && !MUTANT(lost_end_ignored);
}

static void dead(struct capture *c, const struct outcome *o)
{
	struct carried *x = capture_carried_find(&c->carried, o->ticket);

	capture_marking_letter(&c->marking, o, x != NULL ? x->slot : capture_rows_entry(&c->rows, o->ticket)->slot);
	if (x != NULL)
		capture_carried_done(&c->carried, x, true);
	else
		capture_rows_done(&c->rows, o->ticket, true);
}

static void settled(struct capture *c, const struct outcome *o)
{
	struct carried *x = capture_carried_find(&c->carried, o->ticket);

	if (x != NULL)
		capture_carried_done(&c->carried, x, false);
	else
		capture_rows_done(&c->rows, o->ticket, false);
}

static void parked(struct capture *c, const struct outcome *o)
{
	struct carried *x = capture_carried_find(&c->carried, o->ticket);

	if (x != NULL)
		capture_carried_parked(&c->carried, x, o);
	else
		capture_rows_parked(&c->rows, o, c->now_ms);
}

/* It waits for an operator, who has to find it: it is carried as soon as nothing older of its key is in memory. */
static void held(struct capture *c, const struct outcome *o)
{
	struct carried *x = capture_carried_find(&c->carried, o->ticket);

	if (x != NULL)
		capture_carried_held(&c->carried, x, o);
	else
		capture_rows_held(&c->rows, o, c->now_ms - (int64_t)c->set.carry_after_ms);
}

static void opened(struct capture *c, const struct outcome *o)
{
	c->offer_parked |= o->parked > 0;
	c->carried.look |= o->parked > 0;
}

static void take(struct capture *c, const struct outcome *o)
{
	switch (o->kind) {
	case OUTCOME_SETTLED: settled(c, o); break;
	case OUTCOME_DEAD: dead(c, o); break;
	case OUTCOME_HELD: held(c, o); break;
	case OUTCOME_PARKED: parked(c, o); break;
	case OUTCOME_OPEN: opened(c, o); break;
	case OUTCOME_TRUNCATED: truncated(c); break;
	case OUTCOME_FIRST: low_water_first(&c->marking.low_water, o->stream, o->sequence); break;
	case OUTCOME_FOREIGN: /* the stream is shut, or goes on: no ticket has another fate because of it */
	case OUTCOME_INHERITED: break;
	}
}

void capture_sending_outcomes(struct capture *c)
{
	const struct outcome *o;
	bool any_held = false;

	while ((o = outcomes_take(c->outcomes)) != NULL) {
		any_held |= o->kind == OUTCOME_HELD;
		take(c, o);
	}
	/* What is held takes no room among the letters of a mark. */
	if (any_held)
		sender_dead_credit(c->send, capture_marking_letter_room(&c->marking));
}

void capture_sending_on_record(struct capture *c, size_t letters)
{
	size_t waiting = memory_unrecorded(c->send);

	/* Without a lane a letter keeps nothing waiting. */
	memory_on_record(c->send, letters < waiting ? letters : waiting);
	sender_dead_credit(c->send, capture_marking_letter_room(&c->marking));
}

/* --- offers --- */

/* Only what an earlier leader may have sent is in doubt. */
static const struct doubt *inherited(const struct capture *c, struct doubt *doubt)
{
	uint64_t low_water = lookback_inherited(c->send, 0);

	if (c->caught_up != INT64_MAX || low_water == LOW_WATER_NONE)
		return NULL;
	*doubt = NO_DOUBT;
	doubt->low_water = low_water;
	return doubt;
}

/* Of a row in memory: of the rows, or one that was carried and is here again. */
static int32_t offer_slot(struct capture *c, int64_t ordinal, uint32_t at, const struct offer *how)
{
	const struct capture_slot *slot = &c->rows.slot[at];
	struct offer o = *how;
	struct row row = {
		.id = ordinal,
		.lane = slot->lane,
		.bytes = slot->bytes,
		.defect = slot->defect,
		.keyed = slot->lane != 0 && !MUTANT(lanes_ignored),
	};
	int32_t sender_slot;

	o.row = &row;
	o.ticket = ordinal;
	sender_slot = sender_offer(c->send, &o);
	if (sender_slot >= 0)
		c->slot_of[sender_slot] = at;
	return sender_slot;
}

static void offer(struct capture *c, int64_t ordinal)
{
	struct capture_entry *e = capture_rows_entry(&c->rows, ordinal);
	bool parked = e->state == ENTRY_PARKED;
	struct doubt doubt;
	struct offer o = {
		.turn = parked ? TURN_LATE : TURN_REGULAR,
		.attempts = parked ? e->attempts : 0,
		.was_parked = parked ? e->scope : SCOPE_NONE,
		.doubt = parked ? &e->doubt : inherited(c, &doubt),
	};
	int32_t sender_slot = offer_slot(c, ordinal, e->slot, &o);

	capture_rows_offered(&c->rows, ordinal);
	if (sender_slot < 0)
		capture_sending_outcomes(c);
}

static void offer_carried(struct capture *c, struct carried *x)
{
	struct offer o = { .turn = TURN_LATE, .attempts = x->attempts, .was_parked = x->scope, .doubt = &x->doubt };
	int32_t sender_slot = offer_slot(c, x->ordinal, x->slot, &o);

	capture_carried_sent(&c->carried, x);
	c->offer_parked = true; /* what is behind it may follow */
	if (sender_slot < 0)
		capture_sending_outcomes(c);
}

static bool has_room(const struct capture *c)
{
	return memory_resident(c->send) < c->set.send.queue_messages;
}

static uint64_t lane_of(const struct capture *c, const struct capture_entry *e)
{
	return c->rows.slot[e->slot].lane;
}

/* What is parked in memory: is it its turn? */
static bool takes(struct capture *c, const struct capture_entry *e, int64_t ordinal)
{
	return e->state == ENTRY_PARKED && (e->scope == SCOPE_NONE || holding_takes(c->send, e->scope, ordinal)) &&
	       capture_carried_lets(&c->carried, c->send, e->scope, lane_of(c, e), ordinal);
}

/* In ascending order: what was carried stands before all of its key that is in memory. False: there was no room for all. */
static bool offer_all_carried(struct capture *c)
{
	for (size_t i = 0; c->carried.here > 0 && i < c->carried.count; i++) {
		struct carried *x = &c->carried.list[i];

		if (x->state != CARRIED_HERE)
			continue;
		if (!has_room(c))
			return false;
		if (capture_carried_is_wanted(c->send, x) &&
		    capture_carried_lets(&c->carried, c->send, x->scope, x->lane, x->ordinal))
			offer_carried(c, x);
		else
			capture_carried_let_go(&c->carried, x);
	}
	return true;
}

static bool offer_all_parked(struct capture *c)
{
	for (int64_t o = c->rows.oldest; c->offer_parked && c->rows.parked > 0 && o < c->rows.unoffered; o++) {
		if (!takes(c, capture_rows_entry(&c->rows, o), o))
			continue;
		if (!has_room(c))
			return false;
		offer(c, o);
	}
	c->offer_parked = false;
	return true;
}

/* What comes behind something that is carried waits for it; and where it becomes the oldest it is carried at once. */
static void behind(struct capture *c, int64_t ordinal)
{
	struct doubt doubt;
	const struct doubt *of_before = inherited(c, &doubt);

	capture_rows_behind(&c->rows, ordinal, of_before != NULL ? *of_before : NO_DOUBT,
			    c->now_ms - (int64_t)c->set.carry_after_ms);
}

/* In ascending order, in a round of their own: nothing newer passes what is parked. */
void capture_sending_offer(struct capture *c)
{
	bool any = c->offer_parked || c->carried.here > 0 || c->rows.unoffered < c->rows.next;

	if (!any || !has_room(c))
		return;
	sender_round(c->send);
	if (!offer_all_carried(c) || !offer_all_parked(c))
		return;
	while (c->rows.unoffered < c->rows.next && has_room(c)) {
		int64_t o = c->rows.unoffered;

		if (capture_carried_keeps(&c->carried, lane_of(c, capture_rows_entry(&c->rows, o)), o))
			behind(c, o);
		else
			offer(c, o);
	}
}

static void choose(struct capture *c, scope_id scope, int64_t ordinal)
{
	if (scope == SCOPE_NONE || !holding_wants_probe(c->send, scope))
		return;
	holding_probe(c->send, scope, ordinal);
	c->offer_parked = c->carried.look = true;
}

/* All that is parked, in ascending order, wherever it is. */
void capture_sending_probes(struct capture *c)
{
	size_t i = 0;

	for (int64_t o = c->rows.oldest;; o++) {
		bool more = c->rows.parked > 0 && o < c->rows.unoffered;
		const struct capture_entry *e = capture_rows_entry(&c->rows, o);

		for (; i < c->carried.count && (!more || c->carried.list[i].ordinal < o); i++)
			if (c->carried.list[i].state < CARRIED_SENT && !c->carried.list[i].held)
				choose(c, c->carried.list[i].scope, c->carried.list[i].ordinal);
		if (!more)
			break;
		if (e->state == ENTRY_PARKED)
			choose(c, e->scope, o);
	}
	holding_probes_chosen(c->send);
	capture_sending_outcomes(c);
}

void capture_sending_fetched(struct capture *c, struct capture_event *ev)
{
	capture_carried_fetched(&c->carried, c->send, ev);
	c->offer_parked = true;
}

void capture_sending_released(struct capture *c, uint32_t sender_slot)
{
	c->slot_of[sender_slot] = CAPTURE_NO_SLOT;
}

void capture_sending_publish(const struct capture *c, struct effect *f)
{
	f->publish.slot = c->slot_of[f->publish.slot];
	assert(f->publish.slot != CAPTURE_NO_SLOT);
}

/* --- earlier leaders --- */

/* It was streamed nothing above wal_end, and its rows stood in the chunks behind the books' cursor. */
static bool is_caught_up(const struct capture *c)
{
	return !c->log.open && c->log.idle_lsn >= c->wal_end &&
	       (!capture_walks_unfinished(&c->reading) ||
		c->stats.rows_read - c->rows_then > (uint64_t)LIMIT_CAPTURE_STEPS * c->set.chunk_rows);
}

void capture_sending_heritage(struct capture *c)
{
	if (c->caught_up == INT64_MAX && is_caught_up(c)) {
		c->caught_up = c->rows.next - 1;
		sender_caught_up(c->send, c->caught_up);
	}
	if (c->caught_up != INT64_MAX && !c->settled && capture_rows_settled(&c->rows) >= c->caught_up &&
	    c->carried.inherited == 0) {
		c->settled = true;
		sender_predecessor_settled(c->send);
	}
}

struct level capture_sending_level(const struct capture *c)
{
	struct level level = { .read = c->rows.next - 1 };
	uint64_t inherited = lookback_inherited(c->send, 0);

	level.sequence[0] =
		c->caught_up != INT64_MAX || inherited == LOW_WATER_NONE ? lookback_last_known(c->send, 0) : inherited;
	return level;
}

bool capture_sending_seeks(const struct capture *c)
{
	return !c->settled || c->rows.oldest < c->rows.next || c->carried.count > 0;
}
