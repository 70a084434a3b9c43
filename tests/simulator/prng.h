/* The only source of chance in the simulation: one generator, one seed, the same run bit for bit. */
#ifndef SIM_PRNG_H
#define SIM_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
	uint64_t state;
};

void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_next(struct prng *p);

/* 0 .. n-1; n > 0. */
uint64_t prng_below(struct prng *p, uint64_t n);

/* lo .. hi, both included. */
int64_t prng_between(struct prng *p, int64_t lo, int64_t hi);

/* lo .. hi, but small values as likely as great ones: the logarithm is even. */
int64_t prng_spread(struct prng *p, int64_t lo, int64_t hi);

/* True so many times in a million. */
bool prng_chance(struct prng *p, uint32_t per_million);

#endif
