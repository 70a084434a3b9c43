/* What the consumer sends: messages, heartbeats, statuses; and the requests for more. For inbox.c only. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_PULLING_H
#define BOXHAUL_CORE_INBOX_INBOX_PULLING_H

#include "core/inbox/inbox_state.h"

/* PULLING: each of them from our consumer or not; the slot of a message that is not kept is -1. */
void inbox_pulling_message(struct inbox *in, struct inbox_event *ev);
void inbox_pulling_heartbeat(struct inbox *in, const struct inbox_event *ev);
void inbox_pulling_status(struct inbox *in, const struct inbox_event *ev);

/* PULLING: the stream's state, or INBOX_ANSWER_NONE. */
void inbox_pulling_info(struct inbox *in, const struct inbox_event *ev);

/* PULLING: the time of a message, or INBOX_ANSWER_NONE. */
void inbox_pulling_time(struct inbox *in, enum inbox_answer answer, int64_t time);

/* PULLING: whatever is due by the clock. */
void inbox_pulling_timers(struct inbox *in);

/* PULLING: the next request, if there is room for what it may bring. */
bool inbox_pulling_next(struct inbox *in, struct inbox_effect *effect);

/* When inbox_pulling_timers() has something to do. */
int64_t inbox_pulling_deadline(const struct inbox *in);

#endif
