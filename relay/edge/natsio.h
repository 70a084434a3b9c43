/* NATS: one connection on our event loop, with its own reconnect loop. Knows nats.c and nothing of messages.
 *
 * Replies to everything sent arrive on one wildcard subscription under a random inbox; the token sent with a
 * request comes back with its reply. */
#ifndef BOXHAUL_EDGE_NATSIO_H
#define BOXHAUL_EDGE_NATSIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/loop.h"
#include "edge/natsio_message.h"
#include "edge/natsio_options.h"

struct natsio;

struct natsio_handlers {
	void (*up)(void *arg, const char *url, int64_t max_payload);
	/* Gone, or could not be had; a new one is tried by itself. `theirs`: the other end has ended it, or the network. */
	void (*down)(void *arg, const char *why, bool theirs);
	void (*reply)(void *arg, const struct natsio_reply *reply);
	void (*complaint)(void *arg, const char *text); /* -ERR that left the connection up: permissions */
	/* Of two messages that wait at a pair of lanes, the one with the lower number is handed over first. */
	uint64_t (*order)(void *arg, const struct natsio_reply *reply);
	void *arg;
};

/* Connects from the loop, and calls nobody before it runs. NULL when out of memory. */
struct natsio *natsio_open(struct loop *l, const struct natsio_options *options,
			   const struct natsio_handlers *handlers);
/* No handler is called any more. It is freed by the loop, when its other threads have ended. NULL is allowed. */
void natsio_close(struct natsio *io);

/* Other options from the next connection on. With `why` that is now: down() is called, if there is one. The old ones are
 * read here once more, and by a connection that is just being made until loop_is_busy() is false. */
void natsio_use(struct natsio *io, const struct natsio_options *options, const char *why);

/* False when the connection is down or refuses; nothing was sent then. Never waits for the network. */
bool natsio_send(struct natsio *io, const struct natsio_message *message);

/* From now on answers to batches of this stream (an index below LIMIT_STREAMS) are heard on this connection. False: the connection is down, or its
 * login may not subscribe to them, which the server says a moment later: whatever it answers after that was asked when it had said so. */
bool natsio_batches(struct natsio *io, uint16_t stream);

/* No message is written to the socket from this time on (loop_now_ms): the connection is cut instead, with what it still
 * holds. INT64_MAX: no limit. */
void natsio_deadline(struct natsio *io, int64_t at_ms);

/* What the server takes now, headers included; 0 = not connected. */
int64_t natsio_max_payload(struct natsio *io);

/* Drops the connection WITH what it still holds unsent, and makes a new one. down() is called. */
void natsio_cut(struct natsio *io, const char *why);

#endif
