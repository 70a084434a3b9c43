/* PUBLISH effects become JetStream publishes; their replies become events. */
#ifndef BOXHAUL_FLOW_PUBLISHER_H
#define BOXHAUL_FLOW_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "books/reasons.h"
#include "config/config.h"
#include "core/delivery.h"
#include "edge/natsio.h"
#include "flow/parcel.h"
#include "format/witness.h"

struct publisher;

/* Everything is borrowed. `parcels` is the relay's array of parcels by slot. What the server says when it refuses a message is kept
 * in `reasons`. NULL when out of memory. */
struct publisher *publisher_create(const struct config *config, struct natsio *nats, struct reasons *reasons,
				   struct parcel *const *parcels);
/* NULL is allowed. */
void publisher_free(struct publisher *p);

/* Publishes what the core wants published, in its batch or by itself. witness: what it says of its snapshot, or NULL: nothing. False when it could not be sent. */
bool publisher_send(struct publisher *p, struct parcel *parcel, const struct effect *publish,
		    const struct witness *witness);

/* For a message that is larger than `most`: takes the header of its key away where it fits without. False: it does not. */
bool publisher_drop_key(struct parcel *parcel, int64_t most);

/* Whether this complaint of the server (-ERR) is about a publish to the parcel's subject. */
bool publisher_denied(const struct parcel *parcel, const char *complaint);

/* It is not to be sent: its number in its batch is taken all the same. */
void publisher_leave_out(struct publisher *p, const struct parcel *parcel, const struct effect *f);

/* What the core wants written about a batch (EFFECT_BATCH); the parcel is that of the slot. False when it could not be sent. */
bool publisher_about_batch(struct publisher *p, const struct parcel *parcel, const struct effect *f);

/* Reads the reply to a publish that went by itself. True: *event (without its time) is for the core. */
bool publisher_reply(struct publisher *p, const struct natsio_reply *reply, struct event *event);

/* Reads an answer to a batch (reply->of_batch). True: *event is for the core. answered(arg) is called for the token of each message whose end it
 * says first, in their order, before this returns. */
bool publisher_batch_reply(struct publisher *p, const struct natsio_reply *reply, struct event *event,
			   void (*answered)(void *arg, uint64_t token), void *arg);

/* Which message of which batch has this token; false: it is in none. */
struct publisher_place {
	uint16_t stream;
	uint64_t batch;
	uint32_t number;
};
bool publisher_place(const struct publisher *p, uint64_t token, struct publisher_place *place);

/* The connection is gone: what is answered later is of no batch any more. */
void publisher_down(struct publisher *p);

struct publisher_figures {
	struct histogram ack;      /* from the last sending of a message to its acknowledgement */
	struct histogram delivery; /* from its insertion to its acknowledgement */
	uint64_t payload_bytes;    /* handed over, repeats included */
};

/* The figures, as they are now. */
const struct publisher_figures *publisher_figures(const struct publisher *p);

#endif
