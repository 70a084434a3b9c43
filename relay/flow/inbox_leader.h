/* From a fresh session to the lead of each subscription.
 *
 *     session up -> is the database ready for us? --no--> say why, ask again
 *                        | yes
 *                   LISTEN -> of each subscription, by itself:
 *
 *         its lock --not ours--> STANDBY: try again in a second
 *             | ours
 *         fit it to the configuration --refused--> give the lock back, say why, try again
 *             |
 *         a new epoch -> its books -> LEADER
 *
 * A lock for each subscription, and not one for all: two daemons with different subscriptions may share a database. The lock only keeps the
 * second daemon from working in vain. What keeps two from taking the same message twice is the epoch, the incarnation and the
 * position, which every move compares. */
#ifndef BOXHAUL_FLOW_INBOX_LEADER_H
#define BOXHAUL_FLOW_INBOX_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "core/inbox/inbox_types.h"
#include "edge/loop.h"
#include "edge/pg.h"
#include "flow/role.h"
#include "flow/served.h"

struct inbox_leader;

struct inbox_leader_handlers {
	void (*leading)(void *arg, size_t index, const struct inbox_books *books);
	/* The answer to inbox_leader_ask_books(); NULL: there is none, and the session lives. */
	void (*books)(void *arg, size_t index, const struct inbox_books *books);
	void *arg;
};

/* NULL when out of memory. Everything but the handlers is borrowed. */
struct inbox_leader *inbox_leader_create(struct loop *l, struct pg *pg, const struct config *config, struct log *log,
					 struct served *served, const struct inbox_leader_handlers *handlers);
void inbox_leader_free(struct inbox_leader *r);

/* The session came, or went. When it goes nothing is led any more; the caller tells the cores. */
void inbox_leader_session_up(struct inbox_leader *r);
void inbox_leader_session_down(struct inbox_leader *r);

/* Once a second: ends the session if its server was replaced by another one, which somebody else in this process has seen. */
void inbox_leader_tick(struct inbox_leader *r);

/* Reads the books of a subscription that is led once more, under our epoch. Where there are none somebody else leads: the session ends. */
void inbox_leader_ask_books(struct inbox_leader *r, size_t index);

/* Its settings have changed: fits it to them again. */
void inbox_leader_define(struct inbox_leader *r, size_t index);

/* The version of the schema, as the last session found it when it began; 0 = none has, or it was refused. */
int64_t inbox_leader_schema(const struct inbox_leader *r);

enum role inbox_leader_role(const struct inbox_leader *r, size_t index);
int64_t inbox_leader_epoch(const struct inbox_leader *r, size_t index);

/* Why it neither leads nor stands by; "" = it does. */
const char *inbox_leader_trouble(const struct inbox_leader *r, size_t index);

#endif
