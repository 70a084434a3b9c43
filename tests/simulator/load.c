/* Producers. Each runs one transaction after the other:
 *
 *     begin -> [early xid] -> { lock the key -> xid -> draw an id -> the row is there, look at the flag } ...
 *           -> [rollback to savepoint] -> commit | abort | prepare ... commit | abort
 *
 * with time, and so everybody else's steps, in between. */
#include "load.h"

#include <string.h>

#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

enum { MAX_PRODUCERS = 16 };
enum step { STEP_IDLE, STEP_LOCK, STEP_XID, STEP_DRAW, STEP_LOOK, STEP_NEXT, STEP_END };

struct producer {
	enum step step;
	uint32_t tx;
	uint64_t number;                       /* of the transaction: its happenings know it */
	uint32_t rows, row;                    /* how many it wants, how many it has */
	uint32_t savepoint_from, savepoint_to; /* rows that will be undone; none where they are equal */
	int64_t message;                       /* of the row under way */
	int64_t savepoint_message;
	struct tx savepoint;     /* the transaction, as it was then */
	bool slow;               /* a long transaction */
	int32_t key, lowest_key; /* of the row under way; keys are locked in ascending order: no deadlock */
};

static struct producer producer[MAX_PRODUCERS];
static int64_t load_ends;

static void on_step(struct sim *s, const struct happening *h);

static void step_after(struct sim *s, struct producer *p, enum step step, int64_t delay)
{
	p->step = step;
	later(s, delay, on_step, (uint64_t)(p - producer), p->number, 0, 0);
}

/* The time between two steps of a transaction. */
static int64_t pause(struct sim *s, const struct producer *p)
{
	if (mishap(s, s->plan.chance.slow_step))
		return prng_spread(&s->dice, MS, 500 * MS);
	if (p->slow)
		return prng_spread(&s->dice, MS, 300 * MS);
	return prng_between(&s->dice, 0, 300);
}

static bool load_over(const struct sim *s)
{
	return healed(s) || s->now >= load_ends || s->pg.messages >= s->plan.rows || s->pg.txs >= MAX_TX - 100;
}

static void begin(struct sim *s, struct producer *p)
{
	*p = (struct producer){ .number = p->number + 1, .key = NO_KEY };
	p->tx = tx_begin(s);
	p->rows = (uint32_t)prng_spread(&s->dice, 1, 4);
	p->slow = mishap(s, s->plan.chance.long_tx);
	if (!p->slow && mishap(s, s->plan.chance.big_tx))
		p->rows = (uint32_t)prng_between(&s->dice, 50, 200);
	if (mishap(s, s->plan.chance.savepoint)) {
		p->savepoint_from = (uint32_t)prng_below(&s->dice, p->rows);
		p->savepoint_to = (uint32_t)prng_between(&s->dice, p->savepoint_from + 1, p->rows);
	}
	/* The business row often comes first: the transaction owns an xid long before it draws an id. */
	if (prng_below(&s->dice, 2) == 0 && s->flaw != FLAW_id_before_xid)
		tx_assign_xid(s, p->tx);
	step_after(s, p, STEP_NEXT, pause(s, p));
}

static int32_t pick_key(struct sim *s, struct producer *p)
{
	int32_t keys = (int32_t)s->plan.keys;

	if (prng_chance(&s->dice, s->plan.unkeyed))
		return NO_KEY;
	/* One that is held already, or a higher one. */
	if (p->lowest_key > 0 && prng_below(&s->dice, 2) == 0)
		return p->lowest_key - 1;
	if (p->lowest_key >= keys)
		return keys - 1;
	p->lowest_key = (int32_t)prng_between(&s->dice, p->lowest_key + 1, keys);
	return p->lowest_key - 1;
}

static void fill_row(struct sim *s, const struct producer *p)
{
	struct fact *f = &s->pg.fact[p->message];
	uint32_t streams = s->plan.settings.streams;

	f->key = p->key;
	f->bytes = (uint32_t)prng_spread(&s->dice, 50, MAX_ROW_BYTES);
	f->stream = (uint16_t)(s->plan.key_picks_stream && p->key != NO_KEY ? (uint64_t)p->key % streams
									    : prng_below(&s->dice, streams));
	f->poison = mishap(s, s->plan.chance.poison);
	if (mishap(s, s->plan.chance.defect))
		f->defect = DEFECT_HEADERS_SHAPE;
}

static void draw(struct sim *s, struct producer *p)
{
	struct tx *t = &s->pg.tx[p->tx];

	if (p->savepoint_from != p->savepoint_to && p->row == p->savepoint_from) {
		p->savepoint = *t;
		p->savepoint_message = s->pg.messages + 1;
	}
	t->locks_outbox = true; /* INSERT locks the table before it evaluates defaults */
	if (s->flaw != FLAW_id_before_xid)
		tx_assign_xid(s, p->tx);
	p->message = tx_draw(s, p->tx);
	fill_row(s, p);
	trace(s, "pg      xid %llu draws %s, key %d, stream %u%s", (unsigned long long)t->xid, told(s, p->message),
	      p->key, s->pg.fact[p->message].stream,
	      s->pg.fact[p->message].poison   ? ", poison"
	      : s->pg.fact[p->message].defect ? ", defect"
					      : "");
}

static void undo_savepoint(struct sim *s, struct producer *p)
{
	if (p->savepoint_from == p->savepoint_to || p->row != p->savepoint_to)
		return;
	trace(s, "pg      xid %llu rolls back to its savepoint before %s", (unsigned long long)s->pg.tx[p->tx].xid,
	      told(s, p->savepoint_message));
	tx_rollback_to(s, p->tx, p->savepoint_message, &p->savepoint);
}

static void on_prepared(struct sim *s, const struct happening *h)
{
	if (s->pg.tx[h->a].state != TX_PREPARED && s->pg.tx[h->a].state != TX_PREPARING)
		return;
	if (s->phase == PHASE_HEAL || s->pg.tx[h->a].state == TX_PREPARING)
		later(s, SECOND, on_prepared, h->a, 0, 0, 0);
	else if (prng_below(&s->dice, 3) == 0)
		tx_abort(s, (uint32_t)h->a);
	else
		tx_commit(s, (uint32_t)h->a);
}

static void end(struct sim *s, struct producer *p)
{
	if (mishap(s, s->plan.chance.abort)) {
		tx_abort(s, p->tx);
	} else if (s->pg.running_count < MAX_RUNNING / 2 && mishap(s, s->plan.chance.prepare)) {
		trace(s, "pg      prepare xid %llu", (unsigned long long)s->pg.tx[p->tx].xid);
		tx_prepare(s, p->tx);
		later(s, prng_spread(&s->dice, 10 * MS, 10 * SECOND), on_prepared, p->tx, 0, 0, 0);
	} else {
		tx_commit(s, p->tx);
	}
	p->tx = 0;
	step_after(s, p, STEP_IDLE, prng_between(&s->dice, 0, s->plan.idle_us));
}

static void run_step(struct sim *s, struct producer *p)
{
	switch (p->step) {
	case STEP_IDLE:
		if (!load_over(s))
			begin(s, p);
		return;
	case STEP_NEXT:
		undo_savepoint(s, p);
		if (p->row == p->rows) {
			step_after(s, p, STEP_END, pause(s, p));
			return;
		}
		p->key = pick_key(s, p);
		step_after(s, p, STEP_LOCK, 0);
		return;
	case STEP_LOCK:
		if (tx_lock_key(s, p->tx, p->key))
			step_after(s, p, STEP_XID, pause(s, p));
		else
			step_after(s, p, STEP_LOCK, prng_between(&s->dice, 200, 5000));
		return;
	case STEP_XID:
		if (s->flaw != FLAW_id_before_xid)
			tx_assign_xid(s, p->tx);
		step_after(s, p, STEP_DRAW, pause(s, p));
		return;
	case STEP_DRAW:
		draw(s, p);
		/* A slow BEFORE trigger: the id is drawn and the statement goes on and on. */
		step_after(s, p, STEP_LOOK, pause(s, p));
		return;
	case STEP_LOOK:
		tx_assign_xid(s, p->tx);
		tx_insert(s, p->message);
		/* A savepoint that is rolled back takes its NOTIFY with it; a needless one does no harm here. */
		s->pg.tx[p->tx].notifies |= s->pg.asleep;
		p->row++;
		step_after(s, p, STEP_NEXT, pause(s, p));
		return;
	case STEP_END: end(s, p); return;
	}
}

static void on_step(struct sim *s, const struct happening *h)
{
	struct producer *p = &producer[h->a];

	if (p->number == h->b)
		run_step(s, p);
}

void load_open(struct sim *s)
{
	memset(producer, 0, sizeof producer);
	load_ends = s->now + s->plan.load_us;
	for (uint32_t i = 0; i < s->plan.producers; i++)
		step_after(s, &producer[i], STEP_IDLE, prng_between(&s->dice, 0, s->plan.idle_us));
}

static void abandon(struct sim *s, struct producer *p)
{
	p->number++;
	if (p->tx != 0 && s->pg.tx[p->tx].state == TX_RUNNING)
		tx_abort(s, p->tx);
	p->tx = 0;
}

void load_restart(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.producers; i++) {
		abandon(s, &producer[i]);
		step_after(s, &producer[i], STEP_IDLE, prng_between(&s->dice, 0, 500 * MS));
	}
}

void load_prepared_again(struct sim *s)
{
	for (size_t i = 0; i < s->pg.running_count; i++)
		if (s->pg.tx[s->pg.running[i]].state == TX_PREPARED)
			later(s, prng_spread(&s->dice, 10 * MS, 10 * SECOND), on_prepared, s->pg.running[i], 0, 0, 0);
}

void load_freeze(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.producers; i++)
		producer[i].number++;
}

void load_finish(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.producers; i++)
		abandon(s, &producer[i]);
	for (size_t i = s->pg.running_count; i-- > 0;) {
		uint32_t tx = s->pg.running[i];

		if (s->pg.tx[tx].state != TX_RUNNING && prng_below(&s->dice, 2) == 0)
			tx_commit(s, tx);
		else
			tx_abort(s, tx);
	}
}

int64_t load_one(struct sim *s, bool heard)
{
	struct producer p = { .tx = tx_begin(s), .key = NO_KEY };

	draw(s, &p);
	tx_assign_xid(s, p.tx);
	tx_insert(s, p.message);
	s->pg.tx[p.tx].notifies = heard && s->pg.asleep;
	s->pg.tx[p.tx].was_prepared = !heard; /* one way not to be told */
	tx_commit(s, p.tx);
	return p.message;
}
