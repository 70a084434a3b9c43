/* Half of all faults are off in any one seed, so that the others are seen alone and in every pairing. */
#include "plan.h"

#include <string.h>

enum mood { CALM, MILD, ROUGH };

static uint32_t one_of(struct prng *dice, const uint32_t *choice, size_t n)
{
	return choice[prng_below(dice, n)];
}

#define ONE_OF(dice, ...) \
	one_of(dice, (const uint32_t[]){ __VA_ARGS__ }, sizeof(uint32_t[]){ __VA_ARGS__ } / sizeof(uint32_t))

static uint32_t chance(struct prng *dice, enum mood mood, uint32_t mild, uint32_t rough)
{
	if (mood == CALM || prng_below(dice, 2) == 0)
		return 0;
	return (uint32_t)prng_between(dice, 1, mood == MILD ? mild : rough);
}

static int64_t interval(struct prng *dice, enum mood mood, int64_t shortest_ms)
{
	if (mood == CALM || prng_below(dice, 2) == 0)
		return 0;
	if (mood == MILD)
		shortest_ms *= 4;
	return prng_spread(dice, shortest_ms, shortest_ms * 20) * 1000;
}

static void draw_settings(struct delivery_settings *s, struct prng *dice)
{
	memset(s, 0, sizeof *s);
	s->ordering = (enum ordering)ONE_OF(dice, ORDERING_STRICT, ORDERING_STRICT, ORDERING_STRICT, ORDERING_STRICT,
					    ORDERING_STRICT, ORDERING_STRICT, ORDERING_PIPELINED, ORDERING_NONE);
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
	p->decides = prng_below(dice, 2) == 0;
	p->audits = prng_below(dice, 4) == 0;
	p->pg_us = prng_spread(dice, 50, 5000);
	p->bus_us = prng_spread(dice, 50, 8000);
	p->retention_us = prng_below(dice, 2) == 0 ? 0 : prng_between(dice, 50, 3000) * 1000;
}

static void draw_chances(struct chances *c, struct prng *dice, enum mood mood)
{
	c->abort = chance(dice, mood, 50000, 300000);
	c->savepoint = chance(dice, mood, 50000, 200000);
	c->prepare = chance(dice, mood, 5000, 30000);
	c->slow_step = chance(dice, mood, 20000, 100000);
	c->long_tx = chance(dice, mood, 10000, 50000);
	c->big_tx = chance(dice, mood, 2000, 10000);
	c->poison = chance(dice, mood, 5000, 50000);
	c->defect = chance(dice, mood, 5000, 50000);
	c->publish_lost = chance(dice, mood, 5000, 100000);
	c->publish_late = chance(dice, mood, 5000, 100000);
	c->proposal_lost = chance(dice, mood, 5000, 100000);
	c->ack_lost = chance(dice, mood, 5000, 100000);
	c->ack_late = chance(dice, mood, 5000, 100000);
	c->ack_twice = chance(dice, mood, 5000, 100000);
	c->garbage = chance(dice, mood, 2000, 20000);
	c->query_slow = chance(dice, mood, 1000, 10000);
	c->fetch_failed = chance(dice, mood, 2000, 50000);
	c->notify_lost = chance(dice, mood, 100000, 500000);
	c->crash = chance(dice, mood, 300, 3000);
}

static void draw_intervals(struct intervals *e, struct prng *dice, enum mood mood)
{
	e->session_lost = interval(dice, mood, 300);
	e->database_crash = interval(dice, mood, 1500);
	e->horizon_held = interval(dice, mood, 300);
	e->bus_lost = interval(dice, mood, 200);
	e->pause = interval(dice, mood, 500);
	e->kill = interval(dice, mood, 500);
	e->stream_down = interval(dice, mood, 500);
	e->stream_full = interval(dice, mood, 500);
	e->stream_silent = interval(dice, mood, 500);
	e->stream_busy = interval(dice, mood, 300);
	e->lane_refused = interval(dice, mood, 300);
}

void plan_draw(struct plan *p, struct prng *dice)
{
	enum mood mood = prng_below(dice, 8) == 0 ? CALM : prng_below(dice, 2) == 0 ? MILD : ROUGH;

	memset(p, 0, sizeof *p);
	draw_settings(&p->settings, dice);
	draw_load(p, dice);
	draw_chances(&p->chance, dice, mood);
	draw_intervals(&p->every, dice, mood);
	p->clustered = mood != CALM && prng_below(dice, 3) == 0;
	p->in_process = prng_below(dice, 2) == 0;
	p->taps = prng_below(dice, 4) == 0;
	p->long_window = prng_below(dice, 4) != 0;
	p->window_us = p->long_window ? INT64_C(86400) * 1000000 : prng_between(dice, 100, 2000) * 1000;
	/* In the calm seeds nothing may be sent twice: answers are always in time. */
	if (mood == CALM && (int64_t)p->settings.ack_timeout_ms * 1000 < 4 * p->bus_us + 10000)
		p->bus_us = 1000;
}
