/* The public half of an nkey. nats.c signs with a seed, but wants to be told the public key beside it. A second setting
 * would do; but then a new key would be a new configuration, where a new file is enough. The curve is OpenSSL's, which
 * libpq and nats.c bring along anyway; ours is the base32 around it. */
#ifndef BOXHAUL_EDGE_NKEY_H
#define BOXHAUL_EDGE_NKEY_H

#include <stdbool.h>

enum { NKEY_PUBLIC_CHARS = 56 };

/* Of the user's seed ("SU...", the rest of its line is ignored). False: it is none, or was damaged. */
bool nkey_public(const char *seed, char out[NKEY_PUBLIC_CHARS + 1]);

#endif
