/* A result of PostgreSQL's, read column by column. Everything belongs to the result: in a session of the daemon it dies with the
 * callback, in a command's with the next statement. */
#ifndef BOXHAUL_EDGE_PG_RESULT_H
#define BOXHAUL_EDGE_PG_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg_result;

const char *pg_error(const struct pg_result *r);    /* NULL = no error; else one line */
const char *pg_sqlstate(const struct pg_result *r); /* "" when there is none */
/* Is it an error that this session will answer with for ever, and another one need not? A server that became read-only under it, a
 * prepared statement that is stale or gone. */
bool pg_wants_session(const struct pg_result *r);
int pg_rows(const struct pg_result *r);
bool pg_is_null(const struct pg_result *r, int row, int column);

/* Of binary results. */
int64_t pg_int8(const struct pg_result *r, int row, int column);                     /* int8, xid8, int4, int2, bool */
const char *pg_bytes(const struct pg_result *r, int row, int column, size_t *bytes); /* terminated behind the end */

/* Of results in text. */
const char *pg_text(const struct pg_result *r, int row, int column); /* "" for NULL */

#endif
