/* What has to be true of a capture's replication slot and publications while it is led: the slot is made, looked at, and lost where it is lost; by the
 * books (sql/010_capture.sql), which say in which state it is.
 *
 *     begin --> look at the slot --none--> again in a while
 *                 ^      |
 *                 |      +--creating--> publications as configured? --> make the slot (capture_slot) --> look
 *                 |      +--live------> end whoever uses it --> tables and books --> live(); from then on it looks every few seconds
 *                 |      '--gap-------> not_live(); drop what was let go; wait for an operator, or resync
 *                 '---------------------------'
 *
 * One step at a time: each waits for the answer to the one before. */
#ifndef BOXHAUL_FLOW_CAPTURE_UPKEEP_H
#define BOXHAUL_FLOW_CAPTURE_UPKEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/capture_ledger.h"
#include "config/config.h"
#include "edge/loop.h"
#include "edge/pg.h"
#include "flow/capture_upkeep_handlers.h"
#include "flow/served.h"

struct capture_upkeep;

/* NULL when out of memory. `login`: for the session that makes the slot; its texts are borrowed, as everything else is. */
struct capture_upkeep *capture_upkeep_create(struct loop *l, struct pg *pg, const struct pg_options *login,
					     const struct config *config, size_t index, struct log *log,
					     const struct capture_upkeep_handlers *handlers);
/* NULL is allowed. */
void capture_upkeep_free(struct capture_upkeep *u);

struct capture_upkeep_lead {
	int64_t epoch;
	uint64_t confirmed; /* what the last leader left when it resigned; 0: not known */
	bool alone;         /* no earlier leader can be sending */
	struct served_place place;
};

/* We lead. */
void capture_upkeep_begin(struct capture_upkeep *u, const struct capture_upkeep_lead *lead);

/* We do not lead any more. No handler is called. */
void capture_upkeep_end(struct capture_upkeep *u);

/* Looks at the slot at once. */
void capture_upkeep_look_now(struct capture_upkeep *u);

/* So much was confirmed to the server. To be told before the server is. */
void capture_upkeep_confirmed(struct capture_upkeep *u, uint64_t lsn);

/* books/capture_ledger.h, capture_ledger_forked(). While live; where copies are to be compared over() follows. */
void capture_upkeep_forked(struct capture_upkeep *u, uint64_t fork, const char *phantom);

/* Puts a gap on record; not_live() follows. */
void capture_upkeep_gap(struct capture_upkeep *u, const char *reason, const char *detail);

/* Somebody uses the slot: it is freed, and live() is called again. The caller has told the core that it is deposed. */
void capture_upkeep_restart(struct capture_upkeep *u);

struct capture_upkeep_state {
	bool live, known, over_budget; /* known: the slot was looked at */
	uint64_t confirmed;
	int64_t waits_since_ms; /* the slot is being made since; 0: it is not */
	const struct capture_ledger_look *look;
	const char *trouble, *differs, *waits_for; /* "" = none */
};
/* Its texts and `look` live until the loop's next callback. */
struct capture_upkeep_state capture_upkeep_look(const struct capture_upkeep *u);

#endif
