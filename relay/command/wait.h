/* Waiting for the relay to do what it was asked for: `pause`, `drain`, `dead-letters redrive --wait`. */
#ifndef BOXHAUL_COMMAND_WAIT_H
#define BOXHAUL_COMMAND_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "command/command.h"
#include "command/out.h"
#include "edge/pg_session.h"

enum { WAIT_WHO_BYTES = 512 };

/* What is known of the relay meanwhile. */
struct wait_state {
	bool paused, quiet, leading;
	char who[WAIT_WHO_BYTES]; /* has paused it, since when and why */
	int64_t waiting;          /* the first message up to the one that was asked about that waits; 0 = none */
	int64_t lease_ms;         /* the last leader's, if it did not resign */
};

struct wait {
	struct pg_session *session;
	const struct call *call;
	struct out out;
	int64_t begun_ms, told_ms, led_ms;
	bool drawn;
};

struct wait wait_begin(struct pg_session *s, const struct call *call);

/* How things stand; up_to 0: `waiting` is not asked for. EXIT_OK, or it has said why they cannot be known. */
enum exit_code wait_look(struct wait *w, int64_t up_to, struct wait_state *state);

/* A pause in the looking, with a word of what is waited for; false when --timeout is over. */
bool wait_more(struct wait *w, const struct wait_state *state, const char *what);

/* Has nobody led for longer than a take-over takes? One that was cut off may publish until its lease ends. */
bool wait_nobody_leads(const struct wait *w, const struct wait_state *state);

/* Takes away what was drawn. May be called more than once. */
void wait_end(struct wait *w);

#endif
