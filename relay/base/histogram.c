#include "base/histogram.h"

/* From a broker next door to an outage of hours: two or three steps a decade. */
const int64_t histogram_bound_us[HISTOGRAM_BOUNDS] = {
	250,    500,     1000,    2500,    5000,     10000,    25000,    50000,     100000,     250000,
	500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000, 1800000000, 7200000000,
};

void histogram_add(struct histogram *h, int64_t took_us)
{
	int i = 0;

	if (took_us < 0)
		took_us = 0;
	/* Most end in one of the first few. */
	while (i < HISTOGRAM_BOUNDS && took_us > histogram_bound_us[i])
		i++;
	h->count[i]++;
	h->sum_us += (uint64_t)(took_us < HISTOGRAM_MOST_US ? took_us : HISTOGRAM_MOST_US);
}
