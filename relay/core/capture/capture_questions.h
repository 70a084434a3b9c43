/* What to ask next, and when the stream has to stand still for it. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_QUESTIONS_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_QUESTIONS_H

#include "core/capture/capture_reading_state.h"

/* The next question, or false. between: no transaction is under way in the stream. streaming: it is there, and ours. */
bool capture_questions_next(struct capture_reading *r, bool between, bool streaming, struct capture_effect *f);

/* Must the stream stand still? (It does so between two transactions: else the question waits for the end of the one under way.) */
bool capture_questions_stop(const struct capture_reading *r);

/* Must it stand still at once, in the middle of a transaction, too? */
bool capture_questions_holds(const struct capture_reading *r);

/* Is nothing open, nor waiting to be marked? */
bool capture_questions_are_none(const struct capture_reading *r);

/* When capture_questions_next() is to be called at the latest; INT64_MAX: never by the clock. */
int64_t capture_questions_deadline(const struct capture_reading *r);

void capture_questions_stats(const struct capture_reading *r, struct capture_stats *stats);

#endif
