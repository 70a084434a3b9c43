/* The clock and the queue (a binary heap), violations, and the trace (a ring of lines). */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE_LINES = 80, TRACE_WIDTH = 200 };

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

static char ring[TRACE_LINES][TRACE_WIDTH];
static size_t ring_next;

void sim_open(struct sim *s, uint64_t seed, const struct overrides *o)
{
	s->seed = seed;
	s->now = 1000 * SECOND; /* no clock begins at zero */
	prng_seed(&s->dice, seed);
	plan_draw(&s->plan, &s->dice);
	plan_shrink(&s->plan, o);
	if (o->dice != 0)
		prng_seed(&s->dice, seed ^ (uint64_t)o->dice << 40);
	s->overrides = o;
	ring_next = 0;
	memset(ring, 0, sizeof ring);
}

void sim_close(struct sim *s)
{
	free(s->heap);
	s->heap = NULL;
}

static bool sooner(const struct happening *x, const struct happening *y)
{
	return x->at != y->at ? x->at < y->at : x->order < y->order;
}

void later(struct sim *s, int64_t delay_us, void (*run)(struct sim *, const struct happening *), uint64_t a, uint64_t b,
	   uint64_t c, uint64_t d)
{
	struct happening h = { s->now + delay_us, s->orders++, run, a, b, c, d };
	size_t i;

	if (s->heap_count == s->heap_size) {
		s->heap_size = s->heap_size ? 2 * s->heap_size : 1024;
		s->heap = realloc(s->heap, s->heap_size * sizeof *s->heap);
		if (s->heap == NULL)
			abort();
	}
	for (i = s->heap_count++; i > 0 && sooner(&h, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = h;
}

static struct happening take(struct sim *s)
{
	struct happening first = s->heap[0], last = s->heap[--s->heap_count];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= s->heap_count)
			break;
		if (child + 1 < s->heap_count && sooner(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!sooner(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return first;
}

void sim_turn(struct sim *s)
{
	struct happening h;

	demand(s, s->heap_count > 0, "the world stands still: nothing will ever happen again");
	h = take(s);
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
	char *line = ring[ring_next++ % TRACE_LINES];
	va_list args;
	int n = snprintf(line, TRACE_WIDTH, "%11.3f  ", (double)(s->now - 1000 * SECOND) / MS);

	va_start(args, format);
	vsnprintf(line + n, TRACE_WIDTH - (size_t)n, format, args);
	va_end(args);
	if (s->loud)
		puts(line);
}

void trace_tell(void)
{
	for (size_t i = 0; i < TRACE_LINES; i++)
		if (ring[(ring_next + i) % TRACE_LINES][0] != '\0')
			puts(ring[(ring_next + i) % TRACE_LINES]);
}
