/* Transactions and snapshots, faithful to PostgreSQL where the relay's argument leans on it.
 *
 *     xid owned, then id drawn, then the flag read, then commit: each with time in between
 *     snapshot: xmax = last completed + 1, NOT the next xid to be assigned
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "host.h"
#include "load.h"
#include "world.h"

void pg_open(struct sim *s)
{
	s->pg.next_xid = 100;
	s->pg.completed = 99;
	s->pg.txs = 1; /* 0 is nobody */
}

const char *told(const struct sim *s, int64_t message)
{
	static char text[4][32];
	static unsigned int next;
	char *t = text[next++ % 4];

	if (s->pg.fact[message].id == message)
		snprintf(t, sizeof text[0], "%lld", (long long)message);
	else
		snprintf(t, sizeof text[0], "%d (message %lld)", s->pg.fact[message].id, (long long)message);
	return t;
}

void pg_close(struct sim *s)
{
	free(s->pg.exception);
	s->pg.exception = NULL;
	standby_catches_up(s);
}

uint32_t tx_begin(struct sim *s)
{
	demand(s, s->pg.txs < MAX_TX, "the simulator has too few transactions");
	return s->pg.txs++;
}

void tx_assign_xid(struct sim *s, uint32_t tx)
{
	struct tx *t = &s->pg.tx[tx];

	if (t->xid != 0)
		return;
	demand(s, s->pg.running_count < MAX_RUNNING, "the simulator has too few running transactions");
	t->xid = s->pg.next_xid++;
	s->pg.running[s->pg.running_count++] = tx;
}

int64_t tx_draw(struct sim *s, uint32_t tx)
{
	struct tx *t = &s->pg.tx[tx];
	int32_t id = (int32_t)++s->pg.last_id, message = (int32_t)++s->pg.messages;

	demand(s, id < MAX_IDS && message < MAX_IDS, "the simulator has too few ids");
	demand(s, t->xid != 0 || s->flaw == FLAW_id_before_xid, "the simulator draws an id without an xid");
	s->pg.row[id] = message;
	s->pg.fact[message].fate = FATE_OPEN;
	s->pg.fact[message].id = id;
	s->pg.fact[message].slot = (uint8_t)slot_now(s);
	s->pg.fact[message].created = pg_wall(s);
	s->pg.fact[message].tx = tx;
	*(t->last != 0 ? &s->pg.fact[t->last].next_of_tx : &t->first) = message;
	t->last = message;
	return message;
}

void tx_insert(struct sim *s, int64_t message)
{
	struct fact *f = &s->pg.fact[message];

	f->inserted = true;
	s->pg.tx[f->tx].slots |= UINT32_C(1) << f->slot;
}

bool tx_lock_key(struct sim *s, uint32_t tx, int32_t key)
{
	struct tx *t = &s->pg.tx[tx];

	if (key == NO_KEY || s->plan.overlaps || (t->keys & UINT32_C(1) << key) != 0)
		return true;
	if (s->pg.key_locked[key])
		return false;
	s->pg.key_locked[key] = true;
	t->keys |= UINT32_C(1) << key;
	return true;
}

void tx_rollback_to(struct sim *s, uint32_t tx, int64_t message, const struct tx *then)
{
	struct tx *t = &s->pg.tx[tx];

	for (int32_t i = t->first; i != 0; i = s->pg.fact[i].next_of_tx)
		if (i >= message)
			s->pg.fact[i].rolled_back = true;
	/* The locks go with the savepoint that took them. A key's lock is the service's own: kept. */
	t->locks_outbox = then->locks_outbox;
	t->slots = then->slots;
}

static void tx_end(struct sim *s, uint32_t tx)
{
	struct tx *t = &s->pg.tx[tx];

	for (size_t i = 0; i < s->pg.running_count; i++)
		if (s->pg.running[i] == tx)
			s->pg.running[i--] = s->pg.running[--s->pg.running_count];
	if (t->xid > s->pg.completed)
		s->pg.completed = t->xid;
	t->ended = ++s->pg.ended;
	for (int32_t k = 0; k < MAX_KEYS; k++)
		if ((t->keys & UINT32_C(1) << k) != 0)
			s->pg.key_locked[k] = false;
	t->keys = t->slots = 0;
	t->locks_outbox = false;
}

static void on_prepared(struct sim *s, const struct happening *h)
{
	if (s->pg.tx[h->a].state == TX_PREPARING)
		s->pg.tx[h->a].state = TX_PREPARED;
}

void tx_prepare(struct sim *s, uint32_t tx)
{
	/* Keeps its xid and its locks. A transaction that notifies cannot be prepared: the hint is left out. */
	s->pg.tx[tx].state = TX_PREPARING;
	s->pg.tx[tx].was_prepared = true;
	s->pg.tx[tx].notifies = false;
	later(s, prng_spread(&s->dice, 0, 10 * MS), on_prepared, tx, 0, 0, 0);
}

void tx_commit(struct sim *s, uint32_t tx)
{
	struct tx *t = &s->pg.tx[tx];

	t->state = TX_COMMITTED;
	for (int32_t i = t->first; i != 0; i = s->pg.fact[i].next_of_tx) {
		s->pg.fact[i].fate = s->pg.fact[i].rolled_back ? FATE_VOID : FATE_COMMITTED;
		if (s->pg.fact[i].fate == FATE_COMMITTED)
			check_committed(s, i);
	}
	trace(s, "pg      commit xid %llu ids %d..%d%s", (unsigned long long)t->xid, s->pg.fact[t->first].id,
	      s->pg.fact[t->last].id, t->notifies ? ", notifies" : "");
	tx_end(s, tx);
	if (t->notifies)
		hosts_notify(s, NOTIFY_ROWS);
}

void tx_abort(struct sim *s, uint32_t tx)
{
	struct tx *t = &s->pg.tx[tx];

	t->state = TX_ABORTED;
	for (int32_t i = t->first; i != 0; i = s->pg.fact[i].next_of_tx)
		s->pg.fact[i].fate = FATE_VOID;
	trace(s, "pg      abort xid %llu ids %d..%d", (unsigned long long)t->xid, s->pg.fact[t->first].id,
	      s->pg.fact[t->last].id);
	tx_end(s, tx);
}

uint64_t tx_own(struct sim *s)
{
	return s->pg.completed = s->pg.next_xid++;
}

uint64_t pg_xmax(const struct sim *s)
{
	return s->pg.completed + 1;
}

static uint64_t oldest(const struct sim *s, bool outbox_only)
{
	uint64_t min = pg_xmax(s);

	for (size_t i = 0; i < s->pg.running_count; i++) {
		const struct tx *t = &s->pg.tx[s->pg.running[i]];

		if (outbox_only && t->state == TX_PREPARED && s->flaw == FLAW_prepared_unseen)
			continue;
		if (outbox_only && t->state == TX_PREPARING && s->flaw == FLAW_preparing_unseen)
			continue;
		if (t->xid < min && (t->locks_outbox || !outbox_only))
			min = t->xid;
	}
	return min;
}

uint64_t pg_xmin(const struct sim *s)
{
	return oldest(s, false);
}

uint64_t pg_outbox_xmin(const struct sim *s)
{
	return oldest(s, true);
}

/* (A dead letter that holds its key has a copy of its row.) */
bool pg_visible(const struct sim *s, int64_t message)
{
	const struct fact *f = &s->pg.fact[message];

	return f->fate == FATE_COMMITTED && ((!f->truncated && !f->deleted) || (f->dead && f->held));
}

static bool is_unsent(const struct sim *s, int64_t id)
{
	const struct fact *f = FACT_OF(s, id);

	return f->fate == FATE_COMMITTED && f->inserted && !f->truncated && !s->pg.settled[id];
}

/* Among what waits, as often as not. */
static int64_t any_unsent(struct sim *s)
{
	const struct pg *pg = &s->pg;

	if (pg->exceptions > 0 && prng_below(&s->dice, 2) == 0) {
		const struct exception_row *e = &pg->exception[prng_below(&s->dice, pg->exceptions)];

		return prng_between(&s->dice, e->lo, e->hi);
	}
	return prng_between(&s->dice, pg->position > 20 ? pg->position - 20 : 1, pg->last_id + 1);
}

void pg_deletes_rows(struct sim *s)
{
	int64_t id = any_unsent(s), end = id + prng_spread(&s->dice, 0, 5);

	for (; id <= end && id <= s->pg.last_id; id++) {
		struct fact *f = FACT_OF(s, id);

		if (!is_unsent(s, id) || f->deleted)
			continue;
		trace(s, "pg      somebody deletes %s", told(s, s->pg.row[id]));
		f->deleted = f->was_deleted = true;
	}
}

bool pg_visible_then(const struct sim *s, int64_t message, uint64_t ended)
{
	return s->pg.tx[s->pg.fact[message].tx].ended <= ended;
}

void pg_crash(struct sim *s)
{
	struct pg *pg = &s->pg;

	trace(s, "pg      CRASH");
	for (size_t i = pg->running_count; i-- > 0;)
		if (pg->tx[pg->running[i]].state <= TX_PREPARING)
			tx_abort(s, pg->running[i]);
	/* The sequence is logged 32 values ahead: after a crash it goes on behind them. */
	if (pg->last_id + 33 < MAX_IDS - 1 && prng_below(&s->dice, 2) == 0)
		pg->last_id += prng_between(&s->dice, 1, 33);
	load_restart(s);
}
