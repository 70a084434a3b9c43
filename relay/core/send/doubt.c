#include "core/send/doubt.h"

#include <assert.h>

void doubt_end(struct message *m)
{
	assert(m->copies.count > 0);
	/* Of so many nobody counts any more: it stays in doubt. */
	if (m->copies.count == UINT16_MAX || --m->copies.count > 0)
		return;
	m->copies.first_ms = NEVER;
	m->copies.low_water = LOW_WATER_NONE;
}

void doubt_anywhere(struct message *m)
{
	if (m->copies.low_water != LOW_WATER_NONE)
		m->copies.low_water = LOW_WATER_UNKNOWN;
}

struct doubt doubt_of(const struct message *m)
{
	return (struct doubt){
		.sent_ms = doubt_is_open(m) ? m->copies.last_ms : NEVER,
		.low_water = m->copies.low_water,
		.stream = m->copies.low_water != LOW_WATER_NONE ? m->stream : 0,
	};
}

void doubt_restore(struct message *m, struct doubt doubt)
{
	m->copies.low_water = doubt.low_water;
	m->copies.count = doubt.low_water != LOW_WATER_NONE;
	m->copies.last_ms = doubt.sent_ms;
	m->copies.first_ms = doubt.sent_ms != NEVER ? INT64_MIN / 2 : NEVER; /* longer ago than any window */
}
