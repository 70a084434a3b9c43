/* The clock, faults and violations. As world.c, for the capture's world. */
#include "capture_world.h"

#include <stdarg.h>
#include <stdio.h>

#include "story.h"

const char *const capture_flaw_name[CAPTURE_FLAWS] = {
#define AS_TEXT(name, ...) [CAPTURE_FLAW_##name] = #name,
	CAPTURE_FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

const char *const capture_flaw_meaning[CAPTURE_FLAWS] = {
#define AS_TEXT(name, ...) [CAPTURE_FLAW_##name] = __VA_ARGS__,
	CAPTURE_FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

/* The agenda holds what is to come; `spare` is filled in by whoever asked, and sinks in with the next call. */
static struct capture_happening spare;
static bool spare_waits;

void capture_sim_open(struct capture_sim *s, uint64_t seed, const struct overrides *o)
{
	s->seed = seed;
	s->now = s->created = 1000 * SECOND; /* no clock begins at zero */
	prng_seed(&s->dice, seed);
	prng_seed(&s->operator_dice, ~seed);
	capture_plan_draw(&s->plan, &s->dice);
	capture_plan_shrink(&s->plan, o);
	if (o->dice != 0)
		prng_seed(&s->dice, seed ^ (uint64_t)o->dice << 40);
	s->overrides = o;
	spare_waits = false;
	s->agenda.bytes = sizeof(struct capture_happening);
	story_begin();
}

void capture_sim_close(struct capture_sim *s)
{
	agenda_free(&s->agenda);
}

static void sink(struct capture_sim *s)
{
	if (spare_waits)
		agenda_put(&s->agenda, &spare);
	spare_waits = false;
}

struct capture_happening *capture_later(struct capture_sim *s, int64_t at,
					void (*run)(struct capture_sim *, const struct capture_happening *))
{
	sink(s);
	spare = (struct capture_happening){ .at = at, .order = s->orders++, .run = run };
	spare_waits = true;
	return &spare;
}

void capture_turn(struct capture_sim *s)
{
	struct capture_happening h;

	sink(s);
	demand(s, s->agenda.count > 0, "the world stands still: nothing will ever happen again");
	agenda_take(&s->agenda, &h);
	s->now = h.at;
	h.run(s, &h);
}

int64_t capture_soon(struct capture_sim *s, int64_t most)
{
	return s->now + prng_between(&s->dice, 1, most);
}

bool capture_strikes(struct capture_sim *s, enum capture_fault f)
{
	if ((s->overrides->without >> f & 1) != 0 || s->faults >= s->overrides->faults_until)
		return false;
	s->faults++;
	s->of_kind[f]++;
	return true;
}

/* The die is thrown for a fault that is left out as well: all is the same up to the first that would have struck. */
bool capture_mishap(struct capture_sim *s, enum capture_fault f)
{
	uint32_t chance = ((const uint32_t *)&s->plan.chance)[f];

	return !capture_healed(s) && prng_chance(&s->dice, chance) && capture_strikes(s, f);
}

void capture_violated(struct capture_sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->violation, sizeof s->violation, format, args);
	va_end(args);
	spare_waits = false;
	longjmp(s->violated, 1);
}

void capture_trace(struct capture_sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	story_line((double)(s->now - 1000 * SECOND) / MS, s->loud, format, args);
	va_end(args);
}

uint64_t capture_mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ b * UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x7f4a7c15);

	h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
	return h ^ h >> 31;
}
