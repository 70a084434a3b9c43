/* Messages of nats.c's that nobody needs any more.
 *
 * nats.c frees them on a thread of its own, and wakes it for each one that it is given while it sleeps: many at once wake
 * it once. */
#ifndef BOXHAUL_EDGE_NATSIO_SPENT_H
#define BOXHAUL_EDGE_NATSIO_SPENT_H

#include <nats/nats.h>
#include <stddef.h>

enum { NATSIO_SPENT_MAX = 512 };

/* All zero: none yet. */
struct natsio_spent {
	natsMsg *msg[NATSIO_SPENT_MAX];
	size_t count, bytes;
};

/* Takes msg, which may be NULL. */
void natsio_spend(struct natsio_spent *s, natsMsg *msg);

/* Gives to nats.c what is left. */
void natsio_spent_clear(struct natsio_spent *s);

#endif
