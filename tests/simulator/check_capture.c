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
	return op->stored || op->lettered || op->unkeyed; /* (of these: see unkeyed_stored) */
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

static bool is_same(const struct content *a, const struct content *b)
{
	return a->exists == b->exists && a->val == b->val && a->toast == b->toast;
}

struct whereabouts {
	struct content now;
	bool in_place;
};

/* The row as it is behind all changes of it that were stored: the first that was not ends the walk. What was never to be sent counts
 * as soon as nothing before it is missing. A row that is read has its place if it is that; or, where changes are not sent and their row is read
 * instead, what it was before some of these. */
static struct whereabouts row_by_now(const struct capture_sim *s, uint32_t table, uint32_t key,
				     const struct content *read)
{
	struct pg_table one[CAPTURE_TABLES];
	const struct content *now;
	bool in_place;

	memcpy(one, s->base, sizeof one);
	now = &one[table].row[key];
	in_place = is_same(now, read);
	for (uint32_t i = 0; i < s->transactions; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost; o++) {
			const struct op *op = &s->op[o];

			if (!touches(op, table, key))
				continue;
			if (op->published && !is_done(op))
				return (struct whereabouts){ *now, in_place };
			capture_pg_apply(one, op);
			in_place = ((op->instead || op->kind == OP_REWRITE) && in_place) || is_same(now, read);
		}
	}
	return (struct whereabouts){ *now, in_place };
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

/* What a change writes is as it should be, if all of it was sent. */
static void copy_touched(struct capture_sim *s, const struct op *op)
{
	bool *corrupt = s->corrupt[op->table];

	if (op->kind == OP_MESSAGE)
		return;
	if (op->kind == OP_UPDATE && !op->toast_sent)
		corrupt[op->key] = corrupt[op->old_key];
	else if (op->kind != OP_TRUNCATE)
		corrupt[op->key] = false;
	for (uint32_t k = 0; k < CAPTURE_KEYS; k++) {
		if (!touches(op, op->table, k))
			continue;
		s->touched[op->table][k] = true;
		if (op->kind != OP_UPDATE || k != op->key)
			corrupt[k] = false;
	}
}

/* An update says all but what it did not send; of that the reader keeps what it has. */
static void copy_change(struct capture_sim *s, const struct op *op)
{
	struct content *row = &s->copy[op->table][op->key], was = s->copy[op->table][op->old_key];

	copy_touched(s, op);
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

/* --- a table that is read whole --- */

/* Nobody knows a row of it by a key. From the message on that says that its rows begin each stands there once, as a row or as the insert that made it; this is said to hold by the
 * message that says that they are all there. (Between the two a leader may have gone, and the next one sends again what that one has let go, until it begins anew.) */
static void unkeyed_is_there(struct capture_sim *s, uint32_t val)
{
	demand(s, s->unkeyed[val] <= 1, "a row without a key is there twice: table %u, %u", s->plan.whole_table, val);
}

static void unkeyed_stored(struct capture_sim *s, const struct message *m, uint32_t val)
{
	s->unkeyed[val]++;
	if (s->unkeyed_all && s->plan.every.failover == 0)
		unkeyed_is_there(s, val);
	s->changes += m->kind == MESSAGE_CHANGE;
	s->rows += m->kind == MESSAGE_ROW;
}

static void unkeyed_told(struct capture_sim *s, const struct message *m)
{
	if (m->end) {
		s->unkeyed_all = true;
		for (uint32_t val = 0; val < VALS; val++)
			unkeyed_is_there(s, val);
		return;
	}
	s->unkeyed_all = false;
	memset(s->unkeyed, 0, sizeof s->unkeyed);
	demand(s, m->reading > s->unkeyed_reading || s->plan.every.failover > 0,
	       "a table is read whole under number %u, which is not new", m->reading);
	s->unkeyed_reading = m->reading;
	s->wholes++;
}

static void unkeyed_whole(struct capture_sim *s, uint32_t table)
{
	for (uint32_t val = 0; val < VALS; val++)
		unkeyed_is_there(s, val);
	for (uint32_t k = 0; k < s->plan.keys && s->pg.table[table].published; k++) {
		const struct content *row = &s->pg.table[table].row[k];

		demand(s, !row->exists || s->unkeyed[row->val] == 1 || s->unkeyed_lettered[row->val],
		       "a row without a key is missing: table %u, %u", table, row->val);
	}
}

static void change_stored(struct capture_sim *s, const struct message *m)
{
	struct op *op = &s->op[m->op];
	const struct op *missing;

	if (op->unkeyed) {
		unkeyed_stored(s, m, op->content.val);
		return;
	}
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
	op->sequence = s->sequence + 1;
}

static void changes_stored(struct capture_sim *s, const struct message *m)
{
	for (uint32_t i = 0; i <= m->more; i++) {
		struct message one = *m;

		one.op += i;
		change_stored(s, &one);
	}
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
	struct whereabouts at;

	s->rows++;
	s->copy[m->table][m->key] = m->content;
	s->corrupt[m->table][m->key] = false;
	if (is_of_lost(s, &m->content)) {
		s->phantoms++;
		s->tainted[m->table][m->key] = true;
		return;
	}
	at = row_by_now(s, m->table, m->key, &m->content);
	demand(s, s->tainted[m->table][m->key] || at.now.exists, "a row that is deleted comes back: table %u, key %u",
	       m->table, m->key);
	demand(s, s->tainted[m->table][m->key] || at.in_place,
	       "a row in the wrong place: table %u, key %u is %u/%u, and what was stored before says %u/%u", m->table,
	       m->key, m->content.val, m->content.toast, at.now.val, at.now.toast);
}

static void rows_stored(struct capture_sim *s, const struct message *m)
{
	const struct window *w = &s->window[m->window];

	for (uint32_t i = 0; i < w->count; i++) {
		struct message row = *m;

		row.key = w->key[i];
		row.content = w->content[i];
		row_stored(s, &row);
	}
}

/* --- verify passes --- */

static bool are_same(const struct content *a, const struct content *b)
{
	return a->exists == b->exists &&
	       (!a->exists || (a->val == b->val && a->toast == b->toast && a->shape == b->shape));
}

/* Here the copy holds what the snapshot has shown of this key: a difference is one, and never a matter of time. It is mended. */
static void compare(struct capture_sim *s, const struct message *m, uint8_t key, const struct content *said)
{
	struct content *copy = &s->copy[m->table][key], now;
	bool same = are_same(copy, said), explained;

	s->verified++;
	s->marked[m->table][key] = m->reading;
	if (s->tainted[m->table][key] || is_of_lost(s, said) || is_of_lost(s, copy)) {
		s->tainted[m->table][key] |= !same;
		return;
	}
	now = row_by_now(s, m->table, key, said).now;
	demand(s, now.exists == said->exists && (!said->exists || (now.val == said->val && now.toast == said->toast)),
	       "a row is verified in the wrong place: table %u, key %u is %d %u/%u, and what was stored before says %d %u/%u",
	       m->table, key, said->exists, said->val, said->toast, now.exists, now.val, now.toast);
	/* A rewrite is told by no change. */
	explained = s->corrupt[m->table][key] || (copy->exists && said->exists && copy->shape != said->shape);
	demand(s, same || explained, "a false alarm: table %u, key %u", m->table, key);
	s->found += !same;
	*copy = *said;
	s->corrupt[m->table][key] = false;
}

/* What was there when the pass began, was not written since, and is no row of the source: surplus. */
static void find_surplus(struct capture_sim *s, const struct message *m)
{
	for (uint32_t k = 0; k < s->plan.keys; k++) {
		if (!s->copy[m->table][k].exists || s->touched[m->table][k] || s->marked[m->table][k] == m->reading ||
		    s->tainted[m->table][k])
			continue;
		demand(s, s->corrupt[m->table][k], "a surplus that is none: table %u, key %u", m->table, k);
		s->copy[m->table][k].exists = s->corrupt[m->table][k] = false;
		s->found++;
	}
}

static void pass_stored(struct capture_sim *s, const struct message *m)
{
	if (m->kind == MESSAGE_VERIFY)
		compare(s, m, m->key, &m->content);
	else if (m->kind == MESSAGE_WINDOW)
		for (uint32_t i = 0; i < s->window[m->window].count; i++)
			compare(s, m, s->window[m->window].key[i], &s->window[m->window].content[i]);
	else if (m->end && m->pass == s->pass[m->table] && !s->by_key[m->table])
		find_surplus(s, m);
	else if (!m->end) {
		s->pass[m->table] = m->pass;
		s->by_key[m->table] = m->key != 0;
		memset(s->touched[m->table], 0, sizeof s->touched[m->table]);
		memset(s->marked[m->table], 0, sizeof s->marked[m->table]);
	}
}

void check_capture_stored(struct capture_sim *s, const struct message *m)
{
	if (m->kind == MESSAGE_CHANGE)
		trace(s, "stream  %u: change %u/%u (and %u): %d of %u/%u, was %u, to %u/%u", s->sequence + 1,
		      m->transaction, m->op, m->more, s->op[m->op].kind, s->op[m->op].table, s->op[m->op].key,
		      s->op[m->op].old_key, s->op[m->op].content.val,
		      s->op[m->op].toast_sent ? s->op[m->op].content.toast : 0);
	else
		trace(s, "stream  %u: %s %u/%u, reading %u: %u/%u", s->sequence + 1,
		      m->kind == MESSAGE_ROW      ? "row"
		      : m->kind == MESSAGE_WINDOW ? "window"
						  : "control",
		      m->table, m->key, m->reading, m->content.val, m->content.toast);
	if (m->kind == MESSAGE_CHANGE)
		changes_stored(s, m);
	else if (m->kind == MESSAGE_ROW && m->table == s->plan.whole_table)
		unkeyed_stored(s, m, m->content.val);
	else if (m->kind == MESSAGE_ROW)
		row_stored(s, m);
	else if (m->kind == MESSAGE_WINDOW && m->pass == 0)
		rows_stored(s, m);
	else if (m->kind == MESSAGE_CONTROL && m->table == s->plan.whole_table)
		unkeyed_told(s, m);
	else if (m->pass != 0)
		pass_stored(s, m);
}

void check_capture_lettered(struct capture_sim *s, const struct message *m)
{
	demand(s, m->more == 0, "changes are dead letters for their company");
	s->letters++;
	if (m->kind == MESSAGE_CHANGE && s->op[m->op].unkeyed)
		s->unkeyed_lettered[s->op[m->op].content.val] = true;
	else if (m->kind == MESSAGE_ROW && m->table == s->plan.whole_table)
		s->unkeyed_lettered[m->content.val] = true;
	if (m->kind == MESSAGE_CHANGE) {
		s->op[m->op].lettered = true;
		check_capture_taint(s, &s->op[m->op]);
	} else if (m->kind == MESSAGE_ROW) {
		s->tainted[m->table][m->key] = true;
	}
}

/* Who was given up for good does not wait for anybody again. (A promotion may have lost the decision.) */
void check_capture_held(struct capture_sim *s, const struct message *m)
{
	demand(s, m->kind != MESSAGE_CHANGE || !s->op[m->op].lettered || s->plan.every.failover > 0,
	       "operation %u was given up, and holds its key again", m->op);
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

/* Who finds the stream with this end finds all in it that is never sent again. */
static void check_end(struct capture_sim *s, const struct capture_mark *m)
{
	demand(s, s->end_lost || m->end.sequence <= s->sequence, "the books say that the stream ends at %llu",
	       (unsigned long long)m->end.sequence);
	for (uint32_t i = 0; i < s->transactions && s->plan.settings.in_commit_order; i++) {
		const struct transaction *t = &s->transaction[i];

		for (uint32_t o = t->first_op; o < t->first_op + t->ops && !t->lost && t->end_lsn <= m->end_lsn; o++)
			demand(s, s->op[o].sequence <= m->end.sequence,
			       "the books say that the stream ends at %llu, and operation %u is stored at %u",
			       (unsigned long long)m->end.sequence, o, s->op[o].sequence);
	}
}

void check_capture_marked(struct capture_sim *s, const struct capture_mark *m)
{
	check_end(s, m);
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
	if (s->pg.books.repairs > 0)
		return "rows are to be read once more";
	return NULL;
}

void check_capture_whole(struct capture_sim *s)
{
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		if (t == s->plan.whole_table)
			unkeyed_whole(s, t);
		for (uint32_t k = 0; k < s->plan.keys && s->pg.table[t].published && t != s->plan.whole_table; k++) {
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
}
