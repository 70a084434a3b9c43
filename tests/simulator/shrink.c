/* Greedy, and simple: without one kind of fault after the other, with less of everything else, then with fewer faults from
 * the end; as long as something helped, once more. A fault that is left out changes everything after it, so each step is
 * tried with several dice: what counts is that the same promise is broken, in the same words but for the numbers. */
#include "shrink.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ROUNDS = 3, DICE = 12, WORDS_BYTES = 512 };

static struct {
	const struct player *p;
	struct overrides *best;
	uint64_t seed;
	int flaw;
	char violation[WORDS_BYTES];
} goal;

static uint32_t *size_of(struct overrides *o, const struct player_size *size)
{
	return (uint32_t *)(void *)((char *)o + size->offset);
}

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
	if (goal.p->run(goal.seed, o, goal.flaw, false, false) || !same_words(goal.p->violation, goal.violation))
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
	uint64_t done = *goal.p->faults_done, lo = 0,
		 hi = done < goal.best->faults_until ? done : goal.best->faults_until;

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
	for (int f = 0; f < goal.p->faults; f++) {
		struct overrides o = *goal.best;

		o.without |= UINT64_C(1) << f;
		if (goal.p->of_kind[f] > 0 && o.without != goal.best->without)
			try_dice(&o);
	}
}

/* The smallest of 1, 2, 4, ... that will do. */
static void less(const struct player_size *size)
{
	uint32_t now = *size->now;

	for (uint32_t n = 1; n < now; n *= 2) {
		struct overrides o = *goal.best;

		*size_of(&o, size) = n;
		if (try_dice(&o))
			return;
	}
}

void shrink(const struct player *p, struct overrides *o, int flaw)
{
	goal.p = p;
	goal.best = o;
	goal.seed = *p->seed;
	goal.flaw = flaw;
	snprintf(goal.violation, sizeof goal.violation, "%s", p->violation);
	for (int round = 0; round < ROUNDS; round++) {
		struct overrides before = *o;

		fewer_kinds();
		for (const struct player_size *size = p->sizes; size->option != NULL; size++)
			less(size);
		fewer_faults();
		if (memcmp(&before, o, sizeof before) == 0)
			break;
	}
}

static void tell_kinds(const struct player *p)
{
	const char *comma = "";

	printf(" --only ");
	for (int f = 0; f < p->faults; f++)
		if (p->of_kind[f] > 0) {
			printf("%s%s", comma, p->fault_name(f));
			comma = ",";
		}
	if (*comma == '\0')
		printf("none");
}

void shrink_tell(const struct player *p, const struct overrides *o)
{
	struct overrides copy = *o;

	printf("%s--seed %" PRIu64, o->tight ? "--tight " : "", *p->seed);
	if (o->dice != 0)
		printf(" --dice %" PRIu32, o->dice);
	if (o->without != 0)
		tell_kinds(p);
	if (o->faults_until != UINT64_MAX)
		printf(" --faults-until %" PRIu64, o->faults_until);
	for (const struct player_size *size = p->sizes; size->option != NULL; size++)
		if (*size_of(&copy, size) != 0)
			printf(" %s %" PRIu32, size->option, *size_of(&copy, size));
}
