#include "core/send/predecessor.h"

#include "core/mutant.h"

/* What was sent into an owned stream has arrived after so long, or never will. An owned stream waits for that before the first
 * message, so it is not the quarter of a window that all others may take. */
static int64_t way_ms(const struct sender *s, const struct lookback *l)
{
	int64_t quarter_ms = l->duplicate_window_ms / 4, way_ms = s->set->ack_timeout_ms;

	return l->duplicate_window_ms > 0 && quarter_ms < way_ms ? quarter_ms : way_ms;
}

/* Also what we sent ourselves, when we led before, is on its way for so long. A leader that resigned has left nothing. */
static int64_t end_of_owned(const struct sender *s, uint16_t stream)
{
	const struct chain *c = &s->chain[stream];
	int64_t way = way_ms(s, &s->lookback[stream]), end_ms = s->predecessor.until_ms, ours_ms = c->former_ms + way;

	if (s->predecessor.lives)
		end_ms += way;
	return c->former_ms != 0 && ours_ms > end_ms ? ours_ms : end_ms;
}

int64_t predecessor_end(const struct sender *s, uint16_t stream)
{
	const struct lookback *l = &s->lookback[stream];

	if (l->inherited == LOW_WATER_NONE)
		return s->predecessor.until_ms;
	if (settings_owns(s->set, stream))
		return end_of_owned(s, stream);
	return s->predecessor.until_ms + l->duplicate_window_ms / 4;
}

bool predecessor_must_be_waited_for(const struct sender *s, uint16_t stream, int64_t asked_ms)
{
	const struct lookback *l = &s->lookback[stream];

	if (MUTANT(lease_of_predecessor))
		return false;
	if (settings_owns(s->set, stream))
		return l->phase != PHASE_OURS && asked_ms < predecessor_end(s, stream) && !MUTANT(owned_at_once);
	return asked_ms < s->predecessor.until_ms && l->duplicate_window_ms / 2 < s->predecessor.until_ms - asked_ms;
}

int64_t predecessor_wait_until(const struct sender *s, uint16_t stream)
{
	if (settings_owns(s->set, stream))
		return predecessor_end(s, stream);
	return s->predecessor.until_ms - s->lookback[stream].duplicate_window_ms / 2;
}
