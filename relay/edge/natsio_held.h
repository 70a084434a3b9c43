/* The messages that nats.c holds in its buffer, and until when they may be written to the socket (G3, G4). */
#ifndef BOXHAUL_EDGE_NATSIO_HELD_H
#define BOXHAUL_EDGE_NATSIO_HELD_H

#include <stdbool.h>
#include <stdint.h>

struct natsio_link;

struct natsio_held {
	int64_t deadline_ms; /* no message is written from then on; the owner's to set */
	bool any;
	int64_t by_ms; /* the earliest time by which one of them must be written */
};

/* None is held, and there is no deadline. */
void natsio_held_begin(struct natsio_held *h);

/* One more is held, to be written before by_ms. */
void natsio_held_message(struct natsio_held *h, int64_t by_ms);

/* All of them were written, or went with their connection. */
void natsio_held_nothing(struct natsio_held *h);

/* Why what is held may not be written now, in words; NULL: it may, or there is nothing. The caller then drops the connection with it:
 * nats.c would write it later. */
const char *natsio_held_why_not(const struct natsio_held *h, int64_t now_ms);

/* Before one more is made: writes what k's nats.c holds (bytes) where that is much, and may be written. */
void natsio_held_write(struct natsio_held *h, struct natsio_link *k, int bytes);

#endif
