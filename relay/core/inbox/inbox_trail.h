/* Where one can go back to: places of the position, and the time of the message at each. Ascending. The newest are all
 * there; of older ones one a minute, for a stream can lose minutes, and there may be hundreds of places in a second. With no
 * mark to go back to all of the stream would come again, also what nobody knows by its id any more. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_TRAIL_H
#define BOXHAUL_CORE_INBOX_INBOX_TRAIL_H

#include "core/inbox/inbox_types.h"

struct inbox_trail {
	struct inbox_mark mark[LIMIT_INBOX_TRAIL];
	uint32_t kept;
};

void inbox_trail_clear(struct inbox_trail *t);

/* A place above all others; one without a time is not kept. */
void inbox_trail_add(struct inbox_trail *t, struct inbox_mark mark);

/* Forgets all above this sequence. */
void inbox_trail_cut(struct inbox_trail *t, uint64_t sequence);

/* The newest below this sequence; one with sequence 0: there is none. */
struct inbox_mark inbox_trail_below(const struct inbox_trail *t, uint64_t sequence);

void inbox_trail_audit(const struct inbox_trail *t, uint64_t position);

#endif
