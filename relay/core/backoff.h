/* How long to wait before something that failed is tried again. */
#ifndef BOXHAUL_CORE_BACKOFF_H
#define BOXHAUL_CORE_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint64_t random;
};

/* Randomness that came with an event. */
static inline void backoff_stir(struct backoff *b, uint32_t random)
{
	b->random ^= (uint64_t)random << 16;
}

/* The pause after so many failures in a row: exponential from min_ms, at most max_ms, and never twice the same: between half of
 * that and all of it. */
int64_t backoff_pause_ms(struct backoff *b, uint32_t min_ms, uint32_t max_ms, uint32_t failures);

#endif
