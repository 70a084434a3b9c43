/* What the daemon as worker asks of the database. False: it could not be sent. */
#ifndef BOXHAUL_FLOW_INBOX_CALLS_H
#define BOXHAUL_FLOW_INBOX_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "edge/pg.h"

/* Not sent by a function: served_session.h has to be told of it. */
extern const struct pg_statement inbox_calls_listen;

/* Which lanes have work? One row each: lane, due_ms. */
bool inbox_calls_lanes(struct pg *pg, const struct config_subscription *s, pg_answer *answer, void *arg);

/* The row of the lane that is the next one, or NULL. */
bool inbox_calls_next(struct pg *pg, const struct config_subscription *s, int lane, pg_answer *answer, void *arg);

/* Calls the handler for up to so many rows of the lane; for one only if `id` is not 0. One row: lane, handled, failed. */
bool inbox_calls_handle(struct pg *pg, const struct config_subscription *s, int lane, uint32_t rows, int64_t id,
			pg_answer *answer, void *arg);

/* The row failed: it took longer than so many milliseconds. */
bool inbox_calls_timed_out(struct pg *pg, const struct config_subscription *s, int lane, int64_t id, uint32_t ms,
			   pg_answer *answer, void *arg);

/* How long a statement of this session may take. */
bool inbox_calls_limit(struct pg *pg, uint32_t ms, pg_answer *answer, void *arg);

/* A call for the lane ended with this error. Asks the database to take it out of what inbox_watch() counts where it is an outage: an outage
 * that a handler met is no crash of the row that it was called for (I11). No answer is waited for. A session that ended with the call
 * asks for nothing: perhaps the row did that. */
void inbox_calls_excuse(struct pg *pg, const struct config_subscription *s, int lane, const char *sqlstate);

#endif
