/* The last ten minutes, for the page: a sample every four seconds. */
#ifndef BOXHAUL_WATCH_HISTORY_H
#define BOXHAUL_WATCH_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "watch/facts.h"

enum { HISTORY_SAMPLES = 150, HISTORY_STEP_MS = 4000 };

/* Zeroed, it is empty. */
struct history {
	struct history_sample {
		int64_t at_ms;
		uint64_t acks;  /* since the start */
		int64_t lag_us; /* negative = not known */
	} sample[HISTORY_SAMPLES];
	size_t next, count;
};

/* Adds what is so now, in the place of the oldest if there is no room. */
void history_add(struct history *h, const struct facts *f);

/* The n-th sample, the oldest first; n < count. */
const struct history_sample *history_at(const struct history *h, size_t n);

/* Acknowledgements a second for about so many seconds before now, or since the oldest sample; now there are `acks`. Negative = not known. */
double history_rate(const struct history *h, int64_t now_ms, uint64_t acks, int64_t seconds);

#endif
