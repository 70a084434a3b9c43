/* The part of `boxhaul check` that looks at subscriptions. */
#ifndef BOXHAUL_COMMAND_CHECK_INBOX_H
#define BOXHAUL_COMMAND_CHECK_INBOX_H

#include "command/check_say.h"
#include "edge/natsio_session.h"
#include "edge/pg_session.h"

/* What `run` would do to the books of each subscription, tried and taken back, and the functions that handle messages. */
void check_inbox_books(struct check *c, struct pg_session *s);

/* Their streams, and each right that taking from them needs, by its name. */
void check_inbox_streams(struct check *c, struct natsio_session *s);

#endif
