/* The ring of slots: what truncate_slot() of sql/004_books.sql does, step by step, while producers go on.
 *
 *     look (no lock) --> time passes --> lock or give up --> look again --> TRUNCATE
 *
 * A row takes its slot from the clock when its defaults are evaluated, locks the slot when it is inserted, a little later,
 * and keeps the lock to the end of its transaction. The clock may be set in between, as far as it likes. */
#include "check.h"
#include "world.h"

static int64_t period_now(const struct sim *s)
{
	return pg_wall(s) / s->plan.slot_us;
}

int64_t pg_wall(const struct sim *s)
{
	return s->now + s->pg.clock;
}

uint32_t slot_now(const struct sim *s)
{
	return (uint32_t)(period_now(s) % SLOTS);
}

static bool in_slot(const struct fact *f, uint32_t slot)
{
	return f->inserted && f->slot == slot && !f->truncated;
}

static bool is_row_of(const struct sim *s, int64_t id, uint32_t slot)
{
	const struct fact *f = FACT_OF(s, id);

	return in_slot(f, slot) && f->fate == FATE_COMMITTED && !f->deleted;
}

/* ORDER BY id DESC LIMIT 1; 0 = no row. */
static int64_t top_of(const struct sim *s, uint32_t slot)
{
	int64_t id = s->pg.last_id;

	while (id > 0 && !is_row_of(s, id, slot))
		id--;
	return id;
}

static bool is_old(const struct sim *s, int64_t top)
{
	return top != 0 && FACT_OF(s, top)->created <= pg_wall(s) - s->plan.retention_us;
}

/* LOCK ... IN ACCESS EXCLUSIVE MODE NOWAIT */
static bool locked(const struct sim *s, uint32_t slot)
{
	for (size_t i = 0; i < s->pg.running_count; i++)
		if ((s->pg.tx[s->pg.running[i]].slots >> slot & 1) != 0)
			return true;
	return false;
}

static bool has_exception(const struct sim *s, uint32_t slot)
{
	for (size_t i = 0; i < s->pg.exceptions; i++)
		for (int64_t id = s->pg.exception[i].lo; id <= s->pg.exception[i].hi; id++)
			if (is_row_of(s, id, slot))
				return s->flaw != FLAW_truncate_parked;
	return false;
}

static bool is_settled(const struct sim *s, uint32_t slot)
{
	int64_t top = top_of(s, slot);

	return is_old(s, top) && top <= s->pg.position && !has_exception(s, slot);
}

static void truncate(struct sim *s, uint32_t slot)
{
	uint32_t rows = 0;

	for (int64_t id = 1; id <= s->pg.last_id; id++) {
		struct fact *f = FACT_OF(s, id);

		if (!in_slot(f, slot))
			continue;
		if (!f->deleted)
			check_truncated(s, id);
		f->truncated = true;
		rows++;
	}
	trace(s, "pg      truncates slot %u, %u rows", slot, rows);
}

static bool is_written_to(const struct sim *s, uint32_t slot)
{
	int64_t now = period_now(s);

	return slot == now % SLOTS || slot == (now + 1) % SLOTS;
}

static void on_lock(struct sim *s, const struct happening *h)
{
	uint32_t slot = (uint32_t)h->a;

	if (h->b != s->pg.epoch || (locked(s, slot) && s->flaw != FLAW_truncate_unlocked))
		return;
	if (is_settled(s, slot) || s->flaw == FLAW_truncate_unchecked)
		truncate(s, slot);
}

void slots_clean(struct sim *s)
{
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if (!is_written_to(s, slot) && is_old(s, top_of(s, slot)))
			later(s, prng_between(&s->dice, 0, s->plan.pg_us), on_lock, slot, s->pg.epoch, 0, 0);
}
