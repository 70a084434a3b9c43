#include "plan.h"

#include <string.h>

#include "draw.h"

static const char *const name_of_fault[FAULTS] = {
#define AS_TEXT(name, ...) [FAULT_##name] = #name,
	CHANCES(AS_TEXT) INTERVALS(AS_TEXT)
#undef AS_TEXT
};

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
#define DRAW(name, ...) p->chance.name = draw_chance(dice, mood, __VA_ARGS__);
	CHANCES(DRAW)
#undef DRAW
#define DRAW(name, ...) p->every.name = draw_interval(dice, mood, __VA_ARGS__);
	INTERVALS(DRAW)
#undef DRAW
}

static struct draw_rates rates(struct plan *p)
{
	return DRAW_RATES(&p->chance, &p->every);
}

/* Which streams are owned; the configuration demands what goes with it. */
static void draw_owned(struct delivery_settings *s, struct prng *dice)
{
	if (s->ordering != ORDERING_STRICT || prng_below(dice, 2) == 0)
		return;
	s->owned = (uint32_t)prng_between(dice, 1, (1 << s->streams) - 1);
	s->owned_stays = prng_below(dice, 3) == 0;
	s->foreign_passes = prng_below(dice, 2) == 0 ? s->owned : 0;
	s->poison = POISON_SKIP;
}

/* Which streams may be sent to by batches, and how long those are. */
static void draw_batches(struct plan *p, struct prng *dice)
{
	if (prng_below(dice, 2) == 0)
		return;
	p->batches = (uint32_t)prng_between(dice, 1, (1 << p->settings.streams) - 1);
	for (uint32_t i = 0; i < p->settings.streams; i++)
		p->settings.batch_messages[i] = ONE_OF(dice, 0, 2, 3, 5, 12, 30);
	p->batch_idle_us = (int64_t)ONE_OF(dice, 50, 300, 10000) * 1000;
}

/* Batches are rare where leads and connections never last, and where rows come in drops: in most of their seeds none of that is so. */
static void press_batches(struct plan *p, struct prng *dice)
{
	static const enum fault in_the_way[] = { FAULT_session_lost,
						 FAULT_database_crash,
						 FAULT_failover,
						 FAULT_switchover,
						 FAULT_bus_lost,
						 FAULT_pause,
						 FAULT_kill,
						 FAULT_drain,
						 FAULT_crash,
						 FAULT_freeze,
						 FAULT_socket_full,
						 FAULT_server_restart,
						 FAULT_reload,
						 FAULT_operator_pause,
						 FAULT_stream_truncated,
						 FAULT_stream_recreated };
	struct draw_rates all = rates(p);

	if (p->batches == 0 || prng_below(dice, 4) == 0)
		return;
	for (size_t i = 0; i < sizeof in_the_way / sizeof in_the_way[0]; i++)
		if (prng_below(dice, 5) != 0)
			draw_switch_off(&all, in_the_way[i]);
	p->settings.window_messages = ONE_OF(dice, 7, 16, 20, 64);
	p->settings.queue_messages = 64;
	p->settings.window_bytes = ONE_OF(dice, 4000, 1 << 20, 1 << 20);
	p->settings.queue_bytes = 1 << 20;
	p->chance.big_tx = (uint32_t)prng_spread(dice, 1000, 300000);
	p->idle_us = prng_below(dice, 2) == 0 ? p->idle_us : p->idle_us / 10;
	p->keys = (uint32_t)prng_spread(dice, 1, 20);
}

void plan_draw(struct plan *p, struct prng *dice)
{
	static const enum mood of_eight[] = { CALM, LONE, FEW, MILD, MILD, ROUGH, ROUGH, ROUGH };
	enum mood mood = of_eight[prng_below(dice, 8)];
	struct draw_rates all = rates(p);

	memset(p, 0, sizeof *p);
	draw_settings(&p->settings, dice);
	draw_load(p, dice);
	draw_faults(p, dice, mood == LONE ? ALL : mood);
	if (mood == LONE)
		draw_only(&all, dice);
	draw_batches(p, dice);
	if (mood != CALM && mood != LONE)
		press_batches(p, dice);
	/* Who stands still is of interest where another takes over. */
	if (p->every.pause > 0 || p->chance.freeze > 0)
		p->hosts = 2;
	p->clustered = mood != CALM && (p->every.election > 0 || prng_below(dice, 3) == 0);
	p->order_first = prng_below(dice, 2) == 0;
	p->in_process = prng_below(dice, 2) == 0;
	draw_owned(&p->settings, dice);
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
	draw_at_most(&p->rows, o->rows);
	draw_at_most(&p->hosts, o->hosts);
	draw_at_most(&p->producers, o->producers);
	p->small |= o->tight;
}

const char *fault_name(enum fault f)
{
	return name_of_fault[f];
}

bool plan_has(const struct plan *p, enum fault f)
{
	struct plan copy = *p; /* so that no cast takes const away */
	struct draw_rates all = rates(&copy);

	return draw_is_on(&all, f);
}
