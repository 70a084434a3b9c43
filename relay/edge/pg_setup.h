/* A session as ours are: logged in, with its settings, non-blocking, in pipeline mode. For pg.c only:
 * nobody else may see libpq-fe.h. */
#ifndef BOXHAUL_EDGE_PG_SETUP_H
#define BOXHAUL_EDGE_PG_SETUP_H

#include <libpq-fe.h>
#include <stdint.h>

#include "edge/pg_options.h"

/* After so long the server ends a statement of a session with these options. */
uint32_t pg_setup_timeout_ms(const struct pg_options *o);

/* Blocks. The caller finishes it. Or NULL with *why set (malloc'ed). */
PGconn *pg_setup_session(const struct pg_options *o, char **why);

#endif
