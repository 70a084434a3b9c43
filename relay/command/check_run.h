/* The part of `boxhaul check` that tries what the relay does. */
#ifndef BOXHAUL_COMMAND_CHECK_RUN_H
#define BOXHAUL_COMMAND_CHECK_RUN_H

#include "command/check_say.h"
#include "edge/pg_session.h"

/* What `run` does in the database, tried and taken back, and what stops a relay now. Where somebody leads, his books are not
 * touched: they are looked at, and he is asked. */
void check_run(struct check *c, struct pg_session *s);

#endif
