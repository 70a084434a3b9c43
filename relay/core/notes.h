/* Notes for the log: a short queue. What finds no room is counted and dropped; nothing depends on a note. */
#ifndef BOXHAUL_CORE_NOTES_H
#define BOXHAUL_CORE_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vocabulary.h"

struct notes {
	struct note note[LIMIT_NOTES];
	size_t first, count;
	uint64_t dropped;
};

/* Adds one at the end, or drops it. */
void notes_add(struct notes *n, struct note note);

static inline bool notes_wait(const struct notes *n)
{
	return n->count > 0;
}

/* Takes the oldest. There must be one. */
struct note notes_take(struct notes *n);

#endif
