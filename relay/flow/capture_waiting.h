/* What a transaction of the log has become, until the core takes it: events, with the message of those that are one, in their order. */
#ifndef BOXHAUL_FLOW_CAPTURE_WAITING_H
#define BOXHAUL_FLOW_CAPTURE_WAITING_H

#include <stdbool.h>

#include "core/capture/capture_types.h"
#include "flow/capture_parcel.h"

struct capture_waiting {
	struct capture_event event;
	struct capture_parcel *parcel; /* owned; NULL: it is no message */
	bool for_the_end;              /* it is wanted as the last of its transaction alone, */
	bool refusable;                /* in the place of one that may be refused */
	struct capture_waiting *next;
};

/* Takes the parcel in any case. NULL: out of memory. */
struct capture_waiting *capture_waiting_create(const struct capture_event *event, struct capture_parcel *parcel);
void capture_waiting_free(struct capture_waiting *w); /* or NULL */

struct capture_waiting_list {
	struct capture_waiting *first, **behind;
};

void capture_waiting_begin(struct capture_waiting_list *l);
void capture_waiting_drop_all(struct capture_waiting_list *l);

/* Behind all others, and ours to be freed; or NULL. */
void capture_waiting_put(struct capture_waiting_list *l, struct capture_waiting *w);

/* The first one, which there is; its parcel is the caller's. */
struct capture_parcel *capture_waiting_take(struct capture_waiting_list *l, struct capture_event *event);

#endif
