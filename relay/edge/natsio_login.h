/* What nats.c must know of our options, and connecting with them. For natsio*.c only: nobody else may see nats.h. */
#ifndef BOXHAUL_EDGE_NATSIO_LOGIN_H
#define BOXHAUL_EDGE_NATSIO_LOGIN_H

#include <stddef.h>

#include <nats/nats.h>

#include "edge/natsio_options.h"

enum { NATSIO_CONNECT_TIMEOUT_MS = 4000 };

/* NULL after writing why to `error`. Nothing of it is borrowed. */
natsOptions *natsio_login_options(const struct natsio_options *o, char *error, size_t size);

/* Connects, and blocks meanwhile: each server has its time, and the whole ends some time whatever they do. NULL after writing why
 * to `error`. */
natsConnection *natsio_login_connect(const struct natsio_options *o, natsOptions *opts, char *error, size_t size);

/* What the library last complained of on this thread, without the place in its sources. */
void natsio_login_words(natsStatus s, char *out, size_t size);

/* Why connecting with these failed: its words, and what they are about. */
void natsio_login_error(const struct natsio_options *o, natsStatus s, char *out, size_t size);

#endif
