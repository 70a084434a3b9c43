/* One try to log in to PostgreSQL. For pg.c only: nobody else may see libpq-fe.h. */
#ifndef BOXHAUL_EDGE_PG_LOGIN_H
#define BOXHAUL_EDGE_PG_LOGIN_H

#include <libpq-fe.h>

#include "edge/pg_options.h"

/* A connection that is up and whose session is ours alone, or NULL with *why set (malloc'ed). Blocks. Every file is read
 * anew. */
PGconn *pg_login(const struct pg_options *o, char **why);

#endif
