/* How badly the world of a seed behaves, drawn: what the plans of all worlds share.
 *
 * Half of all kinds of faults are off in any one seed, so that the others are seen in every pairing; in some seeds all but one. */
#ifndef SIM_DRAW_H
#define SIM_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "prng.h"

/* How many kinds are on, and how often they strike. */
enum mood {
	CALM,  /* none */
	LONE,  /* one, and no other: draw_only() of what was drawn as ALL */
	RACE,  /* a company that the world chooses */
	FEW,   /* one in eight */
	MILD,  /* half, seldom */
	ROUGH, /* half, often */
	ALL,
};

/* The rates of a plan: first the chances per million, then the mean times in us between two of a kind; 0: never. */
struct draw_rates {
	uint32_t *chance;
	int64_t *interval;
	size_t chances, intervals;
};

/* Of structures that hold nothing but such fields. */
#define DRAW_RATES(chance_, interval_)                                                                             \
	((struct draw_rates){ (uint32_t *)(chance_), (int64_t *)(interval_), sizeof *(chance_) / sizeof(uint32_t), \
			      sizeof *(interval_) / sizeof(int64_t) })

/* The rate of a kind, or 0. mild, rough: the highest; shortest_ms: the shortest mean time, in a rough seed. */
uint32_t draw_chance(struct prng *dice, enum mood mood, uint32_t mild, uint32_t rough);
int64_t draw_interval(struct prng *dice, enum mood mood, int64_t shortest_ms);

bool draw_is_on(const struct draw_rates *rates, size_t kind);
void draw_switch_off(const struct draw_rates *rates, size_t kind);

/* All but one are off. */
void draw_only(const struct draw_rates *rates, struct prng *dice);

uint32_t draw_one_of(struct prng *dice, const uint32_t *choice, size_t n);

#define ONE_OF(dice, ...) \
	draw_one_of(dice, (const uint32_t[]){ __VA_ARGS__ }, sizeof(uint32_t[]){ __VA_ARGS__ } / sizeof(uint32_t))

/* A size that somebody wants smaller; 0: as it is. */
void draw_at_most(uint32_t *what, uint32_t most);

#endif
