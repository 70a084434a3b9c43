/* As in plan.c: half of all faults are off in any one seed, so that the others are seen in every pairing. */
#include "capture_plan.h"

#include <string.h>

#include "draw.h"

static const char *const name_of_fault[CAPTURE_FAULTS] = {
#define AS_TEXT(name, ...) [CAPTURE_FAULT_##name] = #name,
	CAPTURE_CHANCES(AS_TEXT) CAPTURE_INTERVALS(AS_TEXT)
#undef AS_TEXT
};

static void draw_settings(struct capture_settings *s, struct prng *dice)
{
	struct delivery_settings *d = &s->send;

	memset(s, 0, sizeof *s);
	d->ordering = ORDERING_STRICT;
	d->poison = POISON_SKIP;
	d->streams = 1;
	d->window_messages = ONE_OF(dice, 1, 3, 16, 64);
	d->window_bytes = ONE_OF(dice, 300, 4000, 1 << 20);
	d->queue_messages = ONE_OF(dice, 2, 5, 16, 64, 200);
	d->queue_bytes = ONE_OF(dice, 500, 5000, 1 << 20);
	d->ack_timeout_ms = ONE_OF(dice, 60, 200, 500);
	d->retry_min_ms = ONE_OF(dice, 2, 10, 50);
	d->retry_max_ms = d->retry_min_ms * ONE_OF(dice, 1, 4, 16);
	d->mark_interval_ms = ONE_OF(dice, 1, 10, 50, 200);
	d->lease_ms = ONE_OF(dice, 300, 1000);
	s->in_commit_order = prng_below(dice, 4) != 0;
	s->chunk_rows = ONE_OF(dice, 1, 2, 3, 7, 30);
	s->chunk_share = ONE_OF(dice, 2, 5, 50, 100);
	s->chunk_wait_ms = ONE_OF(dice, 2, 10, 100);
	s->whole_ms = ONE_OF(dice, 8000, 100000);
	s->most_xids = ONE_OF(dice, 0, 2, 8);
	s->most_repairs = ONE_OF(dice, 0, 0, 3, 12);
	s->most_commits = ONE_OF(dice, 0, 1, 3);
	s->carry_after_ms = ONE_OF(dice, 0, 5, 30, 200);
	s->most_carried = ONE_OF(dice, 0, 3, 20);
}

static void draw_load(struct capture_plan *p, struct prng *dice)
{
	p->hosts = prng_below(dice, 3) == 0 ? 2 : 1;
	p->tables = (uint32_t)prng_between(dice, 1, CAPTURE_TABLES);
	p->settings.tables = p->tables;
	p->keys = (uint32_t)prng_between(dice, 3, CAPTURE_KEYS);
	p->writers = (uint32_t)prng_between(dice, 1, CAPTURE_WRITERS);
	p->transactions = (uint32_t)prng_spread(dice, 20, 350);
	p->most_ops = ONE_OF(dice, 1, 3, 6, 20);
	p->load_us = prng_between(dice, 500, 5000) * 1000;
	p->first_xid =
		(UINT64_C(1) << 32) * prng_below(dice, 3) + UINT64_C(0xffffff00) - prng_below(dice, 3) * 0xffffff;
	if (p->first_xid < 1000)
		p->first_xid = 1000;
	p->version_13 = prng_below(dice, 4) == 0;
	p->whole_messages = prng_below(dice, 3) == 0;
	p->sequence_first = prng_below(dice, 2) == 0;
	p->late_table = p->tables > 1 && prng_below(dice, 2) == 0;
	/* By key nothing holds across keys. */
	p->of_keys = p->settings.in_commit_order ? ONE_OF(dice, 0, 100000, 300000) : 0;
	p->of_truncate = p->settings.in_commit_order ? ONE_OF(dice, 0, 0, 5000, 30000) : 0;
	p->of_toast = ONE_OF(dice, 0, 500000, 900000);
	/* A change of the key that leaves values out is two changes there, one of which is sent: here it is one, so there is none. */
	p->whole_rows = prng_below(dice, 4) == 0;
	if (p->whole_rows)
		p->of_keys = 0;
	p->pg_us = prng_spread(dice, 50, 8000);
	p->bus_us = prng_spread(dice, 50, 8000);
	p->flush_us = prng_spread(dice, 1000, 200000);
	p->window_us = prng_between(dice, 2000, 20000) * 1000;
}

static void draw_faults(struct capture_plan *p, struct prng *dice, enum mood mood)
{
#define DRAW(name, ...) p->chance.name = draw_chance(dice, mood, __VA_ARGS__);
	CAPTURE_CHANCES(DRAW)
#undef DRAW
#define DRAW(name, ...) p->every.name = draw_interval(dice, mood, __VA_ARGS__);
	CAPTURE_INTERVALS(DRAW)
#undef DRAW
}

/* What is only wrong in rare company, in company: few kinds at a high rate, rows that are read slowly, and writers who move them about
 * meanwhile. */
static void draw_race(struct capture_plan *p, struct prng *dice)
{
#define F(name) CAPTURE_FAULT_##name
	static const enum capture_fault company[][3] = {
		{ F(kill), F(limbo_long), F(session_lost) },
		{ F(stream_lost), F(limbo_long), F(commit_async) },
		{ F(query_slow), F(chunk_failed), F(rewrite) },
		{ F(kill), F(query_slow), F(ack_lost) },
		{ F(session_lost), F(publish_lost), F(poison) },
		{ F(session_lost), F(standby_away), F(limbo_long) },
		{ F(session_lost), F(standby_away), F(query_slow) },
	};
#undef F
	const enum capture_fault *with = company[prng_below(dice, sizeof company / sizeof company[0])];

	draw_faults(p, dice, RACE);
	for (int i = 0; i < 3; i++)
		if (with[i] < CAPTURE_FIRST_INTERVAL)
			((uint32_t *)&p->chance)[with[i]] = 100000;
		else
			((int64_t *)&p->every)[with[i] - CAPTURE_FIRST_INTERVAL] = prng_between(dice, 60, 400) * 1000;
	p->settings.in_commit_order = true;
	p->settings.chunk_rows = ONE_OF(dice, 1, 2, 3);
	p->settings.chunk_share = ONE_OF(dice, 1, 2, 5);
	p->of_keys = p->whole_rows ? 0 : ONE_OF(dice, 300000, 600000);
	if (p->whole_rows) /* each of many rows is read by itself: the seed must come to an end */
		p->settings.chunk_share = 100;
	p->of_toast = 900000;
	p->of_truncate = ONE_OF(dice, 0, 0, 20000);
	p->transactions = (uint32_t)prng_between(dice, 100, 350);
	p->load_us = prng_between(dice, 300, 1500) * 1000;
	p->writers = CAPTURE_WRITERS;
	p->most_ops = 3;
	p->hosts = (uint32_t)prng_between(dice, 1, CAPTURE_HOSTS);
}

/* Keys that take nothing for long, so that much is carried; and relays that die over it. */
static void draw_held(struct capture_plan *p, struct prng *dice)
{
	p->keys = (uint32_t)prng_between(dice, 2, 5);
	p->settings.carry_after_ms = ONE_OF(dice, 0, 5);
	p->settings.send.queue_messages = ONE_OF(dice, 5, 16);
	p->settings.send.mark_interval_ms = ONE_OF(dice, 1, 10);
	p->every.key_full = prng_between(dice, 100, 400) * 1000;
	p->every.kill = ONE_OF(dice, 0, 300000);
	p->chance.ack_lost = ONE_OF(dice, 0, 100000);
}

/* Dead letters that hold their key. (Drawn of what was drawn, so that all other seeds stay what they are. Room in the books for more than a transaction
 * has, and for all keys that have to be read once more: else what no operator may decide about yet could take all of it, and then nothing
 * goes on before the daemon is told to skip (boxhaul-runbook(7): capture-dead-letters).) */
static void draw_hold(struct capture_plan *p)
{
	if (p->settings.in_commit_order || p->pg_us % 2 == 0)
		return;
	p->settings.send.poison = POISON_HOLD;
	p->settings.most_carried = 1000;
	p->settings.most_repairs = 0;
	p->chance.poison = 10000 + (uint32_t)(p->pg_us % 20) * 2000;
}

void capture_plan_draw(struct capture_plan *p, struct prng *dice)
{
	static const enum mood of_eight[] = { CALM, LONE, RACE, RACE, FEW, MILD, ROUGH, ROUGH };
	enum mood mood = of_eight[prng_below(dice, 8)];
	struct draw_rates rates = DRAW_RATES(&p->chance, &p->every);

	memset(p, 0, sizeof *p);
	draw_settings(&p->settings, dice);
	draw_load(p, dice);
	if (mood == RACE)
		draw_race(p, dice);
	else
		draw_faults(p, dice, mood == LONE ? ALL : mood);
	if (mood == LONE)
		draw_only(&rates, dice);
	else if (!p->settings.in_commit_order && prng_below(dice, 2) == 0)
		draw_held(p, dice);
	if (p->chance.freeze > 0)
		p->hosts = 2;
	/* A standby that falls behind may lose what was published: what is left out of the comparison then hides other faults. */
	if (mood != LONE && prng_below(dice, 2) == 0)
		p->every.failover = 0;
	/* (What a promotion loses of the books comes again, to a stream that it was gone from.) */
	if (p->every.end_lost > 0)
		p->every.failover = 0;
	if (!p->settings.in_commit_order)
		p->every.end_lost = 0;
	p->whole_table = CAPTURE_TABLES;
	if (p->settings.in_commit_order && !p->whole_rows && p->every.end_lost == 0 && prng_below(dice, 3) == 0)
		p->whole_table = (uint32_t)prng_below(dice, p->tables);
	/* (By no die of its own: every seed keeps its story.) */
	p->settings.rows_together = p->settings.in_commit_order && !p->whole_rows && p->window_us / 1000 % 2 == 0;
	draw_hold(p);
	/* A bucket is not verified. */
	if (p->whole_rows)
		p->every.verify = 0;
}

void capture_plan_shrink(struct capture_plan *p, const struct overrides *o)
{
	draw_at_most(&p->transactions, o->rows);
	draw_at_most(&p->writers, o->producers);
	draw_at_most(&p->hosts, o->hosts);
}

const char *capture_fault_name(enum capture_fault f)
{
	return name_of_fault[f];
}
