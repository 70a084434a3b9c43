/* How often something took how long: fixed buckets, no allocation, cheap enough for every message. */
#ifndef BOXHAUL_BASE_HISTOGRAM_H
#define BOXHAUL_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 20 };

/* Longer than the longest bucket, and than any outage that is waited for. */
#define HISTOGRAM_MOST_US (INT64_C(30) * 24 * 3600 * 1000000)

/* The upper bound of each bucket, ascending. What took longer stands in one more. */
extern const int64_t histogram_bound_us[HISTOGRAM_BOUNDS];

struct histogram {
	uint64_t count[HISTOGRAM_BOUNDS + 1]; /* in this bucket alone */
	uint64_t sum_us;
};

/* A negative time counts as none, and one above HISTOGRAM_MOST_US as that in the sum: whoever owns the outbox may write any date as the
 * time of a row, and one from before there was a calendar would be all that the sum says from then on. */
void histogram_add(struct histogram *h, int64_t took_us);

#endif
