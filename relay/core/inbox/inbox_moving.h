/* What moves the position: batches of messages, and places without any. For inbox.c only. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_MOVING_H
#define BOXHAUL_CORE_INBOX_INBOX_MOVING_H

#include "core/inbox/inbox_state.h"

/* The books as the database holds them; what was known before is void. No move is in flight. */
void inbox_moving_books(struct inbox *in, const struct inbox_books *books);

/* The oldest move in flight is answered. */
void inbox_moving_answered(struct inbox *in, enum inbox_moved result);

/* PLACING, PULLING, SETTLING: the next move, if there is one. */
bool inbox_moving_next(struct inbox *in, struct inbox_effect *effect);

#endif
