/* Is the session our own? Asked before anything is set in it. For pg_login.c only. */
#ifndef BOXHAUL_EDGE_PG_POOLER_H
#define BOXHAUL_EDGE_PG_POOLER_H

#include <libpq-fe.h>

/* NULL: it is. Else what is wrong, and what to do: `c` leads to a pooler that gives a backend away between two transactions, or
 * nobody answers. `keys` and `values` are those that `c` was made with: another connection may have to be made like it. Blocks;
 * changes nothing at the other side. */
const char *pg_pooler_objection(PGconn *c, const char *const *keys, const char *const *values);

#endif
