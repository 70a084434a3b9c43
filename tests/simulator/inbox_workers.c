/* Workers: receive(), business, done(), COMMIT; roll-backs, kills, failed(). The SQL of them as a model:
 *
 *   receive()  locks a lane that nobody has (SKIP LOCKED), and gives its next rows: what is parked and due, if it is the
 *              oldest of its key that is parked and the cursor has passed it (what stands above the cursor may have an
 *              older row of its key before it that was never tried); else what stands above the cursor. A row whose key
 *              has a parked row joins it.
 *   done()     in the same transaction: the cursor moves to the row, or the parked row goes.
 *   failed()   in a transaction of its own: a row above the cursor that is not parked is parked, with all later ones of
 *              its key; a parked one has its next time.
 */
#include "inbox_world.h"

#include <string.h>

#include "check_inbox.h"

enum { PAUSE_MS = 20 };

/* --- receive --- */

static bool has_older_parked(const struct inbox_sim *s, const struct subscription *sub, uint16_t id)
{
	const struct inbox_row *row = &sub->row[id];

	if (row->key == 0 || s->flaw == INBOX_FLAW_parked_any)
		return false;
	for (uint16_t r = sub->lane_first[row->lane]; r != 0 && r < id; r = sub->row[r].lane_next)
		if (sub->row[r].state == ROW_PARKED && sub->row[r].key == row->key)
			return true;
	return false;
}

static uint16_t due_parked(struct inbox_sim *s, const struct subscription *sub, uint32_t lane)
{
	for (uint16_t r = sub->lane_first[lane]; r != 0 && sub->parked[lane] > 0; r = sub->row[r].lane_next) {
		const struct inbox_row *row = &sub->row[r];

		if (r > sub->cursor[lane] && s->flaw != INBOX_FLAW_parked_above)
			return 0;
		if (row->state == ROW_PARKED && !row->held && row->next_at <= s->now && !has_older_parked(s, sub, r))
			return r;
	}
	return 0;
}

static void park(struct inbox_sim *s, struct subscription *sub, uint16_t id, int64_t pause)
{
	struct inbox_row *row = &sub->row[id];

	if (row->state == ROW_OPEN)
		sub->parked[row->lane]++;
	row->state = ROW_PARKED;
	row->next_at = s->now + pause;
}

static uint16_t above_cursor(const struct subscription *sub, uint32_t lane)
{
	uint16_t cursor = sub->cursor[lane];

	return cursor != 0 ? sub->row[cursor].lane_next : sub->lane_first[lane];
}

static bool joins_parked(const struct inbox_sim *s, const struct subscription *sub, uint16_t id)
{
	return sub->parked[sub->row[id].lane] > 0 && s->flaw != INBOX_FLAW_parked_passed &&
	       has_older_parked(s, sub, id);
}

/* What receive() gives. Rows that join a parked one are parked by the same transaction; that it may roll back does not
 * matter to anybody, so it is done at once. */
static void give_rows(struct inbox_sim *s, struct worker *w)
{
	struct subscription *sub = &s->db.subscription[w->subscription];
	uint16_t parked = due_parked(s, sub, w->lane);

	w->rows = 0;
	if (parked != 0) {
		w->row[w->rows++] = parked;
		return;
	}
	for (uint16_t r = above_cursor(sub, w->lane); r != 0 && w->rows < WORKER_ROWS; r = sub->row[r].lane_next) {
		if (sub->row[r].state == ROW_OPEN && joins_parked(s, sub, r))
			park(s, sub, r, 0);
		if (sub->row[r].state == ROW_OPEN)
			w->row[w->rows++] = r;
	}
}

static bool find_lane(struct inbox_sim *s, struct worker *w)
{
	uint32_t from = (uint32_t)prng_below(&s->dice, INBOX_LANES);

	w->subscription = (uint32_t)prng_below(&s->dice, s->plan.subscriptions);
	for (uint32_t i = 0; i < INBOX_LANES; i++) {
		w->lane = (from + i) % INBOX_LANES;
		if (s->lane_locked[w->subscription][w->lane] != 0 && s->flaw != INBOX_FLAW_lane_unlocked)
			continue;
		give_rows(s, w);
		if (w->rows > 0)
			return true;
	}
	return false;
}

/* --- done --- */

/* Past rows that are settled or parked, too. */
static void move_cursor(struct subscription *sub, uint32_t lane)
{
	for (uint16_t r = above_cursor(sub, lane); r != 0 && sub->row[r].state != ROW_OPEN; r = sub->row[r].lane_next)
		sub->cursor[lane] = r;
}

static void settle_row(struct subscription *sub, uint16_t id, enum row_state state)
{
	struct inbox_row *row = &sub->row[id];

	if (row->state == ROW_PARKED)
		sub->parked[row->lane]--;
	row->state = (uint8_t)state;
	row->held = false;
	move_cursor(sub, row->lane);
}

static void handle(struct inbox_sim *s, struct worker *w, uint16_t id)
{
	struct subscription *sub = &s->db.subscription[w->subscription];

	trace(s, "worker  sub %u: row %u (message %u, key %u) is handled", w->subscription, id,
	      s->broker.copy[sub->row[id].copy].message, sub->row[id].key);
	check_inbox_effect(s, w->subscription, id);
	settle_row(sub, id, ROW_HANDLED);
	s->effects++;
}

/* --- failed --- */

static void gives_up(struct inbox_sim *s, struct subscription *sub, uint32_t subscription, uint16_t id)
{
	if (s->plan.holds[subscription] && !inbox_healed(s)) {
		sub->row[id].held = true;
		return;
	}
	settle_row(sub, id, ROW_DEAD);
	s->dead++;
}

static bool parks_with_it(const struct inbox_row *row, const struct inbox_row *later)
{
	return row->key != 0 && later->key == row->key && later->state == ROW_OPEN;
}

/* The row may be settled by now: another worker had it. */
static void failed(struct inbox_sim *s, uint32_t subscription, uint16_t id)
{
	struct subscription *sub = &s->db.subscription[subscription];
	struct inbox_row *row = &sub->row[id];

	if (id > sub->rows || row->state >= ROW_HANDLED || row->held)
		return;
	row->attempts++;
	check_inbox_attempts(s, subscription, id);
	park(s, sub, id, prng_between(&s->dice, MS, 50 * MS));
	for (uint16_t r = row->lane_next; r != 0; r = sub->row[r].lane_next)
		if (parks_with_it(row, &sub->row[r]))
			park(s, sub, r, 0);
	move_cursor(sub, row->lane);
	if (row->attempts >= s->plan.max_attempts)
		gives_up(s, sub, subscription, id);
}

/* --- one worker --- */

static void on_begin(struct inbox_sim *s, const struct inbox_happening *h);
static void on_end(struct inbox_sim *s, const struct inbox_happening *h);

static void next(struct inbox_sim *s, uint32_t index, int64_t pause,
		 void (*run)(struct inbox_sim *, const struct inbox_happening *))
{
	struct inbox_happening *h = inbox_later(s, s->now + 1 + (int64_t)prng_below(&s->dice, (uint64_t)pause), run);

	h->a = index;
	h->b = s->worker[index].number = ++s->numbers;
}

static void unlock(struct inbox_sim *s, struct worker *w)
{
	if (w->working && s->lane_locked[w->subscription][w->lane] > 0)
		s->lane_locked[w->subscription][w->lane]--;
	w->working = false;
}

static void on_begin(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct worker *w = &s->worker[h->a];

	if (h->b != w->number)
		return;
	w->autocommit = mishap(s, autocommit);
	if ((w->autocommit && s->flaw != INBOX_FLAW_autocommit_allowed) || !find_lane(s, w)) {
		next(s, (uint32_t)h->a, PAUSE_MS * MS, on_begin);
		return;
	}
	check_inbox_lane_is_free(s, w->subscription, w->lane);
	w->working = true;
	s->lane_locked[w->subscription][w->lane]++;
	if (s->flaw == INBOX_FLAW_cursor_at_receive)
		s->db.subscription[w->subscription].cursor[w->lane] = w->row[w->rows - 1];
	if (w->autocommit)
		unlock(s, w);
	next(s, (uint32_t)h->a, 2 * s->plan.pg_us + 5 * MS, on_end);
}

static bool handler_fails(struct inbox_sim *s, const struct worker *w, uint16_t id)
{
	const struct subscription *sub = &s->db.subscription[w->subscription];

	return s->broker.message[s->broker.copy[sub->row[id].copy].message].poison || mishap(s, handler_failed);
}

/* A roll-back without failed(), or a kill: nothing is left of it. */
static bool comes_to_nothing(struct inbox_sim *s, struct worker *w)
{
	struct subscription *sub = &s->db.subscription[w->subscription];

	if (!mishap(s, rolled_back) && !mishap(s, worker_killed))
		return false;
	trace(s, "worker  sub %u lane %u: rolls back", w->subscription, w->lane);
	if (s->flaw == INBOX_FLAW_roll_back_counts) {
		sub->row[w->row[0]].attempts++;
		check_inbox_attempts(s, w->subscription, w->row[0]);
	}
	return true;
}

/* In autocommit each row's business is committed at once, and done() is refused. */
static void works_without_transaction(struct inbox_sim *s, struct worker *w)
{
	for (uint32_t i = 0; i < w->rows; i++)
		check_inbox_effect(s, w->subscription, w->row[i]);
}

/* The first row whose handler fails takes the whole transaction with it. */
static void work(struct inbox_sim *s, struct worker *w)
{
	for (uint32_t i = 0; i < w->rows; i++)
		if (handler_fails(s, w, w->row[i])) {
			trace(s, "worker  sub %u: row %u fails", w->subscription, w->row[i]);
			s->db.subscription[w->subscription].row[w->row[i]].failures++;
			unlock(s, w);
			failed(s, w->subscription, w->row[i]);
			return;
		}
	for (uint32_t i = 0; i < w->rows; i++)
		handle(s, w, w->row[i]);
}

static void on_end(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct worker *w = &s->worker[h->a];

	if (h->b != w->number)
		return;
	if (w->autocommit)
		works_without_transaction(s, w);
	else if (!comes_to_nothing(s, w))
		work(s, w);
	unlock(s, w);
	next(s, (uint32_t)h->a, 2 * MS, on_begin);
}

void inbox_workers_open(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.workers; i++)
		next(s, i, PAUSE_MS * MS, on_begin);
}

void inbox_workers_lose_sessions(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.workers; i++) {
		unlock(s, &s->worker[i]);
		next(s, i, 100 * MS, on_begin);
	}
}

void inbox_workers_discard(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		struct subscription *sub = &s->db.subscription[i];

		for (uint16_t id = 1; id <= sub->rows; id++)
			if (sub->row[id].state == ROW_PARKED && sub->row[id].held)
				settle_row(sub, id, ROW_DEAD);
	}
}
