#include "core/lead.h"

#include <assert.h>

#include "core/mutant.h"

void lead_create(struct lead *l, uint32_t lease_ms)
{
	*l = (struct lead){ .lease_ms = lease_ms };
}

void lead_taken(struct lead *l, int64_t asked_ms, uint64_t pause, int64_t predecessor_until)
{
	assert(l->state == LEAD_NONE);
	l->operator_pause = MUTANT(pause_forgotten) ? 0 : pause;
	l->state = l->operator_pause != 0 ? LEAD_PAUSED : LEAD_RUNS;
	if (l->drain == DRAIN_DONE)
		l->drain = DRAIN_BEGUN;
	l->renewing = false;
	l->predecessor_until = predecessor_until;
	l->lease_until = asked_ms + l->lease_ms;
}

void lead_lost(struct lead *l)
{
	l->state = LEAD_NONE;
	l->operator_pause = 0;
	l->renewing = false;
}

void lead_alive(struct lead *l, int64_t asked_ms)
{
	/* Answers come in the order of their questions, but not all questions count from the same moment. */
	if (asked_ms + l->lease_ms > l->lease_until)
		l->lease_until = asked_ms + l->lease_ms;
}

void lead_renewing(struct lead *l)
{
	assert(l->state != LEAD_NONE && !l->renewing);
	l->renewing = true;
}

void lead_renewed(struct lead *l, int64_t asked_ms)
{
	l->renewing = false;
	lead_alive(l, asked_ms);
}

void lead_drain(struct lead *l)
{
	if (l->drain == DRAIN_NONE)
		l->drain = DRAIN_BEGUN;
}

/* What was read waits where it is, and its lanes with it: going on needs nothing but to go on. */
bool lead_pause(struct lead *l, uint64_t pause)
{
	if (l->state == LEAD_NONE || pause == l->operator_pause)
		return false;
	l->operator_pause = pause;
	l->state = pause != 0 ? LEAD_PAUSED : LEAD_RUNS;
	return pause == 0;
}

void lead_said_quiet(struct lead *l)
{
	assert(l->state == LEAD_PAUSED && l->operator_pause != 0);
	l->state = LEAD_QUIET;
}

void lead_said_drained(struct lead *l)
{
	assert(l->drain == DRAIN_BEGUN);
	l->drain = DRAIN_DONE;
}

bool lead_may_read(const struct lead *l)
{
	return l->drain == DRAIN_NONE && (l->state == LEAD_RUNS || (MUTANT(pause_unread) && l->state != LEAD_NONE));
}

bool lead_may_publish(const struct lead *l, int64_t now_ms)
{
	return l->drain == DRAIN_NONE && (l->state == LEAD_RUNS || (MUTANT(pause_ignored) && l->state != LEAD_NONE)) &&
	       (now_ms < l->lease_until || MUTANT(lease_ignored));
}

bool lead_may_be_quiet(const struct lead *l, int64_t now_ms)
{
	return l->state == LEAD_PAUSED && now_ms >= l->predecessor_until;
}

int64_t lead_quiet_at(const struct lead *l, int64_t now_ms)
{
	return l->state == LEAD_PAUSED && now_ms < l->predecessor_until ? l->predecessor_until : INT64_MAX;
}

bool lead_may_be_drained(const struct lead *l)
{
	return l->drain == DRAIN_BEGUN;
}

int64_t lead_send_deadline(const struct lead *l, int64_t now_ms)
{
	if (l->state == LEAD_NONE || MUTANT(send_deadline))
		return INT64_MAX;
	/* Not only for what is in flight: what was given up waiting for may still stand before the socket. Who says that all is
	 * quiet, or resigns, has said that it will not leave any more. */
	if (l->state == LEAD_QUIET || l->drain == DRAIN_DONE)
		return now_ms;
	return l->lease_until;
}
