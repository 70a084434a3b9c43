/* A message that was taken out of a stream, as the database gets it. One malloc'ed block: free() frees it. */
#ifndef BOXHAUL_FLOW_INBOX_PARCEL_H
#define BOXHAUL_FLOW_INBOX_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "edge/natsio_message.h"

struct inbox_parcel {
	uint64_t sequence;
	int64_t time_ns;
	const char *subject, *id, *key,
		*headers; /* subject, id: NULL = none that a database takes; key, headers: NULL = none */
	const void *payload;
	size_t payload_bytes;
	bool foreign;     /* no filter of the subscription matches it: not to be stored */
	char reason[128]; /* why it is a dead letter at once; "" = it is none */
	char data[];
};

/* Copies a message of a stream. Only what is text in the database must be text; the payload may be anything. *wire_bytes: as the broker
 * counts it, subject, reply, headers and body. NULL when out of memory. */
struct inbox_parcel *inbox_parcel_create(const struct config_subscription *s, const struct natsio_reply *message,
					 uint64_t sequence, int64_t time_ns, uint32_t *wire_bytes);

#endif
