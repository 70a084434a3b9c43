/* What one gives on the command line to make a seed smaller: less of everything, the dice the same. */
#ifndef SIM_OVERRIDES_H
#define SIM_OVERRIDES_H

#include <stdbool.h>
#include <stdint.h>

struct overrides {
	uint64_t without;      /* a bit for each fault that does not happen */
	uint64_t faults_until; /* only so many faults happen; UINT64_MAX = all */
	uint32_t dice;         /* the same plan with other dice; 0 = those that drew it */
	bool tight;            /* the core with very small limits, always */
	/* At most so many; 0 = as drawn. Each world has some of these: */
	uint32_t rows, messages, producers, subscriptions, hosts;
};

#endif
