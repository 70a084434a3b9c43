#include "core/backoff.h"

#include <assert.h>

static uint64_t draw(struct backoff *b)
{
	uint64_t x = b->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

int64_t backoff_pause_ms(struct backoff *b, uint32_t min_ms, uint32_t max_ms, uint32_t failures)
{
	uint64_t pause = max_ms;

	assert(min_ms <= max_ms);
	if (failures < 32 && ((uint64_t)min_ms << failures) < pause)
		pause = (uint64_t)min_ms << failures;
	return (int64_t)(pause / 2 + draw(b) % (pause / 2 + 1));
}
