/* The clock, faults and violations. As world.c, for the inbox's world. */
#include "inbox_world.h"

#include <stdarg.h>
#include <stdio.h>

#include "story.h"

const char *const inbox_flaw_name[INBOX_FLAWS] = {
#define AS_TEXT(name, ...) [INBOX_FLAW_##name] = #name,
	INBOX_FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

const char *const inbox_flaw_meaning[INBOX_FLAWS] = {
#define AS_TEXT(name, ...) [INBOX_FLAW_##name] = __VA_ARGS__,
	INBOX_FLAWS_OF_THE_WORLD(AS_TEXT)
#undef AS_TEXT
};

/* The agenda holds what is to come; `spare` is filled in by whoever asked, and sinks in with the next call. */
static struct inbox_happening spare;
static bool spare_waits;

void inbox_sim_open(struct inbox_sim *s, uint64_t seed, const struct overrides *o)
{
	s->seed = seed;
	s->now = 1000 * SECOND; /* no clock begins at zero */
	prng_seed(&s->dice, seed);
	inbox_plan_draw(&s->plan, &s->dice);
	inbox_plan_shrink(&s->plan, o);
	if (o->dice != 0)
		prng_seed(&s->dice, seed ^ (uint64_t)o->dice << 40);
	s->overrides = o;
	spare_waits = false;
	s->agenda.bytes = sizeof(struct inbox_happening);
	story_begin();
}

void inbox_sim_close(struct inbox_sim *s)
{
	agenda_free(&s->agenda);
}

static void sink(struct inbox_sim *s)
{
	if (spare_waits)
		agenda_put(&s->agenda, &spare);
	spare_waits = false;
}

struct inbox_happening *inbox_later(struct inbox_sim *s, int64_t at,
				    void (*run)(struct inbox_sim *, const struct inbox_happening *))
{
	sink(s);
	spare = (struct inbox_happening){ .at = at, .order = s->orders++, .run = run };
	spare_waits = true;
	return &spare;
}

void inbox_turn(struct inbox_sim *s)
{
	struct inbox_happening h;

	sink(s);
	demand(s, s->agenda.count > 0, "the world stands still: nothing will ever happen again");
	agenda_take(&s->agenda, &h);
	s->now = h.at;
	h.run(s, &h);
}

int64_t inbox_soon(struct inbox_sim *s, int64_t most)
{
	return s->now + prng_between(&s->dice, 1, most);
}

bool inbox_strikes(struct inbox_sim *s, enum inbox_fault f)
{
	if ((s->overrides->without >> f & 1) != 0 || s->faults >= s->overrides->faults_until)
		return false;
	s->faults++;
	s->of_kind[f]++;
	return true;
}

/* The die is thrown for a fault that is left out as well: all is the same up to the first that would have struck. */
bool inbox_mishap(struct inbox_sim *s, enum inbox_fault f)
{
	uint32_t chance = ((const uint32_t *)&s->plan.chance)[f];

	return !inbox_healed(s) && prng_chance(&s->dice, chance) && inbox_strikes(s, f);
}

void inbox_violated(struct inbox_sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->violation, sizeof s->violation, format, args);
	va_end(args);
	spare_waits = false;
	longjmp(s->violated, 1);
}

void inbox_trace(struct inbox_sim *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	story_line((double)(s->now - 1000 * SECOND) / MS, s->loud, format, args);
	va_end(args);
}
