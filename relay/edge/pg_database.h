/* Which database a connection string means. */
#ifndef BOXHAUL_EDGE_PG_DATABASE_H
#define BOXHAUL_EDGE_PG_DATABASE_H

#include <stddef.h>

/* The database's name as libpq finds it: in the string, its service, the environment, or else the name of the user. Asks no server.
 * "" where the string is not understood. */
void pg_database_of(const char *conninfo, char *name, size_t size);

#endif
