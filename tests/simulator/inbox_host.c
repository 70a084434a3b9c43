/* The relays: the shell around the core, with one session to the database and one connection to the broker.
 *
 * What is in order in earnest is in order here: statements of a session, their answers, what comes by the
 * subscriptions of a connection. Answers to questions are not. */
#include "inbox_world.h"

#include <string.h>

#include "check_inbox.h"
#include "core/inbox/inbox.h"

static void on_wake(struct inbox_sim *s, const struct inbox_happening *h);
static void on_lead(struct inbox_sim *s, const struct inbox_happening *h);

static bool is_frozen(const struct inbox_sim *s, const struct host *h)
{
	return h->frozen_until > s->now;
}

struct host *inbox_leader(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (s->host[i].session != 0 && !s->host[i].session_dead && s->host[i].epoch == s->db.epoch)
			return &s->host[i];
	return NULL;
}

/* --- life --- */

static void release_all(struct host *h, uint32_t subscription)
{
	memset(h->slot[subscription], 0, sizeof h->slot[subscription]);
	h->kept[subscription] = h->kept_bytes[subscription] = h->moving[subscription] = 0;
}

static void drop_cores(struct inbox_sim *s, struct host *h)
{
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		inbox_free(h->core[i]);
		h->core[i] = NULL;
		release_all(h, i);
	}
}

static void schedule(struct inbox_sim *s, struct host *h, int64_t pause,
		     void (*run)(struct inbox_sim *, const struct inbox_happening *))
{
	struct inbox_happening *next = inbox_later(s, inbox_soon(s, pause), run);

	next->a = h->index;
	next->b = h->life;
}

static void on_connect(struct inbox_sim *s, const struct inbox_happening *e);

static void start(struct inbox_sim *s, struct host *h)
{
	h->life = ++s->numbers;
	h->session = h->epoch = h->connection = 0;
	h->frozen_until = 0;
	memset(h->told, 0, sizeof h->told);
	memset(h->begun, 0, sizeof h->begun);
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		struct inbox_event credit = { .kind = INBOX_EVENT_CREDIT,
					      .now_ms = s->now / MS,
					      .credit = { !s->credit_closed } };

		h->core[i] = inbox_create(&s->plan.settings[i]);
		inbox_step(h->core[i], &credit);
	}
	schedule(s, h, 50 * MS, on_connect);
	schedule(s, h, 50 * MS, on_lead);
}

static void die(struct inbox_sim *s, struct host *h)
{
	trace(s, "host %u  dies", h->index);
	inbox_broker_connection_lost(s, h->connection);
	if (s->lock_owner == h->session)
		s->lock_owner = 0;
	drop_cores(s, h);
	start(s, h);
}

void inbox_hosts_begin(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++) {
		s->host[i].index = i;
		start(s, &s->host[i]);
	}
}

void inbox_hosts_end(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		drop_cores(s, &s->host[i]);
}

/* --- what comes in --- */

static void run_core(struct inbox_sim *s, struct host *h, uint32_t subscription);

/* The payload is copied to where the core says. */
static void keep(struct inbox_sim *s, struct host *h, uint32_t subscription, uint32_t copy, int32_t slot,
		 uint16_t history)
{
	if (slot < 0)
		return;
	demand(s, h->slot[subscription][slot] == 0, "subscription %u: slot %d is taken twice", subscription, slot);
	h->slot[subscription][slot] = copy;
	h->slot_history[subscription][slot] = history;
	h->kept[subscription]++;
	h->kept_bytes[subscription] += s->broker.message[s->broker.copy[copy].message].bytes;
	check_inbox_room(s, h, subscription);
}

static void tell(struct inbox_sim *s, struct host *h, uint32_t subscription, struct inbox_event ev, uint16_t history)
{
	uint32_t copy = ev.kind == INBOX_EVENT_MESSAGE ? (uint32_t)ev.message.slot : 0;

	ev.now_ms = s->now / MS;
	ev.random = (uint32_t)prng_next(&s->dice);
	s->steps++;
	if (ev.kind == INBOX_EVENT_MOVED)
		h->moving[subscription]--;
	inbox_step(h->core[subscription], &ev);
	if (ev.kind == INBOX_EVENT_MESSAGE)
		keep(s, h, subscription, copy, ev.message.slot, history);
}

static void host_tell(struct inbox_sim *s, struct host *h, uint32_t subscription, struct inbox_event ev)
{
	tell(s, h, subscription, ev, 0);
}

static void trace_event(struct inbox_sim *s, const struct host *h, uint32_t i, const struct inbox_event *ev)
{
	switch (ev->kind) {
	case INBOX_EVENT_MADE: trace(s, "host %u  sub %u: consumer made", h->index, i); break;
	case INBOX_EVENT_INFO:
		trace(s, "host %u  sub %u: stream %llu..%llu", h->index, i, (unsigned long long)ev->info.first,
		      (unsigned long long)ev->info.last);
		break;
	case INBOX_EVENT_TIME:
		trace(s, "host %u  sub %u: message time %s", h->index, i,
		      ev->time.answer == INBOX_ANSWER_FOUND ? "found" : "missing");
		break;
	case INBOX_EVENT_MESSAGE:
		trace(s, "host %u  sub %u: message %llu as %llu", h->index, i, (unsigned long long)ev->message.sequence,
		      (unsigned long long)ev->message.consumer_sequence);
		break;
	case INBOX_EVENT_HEARTBEAT:
		trace(s, "host %u  sub %u: heartbeat %llu as %llu", h->index, i,
		      (unsigned long long)ev->heartbeat.sequence, (unsigned long long)ev->heartbeat.consumer_sequence);
		break;
	case INBOX_EVENT_STATUS: trace(s, "host %u  sub %u: status %d", h->index, i, ev->status.status); break;
	case INBOX_EVENT_MOVED: trace(s, "host %u  sub %u: moved, result %d", h->index, i, ev->moved.result); break;
	default: break;
	}
}

static void again_when_thawed(struct inbox_sim *s, const struct host *h, const struct inbox_happening *e)
{
	struct inbox_happening *next = inbox_later(s, h->frozen_until, e->run);
	uint64_t order = next->order;

	*next = *e;
	next->at = h->frozen_until;
	next->order = order;
}

/* a host, b life, c connection or session, d subscription and history */
static void on_hear(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];
	uint32_t subscription = (uint32_t)(e->d & 0xffff);

	if (h->life != e->b || h->connection != e->c)
		return;
	if (is_frozen(s, h)) {
		again_when_thawed(s, h, e);
		return;
	}
	trace_event(s, h, subscription, &e->event);
	if (e->event.kind == INBOX_EVENT_MADE && e->event.made.consumer == h->consumer[subscription])
		h->history[subscription] = (uint16_t)(e->d >> 16);
	tell(s, h, subscription, e->event, (uint16_t)(e->d >> 16));
	/* Sometimes several are read before anything is done about it. */
	if (prng_below(&s->dice, 3) != 0)
		run_core(s, h, subscription);
	else
		inbox_later(s, s->now + 200, on_wake)->a = h->index;
}

void inbox_host_hears(struct inbox_sim *s, struct host *h, uint32_t subscription, int64_t at,
		      const struct inbox_event *ev, uint16_t history)
{
	struct inbox_happening *next = inbox_later(s, at, on_hear);

	next->a = h->index;
	next->b = h->life;
	next->c = h->connection;
	next->d = subscription | (uint64_t)history << 16;
	next->event = *ev;
}

/* --- the connection to the broker --- */

static void on_connect(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];

	if (h->life != e->b || h->connection != 0)
		return;
	h->connection = ++s->numbers;
	h->delivery_at = s->now;
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		host_tell(s, h, i, (struct inbox_event){ .kind = INBOX_EVENT_BUS_UP });
		run_core(s, h, i);
		if (h->connection == 0 || h->life != e->b)
			return;
	}
}

static void lose_connection(struct inbox_sim *s, struct host *h)
{
	uint64_t life = h->life;

	if (h->connection == 0)
		return;
	trace(s, "host %u  loses its connection", h->index);
	inbox_broker_connection_lost(s, h->connection);
	h->connection = 0;
	schedule(s, h, 100 * MS, on_connect);
	for (uint32_t i = 0; i < s->plan.subscriptions && h->life == life; i++) {
		host_tell(s, h, i, (struct inbox_event){ .kind = INBOX_EVENT_BUS_DOWN });
		run_core(s, h, i);
	}
}

void inbox_hosts_lose_broker(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		lose_connection(s, &s->host[i]);
}

/* --- the session with the database --- */

static void depose(struct inbox_sim *s, struct host *h)
{
	uint64_t life = h->life;

	if (h->session == 0)
		return;
	trace(s, "host %u  is deposed", h->index);
	if (s->lock_owner == h->session)
		s->lock_owner = 0;
	h->session = h->epoch = 0;
	h->session_dead = false;
	for (uint32_t i = 0; i < s->plan.subscriptions && h->life == life; i++) {
		if (inbox_look(h->core[i])->state == INBOX_AWAY)
			continue;
		h->moving[i] = 0;
		host_tell(s, h, i, (struct inbox_event){ .kind = INBOX_EVENT_DEPOSED });
		run_core(s, h, i);
		demand(s, h->kept[i] == 0 || h->life != life, "subscription %u: slots are kept without a lead", i);
	}
	if (h->life == life)
		schedule(s, h, 200 * MS, on_lead);
}

/* The server ended it; the host hears of it later. */
static void on_session_noticed(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];

	if (h->life != e->b || h->session != e->c)
		return;
	if (is_frozen(s, h))
		again_when_thawed(s, h, e);
	else
		depose(s, h);
}

static void end_session(struct inbox_sim *s, struct host *h)
{
	struct inbox_happening *next;

	if (h->session == 0 || h->session_dead)
		return;
	h->session_dead = true;
	if (s->lock_owner == h->session)
		s->lock_owner = 0;
	next = inbox_later(s, inbox_soon(s, 300 * MS), on_session_noticed);
	next->a = h->index;
	next->b = h->life;
	next->c = h->session;
}

void inbox_hosts_lose_sessions(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		end_session(s, &s->host[i]);
}

static int64_t in_order(struct inbox_sim *s, int64_t *last)
{
	int64_t at = inbox_soon(s, s->plan.pg_us);

	if (mishap(s, query_slow))
		at += prng_spread(&s->dice, MS, 500 * MS);
	if (at <= *last)
		at = *last + 1;
	return *last = at;
}

/* What the host knows from now on, whatever becomes of the database. */
static void learn(struct host *h, uint32_t subscription, const struct inbox_event *ev)
{
	bool books = ev->kind == INBOX_EVENT_LEADING || ev->kind == INBOX_EVENT_BOOKS;

	if (books && ev->books.created != 0)
		h->told[subscription] = (struct begun){ ev->books.created, ev->books.began };
	if (ev->kind == INBOX_EVENT_MOVED && ev->moved.result == INBOX_MOVED_OK && h->begun[subscription].created != 0)
		h->told[subscription] = h->begun[subscription];
	if (ev->kind == INBOX_EVENT_MOVED)
		h->begun[subscription].created = 0;
}

/* An answer that may come late; a host, b life, c session, d subscription */
static void on_answer(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];
	uint32_t subscription = (uint32_t)e->d;

	if (h->life != e->b || h->session != e->c || h->session_dead)
		return;
	if (is_frozen(s, h)) {
		again_when_thawed(s, h, e);
		return;
	}
	if (e->event.kind == INBOX_EVENT_DEPOSED) {
		depose(s, h);
		return;
	}
	trace_event(s, h, subscription, &e->event);
	learn(h, subscription, &e->event);
	host_tell(s, h, subscription, e->event);
	run_core(s, h, subscription);
}

static void answer(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_event *ev)
{
	struct inbox_happening *next = inbox_later(s, in_order(s, &h->answer_at), on_answer);

	next->a = h->index;
	next->b = h->life;
	next->c = h->session;
	next->d = subscription;
	next->event = *ev;
}

static struct inbox_happening *query(struct inbox_sim *s, struct host *h, uint32_t subscription,
				     void (*run)(struct inbox_sim *, const struct inbox_happening *))
{
	struct inbox_happening *next = inbox_later(s, in_order(s, &h->query_at), run);

	next->a = h->index;
	next->b = h->life;
	next->c = h->session;
	next->d = subscription;
	return next;
}

/* The server has it only while the session lives there. The host may be frozen, or dead: that is no matter. */
static bool server_has(const struct host *h, const struct inbox_happening *e)
{
	return h->session == e->c && !h->session_dead;
}

static void on_books(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];
	struct inbox_event ev = { .kind = INBOX_EVENT_BOOKS };

	if (!server_has(h, e))
		return;
	if (h->epoch != s->db.epoch)
		ev.kind = INBOX_EVENT_DEPOSED;
	else if (mishap(s, query_failed))
		ev.kind = INBOX_EVENT_BOOKS_FAILED;
	else
		inbox_db_books(s, h, (uint32_t)e->d, &ev.books);
	answer(s, h, (uint32_t)e->d, &ev);
}

/* Takes the lead, if nobody has it. */
static void on_lead(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];

	if (h->life != e->b || h->session != 0)
		return;
	if (s->lock_owner != 0 || is_frozen(s, h)) {
		schedule(s, h, 100 * MS, on_lead);
		return;
	}
	s->lock_owner = h->session = ++s->numbers;
	h->epoch = ++s->db.epoch;
	h->session_dead = false;
	h->query_at = h->answer_at = s->now;
	trace(s, "host %u  leads, epoch %llu", h->index, (unsigned long long)h->epoch);
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		struct inbox_event ev = { .kind = INBOX_EVENT_LEADING };

		inbox_db_books(s, h, i, &ev.books);
		answer(s, h, i, &ev);
	}
}

/* --- what the core asks for --- */

/* The statement: its rows are in the session's buffer by now, whatever becomes of the host. */
static void on_move(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];
	struct inbox_event ev = { .kind = INBOX_EVENT_MOVED };
	uint32_t subscription = (uint32_t)e->d, copies[MAX_QUEUE];
	uint16_t history = (uint16_t)e->event.made.consumer;

	if (!server_has(h, e) || h->life != e->b)
		return;
	for (uint32_t i = 0; i < e->move.count; i++) {
		uint32_t slot = (e->move.slot + i) % s->plan.settings[subscription].queue_messages;

		copies[i] = h->slot[subscription][slot];
		demand(s, copies[i] != 0, "subscription %u: slot %u is taken, and nothing is there", subscription,
		       slot);
	}
	ev.moved.result = inbox_db_move(s, h, subscription, h->epoch, &e->move, copies, history);
	if (e->move.kind == INBOX_MOVE_BEGIN && ev.moved.result == INBOX_MOVED_OK)
		h->begun[subscription] = (struct begun){ e->move.created, e->move.to };
	if (mishap(s, commit_unknown)) {
		trace(s, "pg      and the session dies before it can say so");
		end_session(s, h);
		return;
	}
	answer(s, h, subscription, &ev);
}

static uint16_t history_of(struct inbox_sim *s, const struct host *h, uint32_t subscription, const struct inbox_move *m)
{
	if (m->count > 0)
		return h->slot_history[subscription][m->slot];
	if (m->kind == INBOX_MOVE_FOLLOW || m->kind == INBOX_MOVE_SKIP)
		return h->history[subscription];
	return s->broker.history;
}

static void carry_out_move(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_effect *e)
{
	struct inbox_happening *next = query(s, h, subscription, on_move);

	next->move = e->move;
	next->event.made.consumer = history_of(s, h, subscription, &e->move);
	h->moving[subscription]++;
}

static void carry_out_release(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_effect *e)
{
	for (uint32_t slot = e->release.slot; slot < e->release.slot + e->release.count; slot++) {
		uint32_t copy = h->slot[subscription][slot];

		demand(s, copy != 0, "subscription %u: slot %u is released twice", subscription, slot);
		h->slot[subscription][slot] = 0;
		h->kept[subscription]--;
		h->kept_bytes[subscription] -= s->broker.message[s->broker.copy[copy].message].bytes;
	}
}

static void carry_out_make(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_effect *e)
{
	if (s->now >= h->makes_since[subscription] + SECOND) {
		h->makes_since[subscription] = s->now;
		h->makes[subscription] = 0;
	}
	h->makes[subscription]++;
	h->consumer[subscription] = e->make.consumer;
	check_inbox_effect_asked(s, h, subscription, e);
	inbox_broker_make(s, h, subscription, e->make.consumer, e->make.start);
}

static void trace_effect(struct inbox_sim *s, const struct host *h, uint32_t i, const struct inbox_effect *e)
{
	if (e->kind == INBOX_EFFECT_MAKE)
		trace(s, "host %u  sub %u: make a consumer from %llu", h->index, i, (unsigned long long)e->make.start);
	if (e->kind == INBOX_EFFECT_NOTE)
		trace(s, "host %u  sub %u: note %d, doubt %d, stop %d, %llu %llu", h->index, i, e->note.kind,
		      e->note.doubt, e->note.stop, (unsigned long long)e->note.from, (unsigned long long)e->note.to);
	if (e->kind == INBOX_EFFECT_PULL)
		trace(s, "host %u  sub %u: pull %u, %u messages, %u bytes", h->index, i, e->pull.pull, e->pull.messages,
		      e->pull.bytes);
}

static void carry_out(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_effect *e)
{
	trace_effect(s, h, subscription, e);
	check_inbox_effect_asked(s, h, subscription, e);
	switch (e->kind) {
	case INBOX_EFFECT_BOOKS: query(s, h, subscription, on_books); break;
	case INBOX_EFFECT_MAKE: carry_out_make(s, h, subscription, e); break;
	case INBOX_EFFECT_DELETE: inbox_broker_delete(s, e->delete.consumer); break;
	case INBOX_EFFECT_INFO: inbox_broker_info(s, h, subscription, e->ask.ask); break;
	case INBOX_EFFECT_TIME: inbox_broker_time(s, h, subscription, e->ask.ask, e->ask.sequence); break;
	case INBOX_EFFECT_PULL: inbox_broker_pull(s, h, subscription, e); break;
	case INBOX_EFFECT_MOVE: carry_out_move(s, h, subscription, e); break;
	case INBOX_EFFECT_RELEASE: carry_out_release(s, h, subscription, e); break;
	case INBOX_EFFECT_STOP:
		if (h->session != 0 && !h->session_dead && h->epoch == s->db.epoch)
			s->db.subscription[subscription].stop = e->stop.stop;
		break;
	case INBOX_EFFECT_NOTE: break;
	}
}

static void run_core(struct inbox_sim *s, struct host *h, uint32_t subscription)
{
	struct inbox *core = h->core[subscription];
	struct inbox_effect e;
	int64_t deadline;

	while (inbox_next(core, &e)) {
		if (mishap(s, crash)) {
			die(s, h);
			return;
		}
		carry_out(s, h, subscription, &e);
	}
	inbox_audit(core);
	if (mishap(s, freeze))
		h->frozen_until = s->now + prng_spread(&s->dice, MS, SECOND);
	deadline = inbox_deadline(core);
	if (deadline != INBOX_NEVER) {
		int64_t at = deadline * MS > s->now ? deadline * MS : s->now + MS;
		struct inbox_happening *next = inbox_later(s, at, on_wake);

		next->a = h->index;
		next->b = h->wake[subscription] = ++s->numbers;
		next->c = h->life;
		next->d = subscription;
	}
}

static void on_wake(struct inbox_sim *s, const struct inbox_happening *e)
{
	struct host *h = &s->host[e->a];

	if (e->b == 0) {
		for (uint32_t i = 0; i < s->plan.subscriptions && !is_frozen(s, h); i++)
			run_core(s, h, i);
		return;
	}
	if (h->life != e->c || h->wake[e->d] != e->b)
		return;
	if (is_frozen(s, h)) {
		again_when_thawed(s, h, e);
		return;
	}
	host_tell(s, h, (uint32_t)e->d, (struct inbox_event){ .kind = INBOX_EVENT_TICK });
	run_core(s, h, (uint32_t)e->d);
}

/* --- what happens to it --- */

/* The lock is gone from under a leader that does not know, and that can still be heard. */
static void second_leader(struct inbox_sim *s)
{
	s->lock_owner = 0;
}

/* All who believe that they lead hear of it with the next answer of their session. */
static void tell_leaders(struct inbox_sim *s, uint32_t subscription, struct inbox_event ev)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (s->host[i].session != 0)
			answer(s, &s->host[i], subscription, &ev);
}

void inbox_hosts_changed(struct inbox_sim *s, uint32_t subscription)
{
	tell_leaders(s, subscription, (struct inbox_event){ .kind = INBOX_EVENT_CHANGED });
}

static void tell_pause(struct inbox_sim *s, uint32_t subscription)
{
	tell_leaders(s, subscription,
		     (struct inbox_event){ .kind = INBOX_EVENT_PAUSED,
					   .paused = { s->db.subscription[subscription].paused } });
}

void inbox_hosts_unpaused(struct inbox_sim *s, uint32_t subscription)
{
	tell_pause(s, subscription);
}

static void on_resume(struct inbox_sim *s, const struct inbox_happening *e)
{
	s->db.subscription[e->a].paused = false;
	tell_pause(s, (uint32_t)e->a);
}

static void pause_one(struct inbox_sim *s)
{
	uint32_t subscription = (uint32_t)prng_below(&s->dice, s->plan.subscriptions);

	s->db.subscription[subscription].paused = true;
	tell_pause(s, subscription);
	inbox_later(s, s->now + prng_spread(&s->dice, MS, SECOND), on_resume)->a = subscription;
}

static void tell_credit(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		for (uint32_t j = 0; j < s->plan.subscriptions; j++) {
			host_tell(s, &s->host[i], j,
				  (struct inbox_event){ .kind = INBOX_EVENT_CREDIT, .credit = { !s->credit_closed } });
			run_core(s, &s->host[i], j);
		}
}

static void on_credit(struct inbox_sim *s, const struct inbox_happening *e)
{
	(void)e;
	s->credit_closed = false;
	tell_credit(s);
}

static void close_credit(struct inbox_sim *s)
{
	s->credit_closed = true;
	tell_credit(s);
	inbox_later(s, s->now + prng_spread(&s->dice, MS, SECOND), on_credit);
}

static void reload(struct inbox_sim *s, struct host *h)
{
	uint32_t i = (uint32_t)prng_below(&s->dice, s->plan.subscriptions);
	struct inbox_settings set = s->plan.settings[i];

	set.take_messages = (uint32_t)prng_between(&s->dice, 1, 50);
	set.retry_max_ms = set.retry_min_ms * (uint32_t)prng_between(&s->dice, 1, 10);
	set.follow_interval_ms = (uint32_t)prng_between(&s->dice, 50, 1000);
	host_tell(s, h, i, (struct inbox_event){ .kind = INBOX_EVENT_SETTINGS, .settings = &set });
	run_core(s, h, i);
}

void inbox_host_strike(struct inbox_sim *s, enum inbox_fault f)
{
	struct host *h = &s->host[prng_below(&s->dice, s->plan.hosts)];

	switch (f) {
	case INBOX_FAULT_session_lost: end_session(s, h); break;
	case INBOX_FAULT_second_leader: second_leader(s); break;
	case INBOX_FAULT_bus_lost: lose_connection(s, h); break;
	case INBOX_FAULT_kill: die(s, h); break;
	case INBOX_FAULT_operator_pause: pause_one(s); break;
	case INBOX_FAULT_credit_closed: close_credit(s); break;
	case INBOX_FAULT_reload: reload(s, h); break;
	default: break;
	}
}
