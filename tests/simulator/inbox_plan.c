#include "inbox_plan.h"

#include <string.h>

#include "draw.h"

static const char *const name_of_fault[INBOX_FAULTS] = {
#define AS_TEXT(name, ...) [INBOX_FAULT_##name] = #name,
	INBOX_CHANCES(AS_TEXT) INBOX_INTERVALS(AS_TEXT)
#undef AS_TEXT
};

static void draw_settings(struct inbox_settings *s, struct prng *dice)
{
	memset(s, 0, sizeof *s);
	s->dedupe = prng_below(dice, 4) == 0 ? INBOX_DEDUPE_POSITION : INBOX_DEDUPE_IDS;
	s->on_gap = prng_below(dice, 2) == 0 ? INBOX_ON_STOP : INBOX_ON_GO_ON;
	if (s->dedupe == INBOX_DEDUPE_IDS)
		s->on_recreated = prng_below(dice, 2) == 0 ? INBOX_ON_STOP : INBOX_ON_GO_ON;
	s->start =
		(enum inbox_start)ONE_OF(dice, INBOX_START_ALL, INBOX_START_ALL, INBOX_START_NEW, INBOX_START_SEQUENCE);
	s->start_sequence = (uint64_t)prng_between(dice, 1, 30);
	s->queue_messages = ONE_OF(dice, 1, 2, 3, 8, 17, 64, 256);
	s->queue_bytes = ONE_OF(dice, 1000, 4000, 20000, 1 << 20);
	s->take_messages = ONE_OF(dice, 1, 2, 5, 20, 100);
	s->take_bytes = ONE_OF(dice, 300, 2000, 1 << 20);
	s->large_bytes = 8000;
	s->heartbeat_ms = ONE_OF(dice, 50, 100, 250);
	s->expires_ms = s->heartbeat_ms * ONE_OF(dice, 2, 4, 10);
	s->answer_timeout_ms = ONE_OF(dice, 60, 150, 500);
	s->retry_min_ms = ONE_OF(dice, 2, 10, 50);
	s->retry_max_ms = s->retry_min_ms * ONE_OF(dice, 1, 4, 16);
	s->check_interval_ms = ONE_OF(dice, 300, 1000, 3000);
	s->follow_interval_ms = ONE_OF(dice, 50, 300, 2000);
}

static void draw_subscriptions(struct inbox_plan *p, struct prng *dice)
{
	p->subscriptions = (uint32_t)prng_between(dice, 1, MAX_SUBSCRIPTIONS);
	for (uint32_t i = 0; i < MAX_SUBSCRIPTIONS; i++) {
		draw_settings(&p->settings[i], dice);
		p->classes[i] = ONE_OF(dice, 7, 7, 1, 2, 3, 6);
		p->holds[i] = prng_below(dice, 2) == 0;
	}
}

static void draw_load(struct inbox_plan *p, struct prng *dice)
{
	p->server = (enum server)prng_below(dice, 3);
	p->hosts = prng_below(dice, 3) == 0 ? 2 : 1;
	p->workers = (uint32_t)prng_between(dice, 1, 4);
	p->keys = (uint32_t)prng_between(dice, 1, INBOX_KEYS - 1);
	p->messages = (uint32_t)prng_spread(dice, 50, 600);
	p->before = prng_below(dice, 2) == 0 ? 0 : (uint32_t)prng_between(dice, 0, 40);
	p->load_us = prng_between(dice, 2000, 8000) * 1000;
	p->idle_us = p->load_us / p->messages;
	p->unkeyed = ONE_OF(dice, 0, 100000, 500000);
	p->quiet = ONE_OF(dice, 0, 300000, 900000);
	p->max_attempts = (uint32_t)prng_between(dice, 1, 4);
	p->retention_us = prng_below(dice, 3) == 0 ? prng_between(dice, 50, 2000) * 1000 : 0;
	p->pg_us = prng_spread(dice, 50, 8000);
	p->bus_us = prng_spread(dice, 50, 8000);
	p->inactive_us = prng_between(dice, 500, 5000) * 1000;
	p->decides = prng_below(dice, 2) == 0;
}

static void draw_faults(struct inbox_plan *p, struct prng *dice, enum mood mood)
{
#define DRAW(name, ...) p->chance.name = draw_chance(dice, mood, __VA_ARGS__);
	INBOX_CHANCES(DRAW)
#undef DRAW
#define DRAW(name, ...) p->every.name = draw_interval(dice, mood, __VA_ARGS__);
	INBOX_INTERVALS(DRAW)
#undef DRAW
}

/* What is only wrong in rare company, in company: few kinds, at a rate that is not known in the real world, on slow
 * wires. */
static void draw_race(struct inbox_plan *p, struct prng *dice)
{
#define F(name) INBOX_FAULT_##name
	static const enum inbox_fault company[][4] = {
		{ F(operator_rewinds), F(delivery_late), F(heartbeat_late), F(pull_lost) },
		{ F(end_lost), F(answer_late), F(consumer_left), F(heartbeat_late) },
		{ F(expiry), F(answer_late), F(query_slow), F(delivery_late) },
		{ F(recreated), F(answer_late), F(consumer_left), F(consumer_deleted) },
		{ F(recreated), F(end_lost), F(bus_lost), F(consumer_left) },
		{ F(expiry), F(credit_closed), F(copy_later), F(deletion) },
	};
#undef F
	const enum inbox_fault *with = company[prng_below(dice, sizeof company / sizeof company[0])];

	for (int i = 0; i < 4; i++)
		if (with[i] < INBOX_FIRST_INTERVAL)
			((uint32_t *)&p->chance)[with[i]] = 150000;
		else
			((int64_t *)&p->every)[with[i] - INBOX_FIRST_INTERVAL] = prng_between(dice, 60, 250) * 1000;
	p->bus_us = prng_between(dice, 2000, 20000);
	p->quiet = prng_below(dice, 2) == 0 ? 500000 : p->quiet;
}

static struct draw_rates rates(struct inbox_plan *p)
{
	return DRAW_RATES(&p->chance, &p->every);
}

void inbox_plan_draw(struct inbox_plan *p, struct prng *dice)
{
	static const enum mood of_eight[] = { CALM, LONE, RACE, RACE, FEW, MILD, ROUGH, ROUGH };
	enum mood mood = of_eight[prng_below(dice, 8)];
	struct draw_rates all = rates(p);

	memset(p, 0, sizeof *p);
	draw_subscriptions(p, dice);
	draw_load(p, dice);
	draw_faults(p, dice, mood == LONE ? ALL : mood);
	if (mood == LONE)
		draw_only(&all, dice);
	else if (mood == RACE)
		draw_race(p, dice);
	if (p->every.second_leader > 0 || p->chance.freeze > 0)
		p->hosts = 2;
}

void inbox_plan_shrink(struct inbox_plan *p, const struct overrides *o)
{
	draw_at_most(&p->messages, o->messages);
	draw_at_most(&p->before, p->messages);
	draw_at_most(&p->hosts, o->hosts);
	draw_at_most(&p->subscriptions, o->subscriptions);
}

const char *inbox_fault_name(enum inbox_fault f)
{
	return name_of_fault[f];
}

bool inbox_plan_has(const struct inbox_plan *p, enum inbox_fault f)
{
	struct inbox_plan copy = *p; /* so that no cast takes const away */
	struct draw_rates all = rates(&copy);

	return draw_is_on(&all, f);
}
