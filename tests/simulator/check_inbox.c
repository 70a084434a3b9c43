/* The promises of the inbox against the whole truth. See check_inbox.h. */
#include "check_inbox.h"

#include <stdio.h>

/* --- moves --- */

void check_inbox_continues(struct inbox_sim *s, const struct host *h, uint32_t subscription, const struct inbox_move *m)
{
	const struct subscription *sub = &s->db.subscription[subscription];

	if (m->kind == INBOX_MOVE_BEGIN) {
		demand(s, sub->created == 0, "I1: subscription %u is begun twice", subscription);
		demand(s, h->told[subscription].created != m->created || m->to <= h->told[subscription].at,
		       "I2: subscription %u had begun at %llu, its books are lost, and it begins at %llu", subscription,
		       (unsigned long long)h->told[subscription].at, (unsigned long long)m->to);
		return;
	}
	demand(s, sub->position == m->from, "I8: subscription %u is at %llu, and is moved from %llu", subscription,
	       (unsigned long long)sub->position, (unsigned long long)m->from);
	demand(s, sub->incarnation == m->incarnation, "I8: subscription %u: incarnation %u is moved as %u",
	       subscription, sub->incarnation, m->incarnation);
	demand(s, m->to > m->from || m->kind == INBOX_MOVE_REWIND || m->kind == INBOX_MOVE_RESTART,
	       "I1: subscription %u goes back from %llu to %llu", subscription, (unsigned long long)m->from,
	       (unsigned long long)m->to);
}

/* Where the history of the position and another one part: up to here they are the same. */
static uint64_t parting(const struct inbox_sim *s, const struct subscription *sub, uint16_t history)
{
	uint16_t mine = s->broker.copy[sub->anchor].history;
	uint64_t sequence = sub->position;

	while (sequence > 0 && inbox_broker_copy_at(s, mine, sequence) != inbox_broker_copy_at(s, history, sequence))
		sequence--;
	return sequence;
}

static bool was_there(const struct inbox_sim *s, uint16_t history, uint64_t sequence)
{
	uint32_t copy = inbox_broker_copy_at(s, history, sequence);
	uint64_t first = history == s->broker.history ? s->broker.first : s->broker.of[history].first;

	return copy != 0 && sequence >= first && !s->broker.copy[copy].deleted;
}

/* Nothing could tell: all that we know of the part that was lost, other messages took its place, and left the stream
 * as well. (The history may be over by now; what counts is what it looked like as long as it was there.) */
static bool cannot_be_told(const struct inbox_sim *s, const struct subscription *sub, uint64_t above, uint16_t history)
{
	uint64_t last = history == s->broker.history ? s->broker.last : s->broker.of[history].last;

	if (last < sub->position)
		return false;
	if (sub->witness_time != 0 && was_there(s, history, sub->position))
		return false;
	for (uint32_t i = 0; i < sub->trail_count; i++)
		if (sub->trail[i].sequence > above && was_there(s, history, sub->trail[i].sequence))
			return false;
	return true;
}

static void excuse(struct inbox_sim *s, struct subscription *sub, uint64_t above, uint16_t history)
{
	s->excused++;
	trace(s, "excused what lies between %llu and %llu", (unsigned long long)above,
	      (unsigned long long)sub->position);
	for (uint64_t sequence = above + 1; sequence <= sub->position; sequence++)
		if (sub->account[inbox_broker_copy_at(s, history, sequence)] == ACCOUNT_NONE)
			sub->account[inbox_broker_copy_at(s, history, sequence)] = ACCOUNT_SAID;
}

void check_inbox_history(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, uint16_t history)
{
	struct subscription *sub = &s->db.subscription[subscription];
	uint64_t above;

	demand(s, s->broker.of[history].created == sub->created,
	       "I9: subscription %u takes from a stream that was made anew", subscription);
	if (sub->position == 0 || sub->anchor == 0 || inbox_broker_copy_at(s, history, sub->position) == sub->anchor)
		return;
	above = parting(s, sub, history);
	demand(s, cannot_be_told(s, sub, above, history),
	       "I9: subscription %u goes from %llu to %llu in a stream that lost its end at %llu", subscription,
	       (unsigned long long)m->from, (unsigned long long)m->to, (unsigned long long)above);
	excuse(s, sub, above, history);
}

/* Where a message was taken, or the position followed: else nothing could tell later that the stream was put back to
 * below. */
void check_inbox_witness(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, uint16_t history)
{
	uint32_t copy = inbox_broker_copy_at(s, history, m->to);

	if (m->kind != INBOX_MOVE_TAKE && m->kind != INBOX_MOVE_FOLLOW)
		return;
	demand(s, copy != 0 && m->time == s->broker.copy[copy].time,
	       "I9: subscription %u goes to %llu without the witness of that place", subscription,
	       (unsigned long long)m->to);
}

static bool is_on_record(const struct inbox_move *m, uint64_t sequence)
{
	return m->gap_from != 0 && sequence >= m->gap_from && sequence <= m->gap_to;
}

void check_inbox_passes(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, uint16_t history)
{
	struct subscription *sub = &s->db.subscription[subscription];

	if (m->kind == INBOX_MOVE_BEGIN || m->kind == INBOX_MOVE_REWIND || m->kind == INBOX_MOVE_RESTART)
		return;
	for (uint64_t sequence = m->from + 1; sequence <= m->to; sequence++) {
		uint32_t copy = inbox_broker_copy_at(s, history, sequence);

		if (copy == 0 || !inbox_broker_wants(s, subscription, copy) || s->broker.copy[copy].deleted ||
		    sub->account[copy] != ACCOUNT_NONE)
			continue;
		demand(s, is_on_record(m, sequence),
		       "%s: subscription %u passes message %u at %llu, which was not taken",
		       inbox_broker_has(s, copy) ? "I2" : "I12", subscription, s->broker.copy[copy].message,
		       (unsigned long long)sequence);
		demand(s, !inbox_broker_has(s, copy) || history != s->broker.history,
		       "I12: subscription %u calls %llu lost, and it is there", subscription,
		       (unsigned long long)sequence);
		sub->account[copy] = ACCOUNT_SAID;
	}
}

void check_inbox_order(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, const uint32_t *copies)
{
	uint64_t before = m->from;

	for (uint32_t i = 0; i < m->count; i++) {
		demand(s, s->broker.copy[copies[i]].sequence > before, "I4: subscription %u takes %u behind %llu",
		       subscription, s->broker.copy[copies[i]].sequence, (unsigned long long)before);
		before = s->broker.copy[copies[i]].sequence;
	}
	demand(s, m->count == 0 || before == m->to, "I2: subscription %u goes to %llu with messages up to %llu",
	       subscription, (unsigned long long)m->to, (unsigned long long)before);
	demand(s, m->kind == INBOX_MOVE_TAKE || m->count == 0, "I2: subscription %u: a move with messages",
	       subscription);
}

void check_inbox_once(struct inbox_sim *s, uint32_t subscription, uint32_t copy)
{
	const struct subscription *sub = &s->db.subscription[subscription];
	uint16_t message = s->broker.copy[copy].message, row = sub->stored_as[copy];
	bool ids = s->plan.settings[subscription].dedupe == INBOX_DEDUPE_IDS && s->broker.message[message].has_id;

	if (ids)
		demand(s, sub->seen[message] == 0, "I3: subscription %u stores message %u twice", subscription,
		       message);
	else if (s->plan.settings[subscription].dedupe == INBOX_DEDUPE_POSITION)
		demand(s, row == 0, "I3: subscription %u stores copy %u twice", subscription, copy);
	else if (row != 0)
		demand(s, sub->row[row].incarnation != sub->incarnation,
		       "I3: subscription %u stores copy %u twice in one incarnation", subscription, copy);
}

/* --- effects --- */

static void check_once(struct inbox_sim *s, uint32_t subscription, uint16_t id)
{
	struct subscription *sub = &s->db.subscription[subscription];
	uint16_t copy = sub->row[id].copy, message = s->broker.copy[copy].message;
	bool ids = s->plan.settings[subscription].dedupe == INBOX_DEDUPE_IDS && s->broker.message[message].has_id;

	demand(s, sub->row[id].state < ROW_HANDLED, "I5: subscription %u: row %u is handled twice", subscription, id);
	demand(s, !ids || sub->effects[message] == 0 || sub->forgotten[message],
	       "I3: subscription %u: message %u has a second effect", subscription, message);
	sub->effects[message]++;
	sub->copy_effects[copy]++;
}

void check_inbox_effect(struct inbox_sim *s, uint32_t subscription, uint16_t id)
{
	struct subscription *sub = &s->db.subscription[subscription];
	uint8_t key = sub->row[id].key;
	uint16_t first = sub->key_first[key];

	check_once(s, subscription, id);
	while (key != 0 && first != 0 && sub->row[first].state >= ROW_HANDLED)
		first = sub->row[first].key_next;
	sub->key_first[key] = first;
	demand(s, key == 0 || first == id, "I6: subscription %u: row %u of key %u is handled before row %u",
	       subscription, id, key, first);
}

void check_inbox_emptied(struct inbox_sim *s, uint32_t subscription, uint16_t id)
{
	demand(s, s->db.subscription[subscription].row[id].state >= ROW_HANDLED,
	       "I7: subscription %u: the slot of row %u is emptied, and it is not handled", subscription, id);
}

void check_inbox_attempts(struct inbox_sim *s, uint32_t subscription, uint16_t id)
{
	const struct inbox_row *row = &s->db.subscription[subscription].row[id];

	demand(s, row->attempts <= row->failures, "I11: subscription %u: row %u has %u attempts, and failed %u times",
	       subscription, id, row->attempts, row->failures);
}

void check_inbox_lane_is_free(struct inbox_sim *s, uint32_t subscription, uint32_t lane)
{
	demand(s, s->lane_locked[subscription][lane] == 0, "I10: subscription %u: lane %u has two workers",
	       subscription, lane);
}

/* --- what the core asks for --- */

static void check_pull(struct inbox_sim *s, const struct host *h, uint32_t subscription, const struct inbox_effect *e)
{
	const struct inbox_settings *set = &s->plan.settings[subscription];

	demand(s, e->pull.messages > 0 && e->pull.bytes > 0, "a request for nothing");
	demand(s, e->pull.messages <= set->queue_messages, "a request for %u messages", e->pull.messages);
	demand(s, 2 * e->pull.heartbeat_ms <= e->pull.expires_ms, "a heartbeat that the broker refuses");
	demand(s, h->connection != 0, "a request without a connection");
}

/* A consumer that is made anew and anew waits in between. */
static void check_make(struct inbox_sim *s, const struct host *h, uint32_t subscription)
{
	uint32_t most = 40 + 4 * 1000 / s->plan.settings[subscription].retry_min_ms;

	demand(s, h->makes[subscription] <= most, "subscription %u makes %u consumers in a second", subscription,
	       h->makes[subscription]);
}

void check_inbox_effect_asked(struct inbox_sim *s, const struct host *h, uint32_t subscription,
			      const struct inbox_effect *e)
{
	if (e->kind == INBOX_EFFECT_PULL)
		check_pull(s, h, subscription, e);
	if (e->kind == INBOX_EFFECT_MAKE)
		check_make(s, h, subscription);
	if (e->kind == INBOX_EFFECT_MOVE || e->kind == INBOX_EFFECT_PULL)
		demand(s, !s->credit_closed, "subscription %u asks for more, and the database takes nothing",
		       subscription);
	if (e->kind == INBOX_EFFECT_MOVE)
		demand(s, h->moving[subscription] < LIMIT_INBOX_MOVES, "subscription %u: a third move in flight",
		       subscription);
}

void check_inbox_room(struct inbox_sim *s, const struct host *h, uint32_t subscription)
{
	const struct inbox_settings *set = &s->plan.settings[subscription];

	demand(s, h->kept[subscription] <= set->queue_messages, "subscription %u keeps %u messages", subscription,
	       h->kept[subscription]);
	demand(s, h->kept_bytes[subscription] <= set->queue_bytes || h->kept_bytes[subscription] <= set->large_bytes,
	       "subscription %u keeps %u bytes", subscription, h->kept_bytes[subscription]);
}

/* --- the end --- */

static uint32_t first_untaken(const struct inbox_sim *s, uint32_t subscription)
{
	const struct subscription *sub = &s->db.subscription[subscription];

	for (uint64_t sequence = s->broker.first; sequence != 0 && sequence <= s->broker.last; sequence++) {
		uint32_t copy = inbox_broker_copy_at(s, s->broker.history, sequence);

		if (inbox_broker_has(s, copy) && inbox_broker_wants(s, subscription, copy) &&
		    sub->account[copy] == ACCOUNT_NONE)
			return copy;
	}
	return 0;
}

/* It waits for its first message to be published. */
static bool begins_later(const struct inbox_sim *s, uint32_t subscription)
{
	const struct inbox_settings *set = &s->plan.settings[subscription];

	return set->start == INBOX_START_SEQUENCE && set->start_sequence - 1 > s->broker.last &&
	       s->db.subscription[subscription].created == 0;
}

bool check_inbox_settled(const struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++)
		if (!begins_later(s, i) && (s->db.subscription[i].created == 0 || first_untaken(s, i) != 0))
			return false;
	return inbox_db_is_handled(s);
}

void check_inbox_explain(const struct inbox_sim *s, char *text, size_t size)
{
	snprintf(text, size, "rows are not handled");
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		uint32_t copy = first_untaken(s, i);

		if (copy != 0 && !begins_later(s, i))
			snprintf(text, size, "subscription %u at %llu has not taken copy %u at %u", i,
				 (unsigned long long)s->db.subscription[i].position, copy,
				 s->broker.copy[copy].sequence);
	}
}

static void check_complete(struct inbox_sim *s, uint32_t subscription, uint32_t copy)
{
	const struct subscription *sub = &s->db.subscription[subscription];
	uint16_t message = s->broker.copy[copy].message;

	if (sub->account[copy] == ACCOUNT_STORED)
		demand(s, sub->copy_effects[copy] > 0 || sub->row[sub->stored_as[copy]].state == ROW_DEAD,
		       "I2: subscription %u: copy %u was taken and has no effect", subscription, copy);
	if (sub->account[copy] == ACCOUNT_KNOWN && sub->effects[message] == 0)
		demand(s, sub->seen[message] != 0 || sub->forgotten[message],
		       "I3: subscription %u: message %u was left out and has no effect", subscription, message);
}

void check_inbox_complete(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++)
		for (uint32_t copy = 1; copy <= s->broker.copies; copy++)
			check_complete(s, i, copy);
}

/* The position has followed what nobody wants, where there is a message to be its witness. */
void check_inbox_followed(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		const struct subscription *sub = &s->db.subscription[i];
		uint32_t last = inbox_broker_copy_at(s, s->broker.history, s->broker.last);

		if (inbox_broker_has(s, last) && sub->created != 0)
			demand(s, sub->position == s->broker.last,
			       "subscription %u stands at %llu, and does not follow to %llu", i,
			       (unsigned long long)sub->position, (unsigned long long)s->broker.last);
	}
}
