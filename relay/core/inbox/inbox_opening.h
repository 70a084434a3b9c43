/* From the books to the first request: where a new subscription begins, a consumer of its own, and whether the stream
 * is still the one whose position we have. For inbox.c only. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_OPENING_H
#define BOXHAUL_CORE_INBOX_INBOX_OPENING_H

#include "core/inbox/inbox_state.h"

/* OPENING: asks where the stream stands. */
void inbox_opening_begin(struct inbox *in);

/* MAKING: asks for a consumer behind the position. */
void inbox_opening_make(struct inbox *in);

/* MAKING: it is there, or it is not. */
void inbox_opening_made(struct inbox *in, const struct inbox_event *ev);
void inbox_opening_refused(struct inbox *in, const struct inbox_event *ev);

/* OPENING, LOOKING: the stream's state, or INBOX_ANSWER_NONE. */
void inbox_opening_info(struct inbox *in, const struct inbox_event *ev);

/* OPENING, VERIFYING: the time of a message, or INBOX_ANSWER_NONE. */
void inbox_opening_time(struct inbox *in, enum inbox_answer answer, int64_t time);

/* PULLING: the stream is the one we know, and nothing is lost. */
void inbox_opening_pull(struct inbox *in);

#endif
