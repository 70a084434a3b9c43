/* The faults that come by themselves, each at its own mean interval; and operators. */
#include "capture_world.h"

static int64_t interval_of(const struct capture_sim *s, enum capture_fault f)
{
	return ((const int64_t *)&s->plan.every)[f - CAPTURE_FIRST_INTERVAL];
}

static void on_takes_over(struct capture_sim *s, const struct capture_happening *h)
{
	(void)h;
	if (!capture_healed(s))
		capture_pg_takes_over(s);
}

/* A change of contents without a word in the log. It is found where the reading goes on; where it does not, nobody could. */
static void rewrite(struct capture_sim *s)
{
	struct host *h = capture_leader(s);
	uint32_t table = (uint32_t)prng_below(&s->dice, s->plan.tables);
	enum capture_reader_state state;

	if (h == NULL || h->core == NULL || s->pg.books.table[table].state != CAPTURE_TABLE_READING ||
	    capture_table_at(h->core, table)->state != CAPTURE_TABLE_READING)
		return;
	state = capture_look(h->core)->reader;
	if (state != CAPTURE_READER_WINDOW && state != CAPTURE_READER_READING)
		capture_pg_rewrite(s, table);
}

/* Behind our back, and no log tells: a row of the copy is another, is gone, or is there. */
static void corrupt(struct capture_sim *s)
{
	uint32_t table = (uint32_t)prng_below(&s->dice, s->plan.tables);
	uint32_t key = (uint32_t)prng_below(&s->dice, s->plan.keys);
	struct content *row = &s->copy[table][key];

	if (!s->plan.settings.in_commit_order || s->pg.books.table[table].state != CAPTURE_TABLE_COMPLETE)
		return;
	if (row->exists && prng_below(&s->dice, 2) == 0)
		row->exists = false;
	else
		*row = (struct content){ .exists = true, .val = UINT32_MAX, .toast = row->toast, .shape = row->shape };
	s->corrupt[table][key] = true;
	s->corrupted++;
	trace(s, "corrupt %u/%u", table, key);
}

static void verify(struct capture_sim *s)
{
	uint32_t table = (uint32_t)prng_below(&s->dice, s->plan.tables);
	uint32_t keys =
		prng_below(&s->dice, 2) == 0 ? 0 : (uint32_t)prng_next(&s->dice) % (UINT32_C(1) << s->plan.keys);

	capture_books_verify(s, table, keys);
}

static void tell_pause(struct capture_sim *s)
{
	struct host *h = capture_leader(s);
	struct event ev = { .kind = EVENT_PAUSED };

	ev.paused.operator_pause = s->pg.books.operator_pause;
	if (h != NULL && h->core != NULL)
		capture_host_common(s, h, &ev);
}

static void tell_reading(struct capture_sim *s)
{
	struct host *h = capture_leader(s);
	struct capture_event ev = { .kind = CAPTURE_EVENT_READING };

	ev.reading.paused = s->pg.books.reading_paused;
	if (h == NULL || h->core == NULL)
		return;
	capture_host_step(s, h, &ev);
	capture_host_turn(s, h);
}

static void on_resume(struct capture_sim *s, const struct capture_happening *h)
{
	if (h->a != 0) {
		s->pg.books.operator_pause = 0;
		tell_pause(s);
	} else {
		s->pg.books.reading_paused = false;
		tell_reading(s);
	}
}

static void fill_key(struct capture_sim *s, int64_t while_us)
{
	uint64_t i = prng_below(&s->dice, 4);

	s->key_full[i].table = (uint8_t)prng_below(&s->dice, s->plan.tables);
	s->key_full[i].key = (uint8_t)prng_below(&s->dice, s->plan.keys);
	s->key_full[i].until = s->now + while_us;
}

/* --- dead letters that hold their key --- */

static void on_decide(struct capture_sim *s, const struct capture_happening *h);

static void decide_later(struct capture_sim *s)
{
	capture_later(s, s->now + prng_spread(&s->operator_dice, 20 * MS, SECOND), on_decide);
}

/* Some of them; in the end all. What is sent again may be refused again, as long as nobody has looked why. */
static void on_decide(struct capture_sim *s, const struct capture_happening *h)
{
	bool any = false;

	(void)h;
	for (uint32_t i = s->pg.books.carries; i-- > 0;) {
		bool discard = prng_below(&s->operator_dice, 3) == 0;
		bool mend = !discard && (capture_healed(s) || prng_below(&s->operator_dice, 3) != 0);

		if (capture_healed(s) || prng_below(&s->operator_dice, 3) == 0)
			any |= capture_books_decide(s, i, discard, mend);
	}
	if (any)
		capture_hosts_lose_lead(s);
	decide_later(s);
}

static void strike(struct capture_sim *s, enum capture_fault f)
{
	int64_t while_us = prng_spread(&s->dice, MS, SECOND);

	trace(s, "fault   %s", capture_fault_name(f));
	switch (f) {
	case CAPTURE_FAULT_database_crash: capture_pg_crash(s); break;
	case CAPTURE_FAULT_failover:
		capture_pg_falls_behind(s);
		capture_later(s, s->now + while_us, on_takes_over);
		break;
	case CAPTURE_FAULT_standby_away: s->standby_away_until = s->now + while_us; break;
	case CAPTURE_FAULT_stream_full: s->full_until = s->now + while_us; break;
	case CAPTURE_FAULT_key_full: fill_key(s, 2 * while_us); break;
	case CAPTURE_FAULT_rewrite: rewrite(s); break;
	case CAPTURE_FAULT_end_lost: capture_broker_loses_end(s); break;
	case CAPTURE_FAULT_expiry: capture_broker_expires(s); break;
	case CAPTURE_FAULT_verify: verify(s); break;
	case CAPTURE_FAULT_corrupt: corrupt(s); break;
	case CAPTURE_FAULT_add_table: capture_pg_add_table(s, s->plan.tables - 1); break;
	case CAPTURE_FAULT_operator_pause:
		s->pg.books.operator_pause = ++s->numbers;
		tell_pause(s);
		capture_later(s, s->now + while_us, on_resume)->a = 1;
		break;
	case CAPTURE_FAULT_reading_pause:
		s->pg.books.reading_paused = true;
		tell_reading(s);
		capture_later(s, s->now + while_us, on_resume);
		break;
	default: capture_host_strike(s, f); break;
	}
}

static void on_fault(struct capture_sim *s, const struct capture_happening *h)
{
	enum capture_fault f = (enum capture_fault)h->a;

	if (capture_healed(s))
		return;
	if (capture_strikes(s, f))
		strike(s, f);
	if (interval_of(s, f) > 0)
		capture_later(s, capture_soon(s, 2 * interval_of(s, f)), on_fault)->a = f;
}

void capture_faults_open(struct capture_sim *s)
{
	for (enum capture_fault f = CAPTURE_FIRST_INTERVAL; f < CAPTURE_FAULTS; f++)
		if (interval_of(s, f) > 0)
			capture_later(s, capture_soon(s, 2 * interval_of(s, f)), on_fault)->a = f;
	if (s->plan.settings.send.poison == POISON_HOLD)
		decide_later(s);
	/* A table that is added is added in every seed that has one. */
	if (s->plan.late_table)
		capture_later(s, s->now + prng_between(&s->dice, 0, s->plan.load_us), on_fault)->a =
			CAPTURE_FAULT_add_table;
}

void capture_faults_heal(struct capture_sim *s)
{
	s->full_until = s->standby_away_until = 0;
	for (int i = 0; i < 4; i++)
		s->key_full[i].until = 0;
	s->falls_behind = false;
	capture_hosts_rest(s);
	s->pg.books.operator_pause = 0;
	s->pg.books.reading_paused = false;
	tell_pause(s);
	tell_reading(s);
	if (s->plan.late_table)
		capture_pg_add_table(s, s->plan.tables - 1);
}
