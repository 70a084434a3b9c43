/* The captures of a relay: for each one its core, its sessions (control, stream, reader), its connection to NATS, and what stands between.
 *
 *     walsender --messages--> flow/capture_stream --events--> core/capture --effects (once a turn)--> flow/publisher
 *     reader    --rows------> flow/capture_chunk  --'             |
 *     control   <------------ flow/capture_leader, books <--------'
 *
 * What ends one of them does not disturb the others, nor outbox and inbox: each has sessions and a connection of its own. */
#ifndef BOXHAUL_RUN_CAPTURE_ROOM_H
#define BOXHAUL_RUN_CAPTURE_ROOM_H

#include "base/log.h"
#include "config/config.h"
#include "config/reload.h"
#include "edge/loop.h"
#include "flow/served.h"
#include "watch/capture_facts.h"

struct capture_room;

struct capture_room_handlers {
	/* After capture_room_drain(): all that was in flight is answered and on record, or somebody else leads. Called once. */
	void (*drained)(void *arg);
	void *arg;
};

/* At least one capture is configured. Everything but the handlers is borrowed. NULL when out of memory. */
struct capture_room *capture_room_open(struct loop *l, const struct config *config, struct log *log,
				       struct served *served, const struct capture_room_handlers *handlers);

/* In two steps, for the loop waits for threads that stand on it: nothing is called back after the first; the second one is after
 * loop_free(). Both take NULL. */
void capture_room_close(struct capture_room *r);
void capture_room_free(struct capture_room *r);

/* Before the loop sleeps: carries out what the cores want. */
void capture_room_turn(struct capture_room *r);

/* Once a second. */
void capture_room_tick(struct capture_room *r);

/* The configuration has new values. A capture whose tables are others begins anew: it ends as if the process had, and goes on from its mark. */
void capture_room_reloaded(struct capture_room *r, const struct reload_changes *changes);

/* Sends nothing more, and settles what is in flight. */
void capture_room_drain(struct capture_room *r);

/* How many messages are in flight. NULL: none. */
uint32_t capture_room_in_flight(struct capture_room *r);

/* What is known. `r` may be NULL: there are no captures. */
void capture_room_facts(struct capture_room *r, struct capture_facts *f);

#endif
