/* The servers that a cluster announces. A connection's knowledge of them would die with it. For natsio*.c only. */
#ifndef BOXHAUL_EDGE_NATSIO_SERVERS_H
#define BOXHAUL_EDGE_NATSIO_SERVERS_H

#include <stdbool.h>
#include <stddef.h>

#include <nats/nats.h>

#include "edge/natsio_options.h"

struct natsio_servers {
	char **found;
	size_t count;
};

/* What the servers of this connection have announced takes the place of what was known. */
void natsio_servers_learn(struct natsio_servers *s, natsConnection *nc);
/* Nothing is known any more; frees it. */
void natsio_servers_forget(struct natsio_servers *s);

/* The configured ones and, if they are to be used, those: a copy, since they may be learnt and forgotten while somebody reads
 * it. NULL: out of memory. */
char **natsio_servers_list(const struct natsio_servers *s, const struct natsio_options *o, size_t *count);
/* Frees such a copy; NULL is allowed. */
void natsio_servers_free_list(char **list, size_t count);

/* Is it the same cluster, by its URLs? */
bool natsio_servers_same(const struct natsio_options *a, const struct natsio_options *b);

#endif
