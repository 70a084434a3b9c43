/* Half of all faults are off in any one seed, so that the others are seen in every pairing; in some seeds all but one. */
#include "plan.h"

#include <string.h>

enum mood { CALM, LONE, FEW, MILD, ROUGH };

static const char *const name_of_fault[FAULTS] = {
#define AS_TEXT(name, ...) [FAULT_##name] = #name,
	CHANCES(AS_TEXT) INTERVALS(AS_TEXT)
#undef AS_TEXT
};

static uint32_t one_of(struct prng *dice, const uint32_t *choice, size_t n)
{
	return choice[prng_below(dice, n)];
}

#define ONE_OF(dice, ...) \
	one_of(dice, (const uint32_t[]){ __VA_ARGS__ }, sizeof(uint32_t[]){ __VA_ARGS__ } / sizeof(uint32_t))

static bool is_off(struct prng *dice, enum mood mood)
{
	return mood <= LONE || prng_below(dice, 8) >= (mood == FEW ? 1 : 4);
}

static uint32_t chance(struct prng *dice, enum mood mood, uint32_t mild, uint32_t rough)
{
	if (is_off(dice, mood))
		return 0;
	return (uint32_t)prng_between(dice, 1, mood == MILD ? mild : rough);
}

static int64_t interval(struct prng *dice, enum mood mood, int64_t shortest_ms)
{
	if (is_off(dice, mood))
		return 0;
	if (mood == MILD)
		shortest_ms *= 4;
	return prng_spread(dice, shortest_ms, shortest_ms * 20) * 1000;
}

static void draw_settings(struct delivery_settings *s, struct prng *dice)
{
	memset(s, 0, sizeof *s);
	s->ordering = (enum ordering)ONE_OF(dice, ORDERING_STRICT, ORDERING_STRICT, ORDERING_STRICT, ORDERING_STRICT,
					    ORDERING_STRICT, ORDERING_PIPELINED, ORDERING_PIPELINED, ORDERING_NONE);
	s->poison = prng_below(dice, 2) == 0 ? POISON_SKIP : POISON_HOLD;
	s->streams = (uint32_t)prng_between(dice, 1, 3);
	s->window_messages = ONE_OF(dice, 1, 2, 3, 4, 7, 16, 20, 64);
	s->window_bytes = ONE_OF(dice, 600, 4000, 1 << 20);
	s->queue_messages = ONE_OF(dice, 8, 9, 16, 33, 64);
	if (s->queue_messages < s->window_messages)
		s->window_messages = s->queue_messages;
	s->queue_bytes = ONE_OF(dice, 2500, 10000, 1 << 20);
	if (s->queue_bytes < s->window_bytes)
		s->window_bytes = s->queue_bytes;
	s->ack_timeout_ms = ONE_OF(dice, 30, 60, 100, 250, 1000);
	s->retry_min_ms = ONE_OF(dice, 1, 5, 20, 50);
	s->retry_max_ms = s->retry_min_ms * ONE_OF(dice, 1, 4, 16, 40);
	s->mark_interval_ms = ONE_OF(dice, 0, 1, 5, 20, 100);
	s->grace_ms = ONE_OF(dice, 0, 0, 5, 50, 200);
	s->lease_ms = ONE_OF(dice, 300, 1000, 3000, 10000);
	s->sleep_after_ms = ONE_OF(dice, 5, 20, 100, 1000);
	s->safety_poll_ms = ONE_OF(dice, 500, 1000, 3000, 10000);
	s->missing_pause_us = ONE_OF(dice, 0, 1000, 5000, 30000, 500000);
}

static void draw_load(struct plan *p, struct prng *dice)
{
	p->hosts = prng_below(dice, 3) == 0 ? 2 : 1;
	p->keys = (uint32_t)prng_spread(dice, 1, 20);
	p->producers = (uint32_t)prng_between(dice, 1, 12);
	p->rows = (uint32_t)prng_spread(dice, 100, 2500);
	p->load_us = prng_between(dice, 2000, 12000) * 1000;
	/* A load that can be over in time, or else one that comes in drops and lets the relay sleep. */
	p->idle_us =
		prng_below(dice, 3) == 0 ? prng_between(dice, 50000, 1500000) : 2 * p->load_us * p->producers / p->rows;
	p->unkeyed = ONE_OF(dice, 0, 100000, 300000, 900000);
	p->key_picks_stream = prng_below(dice, 2) == 0;
	p->overlaps = prng_below(dice, 8) == 0;
	p->decides = prng_below(dice, 2) == 0;
	p->audits = prng_below(dice, 4) == 0;
	p->small = prng_below(dice, 4) == 0;
	p->mark_apart = prng_below(dice, 4) == 0;
	p->pg_us = prng_spread(dice, 50, 5000);
	p->bus_us = prng_spread(dice, 50, 8000);
	p->retention_us = prng_below(dice, 2) == 0 ? 0 : prng_between(dice, 20, 3000) * 1000;
	p->slot_us = p->retention_us > 0 ? p->retention_us / 4 : 1000000;
}

/* The order of the table is the order of the draws. */
static void draw_faults(struct plan *p, struct prng *dice, enum mood mood)
{
#define DRAW(name, ...) p->chance.name = chance(dice, mood, __VA_ARGS__);
	CHANCES(DRAW)
#undef DRAW
#define DRAW(name, ...) p->every.name = interval(dice, mood, __VA_ARGS__);
	INTERVALS(DRAW)
#undef DRAW
}

static uint32_t *chance_of(struct plan *p, enum fault f)
{
	return (uint32_t *)&p->chance + f;
}

static int64_t *interval_of(struct plan *p, enum fault f)
{
	return (int64_t *)&p->every + (f - FIRST_INTERVAL);
}

/* One kind of fault and no other. (Drawn with all the others, until it is on.) */
static void draw_lone_fault(struct plan *p, struct prng *dice)
{
	enum fault lone = (enum fault)prng_below(dice, FAULTS);

	do
		draw_faults(p, dice, ROUGH);
	while (!plan_has(p, lone));
	for (enum fault f = 0; f < FIRST_INTERVAL; f++)
		*chance_of(p, f) *= f == lone;
	for (enum fault f = FIRST_INTERVAL; f < FAULTS; f++)
		*interval_of(p, f) *= f == lone;
}

void plan_draw(struct plan *p, struct prng *dice)
{
	static const enum mood of_eight[] = { CALM, LONE, FEW, MILD, MILD, ROUGH, ROUGH, ROUGH };
	enum mood mood = of_eight[prng_below(dice, 8)];

	memset(p, 0, sizeof *p);
	draw_settings(&p->settings, dice);
	draw_load(p, dice);
	if (mood == LONE)
		draw_lone_fault(p, dice);
	else
		draw_faults(p, dice, mood);
	/* Who stands still is of interest where another takes over. */
	if (p->every.pause > 0 || p->chance.freeze > 0)
		p->hosts = 2;
	p->clustered = mood != CALM && (p->every.election > 0 || prng_below(dice, 3) == 0);
	p->in_process = prng_below(dice, 2) == 0;
	p->taps = prng_below(dice, 4) == 0;
	p->long_window = prng_below(dice, 2) == 0;
	p->forgets = !p->long_window && prng_below(dice, 2) == 0;
	p->window_us = p->long_window ? INT64_C(86400) * 1000000 : prng_between(dice, 100, 2000) * 1000;
	/* In the calm seeds nothing may be sent twice: answers are always in time. */
	if (mood == CALM && (int64_t)p->settings.ack_timeout_ms * 1000 < 4 * p->bus_us + 10000)
		p->bus_us = 1000;
}

void plan_shrink(struct plan *p, const struct overrides *o)
{
	if (o->rows != 0 && o->rows < p->rows)
		p->rows = o->rows;
	if (o->hosts != 0 && o->hosts < p->hosts)
		p->hosts = o->hosts;
	p->small |= o->tight;
	if (o->producers != 0 && o->producers < p->producers)
		p->producers = o->producers;
}

const char *fault_name(enum fault f)
{
	return name_of_fault[f];
}

bool plan_has(const struct plan *p, enum fault f)
{
	if (f < FIRST_INTERVAL)
		return ((const uint32_t *)&p->chance)[f] != 0;
	return ((const int64_t *)&p->every)[f - FIRST_INTERVAL] != 0;
}
