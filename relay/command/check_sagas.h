/* The part of `boxhaul check` that looks at the sagas that are started in this database. Their answers come by a subscription, which
 * check_inbox.h looks at. */
#ifndef BOXHAUL_COMMAND_CHECK_SAGAS_H
#define BOXHAUL_COMMAND_CHECK_SAGAS_H

#include "command/check_say.h"
#include "edge/pg_session.h"

/* Where the commands of their definitions go, in which version they run, and whether their deadlines can be kept. */
void check_sagas(struct check *c, struct pg_session *s);

#endif
