/* How often something took how long: fixed buckets, no allocation, cheap enough for every message. */
#ifndef BOXHAUL_HISTOGRAM_H
#define BOXHAUL_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 20 };

/* The upper bound of each bucket, ascending. What took longer stands in one more. */
extern const int64_t histogram_bound_us[HISTOGRAM_BOUNDS];

struct histogram {
	uint64_t count[HISTOGRAM_BOUNDS + 1]; /* in this bucket alone */
	uint64_t sum_us;
};

/* A negative time counts as none. */
void histogram_add(struct histogram *h, int64_t took_us);

#endif
