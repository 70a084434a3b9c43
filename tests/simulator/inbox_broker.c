/* The broker: one stream, its consumers, and what happens to them. As nats-server was seen to do it, by version:
 *
 *   2.9        no word for a consumer that is not there, or at the end of a full request
 *   to 2.10    a start behind the end is moved to the end
 *   from 2.11  it is waited for, in silence
 */
#include "inbox_world.h"

#include <string.h>

#include "check_inbox.h"

/* --- the stream --- */

uint32_t inbox_broker_copy_at(const struct inbox_sim *s, uint16_t history, uint64_t sequence)
{
	const struct broker *b = &s->broker;
	const struct history *h = &b->of[history];
	uint32_t end, copy;

	while (sequence <= h->branch) {
		if (h->parent < 0)
			return 0;
		history = (uint16_t)h->parent;
		h = &b->of[history];
	}
	end = history + 1U < b->histories ? b->of[history + 1].first_copy : b->copies + 1;
	copy = h->first_copy + (uint32_t)(sequence - h->branch - 1);
	return sequence - h->branch - 1 < end - h->first_copy ? copy : 0;
}

static uint32_t copy_now(const struct inbox_sim *s, uint64_t sequence)
{
	uint32_t copy;

	if (sequence < s->broker.first || sequence > s->broker.last)
		return 0;
	copy = inbox_broker_copy_at(s, s->broker.history, sequence);
	return s->broker.copy[copy].deleted ? 0 : copy;
}

bool inbox_broker_has(const struct inbox_sim *s, uint32_t copy)
{
	return copy != 0 && copy_now(s, s->broker.copy[copy].sequence) == copy;
}

bool inbox_broker_wants(const struct inbox_sim *s, uint32_t subscription, uint32_t copy)
{
	return s->plan.classes[subscription] >> s->broker.message[s->broker.copy[copy].message].class & 1;
}

static void begin_history(struct inbox_sim *s, int32_t parent, uint64_t branch)
{
	struct broker *b = &s->broker;

	demand(s, b->histories < MAX_HISTORIES, "the world has no room for more histories");
	b->of[b->history].first = b->first;
	b->of[b->history].last = b->last;
	b->history = (uint16_t)b->histories++;
	b->of[b->history] = (struct history){
		.parent = parent,
		.branch = (uint32_t)branch,
		.first_copy = b->copies + 1,
		.created = parent >= 0 ? b->of[parent].created : s->now * 1000 + 1,
	};
}

uint32_t inbox_broker_new_message(struct inbox_sim *s)
{
	struct broker *b = &s->broker;
	struct message *m = &b->message[++b->messages];

	m->has_id = !mishap(s, no_id);
	m->key = prng_chance(&s->dice, s->plan.unkeyed) ? 0 : (uint8_t)prng_between(&s->dice, 1, s->plan.keys);
	m->class = prng_chance(&s->dice, s->plan.quiet) ? 2 : (uint8_t)prng_below(&s->dice, INBOX_CLASSES);
	m->bytes = (uint16_t)prng_between(&s->dice, 50, 250);
	if (mishap(s, large))
		m->bytes = (uint16_t)prng_between(&s->dice, 250, 7900);
	m->refused = mishap(s, row_refused);
	m->poison = mishap(s, poison);
	return b->messages;
}

static void serve_all(struct inbox_sim *s);

void inbox_broker_store(struct inbox_sim *s, uint32_t message)
{
	struct broker *b = &s->broker;

	if (b->copies == MAX_COPIES - 1)
		return;
	b->copies++;
	b->last++;
	if (b->first == 0)
		b->first = 1;
	b->copy[b->copies] = (struct copy){ .message = (uint16_t)message,
					    .history = b->history,
					    .sequence = (uint32_t)b->last,
					    .time = s->now * 1000 + b->copies % 1000 };
	trace(s, "stream  %llu: copy %u of message %u, class %u key %u%s", (unsigned long long)b->last, b->copies,
	      message, b->message[message].class, b->message[message].key, b->message[message].has_id ? "" : ", no id");
	serve_all(s);
}

void inbox_broker_open(struct inbox_sim *s)
{
	begin_history(s, -1, 0);
	s->broker.of[0].first_copy = 1;
}

/* --- what consumers send --- */

static struct consumer *find(struct inbox_sim *s, uint64_t number)
{
	for (int i = 0; i < MAX_CONSUMERS; i++)
		if (number != 0 && s->broker.consumer[i].number == number)
			return &s->broker.consumer[i];
	return NULL;
}

/* In the order in which it was sent: it is one connection. */
static void send(struct inbox_sim *s, struct consumer *c, struct inbox_event ev, bool late)
{
	struct host *h = &s->host[c->host];
	int64_t at = inbox_soon(s, s->plan.bus_us);

	if (h->connection != c->connection)
		return;
	if (late)
		at += prng_spread(&s->dice, MS, 300 * MS);
	if (ev.kind == INBOX_EVENT_HEARTBEAT && late) {
		inbox_host_hears(s, h, c->subscription, at, &ev, c->history);
		return;
	}
	if (at < h->delivery_at)
		at = h->delivery_at;
	h->delivery_at = at;
	inbox_host_hears(s, h, c->subscription, at, &ev, c->history);
}

static void send_status(struct inbox_sim *s, struct consumer *c, uint32_t pull, enum inbox_status status)
{
	if (mishap(s, delivery_lost))
		return;
	send(s, c,
	     (struct inbox_event){ .kind = INBOX_EVENT_STATUS,
				   .status = { .consumer = c->number, .pull = pull, .status = status } },
	     false);
}

static void send_message(struct inbox_sim *s, struct consumer *c, uint32_t pull, uint32_t copy)
{
	const struct copy *m = &s->broker.copy[copy];

	c->delivered++;
	if (mishap(s, delivery_lost))
		return;
	send(s, c,
	     (struct inbox_event){ .kind = INBOX_EVENT_MESSAGE,
				   .message = { .consumer = c->number,
						.consumer_sequence = c->delivered,
						.sequence = m->sequence,
						.time = m->time,
						.pull = pull,
						.bytes = s->broker.message[m->message].bytes,
						.slot = (int32_t)copy } },
	     mishap(s, delivery_late));
}

/* --- serving --- */

static void skip_unwanted(struct inbox_sim *s, struct consumer *c)
{
	if (c->next < s->broker.first)
		c->next = s->broker.first;
	while (c->next <= s->broker.last &&
	       (copy_now(s, c->next) == 0 || !inbox_broker_wants(s, c->subscription, copy_now(s, c->next))))
		c->next++;
}

/* Requests are served in turn. */
static struct waiting *whose_turn(struct consumer *c)
{
	for (int i = 0; i < LIMIT_INBOX_PULLS + 2; i++) {
		struct waiting *w = &c->waiting[c->turn++ % (LIMIT_INBOX_PULLS + 2)];

		if (w->number != 0)
			return w;
	}
	return NULL;
}

static void end_request(struct inbox_sim *s, struct consumer *c, struct waiting *w, enum inbox_status status)
{
	uint32_t number = w->number;

	*w = (struct waiting){ 0 };
	send_status(s, c, number, status);
}

static void give(struct inbox_sim *s, struct consumer *c, struct waiting *w, uint32_t copy)
{
	uint32_t bytes = s->broker.message[s->broker.copy[copy].message].bytes;

	if (bytes > w->bytes) {
		end_request(s, c, w, INBOX_STATUS_SIZE);
		return;
	}
	c->next++;
	w->bytes -= bytes;
	w->messages--;
	w->sign = s->now;
	send_message(s, c, w->number, copy);
	if (w->messages > 0)
		return;
	if (s->plan.server == SERVER_2_9)
		*w = (struct waiting){ 0 };
	else
		end_request(s, c, w, INBOX_STATUS_ENDED);
}

static void serve(struct inbox_sim *s, struct consumer *c)
{
	struct waiting *w;

	if (c->number == 0 || c->mute || c->stuck || s->broker.silent_until > s->now)
		return;
	for (;;) {
		skip_unwanted(s, c);
		if (c->next > s->broker.last || (w = whose_turn(c)) == NULL)
			return;
		give(s, c, w, copy_now(s, c->next));
	}
}

static void serve_all(struct inbox_sim *s)
{
	for (int i = 0; i < MAX_CONSUMERS; i++)
		serve(s, &s->broker.consumer[i]);
}

static void on_awake(struct inbox_sim *s, const struct inbox_happening *h)
{
	(void)h;
	serve_all(s);
}

static void on_heartbeat(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct consumer *c = find(s, h->a);
	struct waiting *w = NULL;
	struct inbox_happening *again;

	for (int i = 0; c != NULL && i < LIMIT_INBOX_PULLS + 2; i++)
		if (c->waiting[i].number == h->b)
			w = &c->waiting[i];
	if (w == NULL || c->mute)
		return;
	if (s->now >= w->until) {
		end_request(s, c, w, INBOX_STATUS_ENDED);
		return;
	}
	if (s->now >= w->sign + w->heartbeat_us) {
		if (!c->stuck)
			skip_unwanted(s, c);
		w->sign = s->now;
		send(s, c,
		     (struct inbox_event){ .kind = INBOX_EVENT_HEARTBEAT,
					   .heartbeat = { .consumer = c->number,
							  .consumer_sequence = c->delivered,
							  .sequence = c->next - 1,
							  .pull = w->number } },
		     mishap(s, heartbeat_late));
	}
	again = inbox_later(s, w->sign + w->heartbeat_us < w->until ? w->sign + w->heartbeat_us : w->until,
			    on_heartbeat);
	again->a = h->a;
	again->b = h->b;
}

/* --- requests of relays --- */

static void forget(struct consumer *c)
{
	*c = (struct consumer){ 0 };
}

static void end_consumer(struct inbox_sim *s, struct consumer *c, bool said)
{
	for (int i = 0; i < LIMIT_INBOX_PULLS + 2 && said && !c->mute; i++)
		if (c->waiting[i].number != 0)
			send_status(s, c, c->waiting[i].number, INBOX_STATUS_GONE);
	forget(c);
}

static void on_inactive(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct consumer *c = find(s, h->a);

	if (c == NULL)
		return;
	for (int i = 0; i < LIMIT_INBOX_PULLS + 2; i++)
		if (c->waiting[i].number != 0)
			c->asked = s->now;
	if (s->now >= c->asked + s->plan.inactive_us)
		forget(c);
	else
		inbox_later(s, c->asked + s->plan.inactive_us, on_inactive)->a = h->a;
}

static struct consumer *free_consumer(struct inbox_sim *s)
{
	struct consumer *oldest = &s->broker.consumer[0];

	for (int i = 0; i < MAX_CONSUMERS; i++) {
		struct consumer *c = &s->broker.consumer[i];

		if (c->number == 0)
			return c;
		if (c->asked < oldest->asked)
			oldest = c;
	}
	return oldest;
}

/* The way of an answer: not in order with anything. */
static void answer(struct inbox_sim *s, uint32_t host, uint64_t connection, uint32_t subscription,
		   struct inbox_event ev)
{
	struct host *h = &s->host[host];
	int64_t at = inbox_soon(s, s->plan.bus_us);

	if (h->connection != connection || mishap(s, answer_lost))
		return;
	if (mishap(s, answer_late))
		at += prng_spread(&s->dice, MS, 500 * MS);
	inbox_host_hears(s, h, subscription, at, &ev, s->broker.history);
}

static bool nobody_answers(const struct inbox_sim *s)
{
	return s->broker.silent_until > s->now;
}

static void on_make(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct consumer *c;
	struct inbox_event ev = { .kind = INBOX_EVENT_MADE, .made = { .consumer = h->c } };

	if (nobody_answers(s) || s->host[h->a].connection != h->event.made.consumer)
		return;
	if (mishap(s, make_refused)) {
		ev = (struct inbox_event){ .kind = INBOX_EVENT_REFUSED,
					   .refused = { .consumer = h->c, .reason = 10023 } };
		answer(s, (uint32_t)h->a, h->event.made.consumer, (uint32_t)h->b, ev);
		return;
	}
	c = free_consumer(s);
	*c = (struct consumer){ .number = h->c,
				.subscription = (uint32_t)h->b,
				.host = (uint32_t)h->a,
				.connection = h->event.made.consumer,
				.history = s->broker.history,
				.next = h->d,
				.asked = s->now };
	if (c->next < s->broker.first)
		c->next = s->broker.first;
	if (c->next > s->broker.last + 1 && s->plan.server <= SERVER_2_10)
		c->next = s->broker.last + 1;
	inbox_later(s, s->now + s->plan.inactive_us, on_inactive)->a = h->c;
	answer(s, c->host, c->connection, c->subscription, ev);
}

void inbox_broker_make(struct inbox_sim *s, struct host *h, uint32_t subscription, uint64_t number, uint64_t start)
{
	struct inbox_happening *next = inbox_later(s, inbox_soon(s, s->plan.bus_us), on_make);

	next->a = h->index;
	next->b = subscription;
	next->c = number;
	next->d = start;
	next->event.made.consumer = h->connection;
	h->looked[subscription].valid = s->flaw == INBOX_FLAW_looked_before;
	h->looked[subscription].first = s->broker.first;
	h->looked[subscription].last = s->broker.last;
	h->looked[subscription].created = s->broker.of[s->broker.history].created;
}

void inbox_broker_delete(struct inbox_sim *s, uint64_t number)
{
	struct consumer *c = find(s, number);

	if (c != NULL)
		forget(c);
}

static void no_consumer(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct consumer nobody = { .number = h->c,
				   .subscription = (uint32_t)h->b,
				   .host = (uint32_t)h->a,
				   .connection = h->event.message.consumer };

	if (s->plan.server != SERVER_2_9)
		send_status(s, &nobody, 0, INBOX_STATUS_GONE);
}

static void on_pull(struct inbox_sim *s, const struct inbox_happening *h)
{
	struct consumer *c = find(s, h->c);
	struct inbox_happening *beat;

	if (s->host[h->a].connection != h->event.message.consumer)
		return;
	if (c == NULL || c->mute) {
		no_consumer(s, h);
		return;
	}
	c->asked = s->now;
	for (int i = 0; i < LIMIT_INBOX_PULLS + 2; i++) {
		struct waiting *w = &c->waiting[i];

		if (w->number != 0)
			continue;
		*w = (struct waiting){ .number = (uint32_t)h->d,
				       .messages = h->move.count,
				       .bytes = h->move.slot,
				       .until = s->now + (int64_t)h->move.gap_from * MS,
				       .heartbeat_us = (int64_t)h->move.gap_to * MS,
				       .sign = s->now };
		beat = inbox_later(s, s->now + w->heartbeat_us, on_heartbeat);
		beat->a = c->number;
		beat->b = w->number;
		serve(s, c);
		return;
	}
	send_status(s, c, (uint32_t)h->d, INBOX_STATUS_BUSY);
}

void inbox_broker_pull(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_effect *e)
{
	struct inbox_happening *next;

	if (mishap(s, pull_lost))
		return;
	next = inbox_later(s, inbox_soon(s, s->plan.bus_us), on_pull);
	next->a = h->index;
	next->b = subscription;
	next->c = e->pull.consumer;
	next->d = e->pull.pull;
	next->event.message.consumer = h->connection;
	next->move.count = e->pull.messages;
	next->move.slot = e->pull.bytes;
	next->move.gap_from = e->pull.expires_ms;
	next->move.gap_to = e->pull.heartbeat_ms;
}

static void on_info(struct inbox_sim *s, const struct inbox_happening *h)
{
	const struct broker *b = &s->broker;
	struct host *host = &s->host[h->a];
	struct inbox_event ev = { .kind = INBOX_EVENT_INFO,
				  .info = { .ask = (uint32_t)h->c,
					    .answer = INBOX_ANSWER_FOUND,
					    .created = b->of[b->history].created,
					    .first = b->first,
					    .last = b->last,
					    .usable = true } };

	if (nobody_answers(s))
		return;
	if (host->looked[h->b].valid) {
		ev.info.created = host->looked[h->b].created;
		ev.info.first = host->looked[h->b].first;
		ev.info.last = host->looked[h->b].last;
		host->looked[h->b].valid = false;
	}
	answer(s, (uint32_t)h->a, h->d, (uint32_t)h->b, ev);
}

static void on_time(struct inbox_sim *s, const struct inbox_happening *h)
{
	uint32_t copy = copy_now(s, h->event.made.consumer);

	if (nobody_answers(s))
		return;
	answer(s, (uint32_t)h->a, h->d, (uint32_t)h->b,
	       (struct inbox_event){ .kind = INBOX_EVENT_TIME,
				     .time = { .ask = (uint32_t)h->c,
					       .answer = copy != 0 ? INBOX_ANSWER_FOUND : INBOX_ANSWER_MISSING,
					       .time = s->broker.copy[copy].time } });
}

static struct inbox_happening *ask(struct inbox_sim *s, struct host *h, uint32_t subscription, uint32_t number,
				   void (*run)(struct inbox_sim *, const struct inbox_happening *))
{
	struct inbox_happening *next = inbox_later(s, inbox_soon(s, s->plan.bus_us), run);

	next->a = h->index;
	next->b = subscription;
	next->c = number;
	next->d = h->connection;
	return next;
}

void inbox_broker_info(struct inbox_sim *s, struct host *h, uint32_t subscription, uint32_t number)
{
	ask(s, h, subscription, number, on_info);
}

void inbox_broker_time(struct inbox_sim *s, struct host *h, uint32_t subscription, uint32_t number, uint64_t sequence)
{
	ask(s, h, subscription, number, on_time)->event.made.consumer = sequence;
}

/* Nobody asks these consumers any more; they die by themselves. */
void inbox_broker_connection_lost(struct inbox_sim *s, uint64_t connection)
{
	for (int i = 0; i < MAX_CONSUMERS; i++)
		if (s->broker.consumer[i].connection == connection)
			memset(s->broker.consumer[i].waiting, 0, sizeof s->broker.consumer[i].waiting);
}

/* --- what happens to it --- */

static struct consumer *any_consumer(struct inbox_sim *s)
{
	struct consumer *c = &s->broker.consumer[prng_below(&s->dice, MAX_CONSUMERS)];

	for (int i = 0; i < MAX_CONSUMERS && c->number == 0; i++)
		c = &s->broker.consumer[i];
	return c;
}

/* From the front. */
static void expire(struct inbox_sim *s, bool all)
{
	struct broker *b = &s->broker;
	uint64_t left = b->last + 1 - b->first;

	if (b->first == 0 || left == 0)
		return;
	b->first += all ? left : (uint64_t)prng_spread(&s->dice, 1, (int64_t)left);
	trace(s, "stream  begins at %llu, ends at %llu", (unsigned long long)b->first, (unsigned long long)b->last);
}

/* By hand, from the middle: what nobody can tell from a foreign subject. */
static void delete_one(struct inbox_sim *s)
{
	struct broker *b = &s->broker;
	uint32_t copy;

	if (b->first == 0 || b->last < b->first)
		return;
	copy = copy_now(s, (uint64_t)prng_between(&s->dice, (int64_t)b->first, (int64_t)b->last));
	if (copy == 0)
		return;
	b->copy[copy].deleted = true;
	trace(s, "stream  copy %u at %u is deleted", copy, b->copy[copy].sequence);
}

/* The server was away, and all consumers with it. */
static void server_restarts(struct inbox_sim *s)
{
	for (int i = 0; i < MAX_CONSUMERS; i++)
		forget(&s->broker.consumer[i]);
	if (prng_below(&s->dice, 2) == 0) /* else the relays are connected to another one */
		inbox_hosts_lose_broker(s);
}

static void lose_end(struct inbox_sim *s)
{
	struct broker *b = &s->broker;
	uint64_t left = b->first == 0 ? 0 : b->last + 1 - b->first, lost;

	if (left == 0)
		return;
	lost = (uint64_t)prng_spread(&s->dice, 1, (int64_t)left);
	server_restarts(s);
	begin_history(s, b->history, b->last - lost);
	b->last -= lost;
	if (prng_below(&s->dice, 4) == 0 && b->first > 1)
		b->first -= (uint64_t)prng_below(&s->dice, b->first);
	trace(s, "stream  LOST ITS END: %llu..%llu, history %u", (unsigned long long)b->first,
	      (unsigned long long)b->last, b->history);
}

static void make_anew(struct inbox_sim *s)
{
	for (int i = 0; i < MAX_CONSUMERS; i++)
		if (s->broker.consumer[i].number != 0)
			end_consumer(s, &s->broker.consumer[i], true);
	begin_history(s, -1, 0);
	s->broker.first = s->broker.last = 0;
	trace(s, "stream  MADE ANEW, history %u", s->broker.history);
}

static void move_leader(struct inbox_sim *s)
{
	s->broker.silent_until = s->now + prng_spread(&s->dice, MS, SECOND);
	inbox_later(s, s->broker.silent_until, on_awake);
	for (int i = 0; i < MAX_CONSUMERS; i++)
		if (s->broker.consumer[i].number != 0 && prng_below(&s->dice, 3) == 0)
			end_consumer(s, &s->broker.consumer[i], prng_below(&s->dice, 2) == 0);
}

void inbox_broker_strike(struct inbox_sim *s, enum inbox_fault f)
{
	switch (f) {
	case INBOX_FAULT_consumer_deleted: end_consumer(s, any_consumer(s), true); break;
	case INBOX_FAULT_consumer_left: end_consumer(s, any_consumer(s), false); break;
	case INBOX_FAULT_consumer_stuck: any_consumer(s)->stuck = true; break;
	case INBOX_FAULT_node_killed: any_consumer(s)->mute = true; break;
	case INBOX_FAULT_leader_moved: move_leader(s); break;
	case INBOX_FAULT_expiry: expire(s, false); break;
	case INBOX_FAULT_purge: expire(s, true); break;
	case INBOX_FAULT_deletion: delete_one(s); break;
	case INBOX_FAULT_end_lost: lose_end(s); break;
	case INBOX_FAULT_recreated: make_anew(s); break;
	default: break;
	}
}

void inbox_broker_heal(struct inbox_sim *s)
{
	s->broker.silent_until = 0;
	serve_all(s);
}
