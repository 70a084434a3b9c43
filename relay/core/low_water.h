/* Low water: the sequence of a stream above which a copy of what is not settled stands, if it is stored at all.
 *
 * The next leader (and we, after a break) must find out what of the unsettled is stored already, and cannot read a whole stream.
 * So every mark says by stream: whatever is above the new position is stored above this sequence, or not at all. What makes that
 * true is when it was taken. A message that has not been read yet has not been sent, and a stream gives its
 * sequences upwards: so take the end of the stream now, and it holds for every id above the highest one that was read by then.
 *
 *     taken at        read=100           read=200           read=300
 *                        |                  |                  |
 *     position  ---------+---- in use ------+------ next ------+--->
 *
 * A mark whose position has reached the `next` one may use it. Then a fresh one is taken, which is used when the position gets
 * there. LOW_WATER_UNKNOWN: nothing is known, copies may stand anywhere. LOW_WATER_NONE: nothing was ever sent. */
#ifndef BOXHAUL_CORE_LOW_WATER_H
#define BOXHAUL_CORE_LOW_WATER_H

#include <stdint.h>

#include "core/limits.h"

struct low_water {
	struct level {
		int64_t read; /* holds for ids above this */
		uint64_t sequence[LIMIT_STREAMS];
	} in_use, next;
};

/* We lead: this one holds for everything that is not settled. */
void low_water_begin(struct low_water *w, const struct level *first);

/* The position goes to `to`, which is as far as `next` waited for: `next` is in use, and `fresh`, which was just taken, is next. Or in
 * use at once, if the position goes as far as was read. */
void low_water_raise(struct low_water *w, int64_t to, const struct level *fresh);

/* This stream has lost its end: copies may stand anywhere. */
void low_water_void(struct low_water *w, uint16_t stream);

/* Nobody led before, and this stream held so much when we came. */
void low_water_first(struct low_water *w, uint16_t stream, uint64_t sequence);

#endif
