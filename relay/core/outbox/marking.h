/* Marking: what the database is to know, and how far the position can go.
 *
 * The other files say what became of ids; the next mark tells it to the database. (The mark itself is declared in outbox.h.) */
#ifndef BOXHAUL_CORE_OUTBOX_MARKING_H
#define BOXHAUL_CORE_OUTBOX_MARKING_H

#include "core/outbox/reader_state.h"

/* False: no memory. Room for the exceptions of a book of this capacity. */
bool marking_create(struct reader *r, size_t capacity);
void marking_destroy(struct reader *r);

/* We lead, from this position on: what was to be marked is void. The book is still empty. */
void marking_begin(struct reader *r, int64_t position);
void marking_forget(struct reader *r);

/* --- what became of ids --- */

/* Something has changed that a mark would tell. */
static inline void marking_dirty(struct reader *r)
{
	int64_t at = r->marking.considered_ms + r->set->mark_interval_ms;

	r->marking.dirty = true;
	if (r->marking.mark_at > at)
		r->marking.mark_at = at;
}

/* It was settled: in its turn, or late (as an exception). stored: in this stream; else it is a dead letter. */
void marking_settled(struct reader *r, int64_t id, uint16_t stream, bool stored);
void marking_settled_late(struct reader *r, int64_t id, uint16_t stream, bool stored);

/* A dead letter is made in the mark that settles it. There must be room. */
void marking_dead_letter(struct reader *r, struct dead_letter letter);
size_t marking_dead_letter_room(const struct reader *r);

/* The record of this dead letter may go: it was stored, or given up. */
void marking_resolve_dead_letter(struct reader *r, int64_t id);
bool marking_resolved_are_many(const struct reader *r);

/* e was read from the books: missing, it is void when all below this fence have ended. */
void marking_fence(struct exception *e, uint64_t fence);

/* The position, or what it will be when the mark under way has come through. */
int64_t marking_position(const struct reader *r);

/* --- low water --- */

void marking_low_water_void(struct reader *r, uint16_t stream);
void marking_low_water_first(struct reader *r, uint16_t stream, uint64_t sequence);

/* The mark under way has come through; its transaction had this xid. */
void marking_marked(struct reader *r, uint64_t fence);

#endif
