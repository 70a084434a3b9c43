/* What is not known of a message that was sent: may a copy of it be stored, and if so, where? (G4)
 *
 *     never sent --begin--> may be stored, above the low water --end (refused)--> never sent
 *                                |
 *                                +-- of, when it is parked: goes into the books --> restore, when it is offered again
 *
 * These functions alone write struct copies. They ask and change one message, and nothing else. */
#ifndef BOXHAUL_CORE_SEND_DOUBT_H
#define BOXHAUL_CORE_SEND_DOUBT_H

#include <assert.h>

#include "core/mutant.h"
#include "core/send/lanes.h"

/* m is being sent, and whatever its stream stores from now on stands above `top`. */
static inline void doubt_begin(struct message *m, int64_t now_ms, uint64_t top)
{
	struct copies *c = &m->copies;

	c->last_ms = now_ms;
	if (c->count < UINT16_MAX)
		c->count++;
	if (c->first_ms == NEVER)
		c->first_ms = now_ms;
	if (c->low_water > top)
		c->low_water = MUTANT(low_water_too_high) ? top + 2 : top;
	assert(c->count > 0 && c->low_water != LOW_WATER_NONE);
}

/* The publish in flight was refused: that copy is not stored. */
void doubt_end(struct message *m);

/* Its stream has lost its end: a copy may stand anywhere. */
void doubt_anywhere(struct message *m);

/* What the books are to know of it, and m as they know it. */
struct doubt doubt_of(const struct message *m);
void doubt_restore(struct message *m, struct doubt doubt);

/* A copy may be stored that was not looked for since. */
static inline bool doubt_is_open(const struct message *m)
{
	return m->copies.first_ms != NEVER;
}

#endif
