/* The simulator of the inbox's core: how one seed is played. (Its command line: player.h.) */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check_inbox.h"
#include "core/inbox/inbox.h"
#include "inbox_mutant.h"
#include "inbox_world.h"
#include "player.h"

static struct inbox_sim sim;
/* --- one seed --- */

static void run_until(struct inbox_sim *s, int64_t until)
{
	while (s->now < until)
		inbox_turn(s);
}

static int64_t slowest_ms(const struct inbox_sim *s)
{
	int64_t most = 0;

	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		const struct inbox_settings *set = &s->plan.settings[i];
		int64_t one = 3 * set->check_interval_ms + 4 * set->heartbeat_ms + set->answer_timeout_ms +
			      set->retry_max_ms + set->follow_interval_ms + 2 * set->expires_ms;

		most = one > most ? one : most;
	}
	return most;
}

/* How long it may take for what is left once the world is well. */
static int64_t patience(const struct inbox_sim *s)
{
	return 20 * SECOND + 6 * slowest_ms(s) * MS +
	       (int64_t)s->broker.copies * (60 * MS + 8 * s->plan.bus_us + 8 * s->plan.pg_us);
}

static void trace_states(struct inbox_sim *s)
{
	for (uint32_t h = 0; h < s->plan.hosts; h++)
		for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
			const struct inbox_stats *stats = inbox_look(s->host[h].core[i]);

			trace(s, "host %u  sub %u: %s, stop %d, position %llu, %u queued", h, i,
			      inbox_state_name(stats->state), stats->stop, (unsigned long long)stats->position,
			      stats->queued);
		}
}

static void run_until_settled(struct inbox_sim *s)
{
	int64_t end = s->now + patience(s);
	char why[200];

	while (!check_inbox_settled(s)) {
		if (s->now >= end) {
			trace_states(s);
			check_inbox_explain(s, why, sizeof why);
			inbox_violated(s, "it does not come to rest: %s", why);
		}
		run_until(s, s->now + 50 * MS);
	}
}

static void run_phases(struct inbox_sim *s)
{
	inbox_broker_open(s);
	inbox_db_open(s);
	inbox_faults_open(s);
	inbox_hosts_begin(s);
	inbox_workers_open(s);
	run_until(s, s->now + s->plan.load_us);
	trace(s, "------- heal");
	s->phase = INBOX_PHASE_HEAL;
	inbox_faults_heal(s);
	run_until_settled(s);
	run_until(s, s->now + 2 * SECOND + 4 * slowest_ms(s) * MS);
	run_until_settled(s);
	check_inbox_followed(s);
	check_inbox_complete(s);
}

/* False: a promise was broken; sim.violation says which. */
static bool run(uint64_t seed, const struct overrides *o, int flaw, bool tracing, bool loud)
{
	struct inbox_sim *s = &sim;
	volatile bool held = false;

	memset(s, 0, sizeof *s);
	inbox_sim_open(s, seed, o);
	s->tracing = tracing;
	s->loud = loud;
	s->flaw = (enum inbox_flaw)flaw;
	if (setjmp(s->violated) == 0) {
		run_phases(s);
		held = true;
	}
	inbox_hosts_end(s);
	inbox_db_catches_up(s);
	inbox_sim_close(s);
	return held;
}

/* --- what is told --- */

static void tell_plan(void)
{
	const struct inbox_plan *p = &sim.plan;

	printf("server=%d relays=%u workers=%u keys=%u messages=%u retention=%" PRId64 "\n", p->server, p->hosts,
	       p->workers, p->keys, p->messages, p->retention_us / MS);
	for (uint32_t i = 0; i < p->subscriptions; i++) {
		const struct inbox_settings *s = &p->settings[i];

		printf("subscription %u: classes=%u dedupe=%d on_gap=%d on_recreated=%d start=%d/%" PRIu64
		       " queue=%u/%u take=%u/%u heartbeat=%u check=%u follow=%u\n",
		       i, p->classes[i], s->dedupe, s->on_gap, s->on_recreated, s->start, s->start_sequence,
		       s->queue_messages, s->queue_bytes, s->take_messages, s->take_bytes, s->heartbeat_ms,
		       s->check_interval_ms, s->follow_interval_ms);
	}
}

/* --- the sum --- */

static struct {
	uint64_t published, copies, taken, effects, known, gaps, rewinds, restarts, excused, dead;
} sum;

static void add_up(void)
{
	const struct inbox_sim *s = &sim;

	sum.published += s->broker.messages;
	sum.copies += s->broker.copies;
	sum.taken += s->taken;
	sum.effects += s->effects;
	sum.known += s->copies_known;
	sum.gaps += s->gaps;
	sum.rewinds += s->rewinds;
	sum.restarts += s->restarts;
	sum.excused += s->excused;
	sum.dead += s->dead;
}

static void tell_sum(void)
{
	printf("published=%" PRIu64 "\ncopies=%" PRIu64 "\ntaken=%" PRIu64 "\neffects=%" PRIu64 "\nknown=%" PRIu64 "\n",
	       sum.published, sum.copies, sum.taken, sum.effects, sum.known);
	printf("gaps=%" PRIu64 "\nrewinds=%" PRIu64 "\nrestarts=%" PRIu64 "\nexcused=%" PRIu64 "\ndead=%" PRIu64 "\n",
	       sum.gaps, sum.rewinds, sum.restarts, sum.excused, sum.dead);
}

static const char *name_of_fault(int f)
{
	return inbox_fault_name((enum inbox_fault)f);
}

int main(int argc, char **argv)
{
	static const struct player_size sizes[] = {
		{ "--messages", offsetof(struct overrides, messages), &sim.plan.messages },
		{ "--relays", offsetof(struct overrides, hosts), &sim.plan.hosts },
		{ "--subscriptions", offsetof(struct overrides, subscriptions), &sim.plan.subscriptions },
		{ NULL, 0, NULL },
	};
	static const struct player player = {
		.program = "tests/sim --inbox",
		.sizes = sizes,
		.faults = INBOX_FAULTS,
		.flaws = INBOX_FLAWS,
		.fault_name = name_of_fault,
		.flaw_name = inbox_flaw_name,
		.flaw_meaning = inbox_flaw_meaning,
		.mutant_play = inbox_mutant_choose,
		.mutant_list = inbox_mutant_list,
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
