/* Greedy, and simple: without one kind of fault after the other, with less of everything else, then with fewer faults from
 * the end; as long as something helped, once more. A fault that is left out changes everything after it, so each step is
 * tried with several dice: what counts is that the same promise is broken, in the same words but for the numbers. */
#include "shrink.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

enum { ROUNDS = 3, DICE = 12 };

static struct {
	const struct sim *s;
	struct overrides *best;
	shrink_play *play;
	char violation[sizeof((struct sim *)0)->violation];
} goal;

static bool same_words(const char *a, const char *b)
{
	for (;;) {
		while (isdigit((unsigned char)*a))
			a++;
		while (isdigit((unsigned char)*b))
			b++;
		if (*a != *b || *a == '\0')
			return *a == *b;
		a++;
		b++;
	}
}

/* Still the same? Then that is the best by now. */
static bool try(const struct overrides *o)
{
	if (goal.play(o) || !same_words(goal.s->violation, goal.violation))
		return false;
	*goal.best = *o;
	return true;
}

static bool try_dice(struct overrides *o)
{
	uint32_t first = o->dice;

	for (uint32_t i = 0; i < DICE; i++) {
		o->dice = first + i;
		if (try(o))
			return true;
	}
	return false;
}

static void fewer_faults(void)
{
	uint64_t lo = 0, hi = goal.s->faults < goal.best->faults_until ? goal.s->faults : goal.best->faults_until;

	while (lo < hi) {
		struct overrides o = *goal.best;

		o.faults_until = lo + (hi - lo) / 2;
		if (try(&o))
			hi = o.faults_until;
		else
			lo = o.faults_until + 1;
	}
}

static void fewer_kinds(void)
{
	for (int f = 0; f < FAULTS; f++) {
		struct overrides o = *goal.best;

		o.without |= UINT64_C(1) << f;
		if (goal.s->of_kind[f] > 0 && o.without != goal.best->without)
			try_dice(&o);
	}
}

/* `of` is one of best's: the smallest of 1, 2, 4, ... that will do. */
static void less(uint32_t *of, uint32_t now)
{
	struct overrides before = *goal.best, o;

	for (uint32_t n = 1; n < now; n *= 2) {
		*of = n;
		o = *goal.best;
		*goal.best = before;
		if (try_dice(&o))
			return;
	}
}

void shrink(const struct sim *s, struct overrides *o, shrink_play *play)
{
	goal.s = s;
	goal.best = o;
	goal.play = play;
	memcpy(goal.violation, s->violation, sizeof goal.violation);
	for (int round = 0; round < ROUNDS; round++) {
		struct overrides before = *o;

		fewer_kinds();
		less(&o->rows, s->plan.rows);
		less(&o->hosts, s->plan.hosts);
		less(&o->producers, s->plan.producers);
		fewer_faults();
		if (memcmp(&before, o, sizeof before) == 0)
			break;
	}
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format, ...)
{
	size_t n = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + n, size - n, format, args);
	va_end(args);
}

void shrink_tell(const struct sim *s, const struct overrides *o, char *text, size_t size)
{
	const char *comma = "";

	snprintf(text, size, "--seed %" PRIu64, s->seed);
	if (o->dice != 0)
		add(text, size, " --dice %u", o->dice);
	if (o->without != 0) {
		add(text, size, " --only ");
		for (int f = 0; f < FAULTS; f++)
			if (s->of_kind[f] > 0) {
				add(text, size, "%s%s", comma, fault_name((enum fault)f));
				comma = ",";
			}
		if (*comma == '\0')
			add(text, size, "none");
	}
	if (o->faults_until != UINT64_MAX)
		add(text, size, " --faults-until %" PRIu64, o->faults_until);
	if (o->rows != 0)
		add(text, size, " --rows %u", o->rows);
	if (o->producers != 0)
		add(text, size, " --producers %u", o->producers);
	if (o->hosts != 0)
		add(text, size, " --relays %u", o->hosts);
}
