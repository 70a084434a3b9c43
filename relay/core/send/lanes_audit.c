/* Do messages, places and lanes look as the pictures in lanes.h and lanes.c say? */
#include "core/send/lanes_audit.h"

#include <assert.h>

/* More than one is active: all of them may be in one batch. */
static bool company_audit(const struct lanes *l, const struct lane *lane, uint32_t active)
{
	for (const struct message *m = lane->first; active > 0; m = m->lane_next, active--)
		if (!message_is_active(m) || m->single || m->defect || m->stream != lane->first->stream ||
		    !lanes_are_wide(l, m->stream))
			return false;
	return true;
}

static void lane_audit(const struct lanes *l, const struct lane *lane)
{
	uint32_t active = 0, unrecorded = 0;
	bool waiting = false;

	assert(lane->first != NULL);
	for (const struct message *m = lane->first; m != NULL; m = m->lane_next) {
		assert(m->lane == lane && m->place != PLACE_FREE && m->place != PLACE_DONE);
		assert(m->lane_next == NULL ? lane->last == m : m->lane_next->lane_prev == m);
		if (lane->waiting == m)
			waiting = true;
		active += message_is_active(m);
		unrecorded += m->place == PLACE_UNRECORDED;
		assert(lane->owned || lane->flow == LANE_SETTLES || m->place == PLACE_UNRECORDED ||
		       message_is_active(m) != waiting);
		assert(lane->flow != LANE_STANDS || !message_is_active(m) || m->place == PLACE_IN_FLIGHT);
	}
	assert(active == lane->active && unrecorded == lane->unrecorded);
	assert(l->pipelined || lane->owned || active == 1 || (active == 0 && unrecorded > 0) ||
	       company_audit(l, lane, active));
}

void lanes_audit(const struct lanes *l)
{
	size_t all = 0, aged = 0;

	for (int p = 0; p < PLACES; p++) {
		size_t n = 0;

		for (const struct message *m = l->place[p].first; m != NULL; m = m->next, n++) {
			assert((int)m->place == p);
			assert(p != PLACE_BACKOFF || m->next == NULL || m->next->at_ms >= m->at_ms);
		}
		assert(n == l->place[p].count);
		all += n;
	}
	assert(all == l->slots);
	for (const struct message *m = l->oldest; m != NULL; m = m->age_next)
		aged++;
	assert(aged + l->place[PLACE_UNRECORDED].count ==
	       l->slots - l->place[PLACE_FREE].count - l->place[PLACE_DONE].count);
	for (size_t i = 0; i < l->buckets; i++)
		for (const struct lane *lane = l->bucket[i]; lane != NULL; lane = lane->next)
			lane_audit(l, lane);
	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		if (l->owned[i].first != NULL)
			lane_audit(l, &l->owned[i]);
}
