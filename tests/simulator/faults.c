/* Faults that come by themselves, each at its own mean interval. */
#include "core/refusal.h"
#include "host.h"
#include "load.h"
#include "world.h"

static int64_t interval_of(const struct sim *s, enum fault f)
{
	return ((const int64_t *)&s->plan.every)[f - FIRST_INTERVAL];
}

static struct host *any_host(struct sim *s)
{
	return s->host[prng_below(&s->dice, s->plan.hosts)];
}

static void lose_session(struct sim *s)
{
	struct host *h = any_host(s);

	if (h->session == 0)
		return;
	if (prng_below(&s->dice, 2) == 0 && !host_is_away(s, h)) {
		trace(s, "host %u  loses its session", h->index);
		host_session_lost(s, h);
	} else {
		trace(s, "pg      session %llu of host %u dies", (unsigned long long)h->session, h->index);
		session_end(s, h->session);
	}
}

static void crash_database(struct sim *s)
{
	sessions_end_all(s);
	pg_crash(s);
}

/* Asynchronous replication: what was committed last is lost. */
static void on_failover(struct sim *s, const struct happening *h)
{
	(void)h;
	if (!healed(s) && s->standby != NULL)
		standby_takes_over(s);
}

static void fail_over(struct sim *s)
{
	standby_falls_behind(s);
	later(s, prng_spread(&s->dice, MS, 2 * SECOND), on_failover, 0, 0, 0, 0);
}

/* Synchronous replication: nothing is. */
static void switch_over(struct sim *s)
{
	sessions_end_all(s);
	standby_catches_up(s);
	standby_falls_behind(s);
	standby_takes_over(s);
}

static void on_unrelated_end(struct sim *s, const struct happening *h)
{
	if (s->phase == PHASE_HEAL)
		later(s, SECOND, on_unrelated_end, h->a, 0, 0, 0);
	else if (s->pg.tx[h->a].state == TX_RUNNING)
		tx_abort(s, (uint32_t)h->a);
}

/* Somebody writes for long and never touches the outbox. */
static void hold_horizon(struct sim *s)
{
	uint32_t tx;

	if (s->pg.running_count >= MAX_RUNNING / 2 || s->pg.txs >= MAX_TX - 100)
		return;
	tx = tx_begin(s);
	tx_assign_xid(s, tx);
	later(s, prng_spread(&s->dice, 10 * MS, 10 * SECOND), on_unrelated_end, tx, 0, 0, 0);
}

static void refuse_lane(struct sim *s, struct stream *st)
{
	static const uint32_t reason[][2] = {
		{ REASON_SUBJECT_FULL, 503 },
		{ REASON_NOT_PERMITTED, 0 },
		{ 10071, 400 },
		{ 10999, 400 },
		{ 10998, 500 },
	};
	size_t i = prng_below(&s->dice, sizeof reason / sizeof reason[0]);

	st->refused_key = (int32_t)prng_below(&s->dice, s->plan.keys + 1) - 1;
	st->refused_reason = reason[i][0];
	st->refused_status = reason[i][1];
	st->refused_until = s->now + prng_spread(&s->dice, 10 * MS, 5 * SECOND);
}

/* A clock is set, forward or back. */
static int64_t jump(struct sim *s)
{
	int64_t by = prng_spread(&s->dice, 10 * MS, 10 * SECOND);

	return prng_below(&s->dice, 2) == 0 ? by : -by;
}

static void on_stall(struct sim *s, const struct happening *h)
{
	if (!healed(s) && s->host[h->a]->up)
		host_freeze(s, s->host[h->a]);
}

/* The server does not read; and when that is because all of the machine is in trouble, the relay is the next to stand
 * still, with what it could not write. */
static void fill_socket(struct sim *s, struct host *h, int64_t until)
{
	h->socket_full_until = until;
	if (prng_below(&s->dice, 2) == 0)
		later(s, prng_between(&s->dice, 0, 5 * (int64_t)s->plan.settings.ack_timeout_ms * MS), on_stall,
		      h->index, 0, 0, 0);
}

/* Somebody tunes a relay that runs. Within the plan's: its bounds are what is checked. */
static void reload(struct sim *s, struct host *h)
{
	const struct delivery_settings *plan = &s->plan.settings;
	struct delivery_settings set = *plan;

	set.window_messages = (uint32_t)prng_between(&s->dice, 1, plan->window_messages);
	set.window_bytes = (uint32_t)prng_between(&s->dice, plan->window_bytes / 4, plan->window_bytes);
	set.queue_bytes = (uint32_t)prng_between(&s->dice, plan->queue_bytes / 2, plan->queue_bytes);
	set.ack_timeout_ms = (uint32_t)prng_between(&s->dice, plan->ack_timeout_ms, 2 * plan->ack_timeout_ms);
	set.retry_min_ms = (uint32_t)prng_between(&s->dice, 1, 50);
	set.retry_max_ms = set.retry_min_ms * (uint32_t)prng_between(&s->dice, 1, 40);
	set.mark_interval_ms = (uint32_t)prng_between(&s->dice, 0, 100);
	set.grace_ms = (uint32_t)prng_between(&s->dice, 0, 200);
	set.sleep_after_ms = (uint32_t)prng_between(&s->dice, 5, plan->sleep_after_ms);
	host_reload(s, h, prng_below(&s->dice, 4) == 0 ? NULL : &set);
}

/* SIGTERM; and a supervisor that kills who takes too long, and starts another one. */
static void on_drain_over(struct sim *s, const struct happening *h)
{
	if (s->host[h->a]->life == h->b)
		host_kill(s, s->host[h->a]);
}

static void drain(struct sim *s, struct host *h)
{
	if (!h->up || h->draining || host_is_away(s, h))
		return;
	later(s, prng_spread(&s->dice, 10 * MS, 3 * SECOND), on_drain_over, h->index, h->life, 0, 0);
	host_drain(s, h);
}

static void pause_all(struct sim *s, int64_t until);

static bool is_stopped(const struct host *h)
{
	for (int i = 0; h != NULL && i < MAX_STREAMS; i++)
		if (h->now.stream[i].blocked &&
		    (h->now.stream[i].reason == REASON_FOREIGN || h->now.stream[i].reason == REASON_LOST_END))
			return true;
	return false;
}

/* He looks at it, and says that it may go on, until that is heard. */
static void on_called(struct sim *s, const struct happening *h)
{
	if (!is_stopped(hosts_leader(s)))
		return;
	pause_all(s, s->now + 2500 * MS);
	later(s, 4 * SECOND, on_called, h->a, 0, 0, 0);
}

void faults_operator_is_called(struct sim *s)
{
	s->called = s->now;
	later(s, prng_spread(&s->dice, 10 * MS, SECOND), on_called, 0, 0, 0, 0);
}

/* Two operators may be at it: paused again at once. */
static void on_resume(struct sim *s, const struct happening *h)
{
	(void)h;
	books_pause(s, false);
	if (!healed(s) && prng_below(&s->dice, 3) == 0)
		pause_all(s, s->now + prng_spread(&s->dice, MS, SECOND));
}

static void pause_all(struct sim *s, int64_t until)
{
	books_pause(s, true);
	later(s, until - s->now, on_resume, 0, 0, 0, 0);
}

static void strike(struct sim *s, enum fault f)
{
	struct stream *st = &s->js.stream[prng_below(&s->dice, s->plan.settings.streams)];
	int64_t until = s->now + prng_spread(&s->dice, 5 * MS, 3 * SECOND);
	struct host *h;

	/* Such streams are not to be owned: boxhaul check says so. */
	if (settings_owns(&s->plan.settings, (uint32_t)(st - s->js.stream)) &&
	    (f == FAULT_stream_consumed || f == FAULT_stream_replaced))
		return;
	trace(s, "fault   %s, until %.3f", fault_name(f), (double)(until - 1000 * SECOND) / MS);
	switch (f) {
	case FAULT_session_lost: lose_session(s); break;
	case FAULT_database_crash: crash_database(s); break;
	case FAULT_failover: fail_over(s); break;
	case FAULT_switchover: switch_over(s); break;
	case FAULT_horizon_held: hold_horizon(s); break;
	case FAULT_database_clock: s->pg.clock += jump(s); break;
	case FAULT_bus_lost:
		h = any_host(s);
		host_bus_lost(s, h, prng_below(&s->dice, 2) == 0);
		break;
	case FAULT_socket_full: fill_socket(s, any_host(s), until); break;
	case FAULT_pause: host_freeze(s, any_host(s)); break;
	case FAULT_kill: host_kill(s, any_host(s)); break;
	case FAULT_election: js_elects(s, st, until); break;
	case FAULT_server_restart: js_restarts(s); break;
	case FAULT_server_clock: js_sets_clock(s, jump(s)); break;
	case FAULT_stream_down: js_goes_away(s, st, until); break;
	case FAULT_stream_full: js_fills_up(s, st, until); break;
	case FAULT_stream_silent: st->silent_until = until; break;
	case FAULT_stream_busy: st->busy_until = until; break;
	case FAULT_stream_truncated: js_truncates(s, st); break;
	case FAULT_stream_recreated: js_recreates(s, st); break;
	case FAULT_stream_purged: js_purges(s, st); break;
	case FAULT_stream_deleted: js_deletes(s, st); break;
	case FAULT_stream_consumed: js_is_consumed(s, st); break;
	case FAULT_stream_replaced: js_replaces(s, st); break;
	case FAULT_rows_deleted: pg_deletes_rows(s); break;
	case FAULT_lookback_refused: js_refuses_lookback(s, st, s->now + 3 * (until - s->now)); break;
	case FAULT_drain: drain(s, any_host(s)); break;
	case FAULT_lane_refused: refuse_lane(s, st); break;
	case FAULT_batches_off: st->single_until = s->now + 3 * (until - s->now); break;
	case FAULT_batches_crowded: st->crowded_until = until; break;
	case FAULT_reload: reload(s, any_host(s)); break;
	case FAULT_operator_pause: pause_all(s, until); break;
	default: break;
	}
}

static void on_fault(struct sim *s, const struct happening *h)
{
	if (healed(s))
		return;
	if (fault_strikes(s, (enum fault)h->a))
		strike(s, (enum fault)h->a);
	later(s, prng_between(&s->dice, 1, 2 * interval_of(s, (enum fault)h->a)), on_fault, h->a, 0, 0, 0);
}

static void on_retention(struct sim *s, const struct happening *h)
{
	slots_clean(s);
	later(s, s->plan.slot_us, on_retention, h->a, 0, 0, 0);
}

void faults_open(struct sim *s)
{
	for (enum fault f = FIRST_INTERVAL; f < FAULTS; f++)
		if (interval_of(s, f) > 0)
			later(s, prng_between(&s->dice, 1, 2 * interval_of(s, f)), on_fault, f, 0, 0, 0);
	if (s->plan.retention_us > 0)
		later(s, s->plan.slot_us, on_retention, 0, 0, 0, 0);
}

void faults_heal(struct sim *s)
{
	js_heal(s);
	standby_catches_up(s);
	books_pause(s, false);
	for (uint32_t i = 0; i < s->plan.hosts; i++) {
		host_reload(s, s->host[i], NULL);
		s->host[i]->socket_full_until = 0;
		if (!host_is_away(s, s->host[i]))
			wire_write(s, s->host[i]);
	}
}
