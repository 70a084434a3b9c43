/* Messages that were redriven, until the relay has sent them: were they stored, or have they died again? */
#ifndef BOXHAUL_COMMAND_REDRIVEN_H
#define BOXHAUL_COMMAND_REDRIVEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command/command.h"
#include "edge/pg_session.h"

enum { REDRIVEN_REASONS = 8, REDRIVEN_REASON_BYTES = 256 };

/* All zero: none yet. */
struct redriven {
	int64_t *ids; /* that wait */
	size_t count, room;
	bool no_memory; /* of some nothing will be known */
	long long stored, dead;
	struct {
		char text[REDRIVEN_REASON_BYTES];
		long long count;
	} reasons[REDRIVEN_REASONS]; /* of those that have died again; the last one is of all others */
};

/* Adds what SQL says: "{1,2,3}". */
void redriven_add(struct redriven *r, const char *ids);
void redriven_free(struct redriven *r);

/* Waits for all of them, and tells what came of it. EXIT_OK: all were stored. */
enum exit_code redriven_wait(struct pg_session *s, const struct call *call, struct redriven *r);

#endif
