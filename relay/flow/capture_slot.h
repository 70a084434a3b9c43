/* Making a replication slot, over a session of its own.
 *
 *     begin --> session up --> is it the server of the control session? --> pg_create_logical_replication_slot() --> made()
 *
 * It waits for every transaction of the cluster that has an xid, in up to two rounds, however long they last (PostgreSQL's snapbuild.c): so the session has no
 * time-out to speak of, nobody else waits behind it, and whom it waits for is asked over another one by its process number. No snapshot is
 * exported: an exported one holds vacuum back for as long as it lives.
 *
 * Where it ends in between the server may still make the slot: whoever makes the next one drops it first (boxhaul.capture_superseded()). */
#ifndef BOXHAUL_FLOW_CAPTURE_SLOT_H
#define BOXHAUL_FLOW_CAPTURE_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "edge/loop.h"
#include "edge/pg_options.h"
#include "flow/served.h"

struct capture_slot;

struct capture_slot_handlers {
	/* What commits at or above lsn will come out of it. It is idle. */
	void (*made)(void *arg, uint64_t lsn);
	/* It was not made: why, and the server's word for it, or "". It is idle. */
	void (*failed)(void *arg, const char *why, const char *sqlstate);
	void *arg;
};

/* NULL when out of memory. Everything but options and handlers is borrowed, and so are the options' texts. */
struct capture_slot *capture_slot_create(struct loop *l, const struct pg_options *login,
					 const struct capture_slot_handlers *handlers);
void capture_slot_free(struct capture_slot *s);

/* Makes the slot of this name on the server at `place`; only while idle. `failover`: as configured; it needs PostgreSQL 17. False: out of memory,
 * and nothing follows. */
bool capture_slot_begin(struct capture_slot *s, const char *name, enum config_capture_failover failover,
			const struct served_place *place);

/* Gives it up. No handler is called any more, until it is begun again. */
void capture_slot_end(struct capture_slot *s);

bool capture_slot_is_busy(const struct capture_slot *s);

/* The process number of its session; 0: it has none yet. */
int64_t capture_slot_pid(const struct capture_slot *s);

/* What an operator may do about it, by the server's word; "" = nothing is known. */
const char *capture_slot_mend(const char *sqlstate);

#endif
