/* PUBLISH effects become JetStream publishes; replies become events. Also asks after streams and creates them
 * where the configuration says so. */
#ifndef BOXHAUL_PUBLISHER_H
#define BOXHAUL_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "core/delivery.h"
#include "edge/natsio.h"
#include "histogram.h"
#include "log.h"
#include "parcel.h"

struct publisher;

/* Everything is borrowed. `parcels` is the relay's array of parcels by slot. */
struct publisher *publisher_create(const struct config *config, struct log *log, struct parcel *const *parcels);
void publisher_free(struct publisher *p);

/* What the core wants published. False when it could not be sent. */
bool publisher_send(struct publisher *p, struct natsio *io, struct parcel *parcel, const struct effect *publish);

/* Is this complaint of the server about a publish to the parcel's subject? */
bool publisher_denied(const struct parcel *parcel, const char *complaint);

/* Asks the server about a stream; the answer is logged, and the stream created if it is missing and may be. */
void publisher_ask(struct publisher *p, struct natsio *io, uint16_t stream);

/* Reads a reply. True: *event (without its time) is for the core. */
bool publisher_reply(struct publisher *p, struct natsio *io, const struct natsio_reply *reply, struct event *event);

struct publisher_figures {
	struct histogram ack;      /* from the last sending of a message to its acknowledgement */
	struct histogram delivery; /* from its insertion to its acknowledgement */
	uint64_t payload_bytes;    /* handed over, repeats included */
};

const struct publisher_figures *publisher_look(const struct publisher *p);

/* What the server last said about a stream that made trouble; "" if nothing. */
const char *publisher_detail(const struct publisher *p, uint16_t stream);

#endif
