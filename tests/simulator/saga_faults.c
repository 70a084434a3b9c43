/* Faults that come by themselves, each at its own mean interval, and their end. */
#include "saga_world.h"

static int64_t interval_of(const struct saga_sim *s, enum saga_fault f)
{
	return ((const int64_t *)&s->plan.every)[f - SAGA_FIRST_INTERVAL];
}

static uint32_t any_saga(struct saga_sim *s)
{
	return (uint32_t)prng_below(&s->dice, s->plan.sagas);
}

static uint32_t any_participant(struct saga_sim *s)
{
	return (uint32_t)prng_between(&s->dice, 1, SAGA_SERVICES - 1);
}

/* The database's clock is set, forward or back. */
static void jump(struct saga_sim *s)
{
	int64_t by = prng_spread(&s->dice, MS, 5 * SECOND);

	s->clock += prng_below(&s->dice, 2) == 0 ? by : -by;
}

static void strike(struct saga_sim *s, enum saga_fault f)
{
	trace(s, "fault   %s", saga_fault_name(f));
	switch (f) {
	case SAGA_FAULT_cancel: saga_operate(s, any_saga(s), EVENT_cancel); break;
	case SAGA_FAULT_retry: saga_operate(s, any_saga(s), EVENT_retry); break;
	case SAGA_FAULT_undo: saga_operate(s, any_saga(s), EVENT_undo); break;
	case SAGA_FAULT_resolve: saga_operate_stuck(s); break;
	case SAGA_FAULT_clock_jump: jump(s); break;
	case SAGA_FAULT_desk_crash: saga_sessions_end(s, 0); break;
	case SAGA_FAULT_desk_failover: saga_falls_behind(s, 0); break;
	case SAGA_FAULT_part_failover: saga_falls_behind(s, any_participant(s)); break;
	case SAGA_FAULT_part_down:
		s->down_until[any_participant(s)] = s->now + prng_spread(&s->dice, 10 * MS, 3 * SECOND);
		break;
	case SAGA_FAULT_stream_lags: saga_stream_lags(s); break;
	case SAGA_FAULT_stream_end_lost: saga_stream_loses_end(s); break;
	case SAGA_FAULT_replayed: saga_replay(s); break;
	default: break;
	}
}

static void on_fault(struct saga_sim *s, const struct saga_happening *h)
{
	enum saga_fault f = (enum saga_fault)h->a;

	if (saga_healed(s))
		return;
	if (saga_strikes(s, f))
		strike(s, f);
	saga_later(s, prng_between(&s->dice, 1, 2 * interval_of(s, f)), on_fault, f, 0, 0);
}

static void on_clean(struct saga_sim *s, const struct saga_happening *h)
{
	if (saga_healed(s))
		return;
	saga_parts_clean(s);
	saga_later(s, s->plan.retention_us / 4, h->run, 0, 0, 0);
}

static void on_healed(struct saga_sim *s, const struct saga_happening *h)
{
	saga_parts_decide(s);
	saga_operate_stuck(s);
	saga_later(s, 100 * MS, h->run, 0, 0, 0);
}

void saga_faults_open(struct saga_sim *s)
{
	for (enum saga_fault f = SAGA_FIRST_INTERVAL; f < SAGA_FAULTS; f++)
		if (interval_of(s, f) > 0)
			saga_later(s, prng_between(&s->dice, 1, 2 * interval_of(s, f)), on_fault, f, 0, 0);
	if (s->plan.retention_us > 0)
		saga_later(s, s->plan.retention_us, on_clean, 0, 0, 0);
}

void saga_faults_heal(struct saga_sim *s)
{
	for (uint32_t i = 0; i < SAGA_SERVICES; i++) {
		s->behind[i] = false;
		s->down_until[i] = 0;
		saga_wake(s, i, 1);
	}
	for (uint32_t i = 0; i < STREAMS; i++)
		s->stream[i].lags_until = 0;
	saga_later(s, 1, on_healed, 0, 0, 0);
}
