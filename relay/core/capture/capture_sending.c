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
	c->lost_end |= c->set.in_commit_order && !MUTANT(lost_end_ignored);
}

static void dead(struct capture *c, const struct outcome *o)
{
	uint32_t slot = capture_rows_entry(&c->rows, o->ticket)->slot;

	capture_marking_letter(&c->marking, o, slot);
	capture_rows_done(&c->rows, o->ticket, true);
}

static void take(struct capture *c, const struct outcome *o)
{
	switch (o->kind) {
	case OUTCOME_SETTLED: capture_rows_done(&c->rows, o->ticket, false); break;
	case OUTCOME_DEAD: dead(c, o); break;
	case OUTCOME_HELD: assert(!"poison is skipped"); break;
	case OUTCOME_PARKED: capture_rows_parked(&c->rows, o); break;
	case OUTCOME_OPEN: c->offer_parked |= o->parked > 0; break;
	case OUTCOME_TRUNCATED: truncated(c); break;
	case OUTCOME_FIRST: low_water_first(&c->marking.low_water, o->stream, o->sequence); break;
	case OUTCOME_FOREIGN: /* the stream is shut, or goes on: no ticket has another fate because of it */
	case OUTCOME_INHERITED: break;
	}
}

void capture_sending_outcomes(struct capture *c)
{
	const struct outcome *o;

	while ((o = outcomes_take(c->outcomes)) != NULL)
		take(c, o);
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

static void offer(struct capture *c, int64_t ordinal)
{
	struct capture_entry *e = capture_rows_entry(&c->rows, ordinal);
	const struct capture_slot *slot = &c->rows.slot[e->slot];
	bool parked = e->state == ENTRY_PARKED;
	struct doubt doubt;
	struct row row = {
		.id = ordinal,
		.lane = slot->lane,
		.bytes = slot->bytes,
		.defect = slot->defect,
		.keyed = slot->lane != 0 && !MUTANT(lanes_ignored),
	};
	struct offer o = {
		.row = &row,
		.ticket = ordinal,
		.turn = parked ? TURN_LATE : TURN_REGULAR,
		.attempts = parked ? e->attempts : 0,
		.was_parked = parked ? e->scope : SCOPE_NONE,
		.doubt = parked ? &e->doubt : inherited(c, &doubt),
	};
	int32_t sender_slot = sender_offer(c->send, &o);

	if (sender_slot >= 0)
		c->slot_of[sender_slot] = e->slot;
	capture_rows_offered(&c->rows, ordinal);
	if (sender_slot < 0)
		capture_sending_outcomes(c);
}

static bool has_room(const struct capture *c)
{
	return memory_resident(c->send) < c->set.send.queue_messages;
}

/* In ascending order, in a round of their own: nothing newer passes what is parked. */
void capture_sending_offer(struct capture *c)
{
	bool all = true;

	if ((!c->offer_parked && c->rows.unoffered == c->rows.next) || !has_room(c))
		return;
	sender_round(c->send);
	for (int64_t o = c->rows.oldest; c->offer_parked && c->rows.parked > 0 && o < c->rows.unoffered; o++) {
		struct capture_entry *e = capture_rows_entry(&c->rows, o);

		if (e->state != ENTRY_PARKED || !holding_takes(c->send, e->scope, o))
			continue;
		all = has_room(c);
		if (!all)
			break;
		offer(c, o);
	}
	if (!all)
		return;
	c->offer_parked = false;
	while (c->rows.unoffered < c->rows.next && has_room(c))
		offer(c, c->rows.unoffered);
}

void capture_sending_probes(struct capture *c)
{
	for (int64_t o = c->rows.oldest; c->rows.parked > 0 && o < c->rows.unoffered; o++) {
		const struct capture_entry *e = capture_rows_entry(&c->rows, o);

		if (e->state != ENTRY_PARKED || !holding_wants_probe(c->send, e->scope))
			continue;
		holding_probe(c->send, e->scope, o);
		c->offer_parked = true;
	}
	holding_probes_chosen(c->send);
	capture_sending_outcomes(c);
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
	if (c->caught_up != INT64_MAX && !c->settled && capture_rows_settled(&c->rows) >= c->caught_up) {
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
	return !c->settled || c->rows.oldest < c->rows.next;
}
