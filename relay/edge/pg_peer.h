/* Peer authentication: a server of this machine lets a user of the system in as the database's user of the same name. */
#ifndef BOXHAUL_EDGE_PG_PEER_H
#define BOXHAUL_EDGE_PG_PEER_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/pg_options.h"

/* A login has failed. Was it refused over a socket of this machine, without a password, for who we are? Then as whom the database is
 * to be used: a name that is not our own user's. Blocks: it tries once more. */
bool pg_peer_wanted(const struct pg_options *options, char *user, size_t size);

#endif
