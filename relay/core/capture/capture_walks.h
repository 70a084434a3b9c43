/* Tables, how far they were read, and the steps that say so to the marks. (And notes.) */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_WALKS_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_WALKS_H

#include "core/capture/capture_reading_state.h"

void capture_walks_note(struct capture_reading *r, struct capture_note n);
bool capture_walks_next_note(struct capture_reading *r, struct capture_effect *f);

/* --- steps --- */

/* Is there room for the steps of one more question? */
bool capture_walks_have_room(const struct capture_reading *r);

/* The table is as it is now when everything up to this ordinal is stored. The slot, of the row whose key is the cursor, is held. */
void capture_walks_step(struct capture_reading *r, uint32_t table, int64_t ordinal, uint32_t slot);

/* The step at this index, oldest first, if it is stored when everything up to `settled` is; else NULL. */
const struct capture_step *capture_walks_step_at(const struct capture_reading *r, size_t index, int64_t settled);

/* What a mark says that takes the oldest so many: no more cursors than these are. How many there are. */
size_t capture_walks_cursors(const struct capture_reading *r, size_t steps, struct capture_cursor *cursors);

/* The oldest so many are on record. */
void capture_walks_marked(struct capture_reading *r, size_t steps);

/* The highest ordinal that the position may pass. */
int64_t capture_walks_limit(const struct capture_reading *r);

/* --- tables --- */

/* Is one unfinished? */
bool capture_walks_unfinished(const struct capture_reading *r);

/* The walk's cursor is the row in this slot, whose hold goes over to it; CAPTURE_NO_SLOT: none that is in memory. */
void capture_walks_cursor(struct capture_reading *r, struct capture_walk *w, uint32_t slot);

/* The walk begins in this file node, and ends at the key of the row in this slot, whose hold goes over to it (CAPTURE_NO_SLOT: there is no
 * row). Both are put on record before a row goes out: else a leader after us would not know that what was stored was read in another file, and
 * take what it reads for the same. There must be room for a step. */
void capture_walks_bound(struct capture_reading *r, uint32_t table, uint64_t filenode, uint32_t top);

/* The walk is over: it holds nothing any more. */
void capture_walks_end(struct capture_reading *r, uint32_t table);

/* The table's walk begins anew, as walk.again says. There must be room for a step. */
void capture_walks_restart(struct capture_reading *r, uint32_t table);

#endif
