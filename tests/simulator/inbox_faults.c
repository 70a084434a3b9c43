/* The load, and the faults that come by themselves, each at its own mean interval. */
#include "inbox_world.h"

#include "core/inbox/inbox.h"

/* --- what is published --- */

static void publish(struct inbox_sim *s)
{
	uint32_t message = s->broker.messages;

	if (message > 0 && mishap(s, copy_later))
		inbox_broker_store(s, (uint32_t)prng_between(&s->dice, 1, message));
	else if (message < s->plan.messages)
		inbox_broker_store(s, inbox_broker_new_message(s));
}

static void on_publish(struct inbox_sim *s, const struct inbox_happening *h)
{
	int64_t n = prng_spread(&s->dice, 1, 12);

	if (inbox_healed(s))
		return;
	for (int64_t i = 0; i < n; i++)
		publish(s);
	if (s->broker.messages < s->plan.messages)
		inbox_later(s, inbox_soon(s, s->plan.idle_us * 2 * n), h->run);
}

/* --- an operator --- */

static void decide(struct inbox_sim *s)
{
	struct host *h = inbox_leader(s);

	for (uint32_t i = 0; i < s->plan.subscriptions && h != NULL; i++) {
		const struct inbox_stats *stats = inbox_look(h->core[i]);

		if (stats->state == INBOX_STOPPED && inbox_db_decide(s, i, stats->stop, stats->stop_to)) {
			inbox_hosts_changed(s, i);
			h = inbox_leader(s);
		}
	}
}

static void rewind_one(struct inbox_sim *s)
{
	uint32_t subscription = (uint32_t)prng_below(&s->dice, s->plan.subscriptions);

	if (inbox_db_rewind(s, subscription))
		inbox_hosts_changed(s, subscription);
}

static void on_decide(struct inbox_sim *s, const struct inbox_happening *h)
{
	decide(s);
	inbox_workers_discard(s);
	inbox_later(s, s->now + 100 * MS, h->run);
}

/* --- faults --- */

static int64_t interval_of(const struct inbox_sim *s, enum inbox_fault f)
{
	return ((const int64_t *)&s->plan.every)[f - INBOX_FIRST_INTERVAL];
}

static void on_takes_over(struct inbox_sim *s, const struct inbox_happening *h)
{
	(void)h;
	if (!inbox_healed(s))
		inbox_db_takes_over(s);
}

static void fail_over(struct inbox_sim *s)
{
	inbox_db_falls_behind(s);
	inbox_later(s, s->now + prng_spread(&s->dice, MS, SECOND), on_takes_over);
}

static void strike(struct inbox_sim *s, enum inbox_fault f)
{
	trace(s, "fault   %s", inbox_fault_name(f));
	switch (f) {
	case INBOX_FAULT_database_crash:
		inbox_hosts_lose_sessions(s);
		inbox_workers_lose_sessions(s);
		break;
	case INBOX_FAULT_failover: fail_over(s); break;
	case INBOX_FAULT_database_full: s->full_until = s->now + prng_spread(&s->dice, MS, SECOND); break;
	case INBOX_FAULT_operator_decides: decide(s); break;
	case INBOX_FAULT_operator_rewinds: rewind_one(s); break;
	default: inbox_broker_strike(s, f); inbox_host_strike(s, f);
	}
}

static void on_fault(struct inbox_sim *s, const struct inbox_happening *h)
{
	enum inbox_fault f = (enum inbox_fault)h->a;

	if (inbox_healed(s))
		return;
	if (inbox_strikes(s, f))
		strike(s, f);
	inbox_later(s, inbox_soon(s, 2 * interval_of(s, f)), on_fault)->a = f;
}

static void on_clean(struct inbox_sim *s, const struct inbox_happening *h)
{
	inbox_db_clean(s);
	inbox_later(s, s->now + s->plan.retention_us / 4, h->run);
}

void inbox_faults_open(struct inbox_sim *s)
{
	for (uint32_t i = 0; i < s->plan.before; i++)
		inbox_broker_store(s, inbox_broker_new_message(s));
	inbox_later(s, inbox_soon(s, 100 * MS), on_publish);
	for (enum inbox_fault f = INBOX_FIRST_INTERVAL; f < INBOX_FAULTS; f++)
		if (interval_of(s, f) > 0)
			inbox_later(s, inbox_soon(s, 2 * interval_of(s, f)), on_fault)->a = f;
	if (s->plan.retention_us > 0)
		inbox_later(s, s->now + s->plan.retention_us, on_clean);
}

void inbox_faults_heal(struct inbox_sim *s)
{
	s->full_until = 0;
	inbox_db_catches_up(s);
	inbox_broker_heal(s);
	for (uint32_t i = 0; i < s->plan.subscriptions; i++) {
		s->db.subscription[i].paused = false;
		inbox_hosts_unpaused(s, i);
	}
	inbox_later(s, s->now + 100 * MS, on_decide);
}
