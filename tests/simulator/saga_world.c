/* The clock, faults and violations. As world.c, for the sagas' world. */
#include "saga_world.h"

#include <stdarg.h>
#include <stdio.h>

#include "story.h"

const char *const saga_flaw_name[SAGA_FLAWS] = {
#define AS_TEXT(name, ...) [SAGA_FLAW_##name] = #name,
	SAGA_FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

const char *const saga_flaw_meaning[SAGA_FLAWS] = {
#define AS_TEXT(name, ...) [SAGA_FLAW_##name] = __VA_ARGS__,
	SAGA_FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

void saga_sim_open(struct saga_sim *s, uint64_t seed, const struct overrides *o)
{
	s->seed = seed;
	s->now = 1000 * SECOND; /* no clock begins at zero */
	prng_seed(&s->dice, seed);
	saga_plan_draw(&s->plan, &s->dice);
	saga_plan_shrink(&s->plan, o);
	if (o->dice != 0)
		prng_seed(&s->dice, seed ^ (uint64_t)o->dice << 40);
	s->overrides = o;
	s->agenda.bytes = sizeof(struct saga_happening);
	story_begin();
}

void saga_sim_close(struct saga_sim *s)
{
	agenda_free(&s->agenda);
}

void saga_later(struct saga_sim *s, int64_t delay, void (*run)(struct saga_sim *, const struct saga_happening *),
		uint64_t a, uint64_t b, uint64_t c)
{
	struct saga_happening h = { .at = s->now + delay, .order = s->orders++, .run = run, .a = a, .b = b, .c = c };

	agenda_put(&s->agenda, &h);
}

void saga_turn(struct saga_sim *s)
{
	struct saga_happening h;

	demand(s, s->agenda.count > 0, "the world stands still: nothing will ever happen again");
	agenda_take(&s->agenda, &h);
	s->now = h.at;
	h.run(s, &h);
}

bool saga_strikes(struct saga_sim *s, enum saga_fault f)
{
	if ((s->overrides->without >> f & 1) != 0 || s->faults >= s->overrides->faults_until)
		return false;
	s->faults++;
	s->of_kind[f]++;
	return true;
}

/* The die is thrown for a fault that is left out as well: all is the same up to the first that would have struck. */
bool saga_mishap(struct saga_sim *s, enum saga_fault f)
{
	uint32_t chance = ((const uint32_t *)&s->plan.chance)[f];

	return !saga_healed(s) && prng_chance(&s->dice, chance) && saga_strikes(s, f);
}

void saga_violated(struct saga_sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->violation, sizeof s->violation, format, args);
	va_end(args);
	longjmp(s->violated, 1);
}

void saga_trace(struct saga_sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	story_line((double)(s->now - 1000 * SECOND) / MS, s->loud, format, args);
	va_end(args);
}
