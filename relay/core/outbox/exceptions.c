/* Exceptions.
 *
 *     (skipped) --> MISSING --row--> ACTIVE --settled--> gone
 *                     |  void          |  ^
 *                     v         parked |  | read again
 *                    gone              v  |
 *     in memory --parked-------------> PARKED, HELD --row is gone--> gone (vanished)
 *
 * HELD is a dead letter: it holds its lane, until an operator decides; or it was redriven, and parked on its way. */
#include "core/outbox/exceptions.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/outbox/marking.h"
#include "core/outbox/outbox.h"
#include "core/refusal.h"

void exceptions_begin(struct reader *r)
{
	book_clear(&r->book);
	r->fates.unconfirmed_dead_letter = false;
}

static bool is_parked(const struct exception *e)
{
	return e->kind == EXCEPTION_PARKED || e->kind == EXCEPTION_HELD;
}

static size_t ids_of(const struct exception *e)
{
	return (size_t)(e->hi - e->lo) + 1;
}

/* Missing, parked for a stream, or being published: all the same now, they are looked for anew. Only lanes stay held back. */
void exceptions_load(struct reader *r, const struct exception_row *row, uint64_t fence)
{
	scope_id lane = row->lane != 0 ? scope_of_lane(row->lane) : SCOPE_NONE;
	bool held = row->kind == EXCEPTION_HELD;
	enum exception_kind kind = EXCEPTION_MISSING;
	struct exception *e;

	assert(row->lo <= row->hi && (r->book.last == NULL || r->book.last->hi < row->lo));
	if (lane != SCOPE_NONE &&
	    holding_inherit(r->send, lane, (size_t)(row->hi - row->lo) + 1, held ? row->lo : 0, row->decided))
		kind = held ? EXCEPTION_HELD : EXCEPTION_PARKED;
	e = book_insert(&r->book, row->lo, row->hi, kind, kind == EXCEPTION_MISSING ? SCOPE_NONE : lane);
	book_stored(e);
	marking_fence(e, fence);
	e->attempts = row->attempts;
	e->born_ms = r->now_ms - r->set->grace_ms;
	e->heritage = row->doubted ? HERITAGE_DOUBTED : HERITAGE_UNREAD;
	if (row->low_water != LOW_WATER_NONE)
		e->doubt = (struct doubt){ .sent_ms = SENT_BY_PREDECESSOR,
					   .low_water = row->low_water,
					   .stream = row->stream };
}

/* Whatever earlier leaders left they may have sent; but for a lane with a dead letter that no operator had decided about. (Pipelined,
 * others of its lane were in flight when it became one.) */
void exceptions_inherited(struct reader *r)
{
	if (r->set->ordering != ORDERING_STRICT)
		return;
	for (struct exception *e = r->book.first; e != NULL; e = e->next)
		if (e->heritage != HERITAGE_DOUBTED && holding_waited_for_operator(r->send, e->scope))
			e->heritage = HERITAGE_NONE;
}

/* --- outcomes --- */

/* The exception of a late ticket: it stands alone, as it was read. */
static struct exception *active_one(struct reader *r, int64_t id)
{
	struct exception *e = book_find(&r->book, id);

	assert(e != NULL && e->lo == e->hi && e->kind == EXCEPTION_ACTIVE);
	return e;
}

static void settle(struct reader *r, const struct outcome *o, bool stored)
{
	if (o->turn != TURN_REGULAR) {
		book_remove(&r->book, active_one(r, o->ticket));
		marking_settled_late(r, o->ticket, o->stream, stored);
	} else {
		assert(r->book.count == 0 || book_find(&r->book, o->ticket) == NULL);
		marking_settled(r, o->ticket, o->stream, stored);
	}
	if (o->turn == TURN_REDRIVEN)
		marking_resolve_dead_letter(r, o->ticket);
}

void exceptions_settled(struct reader *r, const struct outcome *o)
{
	settle(r, o, true);
}

static void note_dead_letter(struct reader *r, const struct outcome *o)
{
	r->fates.unconfirmed_dead_letter |= o->doubt.low_water != LOW_WATER_NONE;
	marking_dead_letter(r, (struct dead_letter){ .id = o->ticket,
						     .reason = o->reason,
						     .attempts = o->attempts,
						     .held = o->kind == OUTCOME_HELD });
	sender_dead_credit(r->send, marking_dead_letter_room(r));
}

void exceptions_dead(struct reader *r, const struct outcome *o)
{
	note_dead_letter(r, o);
	settle(r, o, false);
}

/* The oldest of a lane was not stored, so an earlier leader sent nothing of what stands behind it. (Pipelined it might have, or
 * of what belongs to another stream, or after a decision that a promotion has taken back.) A dead letter that holds its lane says as
 * much to the next leader: where it is not so, the books must say that. */
static void judge_lane(struct reader *r, scope_id lane, bool held)
{
	bool in_turn = r->set->ordering == ORDERING_STRICT && r->set->streams == 1;

	for (struct exception *e = r->book.first; e != NULL && !r->marking.heritage_is_read; e = e->next) {
		if (e->scope != lane || e->heritage != HERITAGE_UNREAD)
			continue;
		if (in_turn) {
			e->heritage = HERITAGE_NONE;
		} else if (held) {
			e->heritage = HERITAGE_DOUBTED;
			book_stale(&r->book, e);
		}
	}
}

static struct exception *late_one(struct reader *r, const struct outcome *o, enum exception_kind kind)
{
	struct exception *e = book_find(&r->book, o->ticket);

	assert(e != NULL && e->lo == e->hi);
	/* As old as it was: what is probed again and again must not hold the position for ever. */
	book_change_back(&r->book, e, kind, o->scope);
	e->doubt = MUTANT(doubt_lost) ? NO_DOUBT : o->doubt;
	e->heritage = HERITAGE_NONE;
	return kind == EXCEPTION_PARKED ? book_join(&r->book, e, marking_position(r)) : e;
}

/* The one rule of parking, whether it was in memory or has just been read. */
static void park(struct reader *r, const struct outcome *o, enum exception_kind kind)
{
	struct exception *e;

	assert(o->scope != SCOPE_NONE && o->ticket <= r->reading.read);
	if (o->oldest && o->parked > 1)
		judge_lane(r, o->scope, o->kind == OUTCOME_HELD);
	if (o->turn != TURN_REGULAR)
		e = late_one(r, o, kind);
	else
		e = book_park(&r->book, o->ticket, kind, o->scope, o->doubt, marking_position(r), r->now_ms);
	/* Its own refusal; or what it waits behind. */
	if (o->reason != REASON_NONE) {
		e->reason = o->reason;
		e->attempts = o->attempts;
	} else if (e->reason == REASON_NONE) {
		e->reason = o->scope_reason;
	}
	marking_dirty(r);
}

void exceptions_held(struct reader *r, const struct outcome *o)
{
	note_dead_letter(r, o);
	park(r, o, EXCEPTION_HELD);
}

void exceptions_parked(struct reader *r, const struct outcome *o)
{
	park(r, o, o->turn == TURN_REDRIVEN ? EXCEPTION_HELD : EXCEPTION_PARKED);
}

/* --- streams --- */

void exceptions_truncated(struct reader *r, uint16_t stream)
{
	for (struct exception *e = r->book.first; e != NULL; e = e->next) {
		if (e->doubt.stream != stream || e->doubt.low_water == LOW_WATER_NONE)
			continue;
		e->doubt.low_water = LOW_WATER_UNKNOWN;
		/* The next leader must not look above the old one: the database is told by the next mark. */
		if (!MUTANT(truncated_unlisted))
			book_stale(&r->book, e);
		marking_dirty(r);
	}
}

void exceptions_looked_for(struct reader *r, uint16_t stream)
{
	for (struct exception *e = r->book.first; e != NULL; e = e->next)
		if (e->doubt.stream == stream && e->doubt.sent_ms == SENT_BY_PREDECESSOR)
			e->doubt.sent_ms = NEVER;
}

bool exceptions_has_missing(const struct reader *r, int64_t id)
{
	const struct exception *e = book_find(&r->book, id);

	return e != NULL && e->kind == EXCEPTION_MISSING;
}

uint64_t exceptions_lowest(const struct reader *r, uint16_t stream)
{
	uint64_t lowest = LOW_WATER_NONE;

	for (const struct exception *e = r->book.first; e != NULL; e = e->next)
		if (e->doubt.stream == stream && e->doubt.sent_ms != NEVER && e->doubt.low_water < lowest)
			lowest = e->doubt.low_water;
	return lowest;
}

/* --- reading --- */

void exceptions_missing(struct reader *r, int64_t lo, int64_t hi)
{
	assert(lo > r->marking.position && lo == r->reading.read + 1);
	book_insert(&r->book, lo, hi, EXCEPTION_MISSING, SCOPE_NONE)->born_ms = r->now_ms;
}

bool exceptions_is_wanted(const struct reader *r, const struct exception *e)
{
	if (!is_parked(e))
		return e->kind == EXCEPTION_MISSING;
	/* Where nothing is held back any more, HELD is a dead letter that was redriven and parked on its way. */
	return holding_takes(r->send, e->scope, e->lo);
}

/* While we have not caught up, an earlier leader may have sent it. (What the stream held when we took the lead is known, or asked
 * for: this is for the leader after us.) */
struct doubt exceptions_doubt(const struct reader *r, const struct row *row, const struct exception *e)
{
	struct doubt doubt = e != NULL ? e->doubt : NO_DOUBT;

	assert(e != NULL || !r->reading.caught_up);
	/* No stream takes it, and whatever one of an earlier leader took is none of ours: the books say that it is doubted (marking.c). */
	if (row->stream == STREAM_UNROUTED)
		return doubt;
	if (e == NULL || e->heritage != HERITAGE_NONE) {
		uint64_t inherited = lookback_inherited(r->send, row->stream);

		doubt.low_water =
			doubt.low_water < inherited || MUTANT(low_water_inherited) ? doubt.low_water : inherited;
		doubt.stream = doubt.low_water != LOW_WATER_NONE ? row->stream : 0;
	}
	return doubt;
}

void exceptions_activate(struct reader *r, struct exception *e)
{
	assert(e->lo == e->hi && e->kind != EXCEPTION_ACTIVE);
	e->heritage = HERITAGE_NONE;
	book_change(&r->book, e, EXCEPTION_ACTIVE, SCOPE_NONE);
}

static void vanish(struct reader *r, struct exception *e)
{
	notes_add(r->notes, (struct note){ .kind = NOTE_VANISHED, .id = e->lo, .last = e->hi });
	assert(is_parked(e) && e->scope != SCOPE_NONE);
	r->stats->vanished += ids_of(e);
	if (e->kind == EXCEPTION_HELD)
		marking_resolve_dead_letter(r, e->lo);
	holding_gone(r->send, e->scope, e->lo, ids_of(e));
	if (!scope_is_lane(e->scope))
		chain_uncounted(r->send, (uint16_t)(e->scope - 1));
	book_remove(&r->book, e);
	marking_dirty(r);
}

/* A missing id is void, and only then, when every transaction with an xid below its fence had ended before
 * the snapshot was taken. The fence was drawn after the id was found missing, so after the id was drawn, and
 * a transaction owns an xid before it draws an id: the xid of the id's owner is below the fence, the owner has ended, and had it
 * committed the row would be here. (The xmax of a snapshot is no such fence: it is one past the last
 * COMPLETED xid, and a running transaction can own an xid at or above it.) */
static bool is_void(const struct exception *e, uint64_t horizon)
{
	return (e->fence != FENCE_NONE && e->fence != FENCE_PENDING && e->fence <= horizon + MUTANT(fence_by_one)) ||
	       (MUTANT(no_fence) && horizon != 0);
}

void exceptions_absent(struct reader *r, uint64_t horizon, int64_t up_to)
{
	struct exception *e, *next;

	for (e = r->book.first; e != NULL && e->lo <= up_to; e = next) {
		next = e->next;
		if (e->asked != r->reading.round || e->hi > up_to || e->kind == EXCEPTION_ACTIVE)
			continue;
		if (e->kind != EXCEPTION_MISSING) {
			if (exceptions_is_wanted(r, e))
				vanish(r, e);
			continue;
		}
		e->heritage = HERITAGE_NONE; /* nobody has ever seen it */
		if (!is_void(e, horizon))
			continue;
		r->stats->voided += ids_of(e);
		book_remove(&r->book, e);
		marking_dirty(r);
	}
}

/* The oldest of each scope: to cut it out of its range may need room for two more. */
bool exceptions_choose_probes(struct reader *r)
{
	bool chosen = false;

	for (struct exception *e = r->book.first; e != NULL; e = e->next) {
		if (!is_parked(e) || !holding_wants_probe(r->send, e->scope) ||
		    (e->lo < e->hi && book_room(&r->book) < memory_resident(r->send) + 2))
			continue;
		e = book_single(&r->book, e, e->lo);
		holding_probe(r->send, e->scope, e->lo);
		assert(!holding_wants_probe(r->send, e->scope) && holding_is_probed_by(r->send, e->scope, e->lo));
		chosen = true;
	}
	return chosen;
}

/* --- operators --- */

/* It does not hold its lane. A restart may have forgotten that it is a dead letter: its record is to go when it is settled. */
static void remember_dead_letter(struct reader *r, struct exception *e, int64_t id, bool redrive)
{
	if (e == NULL && id <= r->marking.position) {
		marking_resolve_dead_letter(r, id);
	} else if (e != NULL && e->kind == EXCEPTION_ACTIVE && redrive) {
		memory_set_turn(memory_find(r->send, id), TURN_REDRIVEN);
	} else if (e != NULL && e->kind == EXCEPTION_PARKED && redrive &&
		   book_room(&r->book) >= memory_resident(r->send) + 2) {
		e = book_single(&r->book, e, id);
		book_change(&r->book, e, EXCEPTION_HELD, e->scope);
	}
}

bool exceptions_decided(struct reader *r, int64_t id, bool redrive)
{
	struct exception *e = book_find(&r->book, id);
	bool holds;

	if (marking_resolved_are_many(r)) /* the decision stands in the database, and is told again */
		return false;
	if (e == NULL || e->kind != EXCEPTION_HELD) {
		remember_dead_letter(r, e, id, redrive);
		return false;
	}
	assert(e->scope != SCOPE_NONE && e->lo <= id && id <= e->hi);
	holds = holding_is_held_by(r->send, e->scope, e->lo);
	if (redrive) {
		if (MUTANT(resolved_at_once))
			marking_resolve_dead_letter(r, e->lo);
		if (holds)
			holding_redrive(r->send, e->scope, e->lo);
		return holds; /* else it was redriven before, and parked on its way: told again */
	}
	if (holds)
		holding_discard(r->send, e->scope, e->lo);
	else
		holding_withdraw(r->send, e->scope, e->lo);
	marking_resolve_dead_letter(r, e->lo);
	book_remove(&r->book, e);
	return false;
}
