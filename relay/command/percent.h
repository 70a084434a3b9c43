/* How far a long work is, on stderr: on a terminal in place, in a log now and then. */
#ifndef BOXHAUL_COMMAND_PERCENT_H
#define BOXHAUL_COMMAND_PERCENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command/out.h"

struct percent {
	struct out out;
	const char *what; /* borrowed */
	uint64_t total;
	int64_t begun_ms, told_ms;
	bool drawn;
};

/* total 0: nobody knows how much there is to do. */
struct percent percent_begin(const char *what, uint64_t total);

/* So much is done. Cheap: it may be said of every single thing. */
void percent_at(struct percent *p, uint64_t done);

/* Takes away what was drawn. May be called more than once. */
void percent_end(struct percent *p);

/* "replay: 1200 of 2600 (46 %), 300 a second, 5 s left": what is said after so many seconds of work. Returns `to`. */
const char *percent_text(const struct percent *p, uint64_t done, double seconds, char *to, size_t size);

#endif
