/* Where what a pull consumer sends is expected. For natsio*.c only.
 *
 * A message of a stream comes under its own subject, and nothing in it names the request that it was sent for; only the
 * subscription tells. So each request of those that are outstanding together has a subscription of its own: a lane. Lanes come in
 * pairs, (1, 2), (3, 4), ...: one pair for each that pulls.
 *
 * A lane's messages wait in nats.c until the loop takes them, behind each reading of the socket. Then all that has come stands in the
 * lanes, and of a pair the one that was sent first is taken first (natsio_handlers.order): a consumer serves two
 * requests in turn. */
#ifndef BOXHAUL_EDGE_NATSIO_LANES_H
#define BOXHAUL_EDGE_NATSIO_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include <nats/nats.h>

#include "edge/natsio_message.h"

/* All zero: none. */
struct natsio_lanes {
	unsigned count;
	natsSubscription **lane; /* lane n is lane[n - 1] */
};

/* Subscribes to "<prefix>p<lane>.*". False: not to all; close it all the same. */
bool natsio_lanes_open(struct natsio_lanes *l, natsConnection *nc, const char *prefix, unsigned count);

/* After the connection was destroyed. Blocks. */
void natsio_lanes_close(struct natsio_lanes *l);

/* Takes the next message of a lane; false: there is none. *msg is NULL where it was a 503. */
bool natsio_lanes_next(struct natsio_lanes *l, unsigned lane, natsMsg **msg);

/* Reads a message that came to a lane; msg NULL: a 503. The reply borrows from it. */
void natsio_lanes_read(const char *prefix, unsigned lane, natsMsg *msg, struct natsio_reply *reply);

#endif
