#include "draw.h"

static bool is_off(struct prng *dice, enum mood mood)
{
	return mood < FEW || (mood != ALL && prng_below(dice, 8) >= (mood == FEW ? 1 : 4));
}

uint32_t draw_chance(struct prng *dice, enum mood mood, uint32_t mild, uint32_t rough)
{
	if (is_off(dice, mood))
		return 0;
	return (uint32_t)prng_between(dice, 1, mood == MILD ? mild : rough);
}

int64_t draw_interval(struct prng *dice, enum mood mood, int64_t shortest_ms)
{
	if (is_off(dice, mood))
		return 0;
	if (mood == MILD)
		shortest_ms *= 4;
	return prng_spread(dice, shortest_ms, shortest_ms * 20) * 1000;
}

bool draw_is_on(const struct draw_rates *rates, size_t kind)
{
	return kind < rates->chances ? rates->chance[kind] != 0 : rates->interval[kind - rates->chances] != 0;
}

void draw_switch_off(const struct draw_rates *rates, size_t kind)
{
	if (kind < rates->chances)
		rates->chance[kind] = 0;
	else
		rates->interval[kind - rates->chances] = 0;
}

void draw_only(const struct draw_rates *rates, struct prng *dice)
{
	size_t kinds = rates->chances + rates->intervals, lone = prng_below(dice, (uint32_t)kinds);

	for (size_t kind = 0; kind < kinds; kind++)
		if (kind != lone)
			draw_switch_off(rates, kind);
}

uint32_t draw_one_of(struct prng *dice, const uint32_t *choice, size_t n)
{
	return choice[prng_below(dice, n)];
}

void draw_at_most(uint32_t *what, uint32_t most)
{
	if (most != 0 && most < *what)
		*what = most;
}
