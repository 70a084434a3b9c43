/* How does it go? One state, one sentence, and what to do about it: the page, /status, /readyz, the log and the supervisor's
 * line all say these, and none of them has words of its own.
 *
 * Pure: from the facts alone, whoever has collected them. */
#ifndef BOXHAUL_WATCH_VERDICT_H
#define BOXHAUL_WATCH_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

#include "watch/facts.h"

enum verdict_state {
	VERDICT_OK,
	VERDICT_STARTING, /* nothing has failed yet, and nothing is delivered yet */
	VERDICT_STANDBY,  /* another relay leads, and works */
	VERDICT_PAUSED,   /* an operator said so */
	VERDICT_STOPPING,
	VERDICT_DEGRADED, /* delivering, but something needs somebody */
	VERDICT_STALLED,  /* not delivering, though it should */
	VERDICT_STATES,
};

enum { VERDICT_SUMMARY_BYTES = 768, VERDICT_ACTION_BYTES = 2560 };

struct verdict {
	enum verdict_state state;
	bool ready;                          /* what /readyz answers: neither starting nor stalled */
	char summary[VERDICT_SUMMARY_BYTES]; /* one sentence, without a full stop */
	char action
		[VERDICT_ACTION_BYTES]; /* what to do; commands stand in `backquotes`, as they are to be typed; "" = nothing */
};

/* "ok", "starting", ...: the same in JSON, as a label in /metrics, and in the log. */
const char *verdict_state_text(enum verdict_state state);

/* The worst that is true of the facts. */
void verdict_of(const struct facts *f, struct verdict *v);

/* Everything that needs somebody, the worst first: writes one problem, moves *at (0 at first) behind it, and returns true; false
 * behind the last. The first is verdict_of()'s, if that is a problem. */
bool verdict_next_problem(const struct facts *f, size_t *at, struct verdict *v);

#endif
