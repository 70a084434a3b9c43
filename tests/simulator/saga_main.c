/* The simulator of sagas: how one seed is played. (Its command line: player.h; and
 * --table prints the table of transitions, --walks N what saga_walk.h says.) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_saga.h"
#include "player.h"
#include "saga_walk.h"
#include "saga_world.h"

static struct saga_sim sim;

/* --- one seed --- */

static void run_until(struct saga_sim *s, int64_t until)
{
	while (s->now < until)
		saga_turn(s);
}

/* How long it may take for what is left once the world is well: deadlines and back-offs doubled six times, step by step, there and back,
 * on a clock that was set back. */
static int64_t patience(const struct saga_sim *s)
{
	int64_t slowest = 20 * MS;

	for (uint32_t d = 0; d < SAGA_DEFINITIONS; d++)
		for (uint32_t i = 0; i < s->plan.definition[d].steps; i++)
			if (s->plan.definition[d].step[i].deadline_us > slowest)
				slowest = s->plan.definition[d].step[i].deadline_us;
	return 200 * SECOND + 64 * 4 * slowest;
}

static void run_until_settled(struct saga_sim *s)
{
	int64_t end = s->now + patience(s);
	uint32_t saga = 0;
	const char *why;

	while ((why = check_saga_settled(s, &saga)) != NULL) {
		demand(s, s->now < end, "it does not come to rest: saga %u %s", saga, why);
		run_until(s, s->now + 100 * MS);
	}
}

static void run_phases(struct saga_sim *s)
{
	saga_desk_open(s);
	saga_faults_open(s);
	run_until(s, s->now + s->plan.load_us);
	trace(s, "------- heal");
	s->phase = SAGA_PHASE_HEAL;
	saga_faults_heal(s);
	run_until_settled(s);
	run_until(s, s->now + 5 * SECOND);
	run_until_settled(s);
	check_saga_rest(s);
}

/* False: a promise was broken; sim.violation says which. */
static bool run(uint64_t seed, const struct overrides *o, int flaw, bool tracing, bool loud)
{
	struct saga_sim *s = &sim;
	volatile bool held = false;

	memset(s, 0, sizeof *s);
	saga_sim_open(s, seed, o);
	s->tracing = tracing;
	s->loud = loud;
	s->flaw = (enum saga_flaw)flaw;
	if (setjmp(s->violated) == 0) {
		run_phases(s);
		held = true;
	}
	saga_sim_close(s);
	return held;
}

/* --- what is told --- */

static void tell_plan(void)
{
	static const char *const kind[] = { "undoable", "pivot", "retriable" };
	const struct saga_plan *p = &sim.plan;

	printf("sagas=%u clocks=%u streams=%d tick=%" PRId64 " wire=%" PRId64 " us\n", p->sagas, p->clocks,
	       p->two_streams ? 2 : 1, p->tick_us / MS, p->wire_us);
	for (uint32_t d = 0; d < p->definitions; d++)
		for (uint32_t i = 0; i < p->definition[d].steps; i++) {
			const struct saga_step *step = &p->definition[d].step[i];

			printf("definition %u step %u: %s%s, service %u, deadline %" PRId64 " ms, retries %u\n", d, i,
			       kind[step->kind], step->has_undo ? " with undo" : "", step->service,
			       step->deadline_us / MS, step->retries);
		}
}

static struct {
	uint64_t action[SAGA_ACTION_COUNT];
	uint64_t sagas, completed, undone, messages, timeouts, effects, orphans, excused;
} sum;

static void add_up(void)
{
	const struct saga_sim *s = &sim;

	sum.sagas += s->started;
	sum.completed += s->completed;
	sum.undone += s->undone;
	sum.messages += s->messages;
	sum.timeouts += s->timeouts;
	sum.effects += s->effects;
	sum.orphans += s->orphans;
	sum.excused += s->excused;
	for (int a = 0; a < SAGA_ACTION_COUNT; a++)
		sum.action[a] += s->of_action[a];
}

static void tell_sum(void)
{
	for (int a = 0; a < SAGA_ACTION_COUNT; a++)
		printf("%s=%" PRIu64 "\n", saga_action_name((enum saga_action)a), sum.action[a]);
	printf("sagas=%" PRIu64 "\nended_completed=%" PRIu64 "\nended_undone=%" PRIu64 "\nmessages=%" PRIu64
	       "\ntimeouts=%" PRIu64 "\neffects=%" PRIu64 "\norphans=%" PRIu64 "\nexcused=%" PRIu64 "\n",
	       sum.sagas, sum.completed, sum.undone, sum.messages, sum.timeouts, sum.effects, sum.orphans, sum.excused);
}

static const char *name_of_fault(int f)
{
	return saga_fault_name((enum saga_fault)f);
}

static int play(int argc, char **argv)
{
	static const struct player_size sizes[] = {
		{ "--rows", offsetof(struct overrides, rows), &sim.plan.sagas },
		{ "--relays", offsetof(struct overrides, hosts), &sim.plan.clocks },
		{ NULL, 0, NULL },
	};
	/* The rules are the SQL's: there is no core here that could have a mutant. */
	static const struct player player = {
		.program = "tests/sim --saga",
		.sizes = sizes,
		.faults = SAGA_FAULTS,
		.flaws = SAGA_FLAWS,
		.fault_name = name_of_fault,
		.flaw_name = saga_flaw_name,
		.flaw_meaning = saga_flaw_meaning,
		.run = run,
		.tell_plan = tell_plan,
		.add_up = add_up,
		.tell_sum = tell_sum,
		.seed = &sim.seed,
		.steps = &sim.steps,
		.faults_done = &sim.faults,
		.of_kind = sim.of_kind,
		.violation = sim.violation,
		.violation_bytes = sizeof sim.violation,
		.violated = &sim.violated,
	};

	return player_main(&player, argc, argv);
}

/* And two of its own: the table, and walks through the rules. */
int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--walks") == 0) {
		saga_walks(&sim, (uint32_t)strtoul(argv[2], NULL, 10));
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--table") == 0) {
		saga_table_print();
		return 0;
	}
	return play(argc, argv);
}
