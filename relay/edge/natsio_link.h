/* One connection of nats.c on our event loop, from its making to its end. For natsio*.c only. It is never repaired: a closed one is
 * thrown away as a whole. */
#ifndef BOXHAUL_EDGE_NATSIO_LINK_H
#define BOXHAUL_EDGE_NATSIO_LINK_H

#include <ev.h>
#include <nats/nats.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "edge/loop.h"
#include "edge/natsio_batches.h"
#include "edge/natsio_events.h"
#include "edge/natsio_inbox.h"
#include "edge/natsio_lanes.h"
#include "edge/natsio_options.h"

/* Called on the loop's thread, while the connection is there. */
struct natsio_link_handlers {
	void (*was_read)(void *arg, struct natsio_link *k);  /* nats.c has read what the socket held */
	bool (*may_write)(void *arg, struct natsio_link *k); /* false: nothing is written, and the link is gone */
	void (*was_written)(void *arg, struct natsio_link *k);
	void *arg;
};

struct natsio_link {
	struct loop *loop;
	struct natsio_events *events;
	const struct natsio_link_handlers *handlers;
	natsConnection *nc; /* NULL until it is connected */
	struct natsio_inbox inbox;
	char inbox_prefix[NATSIO_INBOX_PREFIX_BYTES];
	struct natsio_lanes lanes;
	struct natsio_batches batches;
	char *why; /* why connecting failed; NULL = out of memory */
	struct natsio_options options;
	char **urls;      /* theirs, its own: servers may be learnt and forgotten while it is being made */
	unsigned version; /* of the options */
	_Atomic int fd;   /* our dup, -1 = none */
	atomic_bool want_read, want_write, attached;
	ev_io readable, writable;
	bool polling;
	bool full;        /* the socket took not all */
	_Atomic int refs; /* everybody who may still call back: see natsio_link.c */
};

/* A link that is not connected yet, with two references: the loop's, and that of the closed callback. `handlers` and what
 * the options point to are borrowed; `urls` (malloc'ed, `url_count` of them, in place of the options') are taken over. NULL when
 * out of memory: nothing was taken over then. */
struct natsio_link *natsio_link_create(struct loop *l, struct natsio_events *events,
				       const struct natsio_options *options, char **urls, size_t url_count,
				       unsigned version, const struct natsio_link_handlers *handlers);

/* Gives one reference back. */
void natsio_link_unref(struct natsio_link *k);

/* Connects. Blocks: not on the loop's thread. nc stays NULL where it fails. */
void natsio_link_connect(struct natsio_link *k);

/* On the loop's thread: polls the socket for what nats.c wants. */
void natsio_link_poll(struct natsio_link *k);
/* On the loop's thread: polls it no more, and closes our copy of the descriptor. */
void natsio_link_stop_polling(struct natsio_link *k);

/* On the loop's thread, of a connected link: writes what nats.c holds, as far as the socket takes it, and not where it has just not taken all. */
void natsio_link_write(struct natsio_link *k);

/* Opens inbox and lanes of a connected link. */
bool natsio_link_subscribe(struct natsio_link *k);

/* On the loop's thread: from here on nothing is read or written any more, and what the kernel still holds is not sent. */
void natsio_link_abort(struct natsio_link *k);

/* Closes nats.c's part of it. Blocks: not on the loop's thread. */
void natsio_link_destroy(struct natsio_link *k);

#endif
