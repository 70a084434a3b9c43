/* Marking.
 *
 *                       position                            read
 *     settled ------------->|                                |
 *                           | ids in memory, exceptions      | not read yet
 *                           '---- to ---->|
 *
 * The position moves past an id only if it is settled, or if the same mark stores it as an exception. */
#include "core/outbox/marking.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutant.h"
#include "core/outbox/outbox.h"

bool marking_create(struct reader *r, size_t capacity)
{
	struct marking *m = &r->marking;

	m->gone = calloc(capacity, sizeof *m->gone);
	m->added = calloc(capacity, sizeof *m->added);
	m->dead = calloc(LIMIT_MARK_DEAD, sizeof *m->dead);
	m->dead_marked = calloc(LIMIT_MARK_DEAD, sizeof *m->dead_marked);
	m->resolved = calloc(LIMIT_MARK_RESOLVED, sizeof *m->resolved);
	m->resolved_marked = calloc(LIMIT_MARK_RESOLVED, sizeof *m->resolved_marked);
	m->late = calloc(LIMIT_MARK_LATE, sizeof *m->late);
	m->sent = calloc(LIMIT_MARK_LATE + LIMIT_STREAMS, sizeof *m->sent);
	return m->gone != NULL && m->added != NULL && m->dead != NULL && m->dead_marked != NULL &&
	       m->resolved != NULL && m->resolved_marked != NULL && m->late != NULL && m->sent != NULL;
}

void marking_destroy(struct reader *r)
{
	struct marking *m = &r->marking;

	free(m->gone);
	free(m->added);
	free(m->dead);
	free(m->dead_marked);
	free(m->resolved);
	free(m->resolved_marked);
	free(m->late);
	free(m->sent);
}

void marking_forget(struct reader *r)
{
	struct marking *m = &r->marking;

	m->under_way = m->dirty = m->left_behind = false;
	m->dead_count = m->resolved_count = m->late_count = m->unrecorded = 0;
	memset(m->touched, 0, sizeof m->touched);
}

/* --- low water --- */

/* An exception of an earlier leader that we have not read yet may have been sent by it after its last mark. Once there is none,
 * there will be none. */
static void judge_heritage(struct reader *r)
{
	const struct exception *e = r->book.first;

	if (r->marking.heritage_is_read || !r->reading.caught_up)
		return;
	while (e != NULL && e->heritage == HERITAGE_NONE)
		e = e->next;
	r->marking.heritage_is_read = e == NULL;
}

/* Ids above `read` were not read when it was taken: whatever becomes of them is stored above what the stream held by then. Not
 * so what was there when we took the lead: an earlier leader may have sent it. Nor what came late and was sent again: its
 * exception does not say so before it is parked. */
static struct level take_level(const struct reader *r)
{
	struct level level = { .read = r->reading.read };

	for (uint16_t s = 0; s < r->set->streams; s++) {
		uint64_t inherited = lookback_inherited(r->send, s);

		level.sequence[s] =
			r->marking.heritage_is_read || inherited == LOW_WATER_NONE || MUTANT(low_water_of_predecessor)
				? lookback_last_known(r->send, s)
				: inherited;
	}
	if (r->book.kinds[EXCEPTION_ACTIVE] == 0)
		return level;
	for (struct message *m = memory_oldest(r->send, NULL); m != NULL; m = memory_oldest(r->send, m)) {
		struct doubt doubt = memory_doubt_of(m);

		if (memory_turn_of(m) != TURN_REGULAR && doubt.low_water < level.sequence[doubt.stream] &&
		    !MUTANT(low_water_of_late))
			level.sequence[doubt.stream] = doubt.low_water;
	}
	return level;
}

static void raise_low_water(struct reader *r, int64_t to)
{
	struct level fresh;

	if (to < r->marking.low_water.next.read && !MUTANT(low_water_at_once))
		return;
	judge_heritage(r);
	fresh = take_level(r);
	low_water_raise(&r->marking.low_water, to, &fresh);
}

void marking_low_water_void(struct reader *r, uint16_t stream)
{
	low_water_void(&r->marking.low_water, stream);
}

void marking_low_water_first(struct reader *r, uint16_t stream, uint64_t sequence)
{
	low_water_first(&r->marking.low_water, stream, sequence);
}

void marking_begin(struct reader *r, int64_t position)
{
	struct marking *m = &r->marking;
	struct level first;

	assert(!m->under_way && r->book.count == 0);
	m->position = position;
	m->settled = r->reading.read;
	m->heritage_is_read = false;
	m->considered_ms = m->mark_at = r->now_ms;
	first = take_level(r);
	low_water_begin(&m->low_water, &first);
}

/* --- what became of ids --- */

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void marking_settled(struct reader *r, int64_t id, uint16_t stream, bool stored)
{
	struct marking *m = &r->marking;

	assert(id > m->position && id <= r->reading.read);
	m->touched[stream] |= stored;
	if (id > m->settled)
		m->settled = id;
	marking_dirty(r);
}

void marking_settled_late(struct reader *r, int64_t id, uint16_t stream, bool stored)
{
	struct marking *m = &r->marking;

	assert(id <= r->reading.read);
	if (stored && m->late_count < LIMIT_MARK_LATE)
		m->late[m->late_count++] = (struct late){ .id = id, .stream = stream };
	marking_dirty(r);
}

/* One mark has one record of a dead letter: of its last death, if an operator was quick in between. */
void marking_dead_letter(struct reader *r, struct dead_letter letter)
{
	struct marking *m = &r->marking;
	size_t i = 0;

	while (i < m->dead_count && m->dead[i].id != letter.id)
		i++;
	assert(i < LIMIT_MARK_DEAD);
	m->dead_count += i == m->dead_count;
	m->dead[i] = letter;
}

size_t marking_dead_letter_room(const struct reader *r)
{
	return LIMIT_MARK_DEAD - r->marking.dead_count;
}

void marking_resolve_dead_letter(struct reader *r, int64_t id)
{
	struct marking *m = &r->marking;

	/* Without room its record stays, and says too much. */
	if (m->resolved_count < LIMIT_MARK_RESOLVED)
		m->resolved[m->resolved_count++] = id;
	marking_dirty(r);
}

bool marking_resolved_are_many(const struct reader *r)
{
	return r->marking.resolved_count >= LIMIT_MARK_RESOLVED / 2;
}

void marking_fence(struct exception *e, uint64_t fence)
{
	e->fence = MUTANT(loaded_unfenced) ? 1 : fence;
}

int64_t marking_position(const struct reader *r)
{
	return r->marking.under_way ? r->marking.mark.position : r->marking.position;
}

/* What was acknowledged behind something that is left would be sent again, and stored again once the broker has forgotten it. So
 * what is left becomes an exception, and the position can pass it. */
void marking_leave_behind(struct reader *r)
{
	if (r->marking.left_behind)
		return;
	assert(memory_in_flight(r->send) == 0);
	r->marking.left_behind = true;
	r->marking.dirty = true;
	for (struct message *m = memory_oldest(r->send, NULL); m != NULL; m = memory_oldest(r->send, m)) {
		int64_t id = memory_ticket_of(m);
		struct exception *e;

		if (memory_turn_of(m) != TURN_REGULAR || id >= r->marking.settled ||
		    book_room(&r->book) <= memory_resident(r->send))
			continue;
		e = book_insert(&r->book, id, id, EXCEPTION_ACTIVE, SCOPE_NONE);
		e->born_ms = r->now_ms;
		e->doubt = MUTANT(left_undoubted) ? NO_DOUBT : memory_doubt_of(m);
		memory_set_turn(m, TURN_LATE);
	}
}

/* --- the mark --- */

/* Before it is sent, and after it came through: what the position passes is settled, or an exception that the database holds. (What
 * changed since is written by the next mark: then it was held.) */
static void assert_accounted(const struct reader *r, int64_t position)
{
	const struct exception *e = book_above(&r->book, position);
	int64_t oldest = memory_oldest_regular(r->send);

	assert(position <= r->reading.read && (e == NULL || e->lo > position));
	assert(oldest == 0 || oldest > position || MUTANT(mark_in_memory) || MUTANT(mark_before_ack));
}

void marking_marked(struct reader *r, uint64_t fence)
{
	assert(r->marking.under_way && r->marking.mark.position >= r->marking.position);
	r->marking.under_way = false;
	r->marking.position = r->marking.mark.position;
	assert_accounted(r, r->marking.position);
	memory_on_record(r->send, r->marking.unrecorded);
	r->marking.unrecorded = 0;
	for (struct exception *e = r->book.first; e != NULL && r->book.kinds[EXCEPTION_MISSING] > 0; e = e->next)
		if (e->fence == FENCE_PENDING || (MUTANT(fence_of_older) && e->fence == FENCE_NONE))
			e->fence = fence;
}

/* How far the position can go: to the oldest message in memory that is no exception, and not past a gap that is so
 * young that it may close by itself (an exception costs two writes, waiting costs none). */
static int64_t reachable(struct reader *r, bool draining)
{
	struct marking *m = &r->marking;
	int64_t oldest = memory_oldest_regular(r->send);
	int64_t to = oldest != 0 && !(MUTANT(last_id_is_none) && oldest == INT64_MAX) ? oldest - !MUTANT(mark_in_memory)
										      : r->reading.read;
	size_t fresh = 0;

	for (const struct exception *e = book_above(&r->book, m->position); e != NULL && e->lo <= to; e = e->next) {
		if (e->kind == EXCEPTION_ACTIVE && !m->left_behind)
			return e->lo - 1;
		if (e->kind != EXCEPTION_HELD && !draining && r->now_ms - e->born_ms < r->set->grace_ms) {
			m->mark_at = earlier(m->mark_at, e->born_ms + r->set->grace_ms);
			return e->lo - 1;
		}
		if (!e->stored && ++fresh > LIMIT_MARK_NEW_EXCEPTIONS) {
			m->mark_at = r->now_ms; /* the rest in the next one */
			return e->lo - 1;
		}
	}
	return to;
}

static struct exception_row row_of(const struct exception *e)
{
	return (struct exception_row){
		.lo = e->lo,
		.hi = e->hi,
		.kind = e->kind,
		.lane = scope_is_lane(e->scope) ? e->scope : 0,
		.attempts = e->attempts,
		.reason = e->reason,
		.low_water = MUTANT(low_water_unlisted) ? LOW_WATER_NONE : e->doubt.low_water,
		.stream = e->doubt.stream,
		/* A stream that we do not know may hold a copy of what none of ours takes: who knows it looks there. */
		.doubted = e->heritage == HERITAGE_DOUBTED ||
			   (e->scope == scope_of_stream(STREAM_UNROUTED) && !MUTANT(unrouted_undoubted)),
	};
}

/* Exceptions up to the new position that the database does not hold yet. Returns whether some missing id has no fence: it
 * gets the one this mark's transaction will draw, because it was found missing before. */
static bool list_added(struct reader *r, int64_t to)
{
	size_t n = 0;
	bool unfenced = false;

	for (struct exception *e = r->book.first; e != NULL; e = e->next) {
		unfenced |= e->kind == EXCEPTION_MISSING && e->fence == FENCE_NONE;
		if (e->lo > to || e->stored || (MUTANT(missing_unlisted) && e->kind == EXCEPTION_MISSING) ||
		    (MUTANT(parked_unlisted) && e->kind == EXCEPTION_PARKED))
			continue;
		assert(e->hi <= to);
		r->marking.added[n++] = row_of(e);
	}
	r->marking.mark.added = r->marking.added;
	r->marking.mark.added_count = n;
	return unfenced;
}

static void mark_is_sent(struct reader *r)
{
	for (struct exception *e = r->book.first; e != NULL; e = e->next) {
		if (e->kind == EXCEPTION_MISSING && e->fence == FENCE_NONE)
			e->fence = FENCE_PENDING;
		if (e->lo <= r->marking.mark.position)
			book_stored(e);
	}
}

/* What came late may stand where the position passes now: then the row of its stream says it. (Said twice, of one id alone, it would be
 * the same row twice, which the table refuses, and the mark with it.) */
static void list_sent(struct reader *r, int64_t to)
{
	struct marking *m = &r->marking;
	bool passed[LIMIT_STREAMS] = { false };
	size_t n = 0;

	raise_low_water(r, to);
	for (uint16_t s = 0; s < r->set->streams && to > m->position; s++)
		if (m->touched[s]) {
			m->touched[s] = false;
			passed[s] = !MUTANT(sent_twice);
			m->sent[n++] = (struct sent){ .first = m->position + 1,
						      .last = to,
						      .stream = s,
						      .sequence = m->low_water.in_use.sequence[s] };
		}
	for (size_t i = 0; i < m->late_count; i++) {
		struct late late = m->late[i];

		if (!passed[late.stream] || late.id <= m->position || late.id > to)
			m->sent[n++] = (struct sent){ .first = late.id,
						      .last = late.id,
						      .stream = late.stream,
						      .sequence = m->low_water.in_use.sequence[late.stream] };
	}
	m->late_count = 0;
	assert(n <= LIMIT_MARK_LATE + LIMIT_STREAMS);
	m->mark.sent = m->sent;
	m->mark.sent_count = n;
}

/* The pending list goes into the mark; the mark's old one is used for what comes meanwhile. */
static void hand_over(struct reader *r)
{
	struct marking *m = &r->marking;
	struct dead_letter *dead = m->dead_marked;
	int64_t *resolved = m->resolved_marked, *gone = m->gone;

	m->mark.dead = m->dead_marked = m->dead;
	m->mark.dead_count = MUTANT(dead_unmarked) ? 0 : m->dead_count;
	m->dead = dead;
	m->dead_count = 0;
	m->mark.resolved = m->resolved_marked = m->resolved;
	m->mark.resolved_count = m->resolved_count;
	m->resolved = resolved;
	m->resolved_count = 0;
	m->mark.gone_count = book_hand_over_gone(&r->book, &gone);
	m->mark.gone = m->gone = gone;
	m->unrecorded = memory_unrecorded(r->send); /* all of them are told: no outcome waits */
	assert(!outcomes_wait(r->outcomes));
	sender_dead_credit(r->send, marking_dead_letter_room(r));
}

static bool is_empty(const struct reader *r, int64_t to)
{
	const struct marking *m = &r->marking;

	return to == m->position && m->mark.added_count == 0 && r->book.gone_count == 0 && m->dead_count == 0 &&
	       m->resolved_count == 0 && m->late_count == 0;
}

bool marking_next(struct reader *r, bool draining, struct effect *f)
{
	struct marking *m = &r->marking;
	int64_t to;
	bool unfenced;

	if (!m->dirty || (m->under_way && !MUTANT(two_marks)) || (r->now_ms < m->mark_at && !draining))
		return false;
	m->mark_at = INT64_MAX;
	m->considered_ms = r->now_ms;
	to = reachable(r, draining);
	assert(to >= m->position);
	unfenced = list_added(r, to);
	if (is_empty(r, to) && !unfenced) {
		m->dirty = m->mark_at != INT64_MAX; /* a young gap: look again when it has grown up */
		return false;
	}
	m->mark.from = m->position;
	m->mark.position = to;
	list_sent(r, to);
	hand_over(r);
	mark_is_sent(r);
	assert_accounted(r, to);
	m->under_way = true;
	m->dirty = m->mark_at != INT64_MAX;
	m->mark_at = m->dirty ? r->now_ms + r->set->mark_interval_ms : INT64_MAX;
	r->stats->marks++;
	f->kind = EFFECT_MARK;
	f->mark = &m->mark;
	return true;
}

int64_t marking_deadline(const struct reader *r)
{
	return r->marking.dirty && !r->marking.under_way ? r->marking.mark_at : INT64_MAX;
}
