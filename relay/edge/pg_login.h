/* One try to log in to PostgreSQL. For pg.c only: nobody else may see libpq-fe.h. */
#ifndef BOXHAUL_EDGE_PG_LOGIN_H
#define BOXHAUL_EDGE_PG_LOGIN_H

#include <libpq-fe.h>

#include "edge/pg.h"

/* A connection that is up, or NULL with *why set (malloc'ed). Blocks. Every file is read anew. */
PGconn *pg_login(const struct pg_options *o, char **why);

/* libpq's messages end with a newline and put details on lines of their own. */
void pg_one_line(const char *text, char *out, size_t size);
char *pg_line_of(const char *text); /* malloc'ed */

#endif
