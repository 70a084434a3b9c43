/* Writers: business transactions that know nothing of us. */
#include <string.h>

#include "capture_world.h"

static struct writer *writer_of(struct capture_sim *s, const struct capture_happening *h)
{
	struct writer *w = &s->writer[h->a];

	return w->number == h->b ? w : NULL;
}

static void on_begin(struct capture_sim *s, const struct capture_happening *h);

static void release(struct capture_sim *s, uint32_t writer)
{
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		for (int k = 0; k < CAPTURE_KEYS; k++)
			if (s->locked[t][k] == writer + 1)
				s->locked[t][k] = 0;
		if (s->table_locked[t] == writer + 1)
			s->table_locked[t] = 0;
	}
}

static void rest(struct capture_sim *s, uint32_t writer)
{
	struct writer *w = &s->writer[writer];
	struct capture_happening *h;

	release(s, writer);
	w->state = WRITER_IDLE;
	w->number = ++s->numbers;
	w->xid = 0;
	h = capture_later(s, capture_soon(s, 2 * s->plan.load_us * s->plan.writers / s->plan.transactions), on_begin);
	h->a = writer;
	h->b = w->number;
}

/* --- operations --- */

static bool lock(struct capture_sim *s, uint32_t writer, uint32_t table, uint32_t key)
{
	struct writer *w = &s->writer[writer];

	if (s->table_locked[table] != 0 && s->table_locked[table] != writer + 1)
		return false;
	if (s->locked[table][key] == writer + 1)
		return true;
	if (s->locked[table][key] != 0)
		return false;
	s->locked[table][key] = (uint8_t)(writer + 1);
	w->pending[table][key] = s->pg.table[table].row[key];
	return true;
}

static void own_xid(struct capture_sim *s, struct writer *w)
{
	if (w->xid == 0)
		w->xid = s->pg.next_xid++;
}

static void add(struct capture_sim *s, struct writer *w, struct op op)
{
	own_xid(s, w);
	op.unkeyed = op.kind != OP_MESSAGE && op.table == s->plan.whole_table;
	op.published =
		op.kind != OP_MESSAGE && s->pg.table[op.table].published && !(op.unkeyed && op.kind != OP_INSERT);
	w->op[w->ops++] = op;
}

static uint32_t new_val(struct capture_sim *s)
{
	uint32_t val = ++s->vals;

	demand(s, val < sizeof s->poison / sizeof s->poison[0], "the simulator is too small");
	s->poison[val] = mishap(s, poison);
	return val;
}

static void truncate_table(struct capture_sim *s, uint32_t writer, uint32_t table)
{
	struct writer *w = &s->writer[writer];

	for (int k = 0; k < CAPTURE_KEYS; k++)
		if (s->locked[table][k] != 0 && s->locked[table][k] != writer + 1)
			return;
	if (s->table_locked[table] != 0 && s->table_locked[table] != writer + 1)
		return;
	s->table_locked[table] = (uint8_t)(writer + 1);
	for (int k = 0; k < CAPTURE_KEYS; k++) {
		s->locked[table][k] = (uint8_t)(writer + 1);
		w->pending[table][k] = (struct content){ .exists = false };
	}
	add(s, w, (struct op){ .kind = OP_TRUNCATE, .table = (uint8_t)table });
}

static void change_key(struct capture_sim *s, uint32_t writer, struct op op)
{
	struct writer *w = &s->writer[writer];
	uint32_t to = (uint32_t)prng_below(&s->dice, s->plan.keys);

	if (!lock(s, writer, op.table, to) || w->pending[op.table][to].exists)
		return;
	op.key = (uint8_t)to;
	w->pending[op.table][op.old_key].exists = false;
	w->pending[op.table][to] = op.content;
	add(s, w, op);
}

static void update(struct capture_sim *s, uint32_t writer, struct op op, const struct content *was)
{
	struct writer *w = &s->writer[writer];

	op.kind = OP_UPDATE;
	op.toast_sent = !prng_chance(&s->dice, s->plan.of_toast);
	if (!op.toast_sent)
		op.content.toast = was->toast;
	if (prng_chance(&s->dice, s->plan.of_keys)) {
		change_key(s, writer, op);
		return;
	}
	w->pending[op.table][op.key] = op.content;
	add(s, w, op);
}

static void change_row(struct capture_sim *s, uint32_t writer, uint32_t table, uint32_t key)
{
	struct writer *w = &s->writer[writer];
	struct content *row = &w->pending[table][key], was = *row;
	uint32_t val = new_val(s);
	struct op op = { .table = (uint8_t)table, .key = (uint8_t)key, .old_key = (uint8_t)key };

	op.content = (struct content){ true, val, val, s->pg.table[table].shape };
	if (!was.exists) {
		op.kind = OP_INSERT;
		op.toast_sent = true;
		*row = op.content;
		add(s, w, op);
	} else if (table == s->plan.whole_table || prng_below(&s->dice, 6) == 0) {
		op.kind = OP_DELETE;
		row->exists = false;
		add(s, w, op);
	} else {
		update(s, writer, op, &was);
	}
}

static void operate(struct capture_sim *s, uint32_t writer)
{
	struct writer *w = &s->writer[writer];
	uint32_t table = (uint32_t)prng_below(&s->dice, s->plan.tables);
	uint32_t key = (uint32_t)prng_below(&s->dice, s->plan.keys);

	if (prng_below(&s->dice, 30) == 0)
		add(s, w, (struct op){ .kind = OP_MESSAGE, .table = 0 });
	else if (prng_chance(&s->dice, s->plan.of_truncate) && table != s->plan.whole_table)
		truncate_table(s, writer, table);
	else if (lock(s, writer, table, key))
		change_row(s, writer, table, key);
}

/* --- transactions --- */

/* Its effects are seen, and its locks are gone. */
static void end(struct capture_sim *s, uint32_t writer)
{
	struct writer *w = &s->writer[writer];

	for (uint32_t i = 0; i < w->ops; i++)
		capture_pg_apply(s->pg.table, &w->op[i]);
	capture_pg_ended(s, w->xid);
	trace(s, "pg      %llu has ended", (unsigned long long)w->xid);
	rest(s, writer);
}

static void on_end(struct capture_sim *s, const struct capture_happening *h)
{
	if (writer_of(s, h) == NULL)
		return;
	if (s->now < s->standby_away_until) {
		struct capture_happening *again = capture_later(s, s->standby_away_until, on_end);

		again->a = h->a;
		again->b = h->b;
		return;
	}
	end(s, (uint32_t)h->a);
}

static void commit(struct capture_sim *s, uint32_t writer)
{
	struct writer *w = &s->writer[writer];
	struct capture_happening *h;
	bool async = mishap(s, commit_async);
	int64_t limbo = prng_below(&s->dice, 2) == 0 ? 0 : prng_between(&s->dice, 1, 3 * MS);

	if (mishap(s, limbo_long))
		limbo = prng_spread(&s->dice, MS, 80 * MS);
	capture_pg_commit(s, w->xid, w->op, w->ops, !async);
	w->state = WRITER_LIMBO;
	if (async || limbo == 0) {
		end(s, writer);
		return;
	}
	h = capture_later(s, s->now + limbo, on_end);
	h->a = writer;
	h->b = w->number;
}

static void on_operation(struct capture_sim *s, const struct capture_happening *h)
{
	uint32_t writer = (uint32_t)h->a;
	struct writer *w = writer_of(s, h);
	struct capture_happening *next;

	if (w == NULL)
		return;
	if (w->left > 0 && w->ops < MAX_TX_OPS - 1) {
		w->left--;
		operate(s, writer);
		next = capture_later(s, capture_soon(s, prng_spread(&s->dice, 1, 10 * MS)), on_operation);
		next->a = h->a;
		next->b = h->b;
		return;
	}
	if (w->ops == 0) {
		rest(s, writer);
	} else if (mishap(s, roll_back)) {
		capture_pg_ended(s, w->xid);
		rest(s, writer);
	} else {
		commit(s, writer);
	}
}

static void on_begin(struct capture_sim *s, const struct capture_happening *h)
{
	struct writer *w = writer_of(s, h);
	struct capture_happening *next;

	if (w == NULL || s->done >= s->plan.transactions || capture_healed(s))
		return;
	s->done++;
	w->state = WRITER_OPEN;
	w->ops = 0;
	w->left = (uint32_t)prng_between(&s->dice, 1, s->plan.most_ops);
	next = capture_later(s, s->now, on_operation);
	next->a = h->a;
	next->b = h->b;
}

void capture_writers_open(struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.writers; i++)
		rest(s, i);
}

void capture_writers_abort(struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.writers; i++)
		rest(s, i);
}

bool capture_writers_rest(const struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.writers; i++)
		if (s->writer[i].state != WRITER_IDLE)
			return false;
	return true;
}
