/* PostgreSQL: rows, xids, snapshots, the log, crash and promotion. */
#include <string.h>

#include "capture_world.h"
#include "check_capture.h"

void capture_pg_apply(struct pg_table *tables, const struct op *op)
{
	struct pg_table *t = &tables[op->table];

	switch ((enum op_kind)op->kind) {
	case OP_INSERT: t->row[op->key] = op->content; break;
	case OP_UPDATE:
		if (op->old_key != op->key)
			t->row[op->old_key].exists = false;
		t->row[op->key] = op->content;
		break;
	case OP_DELETE: t->row[op->key].exists = false; break;
	case OP_TRUNCATE:
		for (int k = 0; k < CAPTURE_KEYS; k++)
			t->row[k].exists = false;
		t->filenode++;
		break;
	case OP_REWRITE:
		t->shape++;
		for (int k = 0; k < CAPTURE_KEYS; k++)
			t->row[k].shape = t->shape;
		t->filenode++;
		break;
	case OP_MESSAGE: break;
	}
}

/* --- xids and snapshots --- */

static bool is_running(const struct writer *w)
{
	return w->state != WRITER_IDLE && w->xid != 0;
}

void capture_pg_snapshot(const struct capture_sim *s, struct capture_snapshot *snapshot, uint64_t *xip)
{
	size_t n = 0;

	snapshot->xmax = snapshot->xmin = s->pg.last_ended + 1;
	for (uint32_t i = 0; i < CAPTURE_WRITERS; i++) {
		const struct writer *w = &s->writer[i];
		size_t at = n;

		if (!is_running(w) || w->xid >= snapshot->xmax)
			continue;
		for (; at > 0 && xip[at - 1] > w->xid; at--)
			xip[at] = xip[at - 1];
		xip[at] = w->xid;
		n++;
	}
	if (n > 0)
		snapshot->xmin = xip[0];
	snapshot->xip = xip;
	snapshot->xip_count = n;
}

uint64_t capture_pg_draw(struct capture_sim *s)
{
	uint64_t xid = s->pg.next_xid++;

	capture_pg_ended(s, xid);
	return xid;
}

static bool holds_lock(const struct capture_sim *s, uint32_t writer)
{
	for (uint32_t t = 0; t < s->plan.tables; t++)
		for (int k = 0; k < CAPTURE_KEYS; k++)
			if (s->locked[t][k] == writer + 1)
				return true;
	return false;
}

/* Who holds no lock now has written to no table; who writes later does so in the sight of whoever asked. */
uint64_t capture_pg_horizon(const struct capture_sim *s, bool of_locks)
{
	uint64_t horizon = s->pg.next_xid;

	for (uint32_t i = 0; i < CAPTURE_WRITERS; i++)
		if (is_running(&s->writer[i]) && s->writer[i].xid < horizon && (!of_locks || holds_lock(s, i)))
			horizon = s->writer[i].xid;
	if (!of_locks && horizon > s->pg.last_ended + 1)
		horizon = s->pg.last_ended + 1;
	return horizon;
}

void capture_pg_ended(struct capture_sim *s, uint64_t xid)
{
	if (xid > s->pg.last_ended)
		s->pg.last_ended = xid;
}

/* --- the log --- */

static bool is_published(const struct capture_sim *s, uint64_t xid, const struct op *op)
{
	if (op->kind == OP_MESSAGE)
		return true;
	return op->published && !(s->plan.version_13 && xid < s->pg.table[op->table].added_xid);
}

uint32_t capture_pg_commit(struct capture_sim *s, uint64_t xid, const struct op *ops, uint32_t count, bool flush)
{
	uint32_t index = s->transactions++;
	struct transaction *t = &s->transaction[index];

	demand(s, index < MAX_TRANSACTIONS && s->ops + count < MAX_OPS, "the simulator is too small");
	s->pg.lsn += 8 * count;
	*t = (struct transaction){
		.xid = xid,
		.commit_lsn = s->pg.lsn,
		.end_lsn = s->pg.lsn + 8,
		.time = s->now,
		.first_op = s->ops,
		.ops = count,
		.decoded = s->pg.slot.ready && xid >= s->pg.slot.first_xid,
		.marker = count == 0,
	};
	s->pg.lsn += 8;
	for (uint32_t i = 0; i < count; i++) {
		s->op[s->ops] = ops[i];
		s->op[s->ops].published = t->decoded && is_published(s, xid, &ops[i]);
		s->op[s->ops].instead =
			s->op[s->ops].published && s->plan.whole_rows && ops[i].kind == OP_UPDATE && !ops[i].toast_sent;
		s->op[s->ops].published &= !s->op[s->ops].instead;
		s->ops++;
	}
	if (flush)
		s->pg.flushed = s->pg.lsn;
	trace(s, "pg      commit record of %llu at %llu, %u operations%s%s", (unsigned long long)xid,
	      (unsigned long long)t->commit_lsn, count, t->decoded ? "" : ", not decoded",
	      flush ? "" : ", not flushed");
	return index;
}

/* The WAL writer. */
static void on_flush(struct capture_sim *s, const struct capture_happening *h)
{
	s->pg.flushed = s->pg.lsn;
	if (prng_below(&s->dice, 4) == 0)
		s->pg.slot.persisted = s->pg.slot.confirmed;
	capture_later(s, capture_soon(s, 2 * s->plan.flush_us), h->run);
}

/* --- the slot --- */

/* It waits for all that had an xid when it was begun. What committed meanwhile, with a later xid, is not decoded either, and may be
 * in its limbo still. */
static void on_slot(struct capture_sim *s, const struct capture_happening *h)
{
	if (capture_pg_horizon(s, false) < h->a) {
		capture_later(s, s->now + MS, h->run)->a = h->a;
		return;
	}
	s->pg.slot.ready = true;
	s->pg.slot.first_xid = h->a;
	s->pg.slot.start = s->pg.slot.confirmed = s->pg.slot.persisted = s->pg.books.end_lsn = s->pg.lsn;
	s->pg.flushed = s->pg.lsn;
	/* Whoever has an xid from then on and is open still is decoded whole. */
	trace(s, "pg      the slot begins at %llu, with xid %llu", (unsigned long long)s->pg.slot.start,
	      (unsigned long long)h->a);
}

static void on_create_slot(struct capture_sim *s, const struct capture_happening *h)
{
	(void)h;
	capture_later(s, s->now, on_slot)->a = s->pg.next_xid;
}

void capture_pg_open(struct capture_sim *s)
{
	s->pg.next_xid = s->plan.first_xid;
	s->pg.last_ended = s->pg.next_xid - 1;
	s->pg.lsn = s->pg.flushed = 1000;
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		struct pg_table *table = &s->pg.table[t];

		table->filenode = 1;
		table->published = !(s->plan.late_table && t == s->plan.tables - 1);
		s->pg.books.table[t].state = table->published ? CAPTURE_TABLE_WAITING : CAPTURE_TABLE_COMPLETE;
		s->pg.books.cursor[t] = s->pg.books.top[t] = -1;
		for (uint32_t k = 0; k < s->plan.keys; k++)
			if (prng_below(&s->dice, 4) > 0) {
				table->row[k] = (struct content){ true, s->vals + 1, s->vals + 1, 0 };
				s->vals++;
			}
		s->base[t] = *table;
	}
	s->pg.books.low_water = LOW_WATER_NONE;
	capture_later(s, s->now + prng_between(&s->dice, 0, 100 * MS), on_create_slot);
	capture_later(s, s->now + s->plan.flush_us, on_flush);
}

/* --- what is done to tables --- */

void capture_pg_add_table(struct capture_sim *s, uint32_t table)
{
	struct pg_table *t = &s->pg.table[table];

	if (t->published || !s->pg.slot.ready)
		return;
	trace(s, "pg      table %u is added to the publication", table);
	t->published = true;
	t->added_xid = s->pg.next_xid;
	capture_pg_draw(s);
	s->pg.books.table[table].state = CAPTURE_TABLE_WAITING;
	/* Whoever leads takes the lead again, with the new books. */
	if (capture_leader(s) != NULL)
		capture_host_lose_session(s, capture_leader(s));
}

/* Other contents, of which the log says nothing. It waits for every lock. */
void capture_pg_rewrite(struct capture_sim *s, uint32_t table)
{
	struct op op = { .kind = OP_REWRITE, .table = (uint8_t)table };
	uint64_t xid;

	if (s->table_locked[table] != 0 || table == s->plan.whole_table)
		return;
	for (int k = 0; k < CAPTURE_KEYS; k++)
		if (s->locked[table][k] != 0)
			return;
	trace(s, "pg      table %u is rewritten", table);
	xid = s->pg.next_xid++;
	capture_pg_commit(s, xid, &op, 1, true);
	capture_pg_apply(s->pg.table, &op);
	capture_pg_ended(s, xid);
}

/* --- crash and promotion --- */

/* What had committed at `lsn` is there, and ended; nothing else is. */
static void recover(struct capture_sim *s, bool of_standby)
{
	struct pg_table rows[CAPTURE_TABLES];

	memcpy(rows, s->base, sizeof rows);
	for (uint32_t i = 0; i < s->transactions; i++) {
		struct transaction *t = &s->transaction[i];

		if (!t->lost && t->commit_lsn >= s->pg.flushed) {
			t->lost = true;
			/* A promotion takes back what may have been published. A crash takes back what was never flushed, so never sent. */
			for (uint32_t o = 0; o < t->ops && of_standby; o++)
				check_capture_taint(s, &s->op[t->first_op + o]);
			trace(s, "pg      %llu is lost", (unsigned long long)t->xid);
		}
		for (uint32_t o = 0; o < t->ops && !t->lost; o++)
			capture_pg_apply(rows, &s->op[t->first_op + o]);
	}
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		memcpy(s->pg.table[t].row, rows[t].row, sizeof rows[t].row);
		s->pg.table[t].shape = rows[t].shape;
		s->pg.table[t].filenode = rows[t].filenode;
	}
	s->pg.lsn = s->pg.flushed;
	s->pg.last_ended = s->pg.next_xid - 1;
	while (s->pg.markers > 0 && s->pg.marker[s->pg.markers - 1] >= s->pg.flushed)
		s->pg.markers--;
	memset(s->locked, 0, sizeof s->locked);
	memset(s->table_locked, 0, sizeof s->table_locked);
}

void capture_pg_crash(struct capture_sim *s)
{
	if (!s->pg.slot.ready)
		return;
	trace(s, "pg      crash");
	capture_writers_abort(s);
	recover(s, false);
	s->pg.slot.confirmed = s->pg.slot.persisted;
	capture_hosts_lose_sessions(s);
}

void capture_pg_falls_behind(struct capture_sim *s)
{
	if (s->falls_behind || !s->pg.slot.ready)
		return;
	trace(s, "pg      the standby falls behind, at %llu", (unsigned long long)s->pg.flushed);
	s->standby = s->pg;
	s->falls_behind = true;
}

void capture_pg_takes_over(struct capture_sim *s)
{
	uint64_t next_xid = s->standby.next_xid;

	if (!s->falls_behind)
		return;
	trace(s, "pg      the standby takes over");
	s->falls_behind = false;
	capture_writers_abort(s);
	s->pg = s->standby;
	s->pg.next_xid = next_xid;
	/* As boxhaul.capture_lead() does: no number is given again that the lost tail had given. */
	for (uint32_t i = 0; i < s->plan.tables; i++) {
		s->pg.books.table[i].reading += s->pg.books.table[i].reading != 0 ? 1000 : 0;
		s->pg.books.table[i].readings += 1000;
	}
	for (uint32_t i = 0; i < s->pg.books.repairs; i++)
		s->pg.books.repair[i].reading += 1000;
	capture_books_promoted(s);
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		s->host[i].led = 0; /* leads of others may have been taken back: they are told by the timeline */
	recover(s, true);
	capture_hosts_lose_sessions(s);
}
