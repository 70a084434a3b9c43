#include "check_capture.h"

#include <stdio.h>
#include <string.h>

/* --- the log --- */

static bool touches(const struct op *op, uint32_t table, uint32_t key)
{
	if (op->kind == OP_MESSAGE || op->table != table)
		return false;
	return op->kind == OP_TRUNCATE || op->kind == OP_REWRITE || op->key == key ||
	       (op->kind == OP_UPDATE && op->old_key == key);
}

static bool is_done(const struct op *op)
{
	return op->stored || op->lettered;
}

/* Of two operations that have an order between them: all, in commit order; else those of one key. */
static bool are_ordered(const struct capture_sim *s, const struct op *a, const struct op *b)
{
	if (s->plan.settings.in_commit_order)
		return true;
	return a->kind != OP_MESSAGE && touches(a, b->table, b->key) && b->kind != OP_MESSAGE;
}

/* The first operation before this one that has to be stored before it, and is not; or NULL. */
static const struct op *is_missing_before(const struct capture_sim *s, uint32_t op)
{
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost; o++) {
			if (o == op)
				return NULL;
			if (s->op[o].published && !is_done(&s->op[o]) && are_ordered(s, &s->op[o], &s->op[op]))
				return &s->op[o];
		}
	}
	return NULL;
}

/* The row as it is behind all changes of it that were stored: the first that was not ends the walk. What was never to be sent counts
 * as soon as nothing before it is missing. */
static struct content row_by_now(const struct capture_sim *s, uint32_t table, uint32_t key)
{
	struct pg_table one[CAPTURE_TABLES];

	memcpy(one, s->base, sizeof one);
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost; o++) {
			const struct op *op = &s->op[o];

			if (!touches(op, table, key))
				continue;
			if (op->published && !is_done(op))
				return one[table].row[key];
			capture_pg_apply(one, op);
		}
	}
	return one[table].row[key];
}

/* --- the copy --- */

void check_capture_taint(struct capture_sim *s, const struct op *op)
{
	if (op->kind == OP_MESSAGE)
		return;
	for (uint32_t k = 0; k < CAPTURE_KEYS; k++)
		if (touches(op, op->table, k))
			s->tainted[op->table][k] = true;
}

/* An update says all but what it did not send; of that the reader keeps what it has. */
static void copy_change(struct capture_sim *s, const struct op *op)
{
	struct content *row = &s->copy[op->table][op->key], was = s->copy[op->table][op->old_key];

	switch ((enum op_kind)op->kind) {
	case OP_INSERT: *row = op->content; break;
	case OP_UPDATE:
		if (op->old_key != op->key)
			s->copy[op->table][op->old_key].exists = false;
		s->tainted[op->table][op->key] |= s->tainted[op->table][op->old_key];
		*row = op->content;
		if (!op->toast_sent)
			row->toast = was.exists ? was.toast : 0;
		break;
	case OP_DELETE: row->exists = false; break;
	case OP_TRUNCATE:
		for (int k = 0; k < CAPTURE_KEYS; k++)
			s->copy[op->table][k].exists = false;
		break;
	default: break;
	}
}

static void change_stored(struct capture_sim *s, const struct message *m)
{
	struct op *op = &s->op[m->op];
	const struct op *missing;

	s->changes++;
	copy_change(s, op);
	if (s->transaction[m->transaction].lost) { /* a phantom: nobody can take it back */
		s->phantoms++;
		check_capture_taint(s, op);
		return;
	}
	demand(s, op->published, "what is not published was stored");
	demand(s, !op->stored, "operation %u was stored twice", m->op);
	missing = is_missing_before(s, m->op);
	demand(s, missing == NULL, "operation %u was stored before operation %u", m->op, (unsigned)(missing - s->op));
	op->stored = true;
}

/* Contents that somebody wrote whose transaction is lost. */
static bool is_of_lost(const struct capture_sim *s, const struct content *c)
{
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && t->lost; o++)
			if (s->op[o].content.val == c->val)
				return true;
	}
	return false;
}

static void row_stored(struct capture_sim *s, const struct message *m)
{
	struct content now;

	s->rows++;
	s->copy[m->table][m->key] = m->content;
	if (is_of_lost(s, &m->content)) {
		s->phantoms++;
		s->tainted[m->table][m->key] = true;
		return;
	}
	now = row_by_now(s, m->table, m->key);
	demand(s, s->tainted[m->table][m->key] || now.exists, "a row that is deleted comes back: table %u, key %u",
	       m->table, m->key);
	demand(s, s->tainted[m->table][m->key] || (now.val == m->content.val && now.toast == m->content.toast),
	       "a row in the wrong place: table %u, key %u is %u/%u, and what was stored before says %u/%u", m->table,
	       m->key, m->content.val, m->content.toast, now.val, now.toast);
}

void check_capture_stored(struct capture_sim *s, const struct message *m)
{
	if (m->kind == MESSAGE_CHANGE)
		trace(s, "stream  %u: change %u/%u: %d of %u/%u, was %u, to %u/%u", s->sequence + 1, m->transaction,
		      m->op, s->op[m->op].kind, s->op[m->op].table, s->op[m->op].key, s->op[m->op].old_key,
		      s->op[m->op].content.val, s->op[m->op].toast_sent ? s->op[m->op].content.toast : 0);
	else
		trace(s, "stream  %u: %s %u/%u, reading %u: %u/%u", s->sequence + 1,
		      m->kind == MESSAGE_ROW ? "row" : "control", m->table, m->key, m->reading, m->content.val,
		      m->content.toast);
	if (m->kind == MESSAGE_CHANGE)
		change_stored(s, m);
	else if (m->kind == MESSAGE_ROW)
		row_stored(s, m);
}

void check_capture_lettered(struct capture_sim *s, const struct message *m)
{
	s->letters++;
	if (m->kind == MESSAGE_CHANGE) {
		s->op[m->op].lettered = true;
		check_capture_taint(s, &s->op[m->op]);
	} else {
		s->tainted[m->table][m->key] = true;
	}
}

/* --- the books, and what the server is told --- */

static bool is_carried(const struct capture_sim *s, uint32_t op)
{
	const struct books *b = &s->pg.books;

	for (uint32_t i = 0; i < b->carries; i++)
		if (b->carried[i].m.kind == MESSAGE_CHANGE && b->carried[i].m.op == op)
			return true;
	return false;
}

void check_capture_marked(struct capture_sim *s, const struct capture_mark *m)
{
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost && t->end_lsn <= m->end_lsn; o++)
			demand(s, !s->op[o].published || is_done(&s->op[o]) || is_carried(s, o),
			       "the mark passes operation %u, which is neither stored nor a letter, nor carried", o);
	}
}

void check_capture_confirmed(struct capture_sim *s, const struct host *h, uint64_t lsn)
{
	const struct capture_stats *stats = capture_look(h->core);

	/* A relay that does not know yet that it was deposed tells a walsender that is gone. */
	if (h->session_dead || h->session != s->lock_owner || h->epoch != s->pg.books.epoch)
		return;
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost && t->end_lsn <= lsn; o++)
			demand(s, !s->op[o].published || t->end_lsn <= s->pg.books.end_lsn,
			       "%llu is confirmed, and the books are at %llu", (unsigned long long)lsn,
			       (unsigned long long)s->pg.books.end_lsn);
	}
	demand(s, lsn <= s->pg.books.end_lsn || (stats->unsettled == 0 && stats->open_rows == 0),
	       "a keepalive is confirmed over what is in memory");
}

/* --- rest --- */

const char *check_capture_rests(struct capture_sim *s)
{
	static char why[200];

	if (!capture_writers_rest(s))
		return "a writer is at work";
	if (!s->pg.slot.ready)
		return "there is no slot";
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost; o++) {
			if (!s->op[o].published || (is_done(&s->op[o]) && t->end_lsn <= s->pg.books.end_lsn))
				continue;
			snprintf(why, sizeof why, "operation %u at %llu is %s", o, (unsigned long long)t->end_lsn,
				 is_done(&s->op[o]) ? "not on record" : "not stored");
			return why;
		}
	}
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		if (s->pg.books.table[t].state == CAPTURE_TABLE_COMPLETE)
			continue;
		snprintf(why, sizeof why, "table %u is in state %d", t, s->pg.books.table[t].state);
		return why;
	}
	if (s->pg.books.carries > 0)
		return "something is carried";
	if (s->pg.slot.confirmed < s->pg.flushed)
		return "the log is not confirmed to its end";
	return NULL;
}

void check_capture_whole(struct capture_sim *s)
{
	for (uint32_t t = 0; t < s->plan.tables; t++)
		for (uint32_t k = 0; k < s->plan.keys && s->pg.table[t].published; k++) {
			const struct content *row = &s->pg.table[t].row[k], *copy = &s->copy[t][k];

			if (s->tainted[t][k])
				continue;
			demand(s, row->exists == copy->exists, "table %u, key %u: the source has %s, the copy has %s",
			       t, k, row->exists ? "it" : "none", copy->exists ? "it" : "none");
			demand(s,
			       !row->exists || (row->val == copy->val && row->toast == copy->toast &&
						row->shape == copy->shape),
			       "table %u, key %u: the source has %u/%u/%u, the copy has %u/%u/%u", t, k, row->val,
			       row->toast, row->shape, copy->val, copy->toast, copy->shape);
		}
}
