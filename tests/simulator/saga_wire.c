/* Between the databases: outboxes whose rows are published in order, at least once; streams that lag and lose their end; services that
 * take what is theirs, in the order of each saga. And failovers of the databases, to an older state. */
#include <string.h>

#include "check_saga.h"
#include "saga_world.h"

static void on_relay(struct saga_sim *s, const struct saga_happening *h);
static void on_work(struct saga_sim *s, const struct saga_happening *h);

static uint32_t stream_of(const struct saga_sim *s, const struct message *m)
{
	if (m->is_answer)
		return 0;
	return m->dir == DIR_UNDO && s->plan.two_streams ? SAGA_SERVICES + m->service : m->service;
}

static uint32_t consumer_of(uint32_t stream)
{
	return stream % SAGA_SERVICES;
}

uint16_t saga_new_message(struct saga_sim *s, const struct message *m)
{
	demand(s, s->messages < MAX_MESSAGES, "the simulator has too few messages");
	s->message[s->messages] = *m;
	return (uint16_t)s->messages++;
}

static void plan_relay(struct saga_sim *s, uint32_t service)
{
	if (s->relay_planned[service])
		return;
	s->relay_planned[service] = true;
	saga_later(s, prng_between(&s->dice, 1, s->plan.wire_us), on_relay, service, 0, 0);
}

void saga_send(struct saga_sim *s, uint32_t service, uint16_t message)
{
	struct database *db = &s->db[service];

	demand(s, db->outs < MAX_OUT, "the simulator has too small an outbox");
	db->out[db->outs++] = message;
	plan_relay(s, service);
}

void saga_wake(struct saga_sim *s, uint32_t service, int64_t delay)
{
	if (s->work_planned[service])
		return;
	s->work_planned[service] = true;
	saga_later(s, delay, on_work, service, 0, 0);
}

/* --- publishing --- */

static void store(struct saga_sim *s, uint16_t message, int64_t delay)
{
	uint32_t stream = stream_of(s, &s->message[message]);
	struct stream *st = &s->stream[stream];

	check_saga_published(s, message);
	demand(s, s->copies < MAX_COPIES, "the simulator has too few copies");
	s->copy[s->copies] = (struct copy){ .message = message, .visible = s->now + delay };
	st->copy[st->count++] = (uint16_t)s->copies++;
	saga_wake(s, consumer_of(stream), delay);
}

static void on_stored_again(struct saga_sim *s, const struct saga_happening *h)
{
	if (!saga_healed(s))
		store(s, (uint16_t)h->a, 1);
}

static void publish(struct saga_sim *s, uint16_t message)
{
	int64_t delay = prng_between(&s->dice, 1, s->plan.wire_us);

	if (mishap(s, publish_late))
		delay = prng_spread(&s->dice, MS, 3 * SECOND);
	store(s, message, delay);
	if (mishap(s, published_twice))
		saga_later(s, prng_spread(&s->dice, MS, 3 * SECOND), on_stored_again, message, 0, 0);
}

static void on_relay(struct saga_sim *s, const struct saga_happening *h)
{
	struct database *db = &s->db[h->a];

	s->relay_planned[h->a] = false;
	while (db->published < db->outs)
		publish(s, db->out[db->published++]);
}

/* --- taking --- */

/* Goes through what is not handled, and takes what is first of its saga. Is there more? */
static bool take_from(struct saga_sim *s, uint32_t service, uint32_t stream)
{
	struct stream *st = &s->stream[stream];
	struct database *db = &s->db[service];
	bool seen[MAX_SAGAS] = { false }, more = false;

	while (db->low[stream] < st->count && db->handled[st->copy[db->low[stream]]])
		db->low[stream]++;
	for (uint32_t i = db->low[stream]; i < st->count; i++) {
		uint16_t copy = st->copy[i];
		uint8_t saga = s->message[s->copy[copy].message].saga;

		if (db->handled[copy])
			continue;
		if (!seen[saga] && s->copy[copy].visible <= s->now && st->lags_until <= s->now) {
			s->steps++;
			if (service == 0 ? saga_desk_takes(s, copy) : saga_part_takes(s, copy)) {
				more |= service == 0; /* its transaction is under way */
				seen[saga] |= service == 0;
				continue;
			}
		}
		seen[saga] = more = true;
	}
	return more;
}

static void on_work(struct saga_sim *s, const struct saga_happening *h)
{
	uint32_t service = (uint32_t)h->a;
	bool more = true;

	s->work_planned[service] = false;
	if (s->down_until[service] <= s->now) {
		more = take_from(s, service, service);
		if (service != 0)
			more |= take_from(s, service, SAGA_SERVICES + service);
	}
	if (more)
		saga_wake(s, service, prng_between(&s->dice, 1, 4 * s->plan.pg_us + 10 * MS));
}

/* --- what streams suffer --- */

static uint32_t any_stream(struct saga_sim *s)
{
	return (uint32_t)prng_below(&s->dice, STREAMS);
}

void saga_stream_lags(struct saga_sim *s)
{
	s->stream[any_stream(s)].lags_until = s->now + prng_spread(&s->dice, 5 * MS, 2 * SECOND);
}

static void at_most(uint16_t *what, uint16_t most)
{
	if (*what > most)
		*what = most;
}

/* What is stored from now on stands under the old numbers. (That an inbox finds out, is the inbox's own world.) */
void saga_stream_loses_end(struct saga_sim *s)
{
	uint32_t stream = any_stream(s), service = consumer_of(stream);
	struct stream *st = &s->stream[stream];
	uint64_t most = (uint64_t)prng_spread(&s->dice, 1, 30);

	for (uint64_t i = 0; i < most && st->count > 0; i++) {
		const struct message *m = &s->message[s->copy[st->copy[--st->count]].message];

		s->cut[m->saga] = true;
	}
	at_most(&s->db[service].low[stream], st->count);
	at_most(&s->standby[service].low[stream], st->count);
}

static void rewind_to(struct database *db, const struct stream *st, uint32_t stream, uint16_t from)
{
	for (uint16_t i = from; i < st->count; i++)
		db->handled[st->copy[i]] = false;
	at_most(&db->low[stream], from);
}

/* Somebody rewinds a subscription, and its ids are forgotten. (And does so again, should a failover take it back.) */
void saga_replay(struct saga_sim *s)
{
	uint32_t stream = any_stream(s), service = consumer_of(stream);
	const struct stream *st = &s->stream[stream];
	uint16_t most = (uint16_t)prng_spread(&s->dice, 1, 30), from = most < st->count ? st->count - most : 0;

	rewind_to(&s->db[service], st, stream, from);
	rewind_to(&s->standby[service], st, stream, from);
	saga_wake(s, service, 1);
}

/* --- what databases suffer --- */

void saga_sessions_end(struct saga_sim *s, uint32_t service)
{
	s->life[service]++;
	if (service != 0)
		return;
	memset(s->row_lock, 0, sizeof s->row_lock);
	for (uint32_t i = 0; i < MAX_TXS; i++)
		s->tx[i].number = 0;
}

static void note_lost(struct saga_sim *s, uint32_t service)
{
	const struct database *now = &s->db[service], *then = &s->standby[service];

	for (uint32_t i = 0; i < MAX_SAGAS; i++)
		s->lost[i] |= memcmp(&now->saga[i], &then->saga[i], sizeof now->saga[i]) != 0 ||
			      memcmp(&now->part[i], &then->part[i], sizeof now->part[i]) != 0;
}

static void on_takes_over(struct saga_sim *s, const struct saga_happening *h)
{
	uint32_t service = (uint32_t)h->a;

	if (!s->behind[service])
		return;
	trace(s, "service %u: its standby takes over", service);
	note_lost(s, service);
	s->db[service] = s->standby[service];
	s->behind[service] = false;
	saga_sessions_end(s, service);
	plan_relay(s, service);
	saga_wake(s, service, 1);
}

/* Asynchronous replication: what is committed from now on is lost. */
void saga_falls_behind(struct saga_sim *s, uint32_t service)
{
	if (s->behind[service])
		return;
	s->standby[service] = s->db[service];
	s->behind[service] = true;
	saga_later(s, prng_spread(&s->dice, MS, SECOND), on_takes_over, service, 0, 0);
}

bool saga_wire_is_quiet(const struct saga_sim *s)
{
	for (uint32_t i = 0; i < SAGA_SERVICES; i++)
		if (s->db[i].published < s->db[i].outs)
			return false;
	for (uint32_t i = 0; i < STREAMS; i++) {
		const struct database *db = &s->db[consumer_of(i)];

		for (uint32_t j = db->low[i]; j < s->stream[i].count; j++)
			if (!db->handled[s->stream[i].copy[j]])
				return false;
	}
	return true;
}
