/* Callbacks of the inbox only step a core: what is to be done is done once, at the end of the turn (inbox_room_turn). So what was read
 * together goes into one batch. */
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "run/inbox_room_state.h"

static void step_all(struct inbox_room *r, enum inbox_event_kind kind)
{
	for (size_t i = 0; i < r->count; i++)
		inbox_room_step(&r->subscription[i], &(struct inbox_event){ .kind = kind });
}

/* --- PostgreSQL --- */

static void on_postgres_up(void *arg)
{
	struct inbox_room *r = arg;

	r->postgres_up = true;
	r->postgres_connects++;
	log_info(r->log, "PostgreSQL is connected for the inbox", KU("connects", r->postgres_connects));
	inbox_leader_session_up(r->leader);
}

/* The session carries the lead of all. What was not answered is settled by the books, which are read with the next one. */
static void on_postgres_down(void *arg, const char *why)
{
	struct inbox_room *r = arg;

	scrub(why, r->postgres_why, sizeof r->postgres_why);
	log_error(r->log, "PostgreSQL is not connected for the inbox", KS("why", r->postgres_why));
	r->postgres_up = false;
	inbox_leader_session_down(r->leader);
	inbox_clock_forget(r);
	for (size_t i = 0; i < r->count; i++) {
		inbox_books_forget(r->subscription[i].books);
		inbox_handlers_lead(r->handlers, i, false);
	}
	step_all(r, INBOX_EVENT_DEPOSED);
}

/* An operator has changed something of a subscription, nobody says of which. */
static void on_notified(void *arg, const char *payload)
{
	struct inbox_room *r = arg;

	if (strcmp(payload, "inbox") != 0)
		return;
	for (size_t i = 0; i < r->count; i++)
		if (inbox_leader_role(r->leader, i) == ROLE_LEADER)
			inbox_room_step(&r->subscription[i], &(struct inbox_event){ .kind = INBOX_EVENT_CHANGED });
}

struct pg_handlers inbox_events_of_postgres(struct inbox_room *r)
{
	return (struct pg_handlers){
		.up = on_postgres_up, .down = on_postgres_down, .notified = on_notified, .arg = r
	};
}

static void on_leading(void *arg, size_t index, const struct inbox_books *books)
{
	struct inbox_room *r = arg;

	inbox_room_step(&r->subscription[index], &(struct inbox_event){ .kind = INBOX_EVENT_LEADING, .books = *books });
	inbox_handlers_lead(r->handlers, index, true);
}

static void on_books(void *arg, size_t index, const struct inbox_books *books)
{
	struct inbox_room *r = arg;
	struct inbox_event ev = { .kind = INBOX_EVENT_BOOKS_FAILED };

	if (books != NULL)
		ev = (struct inbox_event){ .kind = INBOX_EVENT_BOOKS, .books = *books };
	inbox_room_step(&r->subscription[index], &ev);
}

struct inbox_leader_handlers inbox_events_of_leader(struct inbox_room *r)
{
	return (struct inbox_leader_handlers){ .leading = on_leading, .books = on_books, .arg = r };
}

/* A position that only follows what others publish brings nothing. */
static void wake_sagas(struct inbox_subscription *s)
{
	uint64_t taken = inbox_books_figures(s->books)->taken;

	if (taken != s->room->answers)
		inbox_sagas_wake(s->room->sagas);
	s->room->answers = taken;
}

static void on_moved(void *arg, enum inbox_moved result)
{
	struct inbox_subscription *s = arg;

	inbox_room_step(s, &(struct inbox_event){ .kind = INBOX_EVENT_MOVED, .moved = { .result = result } });
	if (result == INBOX_MOVED_OK)
		inbox_handlers_wake(s->room->handlers, s->index);
	if (result == INBOX_MOVED_OK && s->room->sagas != NULL && s->index == s->room->count - 1)
		wake_sagas(s);
}

struct inbox_books_handlers inbox_events_of_books(struct inbox_subscription *s)
{
	return (struct inbox_books_handlers){ .moved = on_moved, .arg = s };
}

/* --- NATS --- */

static void on_nats_up(void *arg, const char *url, int64_t max_payload)
{
	struct inbox_room *r = arg;
	char clean[256];

	r->nats_up = true;
	r->nats_connects++;
	scrub(url, clean, sizeof clean);
	log_info(r->log, "NATS is connected for the inbox", KS("url", clean), KI("max_payload", max_payload));
	for (size_t i = 0; i < r->count; i++) {
		struct inbox_settings settings = inbox_room_settings(r, i);

		inbox_room_step(&r->subscription[i],
				&(struct inbox_event){ .kind = INBOX_EVENT_SETTINGS, .settings = &settings });
	}
	step_all(r, INBOX_EVENT_BUS_UP);
}

static void on_nats_down(void *arg, const char *why, bool theirs)
{
	struct inbox_room *r = arg;
	bool was_up = r->nats_up;

	(void)theirs;
	scrub(why, r->nats_why, sizeof r->nats_why);
	log_error(r->log, "NATS is not connected for the inbox", KS("why", r->nats_why));
	r->nats_up = false;
	for (size_t i = 0; i < r->count; i++)
		inbox_consumer_forget(r->subscription[i].consumer);
	if (was_up)
		step_all(r, INBOX_EVENT_BUS_DOWN);
}

static void on_nats_reply(void *arg, const struct natsio_reply *reply)
{
	struct inbox_room *r = arg;
	size_t owner = inbox_consumer_owner(reply);

	if (owner < r->count)
		inbox_consumer_reply(r->subscription[owner].consumer, reply);
}

static uint64_t order_of(void *arg, const struct natsio_reply *reply)
{
	struct inbox_room *r = arg;
	size_t owner = inbox_consumer_owner(reply);

	return owner < r->count ? inbox_consumer_order(r->subscription[owner].consumer, reply) : 0;
}

static void on_nats_complaint(void *arg, const char *text)
{
	struct inbox_room *r = arg;

	log_error(r->log, "NATS complains to the inbox", KS("why", text));
	for (size_t i = 0; i < r->count; i++)
		inbox_consumer_complaint(r->subscription[i].consumer, text);
}

struct natsio_handlers inbox_events_of_nats(struct inbox_room *r)
{
	return (struct natsio_handlers){ .up = on_nats_up,
					 .down = on_nats_down,
					 .reply = on_nats_reply,
					 .complaint = on_nats_complaint,
					 .order = order_of,
					 .arg = r };
}

static void on_event(void *arg, struct inbox_event *ev)
{
	inbox_room_step(arg, ev);
}

/* Without memory for it, it counts as lost on the way: the hole in the consumer's sequence brings it again. */
static void on_message(void *arg, struct inbox_event *ev, const struct natsio_reply *message)
{
	struct inbox_subscription *s = arg;
	struct inbox_parcel *p = inbox_parcel_create(&s->room->config->subscriptions[s->index], message,
						     ev->message.sequence, ev->message.time, &ev->message.bytes);

	if (p == NULL)
		return;
	inbox_room_step(s, ev);
	if (ev->message.slot < 0) {
		free(p);
		return;
	}
	free(s->parcels[ev->message.slot]);
	s->parcels[ev->message.slot] = p;
}

struct inbox_consumer_handlers inbox_events_of_consumer(struct inbox_subscription *s)
{
	return (struct inbox_consumer_handlers){ .event = on_event, .message = on_message, .arg = s };
}
