#include "core/low_water.h"

#include <assert.h>

#include "core/vocabulary.h"

void low_water_begin(struct low_water *w, const struct level *first)
{
	w->in_use = w->next = *first;
}

void low_water_raise(struct low_water *w, int64_t to, const struct level *fresh)
{
	assert(fresh->read >= w->next.read && fresh->read >= to);
	w->in_use = w->next;
	w->next = *fresh;
	if (to == fresh->read)
		w->in_use = w->next;
	assert(w->in_use.read <= w->next.read);
}

void low_water_void(struct low_water *w, uint16_t stream)
{
	assert(stream < LIMIT_STREAMS);
	w->in_use.sequence[stream] = w->next.sequence[stream] = LOW_WATER_UNKNOWN;
}

void low_water_first(struct low_water *w, uint16_t stream, uint64_t sequence)
{
	assert(stream < LIMIT_STREAMS);
	w->in_use.sequence[stream] = w->next.sequence[stream] = sequence;
}
