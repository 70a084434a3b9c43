/* The simulator: many seeds, each a world of its own. A seed that fails is played again and again with less of
 * everything, as long as it fails in the same way; then its story is told.
 *
 *     sim --seeds N [--from S] [--verbose]    N seeds, one line at the end; --verbose: the faults by kind before it
 *     sim --seed S [--trace]                  one seed, its whole story
 *     --as-it-is                              a violation is told without a try to make it smaller
 *
 * Smaller (what a failing seed was shrunk to):
 *     --only KIND,...  --without KIND,...     these kinds of faults, or all but these; "none" is none
 *     --faults-until N                        only the first N faults
 *     --rows N  --producers N  --relays N     at most so many
 *     --dice N                                the same plan with other dice
 *
 * A flawed world, in which some seed must find out what the design warns of (see world.h):
 *     --flaw NAME; --flaws lists them
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "host.h"
#include "load.h"
#include "shrink.h"
#include "world.h"

static struct sim sim;
static struct {
	uint64_t seeds, from;
	bool one, trace, verbose, as_it_is;
	enum flaw flaw;
	struct overrides overrides;
} options = { .seeds = 1000, .from = 1, .overrides.faults_until = UINT64_MAX };

/* --- one seed --- */

static void run_until(struct sim *s, int64_t until)
{
	while (s->now < until)
		sim_turn(s);
}

static void enter(struct sim *s, enum phase phase)
{
	static const char *const name[] = { "load", "heal", "decide", "rest", "drain" };

	trace(s, "------- %s", name[phase]);
	s->phase = phase;
}

/* How long the relay may take for what is left once the world is well. */
static int64_t patience(const struct sim *s)
{
	const struct delivery_settings *set = &s->plan.settings;

	return 20 * SECOND + s->pg.messages * 30 * MS +
	       (int64_t)MS *
		       (60 * (set->ack_timeout_ms + set->retry_max_ms) + 3 * set->safety_poll_ms + 4 * set->lease_ms);
}

/* Where it got stuck. */
static void trace_leader(struct sim *s)
{
	const struct host *h = hosts_leader(s);

	if (h == NULL)
		trace(s, "nobody leads");
	else
		trace(s,
		      "host %u  %u in memory, %u ready, %u in flight, %u waiting to be sent again, %u exceptions: %u missing, "
		      "%u parked, %u lanes blocked, streams %d%d%d, %s",
		      h->index, h->now.resident, h->now.ready, h->now.in_flight, h->now.backing_off, h->now.exceptions,
		      h->now.missing, h->now.parked_ranges, h->now.blocked_lanes, h->now.stream[0].blocked,
		      h->now.stream[1].blocked, h->now.stream[2].blocked, h->now.full ? "full" : "not full");
}

static void run_until_settled(struct sim *s, bool but_held)
{
	int64_t end = s->now + patience(s);
	char text[256];

	while (!check_settled(s, but_held)) {
		if (s->now >= end) {
			trace_leader(s);
			check_explain(s, text, sizeof text);
			violated(s, "the world is well and still %s", text);
		}
		run_until(s, s->now + 20 * MS);
	}
}

static void run_until_unpaused(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		while (host_is_away(s, s->host[i]))
			run_until(s, s->host[i]->paused_until + 1);
}

static void decide_all(struct sim *s)
{
	for (int64_t m = 1; m <= s->pg.messages; m++)
		if (s->pg.fact[m].dead && s->pg.fact[m].held && s->pg.fact[m].decision == UNDECIDED)
			hosts_ask_operator(s, m);
}

static void run_until_asleep(struct sim *s)
{
	int64_t end = s->now + 30 * SECOND + (int64_t)s->plan.settings.sleep_after_ms * 2 * MS;
	struct host *h;

	while ((h = hosts_leader(s)) == NULL || h->now.pace != PACE_ASLEEP) {
		demand(s, s->now < end, "nothing to do, and the relay does not fall asleep");
		run_until(s, s->now + 5 * MS);
	}
}

static void expect_stored(struct sim *s, int64_t message, int64_t within, const char *what)
{
	int64_t end = s->now + within;

	while (s->pg.fact[message].copies == 0) {
		demand(s, s->now < end, "%s was not stored in time", what);
		run_until(s, s->now + MS);
	}
}

/* Asleep, woken by a notification; asleep again, and left to the safety poll. */
static void run_rest(struct sim *s)
{
	int64_t swift = 4 * s->plan.pg_us + 3 * s->plan.bus_us + 10 * MS;
	struct delivery_settings *set = &s->plan.settings;

	run_until_asleep(s);
	/* Whatever a lost session leaves behind is over by now, and the slowest query. */
	run_until(s, s->now + (int64_t)set->lease_ms * 4 * MS + 4 * SECOND);
	run_until_asleep(s);
	expect_stored(s, load_one(s, true), swift, "the row of a notified transaction");
	run_until_asleep(s);
	expect_stored(s, load_one(s, false), (int64_t)set->safety_poll_ms * MS + swift,
		      "the row nobody was notified of");
	run_until_settled(s, false);
}

static void run_drain(struct sim *s)
{
	int64_t end = s->now + 10 * SECOND;
	struct host *h = hosts_leader(s);

	demand(s, h != NULL, "nobody leads");
	for (int i = 0; i < 5; i++)
		load_one(s, true);
	run_until(s, s->now + prng_spread(&s->dice, 0, 20 * MS));
	host_drain(s, h);
	while (!h->drained) {
		demand(s, s->now < end, "host %u does not come to an end", h->index);
		run_until(s, s->now + MS);
	}
}

static void run_phases(struct sim *s)
{
	pg_open(s);
	check_open(s);
	hosts_open(s);
	load_open(s);
	faults_open(s);
	enter(s, PHASE_LOAD);
	run_until(s, s->now + s->plan.load_us);
	enter(s, PHASE_HEAL);
	faults_heal(s);
	load_freeze(s);
	run_until_unpaused(s);
	/* Transactions that stay open delay nobody's rows but their own; a held lane holds nobody else. (Unless the
	 * core is built with so few exceptions that it must stop reading.) */
	if ((int)LIMIT_EXCEPTIONS > (int)MAX_IDS)
		run_until_settled(s, true);
	enter(s, PHASE_DECIDE);
	load_finish(s);
	decide_all(s);
	run_until_settled(s, false);
	enter(s, PHASE_REST);
	run_rest(s);
	enter(s, PHASE_DRAIN);
	run_drain(s);
}

/* False: a promise was broken; sim.violation says which. */
static bool run(uint64_t seed, const struct overrides *o, bool tracing, bool loud)
{
	struct sim *s = &sim;
	volatile bool held = false;

	memset(s, 0, sizeof *s);
	sim_open(s, seed, o);
	s->tracing = tracing;
	s->loud = loud;
	s->flaw = options.flaw;
	if (setjmp(s->violated) == 0) {
		run_phases(s);
		held = true;
	}
	hosts_close(s);
	sessions_close(s);
	pg_close(s);
	sim_close(s);
	return held;
}

/* --- many seeds --- */

static void tell_plan(const struct plan *p)
{
	const struct delivery_settings *s = &p->settings;

	printf("ordering=%d poison=%d streams=%u window=%u/%u queue=%u/%u ack_timeout=%u retry=%u..%u mark=%u grace=%u "
	       "lease=%u sleep=%u poll=%u hosts=%u keys=%u\n",
	       s->ordering, s->poison, s->streams, s->window_messages, s->window_bytes, s->queue_messages,
	       s->queue_bytes, s->ack_timeout_ms, s->retry_min_ms, s->retry_max_ms, s->mark_interval_ms, s->grace_ms,
	       s->lease_ms, s->sleep_after_ms, s->safety_poll_ms, p->hosts, p->keys);
}

static bool play_failing(const struct overrides *o)
{
	return run(sim.seed, o, false, false);
}

/* The seed that has just failed: how small it gets, and its story. */
static void tell_violation(void)
{
	struct overrides o = options.overrides;
	char first[sizeof sim.violation], replay[1024];
	uint64_t faults = sim.faults;

	memcpy(first, sim.violation, sizeof first);
	if (!options.trace && !options.as_it_is) {
		shrink(&sim, &o, play_failing);
		run(sim.seed, &o, true, false);
		trace_tell();
	}
	tell_plan(&sim.plan);
	shrink_tell(&sim, &o, replay, sizeof replay);
	printf("seed %" PRIu64 ": %s\n", sim.seed, first);
	if (!options.trace && !options.as_it_is)
		printf("shrunk from %" PRIu64 " faults to %" PRIu64 ", %" PRId64 " messages: %s\n", faults, sim.faults,
		       sim.pg.messages, sim.violation);
	printf("replay: tests/sim %s%s%s --trace\n", replay, options.flaw ? " --flaw " : "",
	       options.flaw ? flaw_name[options.flaw] : "");
}

/* An assertion of the core. */
static void on_abort(int signal)
{
	(void)signal;
	snprintf(sim.violation, sizeof sim.violation, "an assertion of the core failed");
	longjmp(sim.violated, 1);
}

static void catch_aborts(void)
{
	struct sigaction action = { .sa_handler = on_abort, .sa_flags = SA_NODEFER };

	sigaction(SIGABRT, &action, NULL);
}

_Noreturn static void usage(const char *what)
{
	fprintf(stderr, "sim: what is \"%s\"? See the head of tests/simulator/main.c.\n", what);
	exit(64);
}

static uint64_t kinds(char *list)
{
	uint64_t set = 0;

	while (list != NULL) {
		const char *name = strsep(&list, ",");

		if (strcmp(name, "none") == 0)
			continue;
		if (fault_named(name) == FAULTS)
			usage(name);
		set |= UINT64_C(1) << fault_named(name);
	}
	return set;
}

static enum flaw flaw_named(const char *name)
{
	for (int f = 1; f < FLAWS; f++)
		if (strcmp(flaw_name[f], name) == 0)
			return (enum flaw)f;
	usage(name);
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
	else if (strcmp(name, "--rows") == 0)
		o->rows = (uint32_t)number;
	else if (strcmp(name, "--producers") == 0)
		o->producers = (uint32_t)number;
	else if (strcmp(name, "--relays") == 0)
		o->hosts = (uint32_t)number;
	else if (strcmp(name, "--dice") == 0)
		o->dice = (uint32_t)number;
	else if (strcmp(name, "--flaw") == 0)
		options.flaw = flaw_named(value);
	else
		usage(name);
}

_Noreturn static void list_flaws(void)
{
	for (int f = 1; f < FLAWS; f++)
		printf("%s|%s\n", flaw_name[f], flaw_meaning[f]);
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
		else if (strcmp(argv[i], "--flaws") == 0)
			list_flaws();
		else if (i + 1 < argc)
			parse_value(argv[i], argv[i + 1]), i++;
		else
			usage(argv[i]);
	}
	if (options.one)
		options.seeds = 1;
}

/* --- the sum --- */

static struct {
	uint64_t steps, faults, kind[FAULTS], seeds_with[FAULTS];
	uint64_t messages, stored, duplicates, undone, phantoms, reused; /* see tell_counts() */
} sum;

static void add_up(const struct sim *s)
{
	sum.steps += s->steps;
	sum.faults += s->faults;
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		const struct fact *f = &s->pg.fact[m];

		sum.messages += f->fate == FATE_COMMITTED || f->undone;
		sum.stored += f->copies > 0;
		sum.duplicates += f->copies > 1 ? f->copies - 1 : 0;
		sum.undone += f->undone; /* a failover took its commit back */
		sum.phantoms += f->copies > 0 && f->fate != FATE_COMMITTED;
		sum.reused += f->undone && s->pg.row[f->id] != m && s->pg.row[f->id] != 0; /* its id is another's */
	}
	for (int f = 0; f < FAULTS; f++) {
		sum.kind[f] += s->of_kind[f];
		sum.seeds_with[f] += s->of_kind[f] > 0;
	}
}

static void tell_counts(void)
{
	printf("messages=%" PRIu64 "\nstored=%" PRIu64 "\nduplicates=%" PRIu64 "\n", sum.messages, sum.stored,
	       sum.duplicates);
	printf("undone=%" PRIu64 "\nphantoms=%" PRIu64 "\nreused=%" PRIu64 "\n", sum.undone, sum.phantoms, sum.reused);
}

static void tell_kinds(void)
{
	for (int f = 0; f < FAULTS; f++)
		printf("fault=%s times=%" PRIu64 " seeds=%" PRIu64 "\n", fault_name((enum fault)f), sum.kind[f],
		       sum.seeds_with[f]);
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	catch_aborts();
	for (uint64_t seed = options.from; seed < options.from + options.seeds; seed++) {
		if (!run(seed, &options.overrides, options.trace, options.trace)) {
			tell_violation();
			return 1;
		}
		add_up(&sim);
	}
	if (options.one)
		tell_plan(&sim.plan);
	if (options.verbose) {
		tell_kinds();
		tell_counts();
	}
	printf("seeds=%" PRIu64 " steps=%" PRIu64 " faults=%" PRIu64 " violations=0\n", options.seeds, sum.steps,
	       sum.faults);
	return 0;
}
