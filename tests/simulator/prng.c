/* splitmix64: tiny, and good enough to throw dice with. */
#include "prng.h"

void prng_seed(struct prng *p, uint64_t seed)
{
	p->state = seed;
	prng_next(p);
}

uint64_t prng_next(struct prng *p)
{
	uint64_t z = p->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t prng_below(struct prng *p, uint64_t n)
{
	return prng_next(p) % n;
}

int64_t prng_between(struct prng *p, int64_t lo, int64_t hi)
{
	return lo + (int64_t)prng_below(p, (uint64_t)(hi - lo) + 1);
}

int64_t prng_spread(struct prng *p, int64_t lo, int64_t hi)
{
	int64_t top = lo;

	/* Doubles the range with even chances, then takes any value in it. */
	while (top < hi && prng_below(p, 4) != 0)
		top = top * 2 < hi ? top * 2 + 1 : hi;
	return prng_between(p, lo, top);
}

bool prng_chance(struct prng *p, uint32_t per_million)
{
	return per_million > 0 && prng_below(p, 1000000) < per_million;
}
