/* The steps of who looks after a slot (flow/capture_upkeep.h), one at a time: what its files share, and nobody else sees. */
#ifndef BOXHAUL_FLOW_CAPTURE_UPKEEP_STEPS_H
#define BOXHAUL_FLOW_CAPTURE_UPKEEP_STEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/capture_ledger.h"
#include "config/config.h"
#include "edge/loop.h"
#include "edge/pg.h"
#include "flow/capture_gap.h"
#include "flow/capture_slot.h"
#include "flow/capture_upkeep_handlers.h"
#include "flow/served.h"

enum {
	CAPTURE_UPKEEP_RETRY_MS = 2000,
	CAPTURE_UPKEEP_STEP_MS = 200,  /* a slot that is being let go of is looked at again */
	CAPTURE_UPKEEP_LOOK_MS = 5000, /* the slot */
};

struct capture_upkeep {
	struct pg *pg;
	const struct config *config;
	size_t index;
	struct log *log;
	struct capture_upkeep_handlers handlers;
	struct loop_timer *timer;
	struct capture_slot *slot;
	bool on, asking; /* on: we lead; asking: the step under way has its answer to come */
	int64_t epoch;
	struct served_place place;
	uint64_t confirmed; /* the slot stands no higher, for nobody but us moves it; 0: not known yet */
	bool alone; /* no earlier leader can be sending: it resigned, it was ourselves, or the slot was made in this lead */
	bool live, known, over_budget, in_gap; /* in_gap: it was told */
	uint64_t pass;                         /* the highest number of a verify pass that was taken up in this lead */
	uint64_t made_lsn;                     /* the slot was made, and that is not on record yet; 0: it was not */
	struct capture_ledger_books books;
	struct capture_ledger_look look;
	int64_t asked_ms, compare_ms, waits_ms, waits_since_ms;
	char trouble[CAPTURE_UPKEEP_WORDS], differs[CAPTURE_UPKEEP_WORDS], waits_for[CAPTURE_UPKEEP_WORDS];
	struct capture_gap gap; /* to be put on record */
};

const struct config_capture *capture_upkeep_capture(const struct capture_upkeep *u);

/* A statement was handed over, or it was not: what could not be asked has no answer to wait for, so it begins again with another session. */
void capture_upkeep_sent(struct capture_upkeep *u, bool asked);

/* The same of a step: nothing else is asked until its answer has come. */
void capture_upkeep_ask(struct capture_upkeep *u, bool asked);

/* The step is over; the next look comes in a while. */
void capture_upkeep_again(struct capture_upkeep *u, int64_t wait_ms);

/* What keeps it from going on: logged where it is another one than before. */
void capture_upkeep_trouble(struct capture_upkeep *u, const char *what, const char *why, const char *mend);

void capture_upkeep_stop_being_live(struct capture_upkeep *u, const char *why);

/* Nothing is known any more, no step is under way and no handler called. */
void capture_upkeep_forget(struct capture_upkeep *u);

/* Our epoch is over. */
void capture_upkeep_over(struct capture_upkeep *u);

/* A statement under our epoch was refused: another epoch is current, for an operator has changed the books; or it is the session's trouble. */
void capture_upkeep_begin_anew(struct capture_upkeep *u, const struct pg_result *result);

#endif
