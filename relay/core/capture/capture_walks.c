#include "core/capture/capture_walks.h"

#include <assert.h>

#include "core/capture/capture_mutant.h"

enum {
	STEPS_OF_A_QUESTION = 2, /* so many may come of one */
	STEPS_OF_A_FULL_QUEUE = 4,
};

/* --- notes --- */

void capture_walks_note(struct capture_reading *r, struct capture_note n)
{
	if (r->note_count < LIMIT_CAPTURE_NOTES)
		r->note[(r->note_first + r->note_count++) % LIMIT_CAPTURE_NOTES] = n;
}

bool capture_walks_next_note(struct capture_reading *r, struct capture_effect *f)
{
	if (r->note_count == 0)
		return false;
	f->kind = CAPTURE_EFFECT_NOTE;
	f->note = r->note[r->note_first];
	r->note_first = (r->note_first + 1) % LIMIT_CAPTURE_NOTES;
	r->note_count--;
	return true;
}

/* --- steps --- */

/* Marks come by the clock. With room for few steps chunks would, too, however fast their rows are read and stored. But each step keeps a row in memory until it is
 * marked, stored or not: where what is in memory is more than the queue may hold already, few have to do. */
bool capture_walks_have_room(const struct capture_reading *r)
{
	bool full = r->rows->bytes >= r->set->send.queue_bytes && !MUTANT(steps_of_large_rows);

	return r->step_count + STEPS_OF_A_QUESTION <= (full ? STEPS_OF_A_FULL_QUEUE : LIMIT_CAPTURE_STEPS);
}

static struct capture_step *add_step(struct capture_reading *r, uint32_t table, int64_t ordinal)
{
	struct capture_step *s = &r->step[(r->step_first + r->step_count++) % LIMIT_CAPTURE_STEPS];

	assert(r->step_count <= LIMIT_CAPTURE_STEPS);
	*s = (struct capture_step){
		.ordinal = MUTANT(cursor_early) ? 0 : ordinal,
		.begins = r->walk[table].unrecorded,
		.cursor = { .table = table, .now = r->table[table], .slot = CAPTURE_NO_SLOT, .top = CAPTURE_NO_SLOT },
	};
	return s;
}

void capture_walks_step(struct capture_reading *r, uint32_t table, int64_t ordinal, uint32_t slot)
{
	if (slot != CAPTURE_NO_SLOT)
		capture_rows_hold(r->rows, slot);
	add_step(r, table, ordinal)->cursor.slot = slot;
}

static void let_go(struct capture_reading *r, uint32_t slot)
{
	if (slot != CAPTURE_NO_SLOT)
		capture_rows_drop(r->rows, slot);
}

const struct capture_step *capture_walks_step_at(const struct capture_reading *r, size_t index, int64_t settled)
{
	const struct capture_step *s = &r->step[(r->step_first + index) % LIMIT_CAPTURE_STEPS];

	return index < r->step_count && s->ordinal <= settled ? s : NULL;
}

/* Of two steps of a table that one mark takes the second says all that the first does, if it moves the cursor. For what else may stand in a step says how a walk
 * begins, and that is on record before a row of it is read. */
static bool is_said_by(const struct capture_cursor *c, const struct capture_cursor *next)
{
	bool said = c->table == next->table && next->slot != CAPTURE_NO_SLOT;

	assert(!said || (!c->restart && c->top == CAPTURE_NO_SLOT && c->now.reading == next->now.reading));
	return said;
}

size_t capture_walks_cursors(const struct capture_reading *r, size_t steps, struct capture_cursor *cursors)
{
	size_t n = 0;

	for (size_t i = 0; i < steps; i++) {
		const struct capture_cursor *c = &capture_walks_step_at(r, i, INT64_MAX)->cursor;

		n -= n > 0 && is_said_by(&cursors[n - 1], c);
		cursors[n++] = *c;
	}
	return n;
}

/* A walk may begin anew while it is not on record how it began: that is so only when its last beginning is. */
static bool begins_once_more(const struct capture_reading *r, uint32_t table)
{
	for (size_t i = 0; i < r->step_count && !MUTANT(begun_before); i++) {
		const struct capture_step *s = capture_walks_step_at(r, i, INT64_MAX);

		if (s->begins && s->cursor.table == table)
			return true;
	}
	return false;
}

static void marked(struct capture_reading *r)
{
	const struct capture_step step = r->step[r->step_first];

	let_go(r, step.cursor.slot);
	let_go(r, step.cursor.top);
	r->step_first = (r->step_first + 1) % LIMIT_CAPTURE_STEPS;
	r->step_count--;
	if (step.begins)
		r->walk[step.cursor.table].unrecorded = begins_once_more(r, step.cursor.table);
}

void capture_walks_marked(struct capture_reading *r, size_t steps)
{
	assert(steps <= r->step_count);
	for (; steps > 0; steps--)
		marked(r);
	if (r->unrepaired == 0)
		return;
	for (uint32_t i = 0; i < r->set->tables; i++)
		if (r->walk[i].again != 0 || r->walk[i].unrecorded)
			return;
	r->unrepaired = 0;
}

int64_t capture_walks_limit(const struct capture_reading *r)
{
	return r->unrepaired == 0 || MUTANT(repairs_overflow) ? INT64_MAX : r->unrepaired - 2;
}

/* --- tables --- */

bool capture_walks_unfinished(const struct capture_reading *r)
{
	for (uint32_t i = 0; i < r->set->tables; i++)
		if (capture_reading_state_is_unfinished(&r->table[i]))
			return true;
	return false;
}

void capture_walks_cursor(struct capture_reading *r, struct capture_walk *w, uint32_t slot)
{
	let_go(r, w->cursor);
	w->cursor = slot;
	if (slot != CAPTURE_NO_SLOT)
		w->from_start = false;
}

/* From the start, in a reading that is on record before its first row is read: its rows have other ids than those that went out. */
void capture_walks_restart(struct capture_reading *r, uint32_t table)
{
	struct capture_table *t = &r->table[table];
	struct capture_walk *w = &r->walk[table];

	if (t->state != CAPTURE_TABLE_WAITING)
		capture_walks_note(
			r, (struct capture_note){ .kind = CAPTURE_NOTE_AGAIN, .table = table, .reason = w->again });
	if (w->again == CAPTURE_AGAIN_REPAIRS) { /* the walk will come to all of them */
		t->repair_first = t->readings + 1;
		t->repair_count = 0;
	}
	t->state = t->whole ? CAPTURE_TABLE_WAITING : CAPTURE_TABLE_READING;
	if (!MUTANT(reading_kept))
		t->reading = ++t->readings;
	t->filenode = 0;
	t->rows = 0;
	capture_walks_cursor(r, w, CAPTURE_NO_SLOT);
	w->from_start = true;
	w->unrecorded = true;
	w->again = 0;
	add_step(r, table, capture_rows_settled(r->rows))->cursor.restart = true;
}

void capture_walks_bound(struct capture_reading *r, uint32_t table, uint64_t filenode, uint32_t top)
{
	struct capture_walk *w = &r->walk[table];

	r->table[table].filenode = filenode;
	if (!MUTANT(top_kept) || w->top == CAPTURE_NO_SLOT) {
		let_go(r, w->top);
		w->top = top;
	} else {
		let_go(r, top);
		top = w->top;
	}
	if (MUTANT(filenode_unmarked))
		return;
	w->unrecorded = true;
	if (top != CAPTURE_NO_SLOT)
		capture_rows_hold(r->rows, top);
	add_step(r, table, capture_rows_settled(r->rows))->cursor.top = top;
}

void capture_walks_end(struct capture_reading *r, uint32_t table)
{
	struct capture_walk *w = &r->walk[table];

	capture_walks_cursor(r, w, CAPTURE_NO_SLOT);
	let_go(r, w->top);
	w->top = CAPTURE_NO_SLOT;
}
