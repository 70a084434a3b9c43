/* The part of `boxhaul check` that looks at captures: what capture_plan.h looks at, and their streams. */
#ifndef BOXHAUL_COMMAND_CHECK_CAPTURE_H
#define BOXHAUL_COMMAND_CHECK_CAPTURE_H

#include "command/check_say.h"
#include "command/command.h"
#include "edge/pg_session.h"

/* What each capture of the configuration lacks, how those on record stand, and which of them nobody reads. */
void check_capture(struct check *c, const struct call *call, struct pg_session *s);

#endif
