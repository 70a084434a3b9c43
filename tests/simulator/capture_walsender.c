/* The walsender: what it sends, in which order, and where it begins. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture_world.h"
#include "core/refusal.h"

void capture_walsender_start(struct capture_sim *s, struct host *h, uint64_t lsn)
{
	/* Whoever leads ends the walsender of whoever led before. */
	for (uint32_t i = 0; i < CAPTURE_HOSTS; i++)
		s->host[i].stream = 0;
	h->stream = ++s->numbers;
	h->next = h->next_op = h->next_marker = 0;
	h->begun = false;
	/* An older position than the confirmed one is not asked for in vain: the server begins there and says nothing. */
	h->start = lsn > s->pg.slot.confirmed ? lsn : s->pg.slot.confirmed;
	h->keepalive = h->start;
	capture_walsender_confirm(s, h);
	trace(s, "host %u  the stream begins at %llu", h->index, (unsigned long long)h->start);
}

/* A status update says it again and again. */
void capture_walsender_confirm(struct capture_sim *s, const struct host *h)
{
	if (h->stream != 0 && h->confirmed > s->pg.slot.confirmed)
		s->pg.slot.confirmed = h->confirmed;
}

static bool is_sent(const struct capture_sim *s, const struct host *h, const struct transaction *t)
{
	if (t->lost || !t->decoded || t->commit_lsn < h->start)
		return false;
	if (!s->plan.version_13 && !t->marker) {
		for (uint32_t o = 0; o < t->ops; o++)
			if (s->op[t->first_op + o].published || s->op[t->first_op + o].instead)
				return true;
		return false; /* from 15 on */
	}
	return true;
}

/* The next transaction that is to be sent, or NULL: none has been flushed yet. */
static const struct transaction *next_transaction(const struct capture_sim *s, struct host *h)
{
	while (h->next < s->transactions && !is_sent(s, h, &s->transaction[h->next]))
		h->next++;
	if (h->next == s->transactions || s->transaction[h->next].end_lsn > s->pg.flushed)
		return NULL;
	return &s->transaction[h->next];
}

void capture_key_text(char *text, uint32_t key)
{
	snprintf(text, KEY_BYTES, key % 2 ? "%u" : "k%u", key);
}

uint32_t capture_key_of(const char *text)
{
	return (uint32_t)strtoul(text + (text[0] == 'k'), NULL, 10);
}

static void name_keys(struct capture_sim *s, struct capture_event *ev, const struct op *op, struct payload *p)
{
	bool moved = op->kind == OP_UPDATE && op->old_key != op->key;

	if (op->kind == OP_TRUNCATE || op->kind == OP_MESSAGE || op->unkeyed)
		return;
	p->keys = calloc(2 + p->m.more, KEY_BYTES);
	demand(s, p->keys != NULL, "out of memory");
	capture_key_text(p->keys, moved && s->flaw != CAPTURE_FLAW_new_key ? op->old_key : op->key);
	ev->change.row.key = p->keys;
	ev->change.row.key_bytes = (uint32_t)strlen(p->keys);
	ev->change.read_instead = op->instead;
	if (moved || op->instead) {
		capture_key_text(p->keys + KEY_BYTES, op->key);
		ev->change.repair_key = p->keys + KEY_BYTES;
		ev->change.repair_key_bytes = (uint32_t)strlen(p->keys + KEY_BYTES);
		ev->change.moves_whole = op->toast_sent;
	}
	ev->change.row.lane = 1 + capture_mix(op->table, op->key);
}

/* As flow/capture_together.h: what follows from the log alone. */
static bool goes_together(const struct capture_sim *s, const struct op *op)
{
	return s->plan.settings.rows_together && op->published && !op->unkeyed && !s->poison[op->content.val] &&
	       (op->kind == OP_INSERT || op->kind == OP_DELETE || (op->kind == OP_UPDATE && op->old_key == op->key));
}

/* So many behind this one are one message with it. */
static uint32_t count_together(struct capture_sim *s, const struct transaction *t, uint32_t o)
{
	const struct op *op = &s->op[t->first_op + o];
	uint32_t n = 0;

	while (goes_together(s, op) && o + n + 1 < t->ops && goes_together(s, op + n + 1) &&
	       op[n + 1].table == op->table &&
	       (s->flaw == CAPTURE_FLAW_together_by_chance ? prng_next(&s->dice) : capture_mix(t->commit_lsn, o + n)) %
			       4 !=
		       0)
		n++;
	return n;
}

static void name_others(const struct op *op, struct host *h, struct capture_event *ev, struct payload *p)
{
	char *room = p->keys + 2 * (size_t)KEY_BYTES;

	for (uint32_t i = 0; i < p->m.more; i++, room += KEY_BYTES) {
		capture_key_text(room, op[i + 1].key);
		h->others[i] = (struct capture_key_of){ room, (uint32_t)strlen(room) };
	}
	ev->change.others = h->others;
	ev->change.other_count = p->m.more;
}

/* Returns the number of the one behind it. */
static uint32_t fill_change(struct capture_sim *s, struct host *h, const struct transaction *t, uint32_t o,
			    struct capture_event *ev, struct payload *p)
{
	const struct op *op = &s->op[t->first_op + o];
	uint32_t more = count_together(s, t, o), last = o + more;

	ev->kind = CAPTURE_EVENT_CHANGE;
	ev->change.kind = op->kind == OP_MESSAGE    ? CAPTURE_CHANGE_OTHER
			  : op->kind == OP_TRUNCATE ? CAPTURE_CHANGE_TRUNCATE
						    : CAPTURE_CHANGE_ROW;
	ev->change.index = 3 * last;
	ev->change.table = op->kind == OP_MESSAGE ? CAPTURE_NO_TABLE : op->table;
	p->m = (struct message){ .kind = MESSAGE_CHANGE, .op = t->first_op + o, .more = more };
	p->m.transaction = (uint32_t)(t - s->transaction);
	p->m.id = capture_mix(capture_mix(t->commit_lsn, last), 1);
	if (s->flaw != CAPTURE_FLAW_id_of_position)
		p->m.id = capture_mix(p->m.id, capture_mix((uint64_t)t->time, t->xid));
	if (s->poison[op->content.val] && op->kind != OP_DELETE && op->content.val % 2 == 0)
		ev->change.row.defect = DEFECT_MESSAGE_LONG;
	ev->change.row.bytes = 10 + (uint32_t)prng_below(&s->dice, 100);
	name_keys(s, ev, op, p);
	if (more > 0)
		name_others(op, h, ev, p);
	return last + 1;
}

static bool step_transaction(struct capture_sim *s, struct host *h, const struct transaction *t,
			     struct capture_event *ev, struct payload *p)
{
	if (!h->begun) {
		h->begun = true;
		h->next_op = 0;
		ev->kind = CAPTURE_EVENT_BEGIN;
		ev->begin.xid = (uint32_t)t->xid;
		ev->begin.final_lsn = t->commit_lsn;
		ev->begin.commit_time = t->time;
		return true;
	}
	while (h->next_op < t->ops && !s->op[t->first_op + h->next_op].published &&
	       !s->op[t->first_op + h->next_op].instead)
		h->next_op++;
	if (h->next_op < t->ops) {
		h->next_op = fill_change(s, h, t, h->next_op, ev, p);
		return true;
	}
	h->begun = false;
	h->next++;
	ev->kind = CAPTURE_EVENT_COMMIT;
	ev->commit.end_lsn = t->end_lsn;
	return true;
}

/* Everything that was committed below this has been sent. */
static uint64_t sent_below(const struct capture_sim *s, const struct transaction *t)
{
	return t != NULL ? t->commit_lsn : s->pg.flushed;
}

static bool send_marker(struct capture_sim *s, struct host *h, const struct transaction *t, struct capture_event *ev)
{
	uint64_t lsn;

	while (h->next_marker < s->pg.markers && s->pg.marker[h->next_marker] < h->start)
		h->next_marker++;
	if (h->next_marker >= s->pg.markers || h->begun)
		return false;
	lsn = s->pg.marker[h->next_marker];
	if (lsn >= s->pg.flushed || (t != NULL && t->commit_lsn < lsn))
		return false;
	h->next_marker++;
	ev->kind = CAPTURE_EVENT_POSITION;
	ev->position.lsn = lsn;
	ev->position.idle = false;
	return true;
}

static bool send_keepalive(struct capture_sim *s, struct host *h, const struct transaction *t, struct capture_event *ev)
{
	uint64_t end = sent_below(s, t);

	if (s->flaw == CAPTURE_FLAW_keepalive_ahead)
		end = s->pg.flushed;
	if (mishap(s, keepalive_late) && end > h->keepalive)
		end = h->keepalive + prng_below(&s->dice, end - h->keepalive);
	if (end < h->keepalive)
		end = h->keepalive;
	if (end == h->keepalive && t == NULL && prng_below(&s->dice, 4) > 0)
		return false;
	h->keepalive = end;
	ev->kind = CAPTURE_EVENT_POSITION;
	ev->position.lsn = end;
	ev->position.idle = true;
	return true;
}

bool capture_walsender_next(struct capture_sim *s, struct host *h, struct capture_event *ev, struct payload *p)
{
	const struct transaction *t = next_transaction(s, h);

	*p = (struct payload){ .used = true };
	if (send_marker(s, h, t, ev))
		return true;
	if (t == NULL || prng_below(&s->dice, 20) == 0)
		if (send_keepalive(s, h, t, ev))
			return true;
	return t != NULL && step_transaction(s, h, t, ev, p);
}
