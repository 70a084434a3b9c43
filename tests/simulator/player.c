#include "player.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shrink.h"
#include "story.h"

static const struct player *player;
static struct {
	uint64_t times, seeds;
} sum[64]; /* by kind of fault; a set of them is a number (kinds()) */
static struct {
	uint64_t seeds, from;
	bool one, trace, verbose, as_it_is;
	int flaw; /* 0 = none */
	const char *mutant;
	struct overrides overrides;
} options = { .seeds = 1000, .from = 1, .overrides.faults_until = UINT64_MAX };

/* --- the command line --- */

_Noreturn static void usage(const char *what)
{
	fprintf(stderr, "%s: what is \"%s\"? See the head of tests/simulator/player.h.\n", player->program, what);
	exit(64);
}

static int fault_named(const char *name)
{
	for (int f = 0; f < player->faults; f++)
		if (strcmp(player->fault_name(f), name) == 0)
			return f;
	usage(name);
}

static uint64_t kinds(char *list)
{
	uint64_t set = 0;

	while (list != NULL) {
		const char *name = strsep(&list, ",");

		if (strcmp(name, "none") != 0)
			set |= UINT64_C(1) << fault_named(name);
	}
	return set;
}

static int flaw_named(const char *name)
{
	for (int f = 1; f < player->flaws; f++)
		if (strcmp(player->flaw_name[f], name) == 0)
			return f;
	usage(name);
}

static bool parse_size(const char *name, uint32_t number)
{
	for (const struct player_size *size = player->sizes; size->option != NULL; size++)
		if (strcmp(size->option, name) == 0) {
			*(uint32_t *)(void *)((char *)&options.overrides + size->offset) = number;
			return true;
		}
	return false;
}

static void parse_value(const char *name, char *value)
{
	struct overrides *o = &options.overrides;
	uint64_t number = strtoull(value, NULL, 10);

	if (strcmp(name, "--seeds") == 0)
		options.seeds = number;
	else if (strcmp(name, "--from") == 0)
		options.from = number;
	else if (strcmp(name, "--seed") == 0)
		options.from = number, options.one = true;
	else if (strcmp(name, "--only") == 0)
		o->without |= ~kinds(value);
	else if (strcmp(name, "--without") == 0)
		o->without |= kinds(value);
	else if (strcmp(name, "--faults-until") == 0)
		o->faults_until = number;
	else if (strcmp(name, "--dice") == 0)
		o->dice = (uint32_t)number;
	else if (strcmp(name, "--flaw") == 0)
		options.flaw = flaw_named(value);
	else if (strcmp(name, "--mutant") == 0 && player->mutant_play != NULL && player->mutant_play(value))
		options.mutant = value;
	else if (!parse_size(name, (uint32_t)number))
		usage(name);
}

_Noreturn static void list_flaws(void)
{
	for (int f = 1; f < player->flaws; f++)
		printf("%s|%s\n", player->flaw_name[f], player->flaw_meaning[f]);
	exit(0);
}

_Noreturn static void list_mutants(void)
{
	if (player->mutant_list != NULL)
		player->mutant_list();
	exit(0);
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			options.trace = true;
		else if (strcmp(argv[i], "--verbose") == 0)
			options.verbose = true;
		else if (strcmp(argv[i], "--as-it-is") == 0)
			options.as_it_is = true;
		else if (player->can_be_tight && strcmp(argv[i], "--tight") == 0)
			options.overrides.tight = true;
		else if (strcmp(argv[i], "--flaws") == 0)
			list_flaws();
		else if (strcmp(argv[i], "--mutants") == 0)
			list_mutants();
		else if (i + 1 < argc)
			parse_value(argv[i], argv[i + 1]), i++;
		else
			usage(argv[i]);
	}
	if (options.one)
		options.seeds = 1;
}

/* --- a seed that fails --- */

static void tell_violation(void)
{
	struct overrides o = options.overrides;
	bool smaller = !options.trace && !options.as_it_is;
	uint64_t faults = *player->faults_done, seed = *player->seed;
	char *first = strdup(player->violation);

	if (first == NULL)
		abort();
	if (smaller) {
		shrink(player, &o, options.flaw);
		player->run(seed, &o, options.flaw, true, false);
		story_tell();
	}
	player->tell_plan();
	printf("seed %" PRIu64 ": %s\n", seed, first);
	if (smaller)
		printf("shrunk from %" PRIu64 " faults to %" PRIu64 ": %s\n", faults, *player->faults_done,
		       player->violation);
	printf("replay: %s ", player->program);
	shrink_tell(player, &o);
	if (options.flaw != 0)
		printf(" --flaw %s", player->flaw_name[options.flaw]);
	if (options.mutant != NULL)
		printf(" --mutant %s", options.mutant);
	printf(" --trace\n");
	free(first);
}

/* --- the sum --- */

static void add_up(void)
{
	for (int f = 0; f < player->faults; f++) {
		sum[f].times += player->of_kind[f];
		sum[f].seeds += player->of_kind[f] > 0;
	}
	player->add_up();
}

static void tell_sum(void)
{
	for (int f = 0; f < player->faults; f++)
		printf("fault=%s times=%" PRIu64 " seeds=%" PRIu64 "\n", player->fault_name(f), sum[f].times,
		       sum[f].seeds);
	player->tell_sum();
}

/* An assertion of the core. */
static void on_abort(int signal)
{
	(void)signal;
	snprintf(player->violation, player->violation_bytes, "an assertion of the core failed");
	longjmp(*player->violated, 1);
}

int player_main(const struct player *p, int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_abort, .sa_flags = SA_NODEFER };
	uint64_t steps = 0, faults = 0;

	player = p;
	parse(argc, argv);
	sigaction(SIGABRT, &action, NULL);
	for (uint64_t seed = options.from; seed < options.from + options.seeds; seed++) {
		if (!p->run(seed, &options.overrides, options.flaw, options.trace, options.trace)) {
			tell_violation();
			return 1;
		}
		steps += *p->steps;
		faults += *p->faults_done;
		add_up();
	}
	if (options.one)
		p->tell_plan();
	if (options.verbose)
		tell_sum();
	printf("seeds=%" PRIu64 " steps=%" PRIu64 " faults=%" PRIu64 " violations=0\n", options.seeds, steps, faults);
	return 0;
}
