/* What goes out by a connection to NATS, and what comes back. */
#ifndef BOXHAUL_EDGE_NATSIO_MESSAGE_H
#define BOXHAUL_EDGE_NATSIO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct natsio_header {
	const char *name, *value;
};

/* A message of a batch (fast ingest): where it stands in it. */
struct natsio_batch {
	uint16_t stream;   /* whose answers come together: see natsio_batches() */
	uint64_t batch;    /* not 0 */
	uint32_t number;   /* of the message in it */
	uint16_t flow;     /* after so many the server acknowledges */
	uint8_t operation; /* begins it, goes on, ends it with it, ends it, asks how far it is: 0 .. 4 */
};

struct natsio_message {
	const char *subject; /* validated: nats.c does not */
	const struct natsio_header *headers;
	size_t header_count;
	const void *payload;
	size_t bytes;
	uint64_t token;
	unsigned lane; /* what it brings is expected there: natsio_lanes.h; 0: one reply, nowhere in particular */
	bool request;  /* to a server, not to a stream: may be written at any time */
	bool careful;  /* if nobody listens, that is to be known at once; otherwise it may come to light as silence */
	const struct natsio_batch *batch; /* NULL: it is sent by itself */
	int64_t by_ms; /* not to be written from then on (natsio_deadline), with all that is held beside it; INT64_MAX: no limit */
};

struct natsio_reply {
	uint64_t token;
	bool no_responders; /* the server's 503: nobody listens on the subject */
	const char *data;   /* not terminated */
	size_t bytes;

	/* Of what is answered to a batch (then of_batch is true, and there is no token). Of a 503 only the stream is known: `batch` is 0. */
	bool of_batch;
	uint16_t stream;
	uint64_t batch;
	uint32_t number; /* of the message whose subject it came to; 0 = not known */

	/* Of what came to a lane (then it is not 0). A message of a stream has its own subject, and no token; what the server says
	 * about the request has a status instead, and the token. */
	unsigned lane;
	const char *subject, *reply; /* reply: NULL = none */
	const char *status, *description;
	void *message; /* for natsio_reply_header() and natsio_reply_block() */
};

/* The first value of a header that a server wrote; NULL: it has none of that name. What publishers write has to be read from the block:
 * the library takes other lines for the values of empty headers. */
const char *natsio_reply_header(const struct natsio_reply *reply, const char *name);

/* A malloc'ed copy of the header block as it came, for header_block_read(), with a byte of room behind it; NULL: there are no headers. Texts
 * in it may be ended already, where header_block_read() would end them. False: out of memory. */
bool natsio_reply_block(const struct natsio_reply *reply, char **block, size_t *bytes);

#endif
