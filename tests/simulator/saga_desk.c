/* The initiator's transactions: starts, answers, ticks, and those who operate. Each reads a saga's row under its lock, and is committed a
 * while later, or not at all. */
#include <string.h>

#include "check_saga.h"
#include "saga_world.h"

enum { TICK_MOST = 50 };

static void on_commit(struct saga_sim *s, const struct saga_happening *h);

/* --- transactions --- */

static bool is_locked(const struct saga_sim *s, uint32_t saga)
{
	return s->row_lock[saga] != 0 && !flawed(s, row_unlocked);
}

static struct saga_tx *begin(struct saga_sim *s)
{
	for (uint32_t i = 0; i < MAX_TXS; i++)
		if (s->tx[i].number == 0) {
			struct saga_tx *tx = &s->tx[i];

			tx->number = ++s->numbers;
			tx->life = s->life[0];
			tx->clock = tx->copy = tx->unknown = -1;
			tx->starts = tx->aborts = false;
			tx->changes = 0;
			return tx;
		}
	return NULL;
}

static struct change *lock(struct saga_sim *s, struct saga_tx *tx, uint32_t saga)
{
	struct change *c = &tx->change[tx->changes++];

	s->row_lock[saga] = tx->number;
	c->saga = (uint8_t)saga;
	c->before = c->after = s->db[0].saga[saga];
	c->lines = 0;
	return c;
}

static void finish(struct saga_sim *s, struct saga_tx *tx)
{
	int64_t delay = prng_between(&s->dice, 1, s->plan.pg_us);

	if (mishap(s, commit_slow))
		delay = prng_spread(&s->dice, MS, SECOND);
	saga_later(s, delay, on_commit, (uint64_t)(tx - s->tx), tx->number, 0);
}

static void release(struct saga_sim *s, struct saga_tx *tx)
{
	for (uint32_t i = 0; i < tx->changes; i++)
		if (s->row_lock[tx->change[i].saga] == tx->number)
			s->row_lock[tx->change[i].saga] = 0;
	tx->number = 0;
}

static void commit_locks(struct saga_sim *s, const struct change *c)
{
	struct database *db = &s->db[0];

	for (uint32_t r = 0; r < SAGA_LOCKS; r++) {
		if ((c->after.locks >> r & 1) == 0)
			continue;
		if (!c->before.exists)
			db->lock[r] = c->saga + 1;
		if (saga_ended(&c->after) && db->lock[r] == c->saga + 1 && !flawed(s, locks_kept))
			db->lock[r] = 0;
	}
}

static void commit_line(struct saga_sim *s, const struct change *c, const struct line *line)
{
	struct database *db = &s->db[0];
	int32_t moves = saga_step_of(s, c->saga, line->step)->moves;

	if (line->what == LINE_COMMAND) {
		s->message[line->message].committed = true;
		if (c->before.exists ? !flawed(s, command_apart) : !flawed(s, start_apart))
			saga_send(s, 0, line->message);
	} else if (line->what == LINE_LOCAL) {
		check_saga_effect(s, 0, c->saga, line->step, (enum dir)line->dir);
		db->part[c->saga][line->step].effects[line->dir]++;
		db->balance += line->dir == DIR_DO ? moves : -moves;
	}
}

static void commit_change(struct saga_sim *s, struct change *c)
{
	struct saga *row = &s->db[0].saga[c->saga];

	check_saga_commit(s, c);
	c->after.events++;
	*row = c->after;
	s->committed[c->saga] = true;
	commit_locks(s, c);
	for (uint32_t i = 0; i < c->lines; i++)
		commit_line(s, c, &c->line[i]);
	check_saga_row(s, c->saga);
}

static void on_commit(struct saga_sim *s, const struct saga_happening *h)
{
	struct saga_tx *tx = &s->tx[h->a];

	if (tx->number != h->b)
		return;
	if (!tx->aborts) {
		for (uint32_t i = 0; i < tx->changes; i++)
			commit_change(s, &tx->change[i]);
		if (tx->copy >= 0)
			s->db[0].handled[tx->copy] = true;
	}
	release(s, tx);
}

/* --- starts --- */

static uint8_t locks_in_hand(const struct saga_sim *s)
{
	uint8_t set = 0;

	for (uint32_t r = 0; r < SAGA_LOCKS; r++)
		if (s->db[0].lock[r] != 0)
			set |= (uint8_t)(1u << r);
	for (uint32_t i = 0; i < MAX_TXS; i++)
		if (s->tx[i].number != 0 && s->tx[i].starts)
			set |= s->tx[i].change[0].after.locks;
	return set;
}

static uint8_t draw_locks(struct saga_sim *s)
{
	if (!prng_chance(&s->dice, s->plan.locked))
		return 0;
	return (uint8_t)(1u << prng_below(&s->dice, SAGA_LOCKS) | 1u << prng_below(&s->dice, SAGA_LOCKS));
}

static void choose_poison(struct saga_sim *s, uint32_t saga)
{
	const struct saga_definition *d = &s->plan.definition[s->definition[saga]];

	if (!s->plan.poison || s->poison >= 0)
		return;
	for (uint32_t k = 1; k < d->steps; k++)
		if (d->step[k].service == 0 || d->step[k].payload)
			s->poison = (int32_t)saga;
}

static void on_start(struct saga_sim *s, const struct saga_happening *h)
{
	uint8_t locks = draw_locks(s);
	bool aborts = mishap(s, start_aborts), taken = (locks & locks_in_hand(s)) != 0;
	struct saga_tx *tx;
	struct change *c;

	(void)h;
	s->steps++;
	if ((taken && !flawed(s, locks_unlooked)) || (tx = begin(s)) == NULL)
		return;
	c = lock(s, tx, s->started++);
	s->definition[c->saga] = (uint8_t)s->newest;
	choose_poison(s, c->saga);
	tx->starts = true;
	c->after = (struct saga){ .exists = true,
				  .definition = (uint8_t)s->newest,
				  .state = SAGA_running,
				  .reached = -1,
				  .attempt = 1,
				  .locks = locks,
				  .due = DUE_RESEND,
				  .asked_at = s->now,
				  .started_at = s->now };
	trace(s, "saga %u: starts", c->saga);
	tx->aborts = !saga_take_event(s, c, EVENT_resend, true, NULL, true) || aborts;
	finish(s, tx);
}

static void on_deploy(struct saga_sim *s, const struct saga_happening *h)
{
	s->newest = (uint32_t)h->a;
	trace(s, "definition %u is the newest", s->newest);
}

/* --- answers --- */

bool saga_desk_takes(struct saga_sim *s, uint16_t copy)
{
	const struct message *m = &s->message[s->copy[copy].message];
	struct saga_tx *tx;

	if (is_locked(s, m->saga))
		return false;
	if (!s->db[0].saga[m->saga].exists) {
		s->db[0].unknown[m->saga] |= !flawed(s, unknown_ignored);
		s->db[0].handled[copy] = true;
		return true;
	}
	tx = begin(s);
	if (tx == NULL)
		return false;
	tx->copy = copy;
	tx->aborts = mishap(s, rolled_back);
	saga_take_answer(s, lock(s, tx, m->saga), m);
	finish(s, tx);
	return true;
}

/* --- the clock --- */

static bool is_due(const struct saga_sim *s, uint32_t saga)
{
	const struct saga *row = &s->db[0].saga[saga];

	return row->exists && row->due_at != 0 && row->due_at <= saga_wall(s);
}

static void tick_one(struct saga_sim *s, struct saga_tx *tx, uint32_t saga)
{
	struct change *c = lock(s, tx, saga);

	if (flawed(s, tick_together))
		tx->aborts |= !saga_take_event(s, c, saga_due_event(&c->before), true, NULL, true);
	else if (mishap(s, raises_late))
		saga_fail(s, c);
	else
		saga_take_event(s, c, saga_due_event(&c->before), true, NULL, false);
}

static int64_t until_next(const struct saga_sim *s)
{
	int64_t next = s->plan.tick_us;

	for (uint32_t i = 0; i < s->started; i++) {
		const struct saga *row = &s->db[0].saga[i];

		if (row->exists && row->due_at != 0 && row->due_at - saga_wall(s) < next && !is_locked(s, i))
			next = row->due_at - saga_wall(s);
	}
	return next > 0 ? next : 1;
}

/* FLAW_timeout_twice: what was due when the clock looked. */
static void on_late_tick(struct saga_sim *s, const struct saga_happening *h)
{
	struct saga_tx *tx;

	if (is_locked(s, (uint32_t)h->a) || !s->db[0].saga[h->a].exists || (tx = begin(s)) == NULL)
		return;
	tick_one(s, tx, (uint32_t)h->a);
	finish(s, tx);
}

static void on_tick(struct saga_sim *s, const struct saga_happening *h)
{
	struct saga_tx *tx = begin(s);
	uint32_t messages = s->messages;

	for (uint32_t i = 0; i < s->started && tx != NULL && tx->changes < TICK_MOST; i++) {
		if (!is_due(s, i) || is_locked(s, i))
			continue;
		s->steps++;
		if (flawed(s, timeout_twice))
			saga_later(s, prng_between(&s->dice, 1, s->plan.pg_us), on_late_tick, i, 0, 0);
		else
			tick_one(s, tx, i);
	}
	if (tx != NULL && tx->aborts)
		s->messages = messages; /* written in vain */
	if (tx != NULL) {
		tx->clock = (int32_t)h->a;
		finish(s, tx);
	}
	saga_later(s, s->plan.pg_us + until_next(s), on_tick, h->a, 0, 0);
}

/* --- who operates --- */

void saga_operate(struct saga_sim *s, uint32_t saga, enum saga_event e)
{
	struct saga_tx *tx;
	struct change *c;

	if (saga >= s->started || !s->db[0].saga[saga].exists || is_locked(s, saga) || (tx = begin(s)) == NULL)
		return;
	c = lock(s, tx, saga);
	saga_take_ask(s, c, e);
	finish(s, tx);
}

/* A local step that somebody makes true is made so in the transaction that says it. */
static void resolve(struct saga_sim *s, uint32_t saga)
{
	const struct saga *row = &s->db[0].saga[saga];
	const struct saga_step *step = saga_step_of(s, saga, row->step);
	bool running = row->state == SAGA_running;
	bool done = running && (step->kind == KIND_retriable || saga_part_stands(s, saga, row->step));
	struct saga_tx *tx;
	struct change *c;

	if (is_locked(s, saga) || (tx = begin(s)) == NULL)
		return;
	c = lock(s, tx, saga);
	if (step->service != 0)
		saga_part_by_hand(s, saga, row->step, done);
	else if (saga_part_stands(s, saga, row->step) != done)
		c->line[c->lines++] =
			(struct line){ .what = LINE_LOCAL, .step = row->step, .dir = done ? DIR_DO : DIR_UNDO };
	saga_take_event(s, c,
			done      ? EVENT_resolve_done
			: running ? EVENT_resolve_refused
				  : EVENT_resolve_undone,
			true, NULL, false);
	finish(s, tx);
}

void saga_operate_stuck(struct saga_sim *s)
{
	for (uint32_t i = 0; i < s->started; i++) {
		const struct saga *row = &s->db[0].saga[i];

		/* Who is asked may have cleaned away what it knew, and then never knows. */
		bool asked_in_vain = row->stuck == STUCK_EXHAUSTED && saga_healed(s) && s->plan.retention_us > 0;

		if (!row->exists || (row->stuck != STUCK_ORPHAN && row->stuck != STUCK_REFUSED && !asked_in_vain))
			continue;
		if (saga_ended(row))
			saga_operate(s, i, EVENT_resolve_done);
		else
			resolve(s, i);
	}
}

/* --- the whole --- */

void saga_desk_open(struct saga_sim *s)
{
	s->poison = -1;
	for (uint32_t i = 0; i < s->plan.sagas; i++)
		saga_later(s, prng_between(&s->dice, 1, s->plan.load_us), on_start, 0, 0, 0);
	for (uint32_t i = 1; i < s->plan.definitions; i++)
		saga_later(s, (int64_t)i * s->plan.load_us / s->plan.definitions, on_deploy, i, 0, 0);
	for (uint32_t i = 0; i < s->plan.clocks; i++)
		saga_later(s, prng_between(&s->dice, 1, s->plan.tick_us), on_tick, i, 0, 0);
}

bool saga_desk_is_quiet(const struct saga_sim *s)
{
	for (uint32_t i = 0; i < MAX_TXS; i++)
		if (s->tx[i].number != 0 && s->tx[i].changes > 0)
			return false;
	return true;
}
