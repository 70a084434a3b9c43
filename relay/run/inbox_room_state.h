/* What the files of run/inbox*.c share, and nobody else sees. */
#ifndef BOXHAUL_RUN_INBOX_ROOM_STATE_H
#define BOXHAUL_RUN_INBOX_ROOM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "core/inbox/inbox.h"
#include "edge/loop.h"
#include "edge/natsio.h"
#include "edge/pg.h"
#include "flow/inbox_books.h"
#include "flow/inbox_consumer.h"
#include "flow/inbox_leader.h"
#include "flow/inbox_parcel.h"
#include "run/inbox_handlers.h"
#include "run/inbox_sagas.h"
#include "watch/inbox_facts.h"

struct inbox_subscription {
	struct inbox_room *room;
	size_t index;
	struct inbox *core;
	struct inbox_parcel **parcels; /* by slot of the core */
	uint32_t slots;
	struct inbox_consumer *consumer;
	struct inbox_books_flow *books;
	int64_t watched_ms, woken_ms;
	bool watching; /* asked for, and not answered */
	uint32_t standing;
	uint64_t taken_before, rate;
	enum inbox_doubt doubt; /* the last one */
	uint64_t moved_before;
	int64_t pulling_ms, well_ms; /* since when it pulls; when all was well with that last */
	int64_t level_ms;            /* all that had come to the stream by then is taken; 0: not known */
	uint64_t level_moves;
	bool counting, hurry; /* figures are asked for, and not answered; somebody waits for them */
	int64_t counted_ms;   /* when they were asked for last */
	struct inbox_backlog backlog;
};

struct inbox_room {
	struct loop *loop;
	const struct config *config;
	struct log *log;
	struct pg *pg;
	struct natsio *nats;
	struct served *served;
	struct inbox_leader *leader;
	struct inbox_handlers *handlers;
	struct inbox_sagas *sagas; /* NULL: none are started here; else the last subscription is theirs */
	struct loop_timer *timer;
	bool postgres_up, nats_up, cleaning, cleaning_sagas;
	char postgres_why[512], nats_why[512], clean_why[512];
	uint64_t postgres_connects, nats_connects;
	int64_t cleaned_ms, cleaned_sagas_ms;
	uint64_t answers; /* to sagas, that were taken when their clock was woken last */
	size_t count;
	struct inbox_subscription subscription[];
};

/* Steps a core with an event, whose time and randomness it fills in. */
void inbox_room_step(struct inbox_subscription *s, struct inbox_event *ev);

/* The settings of a subscription as the core wants them; from its configuration, and from what the server takes. */
struct inbox_settings inbox_room_settings(const struct inbox_room *r, size_t index);

/* inbox_events.c */
struct pg_handlers inbox_events_of_postgres(struct inbox_room *r);
struct natsio_handlers inbox_events_of_nats(struct inbox_room *r);
struct inbox_leader_handlers inbox_events_of_leader(struct inbox_room *r);
struct inbox_books_handlers inbox_events_of_books(struct inbox_subscription *s);
struct inbox_consumer_handlers inbox_events_of_consumer(struct inbox_subscription *s);

/* inbox_clock.c: what the leader does by the clock, and what is known. */
void inbox_clock_tick(struct inbox_room *r);

/* How far behind the stream it may be, in microseconds; negative: not known. */
int64_t inbox_clock_lag_us(const struct inbox_subscription *s);

/* It leads, nothing that has a name of its own keeps it from taking, and yet no consumer has worked for long. */
bool inbox_clock_in_vain(const struct inbox_subscription *s);

/* The session is gone: nothing is answered any more. */
void inbox_clock_forget(struct inbox_room *r);

#endif
