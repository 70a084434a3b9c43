#include "saga_plan.h"

#include <string.h>

#include "draw.h"

static const char *const name_of_fault[SAGA_FAULTS] = {
#define AS_TEXT(name, ...) [SAGA_FAULT_##name] = #name,
	SAGA_CHANCES(AS_TEXT) SAGA_INTERVALS(AS_TEXT)
#undef AS_TEXT
};

static void draw_step(struct saga_step *step, struct prng *dice)
{
	step->service = prng_below(dice, 8) == 0 ? 0 : (uint8_t)prng_between(dice, 1, SAGA_SERVICES - 1);
	step->has_undo = step->kind == KIND_undoable && prng_below(dice, 5) != 0;
	step->payload = step->service != 0 && prng_below(dice, 2) == 0;
	step->retries = (uint16_t)prng_below(dice, 4);
	/* Some are shorter than the way there and back: then everything is asked for many times. */
	step->deadline_us = prng_spread(dice, 5, 2000) * 1000;
}

/* First those that can be undone, then at most one pivot, then those that succeed in the end. */
static void draw_definition(struct saga_definition *d, struct prng *dice)
{
	uint8_t undoable = (uint8_t)prng_below(dice, 4), retriable = (uint8_t)prng_below(dice, 3);
	bool pivot = prng_below(dice, 4) != 0;
	int32_t rest = 0;
	uint8_t last = SAGA_STEPS;

	d->steps = undoable + pivot + retriable;
	d->steps += d->steps == 0;
	for (uint8_t i = 0; i < d->steps; i++) {
		struct saga_step *step = &d->step[i];

		if (i >= undoable)
			step->kind = pivot && i == undoable ? KIND_pivot : KIND_retriable;
		draw_step(step, dice);
		if (step->kind == KIND_undoable && !step->has_undo)
			continue; /* harmless */
		step->moves = (int32_t)prng_between(dice, 1, 1000);
		rest += step->moves;
		last = i;
	}
	if (last < SAGA_STEPS)
		d->step[last].moves -= rest;
}

static void draw_load(struct saga_plan *p, struct prng *dice)
{
	p->definitions = (uint32_t)prng_between(dice, 1, SAGA_DEFINITIONS);
	for (uint32_t i = 0; i < SAGA_DEFINITIONS; i++)
		draw_definition(&p->definition[i], dice);
	p->sagas = (uint32_t)prng_between(dice, 1, MAX_SAGAS);
	p->clocks = prng_below(dice, 3) == 0 ? 2 : 1;
	p->two_streams = prng_below(dice, 2) == 0;
	p->poison = prng_below(dice, 4) == 0;
	p->locked = prng_below(dice, 2) == 0 ? 500000 : 0;
	p->retention_us = prng_below(dice, 5) == 0 ? prng_spread(dice, 50, 3000) * 1000 : 0;
	p->load_us = prng_between(dice, 300, 3000) * 1000;
	p->tick_us = prng_spread(dice, 5, 1000) * 1000;
	p->wire_us = prng_spread(dice, 100, 20000);
	p->pg_us = prng_spread(dice, 50, 5000);
	p->decide_us = prng_spread(dice, 10, 3000) * 1000;
}

static void draw_faults(struct saga_plan *p, struct prng *dice, enum mood mood)
{
#define DRAW(name, ...) p->chance.name = draw_chance(dice, mood, __VA_ARGS__);
	SAGA_CHANCES(DRAW)
#undef DRAW
#define DRAW(name, ...) p->every.name = draw_interval(dice, mood, __VA_ARGS__);
	SAGA_INTERVALS(DRAW)
#undef DRAW
}

static struct draw_rates rates(struct saga_plan *p)
{
	return DRAW_RATES(&p->chance, &p->every);
}

void saga_plan_draw(struct saga_plan *p, struct prng *dice)
{
	static const enum mood of_eight[] = { CALM, LONE, FEW, FEW, MILD, MILD, ROUGH, ROUGH };
	enum mood mood = of_eight[prng_below(dice, 8)];
	struct draw_rates all = rates(p);

	memset(p, 0, sizeof *p);
	draw_load(p, dice);
	draw_faults(p, dice, mood == LONE ? ALL : mood);
	if (mood == LONE)
		draw_only(&all, dice);
	/* What is kept for a month is older than all that a failover takes back. Here a load is over in seconds. */
	if (p->retention_us > 0)
		p->every.desk_failover = p->every.part_failover = 0;
}

void saga_plan_shrink(struct saga_plan *p, const struct overrides *o)
{
	draw_at_most(&p->sagas, o->rows);
	draw_at_most(&p->clocks, o->hosts);
}

const char *saga_fault_name(enum saga_fault f)
{
	return name_of_fault[f];
}

bool saga_plan_has(const struct saga_plan *p, enum saga_fault f)
{
	struct saga_plan copy = *p; /* so that no cast takes const away */
	struct draw_rates all = rates(&copy);

	return draw_is_on(&all, f);
}
