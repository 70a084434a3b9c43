/* The simulator of the outbox's core: how one seed is played, from the load to the drain. (Its command line: player.h.) */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "host.h"
#include "load.h"
#include "mutant.h"
#include "player.h"
#include "world.h"

static struct sim sim;
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
	int64_t begin = s->now, end = begin + within;

	while (s->pg.fact[message].copies == 0) {
		/* What was lost before all was well is seen only now, or just before: an operator may be at it still. */
		if (s->called > 0 && s->called + 5 * SECOND >= begin)
			end = s->called + 5 * SECOND + within;
		demand(s, s->now < end, "%s was not stored in time", what);
		run_until(s, s->now + MS);
	}
}

/* Asleep, woken by a notification; asleep again, and left to the safety poll. */
static void run_rest(struct sim *s)
{
	int64_t swift = 4 * s->plan.pg_us + 3 * s->plan.bus_us + 10 * MS;
	struct delivery_settings *set = &s->plan.settings;

	/* That an owned stream was made anew is seen by a refusal of what comes first, and then it is looked at. */
	if (set->owned != 0)
		swift += (int64_t)set->retry_max_ms * MS;
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
	if (s->core->limits->exceptions > MAX_IDS)
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
static bool run(uint64_t seed, const struct overrides *o, int flaw, bool tracing, bool loud)
{
	struct sim *s = &sim;
	volatile bool held = false;

	memset(s, 0, sizeof *s);
	sim_open(s, seed, o);
	s->tracing = tracing;
	s->loud = loud;
	s->flaw = (enum flaw)flaw;
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

/* --- what is told --- */

static void tell_plan(void)
{
	const struct plan *p = &sim.plan;
	const struct delivery_settings *s = &p->settings;

	printf("ordering=%d poison=%d streams=%u window=%u/%u queue=%u/%u ack_timeout=%u retry=%u..%u mark=%u grace=%u "
	       "lease=%u sleep=%u poll=%u hosts=%u keys=%u dedupe=%" PRId64 "%s%s%s\n",
	       s->ordering, s->poison, s->streams, s->window_messages, s->window_bytes, s->queue_messages,
	       s->queue_bytes, s->ack_timeout_ms, s->retry_min_ms, s->retry_max_ms, s->mark_interval_ms, s->grace_ms,
	       s->lease_ms, s->sleep_after_ms, s->safety_poll_ms, p->hosts, p->keys, p->window_us / 1000,
	       p->small ? " small" : "", p->mark_apart ? " mark_apart" : "", p->overlaps ? " overlaps" : "");
}

/* --- the sum --- */

static struct {
	uint64_t messages, stored, duplicates, undone, phantoms, reused, gone, deleted, proved; /* see tell_sum() */
} sum;

static void add_up(void)
{
	const struct sim *s = &sim;

	sum.proved += s->proved;
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		const struct fact *f = &s->pg.fact[m];

		sum.messages += f->fate == FATE_COMMITTED || f->undone;
		sum.stored += f->copies > 0;
		sum.duplicates += f->standing > 1 ? f->standing - 1 : 0;
		sum.gone += f->copies > 0 && f->standing == 0; /* the stream lost it, or somebody took it out there */
		sum.deleted += f->deleted && f->copies == 0;   /* its row, before it was sent */
		sum.undone += f->undone;                       /* a failover took its commit back */
		sum.phantoms += f->copies > 0 && f->fate != FATE_COMMITTED;
		sum.reused += f->undone && s->pg.row[f->id] != m && s->pg.row[f->id] != 0; /* its id is another's */
	}
}

static void tell_sum(void)
{
	printf("messages=%" PRIu64 "\nstored=%" PRIu64 "\nduplicates=%" PRIu64 "\n", sum.messages, sum.stored,
	       sum.duplicates);
	printf("gone=%" PRIu64 "\nproved=%" PRIu64 "\ndeleted=%" PRIu64 "\n", sum.gone, sum.proved, sum.deleted);
	printf("undone=%" PRIu64 "\nphantoms=%" PRIu64 "\nreused=%" PRIu64 "\n", sum.undone, sum.phantoms, sum.reused);
}

static const char *name_of_fault(int f)
{
	return fault_name((enum fault)f);
}

int main(int argc, char **argv)
{
	static const struct player_size sizes[] = {
		{ "--rows", offsetof(struct overrides, rows), &sim.plan.rows },
		{ "--relays", offsetof(struct overrides, hosts), &sim.plan.hosts },
		{ "--producers", offsetof(struct overrides, producers), &sim.plan.producers },
		{ NULL, 0, NULL },
	};
	static const struct player player = {
		.program = "tests/sim",
		.can_be_tight = true,
		.sizes = sizes,
		.faults = FAULTS,
		.flaws = FLAWS,
		.fault_name = name_of_fault,
		.flaw_name = flaw_name,
		.flaw_meaning = flaw_meaning,
		.mutant_play = mutant_play,
		.mutant_list = mutant_list,
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
