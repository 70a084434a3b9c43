/* The database: the subscriptions' books and rows, as the SQL keeps them; and a standby that may fall behind. */
#include "inbox_world.h"

#include <stdlib.h>
#include <string.h>

#include "check_inbox.h"

void inbox_db_open(struct inbox_sim *s)
{
	memset(&s->db, 0, sizeof s->db);
}

/* --- moves --- */

static bool is_where_it_says(const struct inbox_sim *s, const struct subscription *sub, uint64_t epoch,
			     const struct inbox_move *m)
{
	if (s->flaw == INBOX_FLAW_no_cas)
		return true;
	if (s->flaw == INBOX_FLAW_no_epoch)
		return m->kind == INBOX_MOVE_BEGIN || sub->position == m->from;
	if (epoch != s->db.epoch)
		return false;
	if (m->kind == INBOX_MOVE_BEGIN)
		return sub->created == 0;
	return sub->created != 0 && sub->incarnation == m->incarnation && sub->position == m->from;
}

static bool is_stored(const struct inbox_sim *s, uint32_t subscription, uint32_t copy, uint16_t rows_before)
{
	const struct subscription *sub = &s->db.subscription[subscription];
	uint16_t message = s->broker.copy[copy].message;
	const struct message *m = &s->broker.message[message];

	if (s->plan.settings[subscription].dedupe == INBOX_DEDUPE_POSITION || s->flaw == INBOX_FLAW_no_ids)
		return false;
	if (!m->has_id && s->flaw == INBOX_FLAW_empty_id)
		return sub->seen[0] != 0;
	if (!m->has_id)
		return false;
	if (s->flaw == INBOX_FLAW_ids_of_all)
		return s->db.subscription[0].seen[message] != 0 || s->db.subscription[1].seen[message] != 0;
	if (s->flaw == INBOX_FLAW_ids_of_before)
		return sub->seen[message] != 0 && sub->seen[message] <= rows_before;
	return sub->seen[message] != 0;
}

static uint16_t add_row(struct inbox_sim *s, struct subscription *sub, uint32_t copy, enum row_state state)
{
	const struct message *m = &s->broker.message[s->broker.copy[copy].message];
	uint16_t id = ++sub->rows;
	uint8_t lane = m->key != 0 ? m->key % INBOX_LANES : id % INBOX_LANES;

	demand(s, id < MAX_ROWS - 1, "the world has no room for more rows");
	sub->row[id] = (struct inbox_row){ .copy = (uint16_t)copy,
					   .lane = lane,
					   .key = m->key,
					   .state = (uint8_t)state,
					   .received = s->now,
					   .incarnation = sub->incarnation };
	if (sub->lane_last[lane] != 0)
		sub->row[sub->lane_last[lane]].lane_next = id;
	else
		sub->lane_first[lane] = id;
	sub->lane_last[lane] = id;
	if (sub->key_last[m->key] != 0)
		sub->row[sub->key_last[m->key]].key_next = id;
	if (sub->key_first[m->key] == 0)
		sub->key_first[m->key] = id;
	sub->key_last[m->key] = id;
	return id;
}

static void store(struct inbox_sim *s, uint32_t subscription, uint32_t copy, bool dead, uint16_t rows_before)
{
	struct subscription *sub = &s->db.subscription[subscription];
	uint16_t message = s->broker.copy[copy].message;

	if (is_stored(s, subscription, copy, rows_before)) {
		s->copies_known++;
		if (sub->account[copy] == ACCOUNT_NONE || sub->account[copy] == ACCOUNT_SAID)
			sub->account[copy] = ACCOUNT_KNOWN;
		return;
	}
	if (dead) {
		sub->account[copy] = ACCOUNT_DEAD;
		s->dead++;
		return;
	}
	check_inbox_once(s, subscription, copy);
	sub->stored_as[copy] = add_row(s, sub, copy, ROW_OPEN);
	sub->account[copy] = ACCOUNT_STORED;
	sub->seen[s->broker.message[message].has_id ? message : 0] = sub->stored_as[copy];
	s->taken++;
}

static void trail_add(struct subscription *sub, uint64_t sequence, int64_t time)
{
	if (time == 0 || sequence == 0)
		return;
	if (sub->trail_count == MAX_TRAIL)
		memmove(sub->trail, sub->trail + 1, --sub->trail_count * sizeof sub->trail[0]);
	sub->trail[sub->trail_count++] = (struct inbox_mark){ .sequence = sequence, .time = time };
}

/* The copy that a place of the position stands for. */
static uint32_t anchor_of(const struct inbox_sim *s, const struct inbox_move *m, uint16_t history)
{
	if ((m->kind == INBOX_MOVE_REWIND || m->kind == INBOX_MOVE_BEGIN) && m->time != 0)
		for (uint32_t c = 1; c <= s->broker.copies; c++)
			if (s->broker.copy[c].sequence == m->to && s->broker.copy[c].time == m->time)
				return c;
	return inbox_broker_copy_at(s, history, m->to);
}

static void set_books(struct inbox_sim *s, struct subscription *sub, const struct inbox_move *m, uint16_t history)
{
	if (m->kind == INBOX_MOVE_BEGIN || m->kind == INBOX_MOVE_RESTART) {
		sub->created = m->created;
		sub->trail_count = 0;
		sub->began = m->to;
	}
	if (m->kind == INBOX_MOVE_REWIND && m->to < sub->began)
		sub->began = m->to;
	if (m->kind == INBOX_MOVE_BEGIN || m->kind == INBOX_MOVE_RESTART || m->kind == INBOX_MOVE_REWIND)
		sub->incarnation++;
	while (m->kind == INBOX_MOVE_REWIND && sub->trail_count > 0 &&
	       sub->trail[sub->trail_count - 1].sequence > m->to)
		sub->trail_count--;
	sub->position = m->to;
	sub->witness_time = m->time;
	sub->anchor = anchor_of(s, m, history);
	if (m->kind != INBOX_MOVE_REWIND)
		trail_add(sub, m->to, m->time);
	s->gaps += m->gap_from != 0;
	s->rewinds += m->kind == INBOX_MOVE_REWIND;
	s->restarts += m->kind == INBOX_MOVE_RESTART;
}

static bool refuses_data(const struct inbox_sim *s, const struct inbox_move *m, const uint32_t *copies)
{
	for (uint32_t i = 0; i < m->count && !m->dead; i++)
		if (s->broker.message[s->broker.copy[copies[i]].message].refused)
			return true;
	return false;
}

/* What was there before the subscription began is not its business. */
static void account_for_start(struct inbox_sim *s, struct subscription *sub, uint64_t to, uint16_t history)
{
	for (uint64_t sequence = 1; sequence <= to; sequence++)
		sub->account[inbox_broker_copy_at(s, history, sequence)] = ACCOUNT_SAID;
}

static void move(struct inbox_sim *s, const struct host *h, uint32_t subscription, const struct inbox_move *m,
		 const uint32_t *copies, uint16_t history)
{
	struct subscription *sub = &s->db.subscription[subscription];
	uint16_t rows_before = sub->rows;

	check_inbox_continues(s, h, subscription, m);
	if (m->kind == INBOX_MOVE_TAKE || m->kind == INBOX_MOVE_FOLLOW || m->kind == INBOX_MOVE_SKIP)
		check_inbox_history(s, subscription, m, history);
	check_inbox_witness(s, subscription, m, history);
	check_inbox_order(s, subscription, m, copies);
	for (uint32_t i = 0; i < m->count; i++)
		store(s, subscription, copies[i], m->dead, rows_before);
	check_inbox_passes(s, subscription, m, history);
	if (m->kind == INBOX_MOVE_BEGIN)
		account_for_start(s, sub, m->to, history);
	set_books(s, sub, m, history);
}

enum inbox_moved inbox_db_move(struct inbox_sim *s, const struct host *h, uint32_t subscription, uint64_t epoch,
			       const struct inbox_move *m, const uint32_t *copies, uint16_t history)
{
	struct subscription *sub = &s->db.subscription[subscription];
	static const char *const kind[] = { "take", "follow", "begin", "skip", "rewind", "restart" };

	trace(s, "pg      host %u sub %u: %s %llu -> %llu, %u rows%s%s", h->index, subscription, kind[m->kind],
	      (unsigned long long)m->from, (unsigned long long)m->to, m->count, m->gap_from != 0 ? ", over a gap" : "",
	      m->dead ? ", dead" : "");
	if (s->full_until > s->now || mishap(s, query_failed))
		return INBOX_MOVED_FAILED;
	if (!is_where_it_says(s, sub, epoch, m)) {
		trace(s, "pg      no: it is at %llu, incarnation %u, epoch %llu", (unsigned long long)sub->position,
		      sub->incarnation, (unsigned long long)s->db.epoch);
		return INBOX_MOVED_NOT;
	}
	if (s->flaw == INBOX_FLAW_position_alone && refuses_data(s, m, copies))
		sub->position = m->to;
	if (refuses_data(s, m, copies))
		return INBOX_MOVED_DATA;
	move(s, h, subscription, m, copies, history);
	return INBOX_MOVED_OK;
}

void inbox_db_books(struct inbox_sim *s, struct host *h, uint32_t subscription, struct inbox_books *books)
{
	const struct subscription *sub = &s->db.subscription[subscription];

	memcpy(h->trail[subscription], sub->trail, sizeof sub->trail);
	*books = (struct inbox_books){ .position = sub->position,
				       .incarnation = sub->incarnation,
				       .created = sub->created,
				       .began = sub->began,
				       .witness_time = sub->witness_time,
				       .paused = sub->paused,
				       .stop = sub->stop,
				       .trail = h->trail[subscription],
				       .trail_count = sub->trail_count };
}

/* --- an operator --- */

/* The newest place that both histories share. */
static uint64_t shared(const struct inbox_sim *s, const struct subscription *sub)
{
	uint64_t sequence = sub->position;
	uint16_t mine = s->broker.copy[sub->anchor].history, now = s->broker.history;

	if (sequence > s->broker.last)
		sequence = s->broker.last;
	while (sequence > 0 && (inbox_broker_copy_at(s, mine, sequence) == 0 ||
				inbox_broker_copy_at(s, mine, sequence) != inbox_broker_copy_at(s, now, sequence)))
		sequence--;
	return sequence;
}

static void put(struct inbox_sim *s, struct subscription *sub, uint64_t position, bool anew)
{
	uint32_t copy = inbox_broker_copy_at(s, s->broker.history, position);

	sub->stop = INBOX_STOP_NONE;
	sub->position = position;
	sub->began = position < sub->began ? position : sub->began;
	sub->anchor = copy;
	sub->witness_time = copy != 0 ? s->broker.copy[copy].time : 0;
	sub->incarnation++;
	sub->created = s->broker.of[s->broker.history].created;
	if (anew)
		sub->trail_count = 0;
	while (sub->trail_count > 0 && sub->trail[sub->trail_count - 1].sequence > position)
		sub->trail_count--;
}

/* The gap may hide that the stream lost its end as well: then what is left of that goes with it. */
static void accept_gap(struct inbox_sim *s, struct subscription *sub, uint64_t to)
{
	for (uint64_t sequence = shared(s, sub) + 1; sequence <= to; sequence++) {
		uint32_t copy = inbox_broker_copy_at(s, s->broker.history, sequence);

		if (sub->account[copy] == ACCOUNT_NONE)
			sub->account[copy] = ACCOUNT_SAID;
	}
	sub->position = to;
	sub->witness_time = 0;
	sub->anchor = inbox_broker_copy_at(s, s->broker.history, to);
}

/* Whoever decides looks first: what it was stopped for may be over, or something else by now. */
bool inbox_db_decide(struct inbox_sim *s, uint32_t subscription, enum inbox_stop stop, uint64_t to)
{
	struct subscription *sub = &s->db.subscription[subscription];
	bool same_stream = sub->created == s->broker.of[s->broker.history].created;

	if (stop == INBOX_STOP_GAP && same_stream && to > sub->position && to < s->broker.first)
		accept_gap(s, sub, to);
	else if (stop != INBOX_STOP_TRUNCATED && stop != INBOX_STOP_RECREATED)
		return false;
	else if (!same_stream)
		put(s, sub, 0, true);
	else
		put(s, sub, shared(s, sub), false);
	trace(s, "operator sub %u: position %llu, incarnation %u", subscription, (unsigned long long)sub->position,
	      sub->incarnation);
	return true;
}

/* Just so: with ids, nothing but work comes of it. */
bool inbox_db_rewind(struct inbox_sim *s, uint32_t subscription)
{
	struct subscription *sub = &s->db.subscription[subscription];
	uint64_t to = shared(s, sub);

	if (s->plan.settings[subscription].dedupe != INBOX_DEDUPE_IDS || sub->position == 0 || to != sub->position ||
	    sub->created != s->broker.of[s->broker.history].created ||
	    s->plan.settings[subscription].start != INBOX_START_ALL)
		return false;
	put(s, sub, (uint64_t)prng_between(&s->dice, 0, (int64_t)to - 1), false);
	trace(s, "operator sub %u: back to %llu", subscription, (unsigned long long)sub->position);
	return true;
}

/* --- retention --- */

static bool may_go(const struct inbox_sim *s, const struct inbox_row *row)
{
	if (row->gone || row->received > s->now - s->plan.retention_us)
		return false;
	return row->state >= ROW_HANDLED || s->flaw == INBOX_FLAW_truncated_by_age;
}

void inbox_db_clean(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		struct subscription *sub = &s->db.subscription[i];

		for (uint16_t id = 1; id <= sub->rows; id++) {
			uint16_t message = s->broker.copy[sub->row[id].copy].message;

			if (!may_go(s, &sub->row[id]))
				continue;
			check_inbox_emptied(s, i, id);
			sub->row[id].gone = true;
			sub->seen[message] = 0;
			sub->forgotten[message] = true;
		}
	}
}

/* --- the standby --- */

/* By a moment; or by so much that no subscription had begun. */
void inbox_db_falls_behind(struct inbox_sim *s)
{
	enum { EMPTY_ONE_IN = 6 };

	if (s->standby != NULL)
		return;
	s->standby = malloc(sizeof *s->standby);
	if (s->standby == NULL)
		abort();
	*s->standby = s->db;
	if (prng_below(&s->dice, EMPTY_ONE_IN) == 0)
		memset(s->standby, 0, sizeof *s->standby);
}

void inbox_db_catches_up(struct inbox_sim *s)
{
	free(s->standby);
	s->standby = NULL;
}

void inbox_db_takes_over(struct inbox_sim *s)
{
	if (s->standby == NULL)
		return;
	inbox_hosts_lose_sessions(s);
	inbox_workers_lose_sessions(s);
	s->db = *s->standby;
	inbox_db_catches_up(s);
	trace(s, "pg      FAILOVER: positions %llu, %llu", (unsigned long long)s->db.subscription[0].position,
	      (unsigned long long)s->db.subscription[1].position);
}

bool inbox_db_is_handled(const struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++)
		for (uint16_t id = 1; id <= s->db.subscription[i].rows; id++)
			if (s->db.subscription[i].row[id].state < ROW_HANDLED)
				return false;
	return true;
}
