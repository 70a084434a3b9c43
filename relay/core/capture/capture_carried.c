#include "core/capture/capture_carried.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/capture/capture_mutant.h"

static const uint32_t CARRY_BYTES = 4 << 20; /* of one mark, about */

bool capture_carried_create(struct capture_carried *k, const struct capture_settings *set, struct capture_rows *rows)
{
	*k = (struct capture_carried){ .set = set, .rows = rows };
	k->most = set->most_carried != 0 ? set->most_carried : LIMIT_CAPTURE_CARRIED;
	k->list = calloc(LIMIT_CAPTURE_CARRIED, sizeof *k->list);
	k->gone = calloc(LIMIT_CAPTURE_CARRIED, sizeof *k->gone);
	k->hold = calloc(LIMIT_CAPTURE_CARRIED, sizeof *k->hold);
	return k->list != NULL && k->gone != NULL && k->hold != NULL;
}

void capture_carried_destroy(struct capture_carried *k)
{
	free(k->list);
	free(k->gone);
	free(k->hold);
}

void capture_carried_forget(struct capture_carried *k)
{
	k->count = k->waiting = k->here = k->done = k->inherited = k->unwritten = k->held = k->untold = 0;
	memset(k->keeps, 0, sizeof k->keeps);
	k->asked = k->look = k->was_voided = false;
}

/* --- counts --- */

/* In commit order all is one sequence, whatever its key: a capture that was by key may have left something. */
static uint64_t lane_of(const struct capture_carried *k, uint64_t lane)
{
	return k->set->in_commit_order ? 1 : lane;
}

static bool keeps_back(const struct carried *x)
{
	return x->state < CARRIED_SENT;
}

static void count(struct capture_carried *k, const struct carried *x, int by)
{
	uint64_t lane = lane_of(k, x->lane);

	if (keeps_back(x)) {
		k->waiting += (size_t)by;
		if (lane != 0)
			k->keeps[lane % CARRIED_KEYS] += (uint32_t)by;
	}
	k->here += x->state == CARRIED_HERE ? (size_t)by : 0;
	k->done += x->state == CARRIED_DONE ? (size_t)by : 0;
	k->inherited += x->inherited && x->state != CARRIED_DONE ? (size_t)by : 0;
	k->unwritten += x->unwritten ? (size_t)by : 0;
	k->held += x->held ? (size_t)by : 0;
	k->untold += x->untold ? (size_t)by : 0;
}

static void move(struct capture_carried *k, struct carried *x, int state)
{
	count(k, x, -1);
	x->state = state;
	count(k, x, 1);
}

static size_t place_of(const struct capture_carried *k, int64_t ordinal)
{
	size_t low = 0, high = k->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (k->list[middle].ordinal < ordinal)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct carried *capture_carried_find(const struct capture_carried *k, int64_t ordinal)
{
	size_t i = place_of(k, ordinal);

	return i < k->count && k->list[i].ordinal == ordinal ? &k->list[i] : NULL;
}

static void add(struct capture_carried *k, const struct carried *x)
{
	size_t i = place_of(k, x->ordinal);

	assert(k->count < LIMIT_CAPTURE_CARRIED && (i == k->count || k->list[i].ordinal != x->ordinal));
	memmove(&k->list[i + 1], &k->list[i], (k->count - i) * sizeof *k->list);
	k->list[i] = *x;
	k->count++;
	count(k, x, 1);
}

bool capture_carried_keeps(const struct capture_carried *k, uint64_t lane, int64_t ordinal)
{
	lane = lane_of(k, lane);
	if (k->waiting == 0 || lane == 0 || k->keeps[lane % CARRIED_KEYS] == 0 || MUTANT(carried_passed))
		return false;
	for (size_t i = 0; i < k->count && k->list[i].ordinal < ordinal; i++)
		if (keeps_back(&k->list[i]) && lane_of(k, k->list[i].lane) == lane)
			return true;
	return false;
}

static bool only_probes(struct sender *send, scope_id scope, uint64_t lane, int64_t ordinal)
{
	return scope != SCOPE_NONE && !scope_is_lane(scope) && lane != 0 && !MUTANT(carried_in_the_way) &&
	       !holding_takes(send, scope_of_lane(lane), ordinal);
}

bool capture_carried_lets(const struct capture_carried *k, struct sender *send, scope_id scope, uint64_t lane,
			  int64_t ordinal)
{
	return !capture_carried_keeps(k, lane, ordinal) || only_probes(send, scope, lane, ordinal);
}

/* --- the lead --- */

/* Before all others, so that there is room for them: whoever put them on record held as many lanes back, and more. */
static void inherit_held(struct sender *send, const struct capture_inherited *list, size_t listed)
{
	for (size_t i = 0; i < listed; i++)
		if (list[i].held && !MUTANT(held_goes_on))
			holding_inherit(send, scope_of_lane(list[i].lane), 1, list[i].ordinal, false);
}

void capture_carried_begin(struct capture_carried *k, struct sender *send, const struct capture_inherited *list,
			   size_t listed)
{
	assert(listed <= LIMIT_CAPTURE_CARRIED);
	inherit_held(send, list, listed);
	for (size_t i = 0; i < listed; i++) {
		struct carried x = {
			.ordinal = list[i].ordinal,
			.lane = list[i].lane,
			.bytes = list[i].bytes,
			.slot = CAPTURE_NO_SLOT,
			.state = CARRIED_OUT,
			.inherited = list[i].low_water != LOW_WATER_NONE,
			.held = list[i].held && !MUTANT(held_goes_on),
			.doubt = NO_DOUBT,
		};

		if (x.inherited)
			x.doubt = (struct doubt){ .sent_ms = SENT_BY_PREDECESSOR,
						  .low_water = MUTANT(carried_unsought) ? LOW_WATER_NONE
											: list[i].low_water };

		/* Its lane is probed by its oldest. Where there is no room to hold it back, or no lane, it is wanted at once. */
		if (x.held || (x.lane != 0 && holding_inherit(send, scope_of_lane(x.lane), 1, 0, false)))
			x.scope = scope_of_lane(x.lane);
		add(k, &x);
	}
	k->look = listed > 0;
}

uint64_t capture_carried_lowest(const struct capture_carried *k)
{
	uint64_t lowest = LOW_WATER_NONE;

	for (size_t i = 0; i < k->count; i++)
		if (k->list[i].inherited && k->list[i].state != CARRIED_DONE && k->list[i].doubt.low_water < lowest)
			lowest = k->list[i].doubt.low_water;
	return lowest;
}

/* --- into the books --- */

/* Only what its key keeps waiting: a stream that takes nothing stops the reading, and what it would take is the log. */
static bool may_be_carried(const struct capture_entry *e)
{
	return e->state == ENTRY_PARKED && (e->scope == SCOPE_NONE || scope_is_lane(e->scope));
}

int64_t capture_carried_due_at(const struct capture_carried *k)
{
	const struct capture_entry *e;

	if (k->rows->parked == 0 || k->count >= k->most || k->set->in_commit_order)
		return INT64_MAX;
	e = capture_rows_entry(k->rows, k->rows->oldest);
	return may_be_carried(e) ? e->parked_ms + (int64_t)k->set->carry_after_ms : INT64_MAX;
}

bool capture_carried_is_due(const struct capture_carried *k, int64_t now_ms)
{
	return now_ms >= capture_carried_due_at(k);
}

/* One that is held, and on record as that with this mark at the latest, stands before it in its lane, or is it. */
static bool is_held(const struct capture_carried *k, uint64_t lane)
{
	for (size_t i = 0; k->held > 0 && i < k->count; i++)
		if (k->list[i].held && k->list[i].lane == lane)
			return true;
	return false;
}

static void take(struct capture_carried *k, int64_t ordinal, uint64_t low_water)
{
	struct capture_entry *e = capture_rows_entry(k->rows, ordinal);
	const struct capture_slot *slot = &k->rows->slot[e->slot];
	struct carried x = {
		.ordinal = ordinal,
		.lane = slot->lane,
		.bytes = slot->bytes,
		.scope = e->scope,
		.doubt = e->doubt,
		.attempts = e->attempts,
		.reason = e->reason,
		.slot = e->slot,
		.state = CARRIED_WRITING,
		.unwritten = true,
		.held = e->held,
		.untold = e->held,
		.level = e->held || is_held(k, slot->lane) ? LOW_WATER_NONE : low_water,
	};

	add(k, &x);
	capture_rows_carried(k->rows, ordinal);
}

/* The oldest of a key first: of one that is left no younger one is taken. Keys that share a bit wait for each other. */
void capture_carried_take(struct capture_carried *k, int64_t now_ms, uint64_t low_water)
{
	uint64_t left[CARRIED_KEYS / 64] = { 0 };
	uint64_t bytes = 0;
	size_t n = 0;

	if (!capture_carried_is_due(k, now_ms))
		return;
	for (int64_t o = k->rows->oldest; o < k->rows->next && k->rows->parked > 0; o++) {
		const struct capture_entry *e = capture_rows_entry(k->rows, o);
		const struct capture_slot *slot = &k->rows->slot[e->slot];
		uint64_t bit = slot->lane % CARRIED_KEYS;
		bool is_left = slot->lane != 0 && (left[bit / 64] >> bit % 64 & 1) != 0 && !MUTANT(carried_any);

		if (e->state == ENTRY_DONE)
			continue;
		if (may_be_carried(e) && !is_left && n < LIMIT_CAPTURE_CARRIES && bytes < CARRY_BYTES &&
		    k->count < k->most && now_ms >= e->parked_ms + (int64_t)k->set->carry_after_ms) {
			bytes += slot->bytes;
			n++;
			take(k, o, low_water);
		} else {
			left[bit / 64] |= UINT64_C(1) << bit % 64;
		}
	}
}

bool capture_carried_between(const struct capture_carried *k, int64_t above, int64_t upto)
{
	for (size_t i = place_of(k, above + 1); i < k->count && k->list[i].ordinal <= upto; i++)
		if (k->list[i].state != CARRIED_DONE)
			return true;
	return false;
}

bool capture_carried_want_mark(const struct capture_carried *k)
{
	return k->done > 0 || k->unwritten > 0 || k->untold > 0 || k->was_voided;
}

static void tell_held(struct capture_carried *k, struct carried *x, struct capture_mark *m)
{
	if (!x->untold)
		return;
	x->untold = false;
	k->untold--;
	if (!MUTANT(held_untold))
		k->hold[m->held_count++] = (struct capture_held){ x->ordinal, x->reason, x->attempts };
}

void capture_carried_mark(struct capture_carried *k, struct capture_mark *m)
{
	m->carries = k->carry;
	m->gone = k->gone;
	m->held = k->hold;
	m->carry_count = m->gone_count = m->held_count = 0;
	m->carried_void = k->was_voided;
	k->was_voided = false;
	for (size_t i = 0; i < k->count; i++) {
		struct carried *x = &k->list[i];

		if (x->state == CARRIED_DONE)
			k->gone[m->gone_count++] = x->ordinal;
		tell_held(k, x, m);
		if (x->state != CARRIED_WRITING || !x->unwritten)
			continue;
		x->unwritten = false;
		k->unwritten--;
		if (MUTANT(carried_unwritten))
			continue;
		k->carry[m->carry_count++] = (struct capture_carry){
			.slot = x->slot,
			.ordinal = x->ordinal,
			.lane = x->lane,
			.attempts = x->attempts,
			.reason = x->reason,
			.low_water = x->doubt.low_water != LOW_WATER_NONE ? x->doubt.low_water : x->level,
		};
	}
}

/* What was WRITING is on record: it leaves memory. What was DONE when the mark was made is gone. */
void capture_carried_marked(struct capture_carried *k, const struct capture_mark *m)
{
	size_t kept = 0, gone = 0;

	for (size_t i = 0; i < k->count; i++) {
		struct carried *x = &k->list[i];

		if (gone < m->gone_count && m->gone[gone] == x->ordinal) {
			gone++;
			count(k, x, -1);
			continue;
		}
		if (x->state == CARRIED_WRITING && !x->unwritten) {
			capture_rows_drop(k->rows, x->slot);
			x->slot = CAPTURE_NO_SLOT;
			move(k, x, CARRIED_OUT);
			k->look = true;
		}
		if (kept != i)
			k->list[kept] = *x;
		kept++;
	}
	k->count = kept;
}

/* --- out of them --- */

bool capture_carried_is_wanted(struct sender *send, const struct carried *x)
{
	return !x->held && (x->scope == SCOPE_NONE || holding_takes(send, x->scope, x->ordinal));
}

/* Ascending; and of a lane none whose elder is not coming, too: what is here could not be offered, and would take the room of those that can. */
size_t capture_carried_fetch(struct capture_carried *k, struct sender *send)
{
	size_t n = 0, room = capture_rows_book_room(k->rows);
	uint64_t left[CARRIED_KEYS / 64] = { 0 };

	if (!k->look || k->asked || room == 0)
		return 0;
	for (size_t i = 0; i < k->count && n < LIMIT_CAPTURE_FETCH && n < room; i++) {
		struct carried *x = &k->list[i];
		uint64_t lane = lane_of(k, x->lane), bit = lane % CARRIED_KEYS;

		if (!keeps_back(x) || x->state == CARRIED_HERE)
			continue;
		if (x->state == CARRIED_OUT && capture_carried_is_wanted(send, x) &&
		    (lane == 0 || (left[bit / 64] >> bit % 64 & 1) == 0 ||
		     only_probes(send, x->scope, x->lane, x->ordinal))) {
			move(k, x, CARRIED_ASKED);
			k->fetch[n++] = x->ordinal;
		} else {
			left[bit / 64] |= UINT64_C(1) << bit % 64;
		}
	}
	k->look = n > 0;
	k->asked = n > 0;
	return n;
}

static void is_gone(struct capture_carried *k, struct sender *send, struct carried *x)
{
	if (x->scope != SCOPE_NONE)
		holding_gone(send, x->scope, x->ordinal, 1);
	move(k, x, CARRIED_DONE);
}

void capture_carried_fetched(struct capture_carried *k, struct sender *send, struct capture_event *ev)
{
	size_t at = 0;

	for (size_t i = 0; i < ev->carried.count; i++)
		ev->carried.rows[i].slot = CAPTURE_NO_SLOT;
	if (!k->asked)
		return;
	k->asked = false;
	k->look = true;
	for (size_t i = 0; i < k->count; i++) {
		struct carried *x = &k->list[i];

		if (x->state != CARRIED_ASKED)
			continue;
		if (at == ev->carried.count || ev->carried.ordinals[at] != x->ordinal) {
			is_gone(k, send, x);
			continue;
		}
		x->slot = capture_rows_take_book(k->rows, &ev->carried.rows[at], x->lane);
		ev->carried.rows[at++].slot = x->slot;
		move(k, x, CARRIED_HERE);
	}
	assert(at == ev->carried.count);
}

static void out(struct capture_carried *k, struct carried *x)
{
	capture_rows_drop(k->rows, x->slot);
	x->slot = CAPTURE_NO_SLOT;
	move(k, x, CARRIED_OUT);
}

void capture_carried_let_go(struct capture_carried *k, struct carried *x)
{
	assert(x->state == CARRIED_HERE);
	out(k, x);
}

void capture_carried_sent(struct capture_carried *k, struct carried *x)
{
	assert(x->state == CARRIED_HERE);
	move(k, x, CARRIED_SENT);
}

void capture_carried_parked(struct capture_carried *k, struct carried *x, const struct outcome *o)
{
	assert(x->state == CARRIED_SENT);
	x->scope = o->scope;
	x->doubt = o->doubt;
	x->attempts = o->attempts;
	x->reason = o->scope_reason;
	out(k, x);
	k->look = true;
}

void capture_carried_held(struct capture_carried *k, struct carried *x, const struct outcome *o)
{
	capture_carried_parked(k, x, o);
	count(k, x, -1);
	x->reason = o->reason;
	x->held = x->untold = true;
	count(k, x, 1);
}

void capture_carried_done(struct capture_carried *k, struct carried *x, bool keep_slot)
{
	assert(x->state == CARRIED_SENT);
	if (!keep_slot)
		capture_rows_drop(k->rows, x->slot);
	x->slot = CAPTURE_NO_SLOT;
	move(k, x, CARRIED_DONE);
	k->look = true; /* a slot is free */
}

void capture_carried_void(struct capture_carried *k)
{
	for (size_t i = 0; i < k->count; i++)
		if (k->list[i].doubt.low_water != LOW_WATER_NONE)
			k->list[i].doubt.low_water = LOW_WATER_UNKNOWN;
		else
			k->list[i].level = LOW_WATER_UNKNOWN;
	k->was_voided |= k->count > 0;
}

void capture_carried_audit(const struct capture_carried *k)
{
	size_t waiting = 0, here = 0, done = 0, inherited = 0, unwritten = 0, held = 0, untold = 0;

	for (size_t i = 0; i < k->count; i++) {
		const struct carried *x = &k->list[i];

		assert(i == 0 || k->list[i - 1].ordinal < x->ordinal);
		assert((x->slot != CAPTURE_NO_SLOT) ==
		       (x->state == CARRIED_WRITING || x->state == CARRIED_HERE || x->state == CARRIED_SENT));
		waiting += keeps_back(x);
		here += x->state == CARRIED_HERE;
		done += x->state == CARRIED_DONE;
		inherited += x->inherited && x->state != CARRIED_DONE;
		unwritten += x->unwritten;
		held += x->held;
		untold += x->untold;
		assert(!x->held || x->state == CARRIED_WRITING || x->state == CARRIED_OUT);
	}
	assert(waiting == k->waiting && here == k->here && done == k->done && inherited == k->inherited &&
	       unwritten == k->unwritten && held == k->held && untold == k->untold);
}
