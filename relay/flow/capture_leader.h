/* From a fresh control session to the lead of one capture, and what has to be true of its replication slot while we have it.
 *
 *     session up -> is the database ready for us? --no--> say why, ask again
 *                        | yes
 *                   LISTEN -> its lock --not ours--> STANDBY: try again in a second
 *                                | ours
 *                   fit the books to the configuration --refused--> give the lock back, say why, try again
 *                                |
 *                   a new epoch -> look at the slot -> LEADER
 *                                |
 *        none, creating, gap: nothing is read (below)        live: whoever used the slot before us is ended; then the books -> live()
 *
 *     none      until an operator starts it (`boxhaul capture start`)
 *     creating  the publications are compared with the books; then the slot is made, over a session of its own, for it waits for every
 *               transaction of the cluster that has an xid, however long: whom it waits for is shown. Publication before slot: a slot fails
 *               for ever at what was written before a publication was there. Then it is live
 *     live      the slot is looked at every few seconds (gap, budget, figures), publications and files now and then
 *     gap       what was committed is in no slot of ours. Nothing is read or sent; a slot that was let go is dropped. It ends by
 *               boxhaul.capture_resync() alone, an operator's, or ours with gap = "resync"
 *
 * Why the former leader's walsender is ended, and not waited for: it lives until wal_sender_timeout where its client froze, and the lock is ours: the
 * former leader may mark nothing any more, and what it still publishes is fenced by lease and chain (core/README.md, Fencing). */
#ifndef BOXHAUL_FLOW_CAPTURE_LEADER_H
#define BOXHAUL_FLOW_CAPTURE_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/capture_ledger.h"
#include "config/config.h"
#include "edge/loop.h"
#include "edge/pg.h"
#include "flow/capture_upkeep.h"
#include "flow/role.h"
#include "flow/served.h"

struct capture_leader;

struct capture_leader_handlers {
	/* It is live, nobody else uses the slot, and its books are these: theirs until the call returns, but for what the callee takes out of the tables
	 * (it sets the pointers to NULL). asked_ms: when the question was sent that took the lead (lease). */
	void (*live)(void *arg, struct capture_ledger_books *books, int64_t asked_ms);
	/* It is not live any more, though the session stays: a gap, another slot, or somebody has changed the books. The core is told that it is
	 * deposed, and the walsender ended, before this returns: if it is to go on, live() is called again. */
	void (*not_live)(void *arg, const char *why);
	/* An operator's pause began, or ended (0). While live. */
	void (*paused)(void *arg, uint64_t pause);
	/* Verify passes were asked for: the tables as in `live`, of which only passes that have not begun are to be taken. False: not all of them can begin now, and
	 * it is called again later. */
	bool (*verify)(void *arg, struct capture_ledger_books *books);
	void *arg;
};

/* Capture `index` of the configuration. `login`: as the control session's, for one that makes the slot. NULL when out of memory. Everything is borrowed,
 * but for options and handlers themselves. */
struct capture_leader *capture_leader_create(struct loop *l, struct pg *pg, const struct pg_options *login,
					     const struct config *config, size_t index, struct log *log,
					     struct served *served, const struct capture_leader_handlers *handlers);
void capture_leader_free(struct capture_leader *r);

/* The control session came, or went. When it goes nothing is led any more; the caller tells the core, and ends the walsender. */
void capture_leader_session_up(struct capture_leader *r);
void capture_leader_session_down(struct capture_leader *r);

/* The control session was notified: the books may have been changed. */
void capture_leader_notified(struct capture_leader *r, const char *payload);

/* Once a second. */
void capture_leader_tick(struct capture_leader *r);

/* books/capture_ledger.h, capture_ledger_forked(). */
void capture_leader_forked(struct capture_leader *r, uint64_t fork, const char *phantom);

/* What was confirmed to the server last, in this lead: by it a slot that somebody moved is told. */
void capture_leader_confirmed(struct capture_leader *r, uint64_t lsn);

/* The server refused the slot (START_REPLICATION failed, 42704 or 55000), or anything else makes one doubt it: looks at it at once. */
void capture_leader_examine(struct capture_leader *r);

/* Puts a gap on record: "truncated", when the stream has lost its end (CAPTURE_EFFECT_LOST_END). not_live() follows. */
void capture_leader_gap(struct capture_leader *r, const char *reason, const char *detail);

/* START_REPLICATION was refused because somebody uses the slot (55006): it is ended, and live() is called again when it is free. The caller has told
 * the core that it is deposed. */
void capture_leader_free_slot(struct capture_leader *r);

/* We end: puts on record what was confirmed. The session must be up until the answer has come, or it is lost, which does no harm. */
void capture_leader_resign(struct capture_leader *r);

/* Its settings have changed: fits the books to them again. */
void capture_leader_define(struct capture_leader *r);

/* --- what is known --- */

struct capture_leader_state {
	enum role role;
	int64_t epoch, schema; /* schema: its version, as the last session found it; 0 = none has, or it was refused */
	const char *trouble;   /* why it neither leads nor stands by; "" = it does */
	struct capture_upkeep_state
		of_slot; /* state, gap, slot, figures, publications, who is waited for: of who leads */
};
/* The texts live until the loop's next callback. */
struct capture_leader_state capture_leader_look(const struct capture_leader *r);

#endif
