/* What nats.c must know of our options, and connecting with them. For natsio*.c only: nobody else may see nats.h. */
#ifndef BOXHAUL_EDGE_NATSIO_LOGIN_H
#define BOXHAUL_EDGE_NATSIO_LOGIN_H

#include <stddef.h>

#include <nats/nats.h>

#include "edge/natsio_options.h"

enum { NATSIO_CONNECT_TIMEOUT_MS = 4000 };

/* NULL after writing why to `error`. Nothing of it is borrowed. */
natsOptions *natsio_login_options(const struct natsio_options *o, char *error, size_t size);

/* Under which subject answers are expected: that of the options, or _INBOX. */
const char *natsio_inbox_prefix(const struct natsio_options *o);

/* Connects, and blocks meanwhile: each server has its time, and the whole ends some time whatever they do. NULL after writing why
 * to `error`. */
natsConnection *natsio_login_connect(const struct natsio_options *o, natsOptions *opts, char *error, size_t size);

#endif
