/* What is known of a stream and the question to it, and what they become when something happens. Alone in writing `knowledge`; and
 * `question`, but for lookback.c, which puts one. */
#ifndef BOXHAUL_CORE_SEND_LOOKBACK_STEP_H
#define BOXHAUL_CORE_SEND_LOOKBACK_STEP_H

#include "core/send/sender_state.h"

/* Of a stream, or of a message that goes to it. */
enum lookback_happening {
	LOOKBACK_NEEDED,     /* a message may be stored, and what is known does not say */
	LOOKBACK_ANSWERED,   /* it could be read; whether that counts is decided next */
	LOOKBACK_AGAIN,      /* it must be read once more */
	LOOKBACK_READ,       /* that counted: all that was stored before the question is known */
	LOOKBACK_UNREADABLE, /* it could not be read */
	LOOKBACK_TAKEN,      /* it stored a message while it could not be read */
	LOOKBACK_TRUNCATED, /* it has lost its end: what is known of it, and an answer under way, may be of the stream as it was */
	LOOKBACK_INTERRUPTED, /* the connection is gone */
	LOOKBACK_HAPPENINGS
};

/* It has happened. Not LOOKBACK_NEEDED where nobody can read the stream. */
void lookback_step(struct lookback *l, enum lookback_happening happening);

#endif
