/* The clock, faults and violations. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>

#include "story.h"

const char *const flaw_name[FLAWS] = {
#define AS_TEXT(name, ...) [FLAW_##name] = #name,
	FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

const char *const flaw_meaning[FLAWS] = {
#define AS_TEXT(name, ...) [FLAW_##name] = __VA_ARGS__,
	FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

void sim_open(struct sim *s, uint64_t seed, const struct overrides *o)
{
	s->seed = seed;
	s->now = 1000 * SECOND; /* no clock begins at zero */
	prng_seed(&s->dice, seed);
	plan_draw(&s->plan, &s->dice);
	plan_shrink(&s->plan, o);
	if (o->dice != 0)
		prng_seed(&s->dice, seed ^ (uint64_t)o->dice << 40);
	s->core = s->plan.small && core_small() != NULL ? core_small() : &core_as_it_is;
	for (int i = 0; i < MAX_STREAMS; i++)
		s->js.stream[i].first = 1;
	s->overrides = o;
	s->agenda.bytes = sizeof(struct happening);
	story_begin();
}

void sim_close(struct sim *s)
{
	js_close(s);
	agenda_free(&s->agenda);
}

void later(struct sim *s, int64_t delay_us, void (*run)(struct sim *, const struct happening *), uint64_t a, uint64_t b,
	   uint64_t c, uint64_t d)
{
	agenda_put(&s->agenda, &(struct happening){ s->now + delay_us, s->orders++, run, a, b, c, d });
}

void sim_turn(struct sim *s)
{
	struct happening h;

	demand(s, s->agenda.count > 0, "the world stands still: nothing will ever happen again");
	agenda_take(&s->agenda, &h);
	s->now = h.at;
	h.run(s, &h);
}

bool fault_strikes(struct sim *s, enum fault f)
{
	if ((s->overrides->without >> f & 1) != 0 || s->faults >= s->overrides->faults_until)
		return false;
	s->faults++;
	s->of_kind[f]++;
	return true;
}

/* The die is thrown for a fault that is left out as well: all is the same up to the first that would have struck. */
bool mishap_of(struct sim *s, const uint32_t *chance)
{
	const uint32_t *first = (const uint32_t *)&s->plan.chance;

	return !healed(s) && prng_chance(&s->dice, *chance) && fault_strikes(s, (enum fault)(chance - first));
}

void violated(struct sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->violation, sizeof s->violation, format, args);
	va_end(args);
	longjmp(s->violated, 1);
}

void trace_line(struct sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	story_line((double)(s->now - 1000 * SECOND) / MS, s->loud, format, args);
	va_end(args);
}
