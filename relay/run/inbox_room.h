/* The inbox of an instance: one core for each subscription, and everything it stands on. Wires the floors together as run/relay.c does for
 * the outbox, with which it shares nothing but loop, configuration and log: a session and a connection of its own, so that neither
 * waits for the other, and what ends one does not end the other.
 *
 *     pg, nats, timers --callbacks--> events --> core of the subscription
 *                                                       |
 *     pg, nats, log <------ calls, once per turn ---- effects
 */
#ifndef BOXHAUL_RUN_INBOX_ROOM_H
#define BOXHAUL_RUN_INBOX_ROOM_H

#include "base/log.h"
#include "config/config.h"
#include "config/reload.h"
#include "edge/loop.h"
#include "flow/served.h"
#include "watch/inbox_facts.h"

struct inbox_room;

/* `config`: with at least one subscription. Everything is borrowed. NULL when out of memory. */
struct inbox_room *inbox_room_open(struct loop *l, const struct config *config, struct log *log, struct served *served);

/* In two steps, for the loop waits for threads that stand on it: nothing is called back after the first; the second one is after
 * loop_free(). Both take NULL. */
void inbox_room_close(struct inbox_room *r);
void inbox_room_free(struct inbox_room *r);

/* Before the loop sleeps: carries out what the cores want. */
void inbox_room_turn(struct inbox_room *r);

/* Once a second. */
void inbox_room_tick(struct inbox_room *r);

/* The configuration has new values. */
void inbox_room_reloaded(struct inbox_room *r, const struct reload_changes *changes);

/* What is known. `r` may be NULL: there is no inbox. */
void inbox_room_facts(struct inbox_room *r, struct inbox_facts *f);

#endif
