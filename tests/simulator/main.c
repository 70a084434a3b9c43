/* The simulator: many seeds, each a world of its own. A seed that fails is run again, with its story told.
 *
 *     sim --seeds N [--from S]      N seeds, one line at the end
 *     sim --seed S [--trace]        one seed, its whole story
 *     --flaw xmax                   the world answers marks with the snapshot's xmax for a fence, which the
 *                                   design warns of: some seed must find out that rows get lost
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
#include "world.h"

static struct sim sim;
static struct {
	uint64_t seeds, from;
	bool one, trace, xmax;
} options = { .seeds = 1000, .from = 1 };

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

	return 20 * SECOND + s->pg.last_id * 30 * MS +
	       (int64_t)MS *
		       (60 * (set->ack_timeout_ms + set->retry_max_ms) + 3 * set->safety_poll_ms + 4 * set->lease_ms);
}

static void run_until_settled(struct sim *s, bool but_held)
{
	int64_t end = s->now + patience(s);
	char text[256];

	while (!check_settled(s, but_held)) {
		if (s->now >= end) {
			check_explain(s, text, sizeof text);
			violated(s, "the world is well and still %s", text);
		}
		run_until(s, s->now + 20 * MS);
	}
}

static void run_until_unpaused(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (s->host[i]->paused_until > s->now)
			run_until(s, s->host[i]->paused_until);
}

static void decide_all(struct sim *s)
{
	for (int64_t id = 1; id <= s->pg.last_id; id++)
		if (s->pg.fact[id].dead && s->pg.fact[id].held && s->pg.fact[id].decision == UNDECIDED)
			hosts_ask_operator(s, id);
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

static void expect_stored(struct sim *s, int64_t id, int64_t within, const char *what)
{
	int64_t end = s->now + within;

	while (s->pg.fact[id].copies == 0) {
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
	/* Whatever a lost session leaves behind is over by now. */
	run_until(s, s->now + (int64_t)set->lease_ms * 4 * MS + SECOND);
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
static bool run(uint64_t seed, bool tracing, bool loud)
{
	struct sim *s = &sim;
	volatile bool held = false;

	memset(s, 0, sizeof *s);
	sim_open(s, seed);
	s->tracing = tracing;
	s->loud = loud;
	s->xmax_as_fence = options.xmax;
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

_Noreturn static void tell_violation(uint64_t seed, const char *what)
{
	trace_tell();
	tell_plan(&sim.plan);
	printf("seed %" PRIu64 ": %s\nreplay: sim --seed %" PRIu64 " --trace%s\n", seed, what, seed,
	       options.xmax ? " --flaw xmax" : "");
	fflush(stdout);
	_exit(1);
}

/* An assertion of the core. */
static void on_abort(int signal)
{
	(void)signal;
	if (sim.tracing)
		tell_violation(sim.seed, "an assertion of the core failed");
	snprintf(sim.violation, sizeof sim.violation, "an assertion of the core failed");
	longjmp(sim.violated, 1);
}

static void catch_aborts(void)
{
	struct sigaction action = { .sa_handler = on_abort, .sa_flags = SA_NODEFER };

	sigaction(SIGABRT, &action, NULL);
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--trace") == 0) {
			options.trace = true;
			continue;
		}
		if (strcmp(argv[i], "--seeds") == 0) {
			options.seeds = strtoull(value, NULL, 10);
		} else if (strcmp(argv[i], "--from") == 0 || strcmp(argv[i], "--seed") == 0) {
			options.one = strcmp(argv[i], "--seed") == 0;
			options.from = strtoull(value, NULL, 10);
		} else if (strcmp(argv[i], "--flaw") == 0 && strcmp(value, "xmax") == 0) {
			options.xmax = true;
		} else {
			fprintf(stderr, "usage: sim [--seeds N] [--from S] | --seed S [--trace]  [--flaw xmax]\n");
			exit(64);
		}
		i++;
	}
	if (options.one)
		options.seeds = 1;
}

int main(int argc, char **argv)
{
	uint64_t steps = 0, faults = 0;

	parse(argc, argv);
	catch_aborts();
	for (uint64_t seed = options.from; seed < options.from + options.seeds; seed++) {
		if (!run(seed, options.trace, options.trace)) {
			/* The same again, keeping the story this time. */
			run(seed, true, false);
			tell_violation(seed, sim.violation);
		}
		steps += sim.steps;
		faults += sim.faults;
	}
	if (options.one)
		tell_plan(&sim.plan);
	printf("seeds=%" PRIu64 " steps=%" PRIu64 " faults=%" PRIu64 " violations=0\n", options.seeds, steps, faults);
	return 0;
}
