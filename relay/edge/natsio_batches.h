/* Where the answers to batches are expected. For natsio*.c only.
 *
 * A subscription for each stream that is sent to by batches, made when the first one may be. Its answers wait in nats.c until the loop takes
 * them, as those of the quick inbox do. nats.c keeps a 503 for itself there, and tells no more than that there was one; here that is enough: of
 * which stream it is says the subscription, and after it no number of the batch is to be relied upon anyway.
 *
 *     <prefix>b<stream>.<batch, 16 digits>.<flow>.fail.<number>.<operation>.$FI
 *
 * The server reads from the right, so what stands before the batch is ours. */
#ifndef BOXHAUL_EDGE_NATSIO_BATCHES_H
#define BOXHAUL_EDGE_NATSIO_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nats/nats.h>

#include "edge/natsio_message.h"

enum { NATSIO_BATCHES_STREAMS = 32, NATSIO_BATCHES_REPLY_BYTES = 96 };

/* All zero: none. */
struct natsio_batches {
	uint32_t open; /* a bit for each stream */
	natsSubscription *stream[NATSIO_BATCHES_STREAMS];
};

/* Subscribes for a stream, if it is not done. False: it could not. */
bool natsio_batches_open(struct natsio_batches *b, natsConnection *nc, const char *prefix, unsigned stream);

/* The server has dropped the subscription that it names in this complaint (-ERR): it is open no more. False: the complaint is about another one. */
bool natsio_batches_denied(struct natsio_batches *b, const char *prefix, const char *complaint);

/* After the connection was destroyed. Blocks. */
void natsio_batches_close(struct natsio_batches *b);

/* Writes what stands behind the prefix in the subject of a message's reply: NATSIO_BATCHES_REPLY_BYTES. */
void natsio_batches_write(const struct natsio_batch *m, char out[static NATSIO_BATCHES_REPLY_BYTES]);

/* Takes the next that waits for a stream; false: there is none. *msg is NULL where it was a 503. */
bool natsio_batches_next(struct natsio_batches *b, unsigned stream, natsMsg **msg);

/* Reads it; false: it is no answer to anything that was sent. The reply borrows from the message. msg NULL: no_responders, of no batch in particular. */
bool natsio_batches_read(const char *prefix, unsigned stream, natsMsg *msg, struct natsio_reply *reply);

#endif
