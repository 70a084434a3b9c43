/* The daemon as worker: the rows of a subscription go to a function in the database, over sessions of their own.
 *
 * Each session works on one lane at a time: it calls boxhaul.handle() for up to a hundred rows of it, which is one transaction. A
 * worker holds nothing that could be lost: what is handled is the lane's cursor, moved with the effects. So any number of relays may
 * do it at once, and one that is killed leaves nothing behind. */
#ifndef BOXHAUL_FLOW_INBOX_WORKERS_H
#define BOXHAUL_FLOW_INBOX_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "edge/loop.h"
#include "edge/pg_options.h"
#include "flow/served.h"

struct inbox_workers;

struct inbox_workers_figures {
	uint64_t calls, handled, failed, timed_out, repeated; /* repeated: calls that an outage or a conflict ended */
	uint32_t sessions, busy;                              /* connected; in a call */
	const char *trouble;                                  /* why nothing is handled; "" = nothing is wrong */
};

/* Everything is borrowed, and `s` may change its numbers between two callbacks. It does nothing, and connects to nothing, until
 * inbox_workers_begin(). NULL when out of memory. `target`: what a command's line says to mean this relay's configuration. */
struct inbox_workers *inbox_workers_create(struct loop *l, const struct pg_options *login, struct served *served,
					   const struct config_subscription *s, const char *target, struct log *log);
/* What is in a call is left to the server, which ends it one way or the other. NULL is allowed. */
void inbox_workers_free(struct inbox_workers *g);

/* Handle rows from now on: we take this subscription's messages. */
void inbox_workers_begin(struct inbox_workers *g);
/* Begin no further call: we do not take them any more. */
void inbox_workers_end(struct inbox_workers *g);

/* Rows were taken. What other sessions do to them (retry, redrive, resume) is heard of by NOTIFY. */
void inbox_workers_wake(struct inbox_workers *g);

/* The login or the settings have changed. With `why` sessions are made anew. */
void inbox_workers_use(struct inbox_workers *g, const struct pg_options *login, const char *why);

/* Costs nothing. */
struct inbox_workers_figures inbox_workers_look(const struct inbox_workers *g);

#endif
