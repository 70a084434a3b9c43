#include "core/capture/capture_repairs.h"

#include <assert.h>
#include <string.h>

#include "core/capture/capture_mutant.h"

/* More than these, and one walk over the table costs less. */
static bool are_too_many(const struct capture_reading *r, const struct capture_table *t)
{
	uint64_t most = r->set->most_repairs != 0 ? r->set->most_repairs : LIMIT_CAPTURE_REPAIRS;

	return (uint64_t)t->repair_count * r->set->chunk_rows >= most;
}

/* Another reading: its number was never given before, so the ids of its rows are new. */
static void begin_reading(struct capture_table *t, struct capture_walk *w)
{
	t->readings++;
	if (t->repair_count == 0)
		t->repair_first = t->readings;
	t->repair_count = t->readings - t->repair_first + 1;
	w->sealed = false;
	w->filling = 0;
}

void capture_repairs_add(struct capture_reading *r, uint32_t table, const void *key, uint32_t key_bytes, uint32_t slot)
{
	struct capture_table *t = &r->table[table];
	struct capture_walk *w = &r->walk[table];

	if (w->again != 0)
		return;
	if (t->repair_count == 0 || w->sealed || w->filling >= r->set->chunk_rows) {
		if (are_too_many(r, t)) {
			w->again = CAPTURE_AGAIN_REPAIRS;
			if (r->unrepaired == 0)
				r->unrepaired = r->rows->next;
			return;
		}
		begin_reading(t, w);
	}
	w->filling++;
	assert(r->repair_count < r->most_repairs);
	capture_rows_hold(r->rows, slot);
	r->repair_slot[r->repair_count] = slot;
	r->repair[r->repair_count++] = (struct capture_repair){
		.table = table,
		.reading = t->repair_first + t->repair_count - 1,
		.key = key,
		.key_bytes = key_bytes,
	};
}

/* Whoever reads the keys finds those that are on record. */
static bool is_on_record(const struct capture_reading *r, uint32_t table, uint32_t reading)
{
	for (size_t i = 0; i < r->repair_count; i++)
		if (r->repair[i].table == table && r->repair[i].reading == reading)
			return MUTANT(repair_at_once);
	return true;
}

bool capture_repairs_ready(struct capture_reading *r, uint32_t table, bool any)
{
	const struct capture_table *t = &r->table[table];

	if (t->repair_count == 0 || (t->repair_count == 1 && !any))
		return false;
	if (t->repair_count == 1 && !MUTANT(repair_unsealed))
		r->walk[table].sealed = true;
	return is_on_record(r, table, t->repair_first);
}

void capture_repairs_read(struct capture_reading *r, uint32_t table)
{
	struct capture_table *t = &r->table[table];

	assert(t->repair_count > 0);
	t->repair_first++;
	t->repair_count--;
}

void capture_repairs_marked(struct capture_reading *r, size_t count)
{
	assert(count <= r->repair_count);
	for (size_t i = 0; i < count; i++)
		capture_rows_drop(r->rows, r->repair_slot[i]);
	r->repair_count -= count;
	memmove(r->repair, r->repair + count, r->repair_count * sizeof *r->repair);
	memmove(r->repair_slot, r->repair_slot + count, r->repair_count * sizeof *r->repair_slot);
}
