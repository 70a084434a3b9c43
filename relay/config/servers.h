/* From the configuration to what the edges want to know: where the two servers are, and how to log in. Everything is
 * borrowed from the configuration. */
#ifndef BOXHAUL_CONFIG_SERVERS_H
#define BOXHAUL_CONFIG_SERVERS_H

#include <stdbool.h>

#include "config/config.h"
#include "edge/natsio_options.h"
#include "edge/pg_options.h"

/* The client's name is seen in the server's monitoring, and borrowed too. */
struct pg_options servers_postgres(const struct config *c, const char *client);
struct pg_options servers_postgres_owner(const struct config *c, const char *client);   /* for `migrate` */
struct pg_options servers_postgres_capture(const struct config *c, const char *client); /* for captures: REPLICATION */
struct natsio_options servers_nats(const struct config *c, const char *client);

/* Does somebody say where the health port is? Else it is where it is by default. */
bool servers_port_is_named(const struct config *c);

#endif
