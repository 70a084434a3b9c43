/* Failpoints: every step between a committed row and a truncated slot, by name. A test chooses one, and what happens
 * there: the relay dies, freezes or is told that the step failed.
 *
 *     BOXHAUL_FAILPOINT=mark_sent=kill@3 boxhaul run ...       the third time; without @3 the first
 *
 *     kill    SIGKILL
 *     stall   SIGSTOP: nothing in the process moves until SIGCONT
 *     error   FAILPOINT() is true this once: the caller fails as its library would let it fail
 *
 * `boxhaul failpoints` lists them. All of this exists only in a build with configure --enable-failpoints; in any other
 * FAILPOINT() is false, and tests/no_failpoints.sh sees to it that nothing of it is left in the program. */
#ifndef BOXHAUL_BASE_FAILPOINT_H
#define BOXHAUL_BASE_FAILPOINT_H

#ifdef BOXHAUL_FAILPOINTS

#include <stdbool.h>
#include <stdio.h>

/* In the order of a message's life. What each means stands in failpoint.c. */
enum failpoint {
	FAILPOINT_lock_taken,
	FAILPOINT_lead_taken,
	FAILPOINT_exceptions_loaded,
	FAILPOINT_bus_connected,
	FAILPOINT_lookback_asked,
	FAILPOINT_lookback_answered,
	FAILPOINT_fetch_sent,
	FAILPOINT_rows_received,
	FAILPOINT_publishing,
	FAILPOINT_handed_over,
	FAILPOINT_written,
	FAILPOINT_ack_received,
	FAILPOINT_lease_renewed,
	FAILPOINT_marking,
	FAILPOINT_mark_sent,
	FAILPOINT_mark_answered,
	FAILPOINT_sleep_flagged,
	FAILPOINT_sleep_fenced,
	FAILPOINT_clean_sent,
	FAILPOINT_slot_emptied,
	FAILPOINT_drained,
	FAILPOINT_resigned,
	FAILPOINT_inbox_lead_taken,
	FAILPOINT_inbox_pulling,
	FAILPOINT_inbox_received,
	FAILPOINT_inbox_moving,
	FAILPOINT_inbox_move_sent,
	FAILPOINT_inbox_moved,
	FAILPOINT_inbox_handling,
	FAILPOINT_inbox_handled,
	FAILPOINT_saga_ticking,
	FAILPOINT_saga_ticked,
	FAILPOINT_move_expected,
	FAILPOINT_move_fencing,
	FAILPOINT_move_fenced,
	FAILPOINT_move_arrived,
	FAILPOINT_move_proved,
	FAILPOINT_move_sequenced,
	FAILPOINT_move_opened,
	FAILPOINT_move_given_up,
	FAILPOINT_COUNT
};

#define FAILPOINT(name) failpoint(FAILPOINT_##name)

/* Carries out what the environment asks for at this point; true: fail. On the loop's thread only. */
bool failpoint(enum failpoint point);

/* One per line: name, meaning. */
void failpoint_list(FILE *out);

#else

#define FAILPOINT(name) false

#endif

#endif
