/* PostgreSQL, blocking, for commands that are not the daemon. Results are in text. */
#ifndef BOXHAUL_EDGE_PG_SESSION_H
#define BOXHAUL_EDGE_PG_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/pg_options.h"
#include "edge/pg_result.h"

struct pg_session;

/* NULL after writing why to `error`. */
struct pg_session *pg_session_open(const struct pg_options *options, char *error, size_t error_size);

/* The same, at the newest of several hosts: the first primary among them, or one of the same system whose timeline is higher, for an old
 * primary that came back has a lower one. Where no host is a primary, the first one that answers. Once there is a session, the others have two
 * seconds each to answer. */
struct pg_session *pg_session_open_newest(const struct pg_options *options, char *error, size_t error_size);

/* NULL is allowed. */
void pg_session_close(struct pg_session *s);

/* Runs SQL (several statements allowed when there are no parameters). The result is the session's, until the next
 * call. */
const struct pg_result *pg_session_run(struct pg_session *s, const char *sql, int count, const char *const *parameters);

/* Waits for a notification on any channel, at most so long; true if one came. */
bool pg_session_wait_notify(struct pg_session *s, int timeout_ms);

/* As 150004. */
int pg_session_server_version(const struct pg_session *s);

#endif
