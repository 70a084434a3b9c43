/* Marking: how far the position can go, and what the database must know when it goes there.
 *
 * The position moves past an id only if it is settled or if the same mark stores it as an exception. */
#include "core/machine.h"

#include <assert.h>

/* An exception of an earlier leader that we have not read yet may have been sent by him after his last mark. */
static bool settled_in(struct delivery *d)
{
	const struct exception *e = d->book.first;

	while (!d->settled_in && e != NULL && e->inherited == OURS)
		e = e->next;
	return d->settled_in = d->settled_in || (d->caught_up && e == NULL);
}

/* Ids above `read` were not read when the floor was taken: whatever becomes of them is stored above what the stream held by
 * then. Not so what was there when we took the lead: an earlier leader may have sent it. Nor what came late and was
 * sent again: its exception does not say so before it is parked. */
void take_floor(struct delivery *d, struct floor *f)
{
	bool ours = settled_in(d);

	f->read = d->read;
	for (uint32_t s = 0; s < d->s.streams; s++) {
		uint64_t inherited = d->tail[s].inherited;

		f->sequence[s] = ours || inherited == FLOOR_NONE ? stream_top(d, (uint16_t)s) : inherited;
	}
	if (d->book.kinds[EXCEPTION_ACTIVE] == 0)
		return;
	for (const struct message *m = d->lanes.oldest; m != NULL; m = m->age_next)
		if (m->late && m->floor < f->sequence[m->stream])
			f->sequence[m->stream] = m->floor;
}

void marked(struct delivery *d, const struct event *ev)
{
	if (!d->leading || !d->marking)
		return;
	d->marking = false;
	renew_lease(d, ev->marked.asked_ms);
	d->position = d->mark.position;
	for (struct exception *e = d->book.first; e != NULL && d->book.kinds[EXCEPTION_MISSING] > 0; e = e->next)
		if (e->fence == FENCE_PENDING)
			e->fence = ev->marked.fence;
}

/* Draining, and nothing in flight any more: what was not sent is left to the next leader. Where it stands before something
 * that was settled it becomes an exception, so that the position can pass it: else what was acknowledged behind it
 * would be sent again, and stored again once the broker has forgotten it. */
void leave_behind(struct delivery *d)
{
	d->left_behind = true;
	d->dirty = true;
	for (struct message *m = d->lanes.oldest; m != NULL; m = m->age_next)
		if (!m->late && m->id < d->settled && book_room(&d->book) > resident(d)) {
			struct exception *e = book_insert(&d->book, m->id, m->id, EXCEPTION_ACTIVE);

			e->born_ms = d->now;
			e->doubt = doubt_of(m);
			m->late = true;
		}
}

/* How far the position can go: to the oldest message in memory that is no exception, and not past a gap that is so
 * young that it may close by itself (an exception costs two writes, waiting costs none). */
static int64_t reachable(struct delivery *d)
{
	int64_t to = d->read;
	size_t fresh = 0;

	for (const struct message *m = d->lanes.oldest; m != NULL; m = m->age_next)
		if (!m->late) {
			to = m->id - 1;
			break;
		}
	for (const struct exception *e = book_from(&d->book, d->position + 1); e != NULL && e->lo <= to; e = e->next) {
		if (e->kind == EXCEPTION_ACTIVE && !d->left_behind)
			return e->lo - 1;
		if (e->kind != EXCEPTION_HELD && !d->draining && d->now - e->born_ms < d->s.grace_ms) {
			d->mark_at = earlier(d->mark_at, e->born_ms + d->s.grace_ms);
			return e->lo - 1;
		}
		if (!e->stored && ++fresh > LIMIT_MARK_NEW_EXCEPTIONS) {
			d->mark_at = d->now; /* the rest in the next one */
			return e->lo - 1;
		}
	}
	return to;
}

/* Exceptions up to the new position that the database does not hold yet. Every missing id without a fence
 * gets the one this mark's transaction will draw: it was found missing before. */
static bool list_added(struct delivery *d, int64_t to)
{
	size_t n = 0;
	bool unfenced = false;

	for (struct exception *e = d->book.first; e != NULL; e = e->next) {
		unfenced |= e->kind == EXCEPTION_MISSING && e->fence == FENCE_NONE;
		if (e->lo > to || e->stored)
			continue;
		d->mark_added[n++] = (struct exception_row){
			.lo = e->lo,
			.hi = e->hi,
			.kind = e->kind,
			.lane = scope_is_lane(e->scope) ? e->scope : 0,
			.attempts = e->attempts,
			.reason = e->reason,
			.floor = e->doubt.floor,
			.stream = e->doubt.stream,
			.doubted = e->inherited == DOUBTED,
		};
	}
	d->mark.added = d->mark_added;
	d->mark.added_count = n;
	return unfenced;
}

static void mark_is_sent(struct delivery *d)
{
	for (struct exception *e = d->book.first; e != NULL; e = e->next) {
		if (e->kind == EXCEPTION_MISSING && e->fence == FENCE_NONE)
			e->fence = FENCE_PENDING;
		if (e->lo <= d->mark.position)
			e->stored = true;
	}
}

/* A floor at or below the new position: one is in use while the next grows old enough. */
static void raise_floor(struct delivery *d, int64_t to)
{
	if (to < d->next_floor.read)
		return;
	d->floor = d->next_floor;
	take_floor(d, &d->next_floor);
	if (to == d->read)
		d->floor = d->next_floor;
}

static void list_sent(struct delivery *d, int64_t to)
{
	size_t n = 0;

	raise_floor(d, to);
	for (uint16_t s = 0; s < d->s.streams && to > d->position; s++)
		if (d->touched[s]) {
			d->touched[s] = false;
			d->mark_sent[n++] = (struct sent){
				.first = d->position + 1, .last = to, .stream = s, .sequence = d->floor.sequence[s]
			};
		}
	for (size_t i = 0; i < d->late_count; i++)
		d->mark_sent[n++] = (struct sent){ .first = d->late_id[i],
						   .last = d->late_id[i],
						   .stream = d->late_stream[i],
						   .sequence = d->floor.sequence[d->late_stream[i]] };
	d->late_count = 0;
	d->mark.sent = d->mark_sent;
	d->mark.sent_count = n;
}

/* The pending list goes into the mark; the mark's old one is used for what comes meanwhile. */
static void hand_over(struct delivery *d)
{
	struct dead *dead = d->mark_dead;
	int64_t *undead = d->mark_undead, *gone = d->mark_gone;

	d->mark.dead = d->mark_dead = d->dead;
	d->mark.dead_count = d->dead_count;
	d->dead = dead;
	d->dead_count = 0;
	d->mark.undead = d->mark_undead = d->undead;
	d->mark.undead_count = d->undead_count;
	d->undead = undead;
	d->undead_count = 0;
	d->mark.gone = d->mark_gone = d->book.gone;
	d->mark.gone_count = d->book.gone_count;
	d->book.gone = gone;
	d->book.gone_count = 0;
}

bool next_mark(struct delivery *d, struct effect *f)
{
	int64_t to;
	bool unfenced;

	if (!d->leading || d->marking || !d->dirty || (d->now < d->mark_at && !d->draining))
		return false;
	d->mark_at = INT64_MAX;
	d->considered_ms = d->now;
	to = reachable(d);
	assert(to >= d->position);
	unfenced = list_added(d, to);
	if (to == d->position && d->mark.added_count == 0 && d->book.gone_count == 0 && d->dead_count == 0 &&
	    d->undead_count == 0 && d->late_count == 0 && !unfenced) {
		d->dirty = d->mark_at != INT64_MAX; /* a young gap: look again when it has grown up */
		return false;
	}
	d->mark.position = to;
	list_sent(d, to);
	hand_over(d);
	mark_is_sent(d);
	d->marking = true;
	d->dirty = d->mark_at != INT64_MAX;
	d->mark_at = d->dirty ? d->now + d->s.mark_interval_ms : INT64_MAX;
	d->stats.marks++;
	f->kind = EFFECT_MARK;
	f->mark = &d->mark;
	return true;
}
