/* The simulator of the capture's core: how one seed is played. (Its command line: player.h.) */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capture_mutant.h"
#include "capture_world.h"
#include "check_capture.h"
#include "player.h"

static struct capture_sim sim;

/* --- one seed --- */

static void run_until(struct capture_sim *s, int64_t until)
{
	while (s->now < until && !s->gap)
		capture_turn(s);
}

/* How long it may take for what is left once the world is well: a lease and a back-off, then each message alone, each chunk with
 * its window and its mark, twice for what is read again; and a table that could not be read is tried again after half a minute. */
static int64_t patience(const struct capture_sim *s)
{
	const struct delivery_settings *d = &s->plan.settings.send;
	int64_t one = 4 * s->plan.bus_us + 4 * s->plan.pg_us;
	int64_t chunk = 6 * s->plan.pg_us + 3 * s->plan.flush_us + (int64_t)(d->mark_interval_ms + 20) * MS;

	return 60 * SECOND + (int64_t)(s->ops + 400) * one + 400 * (chunk + 20 * s->plan.pg_us) +
	       (int64_t)(d->lease_ms + d->retry_max_ms + d->ack_timeout_ms) * 20 * MS;
}

static void trace_states(struct capture_sim *s)
{
	for (uint32_t h = 0; h < s->plan.hosts; h++) {
		const struct capture_stats *stats = s->host[h].core != NULL ? capture_look(s->host[h].core) : NULL;

		if (stats != NULL)
			trace(s,
			      "host %u: leading %d, reader %s, table %u, received %llu, marked %llu, confirmed %llu, ordinal %lld of "
			      "%lld, resident %u, in flight %u, open %llu",
			      h, stats->send->leading, capture_reader_name(stats->reader), stats->table,
			      (unsigned long long)stats->received_lsn, (unsigned long long)stats->marked_lsn,
			      (unsigned long long)stats->confirmed_lsn, (long long)stats->marked_ordinal,
			      (long long)stats->ordinal, stats->send->resident, stats->send->in_flight,
			      (unsigned long long)stats->open_rows);
	}
}

static void run_until_rest(struct capture_sim *s)
{
	int64_t end = s->now + patience(s);
	const char *why;

	while (!s->gap && (why = check_capture_rests(s)) != NULL) {
		if (s->now >= end) {
			trace_states(s);
			capture_violated(s, "it does not come to rest: %s", why);
		}
		run_until(s, s->now + 100 * MS);
	}
}

/* Nothing happens any more: nothing is written. (Another database's log goes on, and the position with it.) */
static void check_idle(struct capture_sim *s)
{
	uint64_t marks;

	run_until(s, s->now + 3 * SECOND);
	run_until_rest(s);
	marks = s->marks;
	s->pg.lsn += 1000;
	run_until(s, s->now + 5 * SECOND);
	run_until_rest(s);
	demand(s, s->marks == marks, "an idle capture writes");
}

/* Nothing that is on record is ever sent again, so somebody has to be told; by the next who takes the lead at the latest. */
static void run_until_gap(struct capture_sim *s)
{
	if (!s->gap)
		capture_hosts_lose_lead(s);
	run_until(s, s->now + patience(s));
	demand(s, s->gap, "the stream has lost what is on record, and nobody says so");
}

static void run_phases(struct capture_sim *s)
{
	capture_pg_open(s);
	capture_writers_open(s);
	capture_hosts_begin(s);
	capture_faults_open(s);
	run_until(s, s->now + s->plan.load_us);
	trace(s, "------- heal");
	s->phase = CAPTURE_PHASE_HEAL;
	capture_faults_heal(s);
	run_until(s, s->now + SECOND);
	if (s->end_lost) {
		run_until_gap(s);
		return;
	}
	if (s->plan.late_table)
		capture_pg_add_table(s, s->plan.tables - 1);
	run_until_rest(s);
	/* Whatever somebody has done to the copy, one pass over each table finds it. */
	for (uint32_t t = 0; t < s->plan.tables; t++)
		capture_books_verify(s, t, 0);
	run_until_rest(s);
	check_idle(s);
	check_capture_whole(s);
}

/* False: a promise was broken; sim.violation says which. */
static bool run(uint64_t seed, const struct overrides *o, int flaw, bool tracing, bool loud)
{
	struct capture_sim *s = &sim;
	volatile bool held = false;

	memset(s, 0, sizeof *s);
	capture_sim_open(s, seed, o);
	s->tracing = tracing;
	s->loud = loud;
	s->flaw = (enum capture_flaw)flaw;
	if (setjmp(s->violated) == 0) {
		run_phases(s);
		held = true;
	}
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (s->host[i].core != NULL) {
			const struct capture_stats *stats = capture_look(s->host[i].core);

			s->chunks += stats->chunks;
			s->voids += stats->chunks_void;
			s->rows_early += stats->rows_early;
			s->barriers += stats->barriers;
			s->let_go += stats->let_go;
		}
	capture_hosts_end(s);
	capture_sim_close(s);
	return held;
}

/* --- what is told --- */

static void tell_plan(void)
{
	const struct capture_plan *p = &sim.plan;
	const struct capture_settings *c = &p->settings;

	printf("relays=%u tables=%u keys=%u writers=%u transactions=%u ops=%u order=%s window=%u queue=%u/%u chunk=%u share=%u "
	       "wait=%u most=%u/%u/%u mark=%u late_table=%d whole_table=%u 13=%d\n",
	       p->hosts, p->tables, p->keys, p->writers, p->transactions, p->most_ops,
	       c->in_commit_order ? "commit" : "key", c->send.window_messages, c->send.queue_messages,
	       c->send.queue_bytes, c->chunk_rows, c->chunk_share, c->chunk_wait_ms, c->most_xids, c->most_repairs,
	       c->most_commits, c->send.mark_interval_ms, p->late_table, p->whole_table, p->version_13);
}

static struct {
	uint64_t changes, rows, early, chunks, voids, repairs, marks, phantoms, letters, again, barriers, transactions,
		carried, fetched, held, decided, passes, verified, corrupted, found, wholes, let_go;
} sum;

static void add_up(void)
{
	const struct capture_sim *s = &sim;

	sum.changes += s->changes;
	sum.rows += s->rows;
	sum.early += s->rows_early;
	sum.chunks += s->chunks;
	sum.voids += s->voids;
	sum.passes += s->passes;
	sum.verified += s->verified;
	sum.corrupted += s->corrupted;
	sum.found += s->found;
	sum.wholes += s->wholes;
	sum.let_go += s->let_go;
	sum.repairs += s->repairs;
	sum.marks += s->marks;
	sum.phantoms += s->phantoms;
	sum.letters += s->letters;
	sum.carried += s->carried;
	sum.fetched += s->fetched;
	sum.held += s->held;
	sum.decided += s->decided;
	sum.again += s->again;
	sum.barriers += s->barriers;
	sum.transactions += s->transactions;
}

static void tell_sum(void)
{
	printf("transactions=%" PRIu64 "\nchanges=%" PRIu64 "\nrows=%" PRIu64 "\nearly=%" PRIu64 "\nchunks=%" PRIu64
	       "\nvoids=%" PRIu64 "\nrepairs=%" PRIu64 "\n",
	       sum.transactions, sum.changes, sum.rows, sum.early, sum.chunks, sum.voids, sum.repairs);
	printf("carried=%" PRIu64 "\nfetched=%" PRIu64 "\nheld=%" PRIu64 "\ndecided=%" PRIu64 "\n", sum.carried,
	       sum.fetched, sum.held, sum.decided);
	printf("passes=%" PRIu64 "\nverified=%" PRIu64 "\ncorrupted=%" PRIu64 "\nfound=%" PRIu64 "\n", sum.passes,
	       sum.verified, sum.corrupted, sum.found);
	printf("wholes=%" PRIu64 "\nlet_go=%" PRIu64 "\n", sum.wholes, sum.let_go);
	printf("marks=%" PRIu64 "\nphantoms=%" PRIu64 "\nletters=%" PRIu64 "\nagain=%" PRIu64 "\nbarriers=%" PRIu64
	       "\n",
	       sum.marks, sum.phantoms, sum.letters, sum.again, sum.barriers);
}

static const char *name_of_fault(int f)
{
	return capture_fault_name((enum capture_fault)f);
}

int main(int argc, char **argv)
{
	static const struct player_size sizes[] = {
		{ "--rows", offsetof(struct overrides, rows), &sim.plan.transactions },
		{ "--producers", offsetof(struct overrides, producers), &sim.plan.writers },
		{ "--relays", offsetof(struct overrides, hosts), &sim.plan.hosts },
		{ NULL, 0, NULL },
	};
	static const struct player player = {
		.program = "tests/sim --capture",
		.sizes = sizes,
		.faults = CAPTURE_FAULTS,
		.flaws = CAPTURE_FLAWS,
		.fault_name = name_of_fault,
		.flaw_name = capture_flaw_name,
		.flaw_meaning = capture_flaw_meaning,
		.mutant_play = capture_mutant_choose,
		.mutant_list = capture_mutant_list,
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
