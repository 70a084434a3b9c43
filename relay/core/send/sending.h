/* Sending, and what the answers mean. Alone in writing the send window, and what is counted of answers. (What comes from outside is
 * declared in send.h.) */
#ifndef BOXHAUL_CORE_SEND_SENDING_H
#define BOXHAUL_CORE_SEND_SENDING_H

#include "core/send/sender_state.h"

/* A lead begins or ends: nothing is in flight, and the window is as wide as may be. */
void sending_begin(struct sender *s);

/* m is stored: it is counted, and leaves memory. */
void sending_stored(struct sender *s, struct message *m);

/* m, in flight, is refused, and its batch, if it was in one, is over. */
void sending_was_refused(struct sender *s, struct message *m, uint32_t reason, uint32_t status);

/* The server asks for a smaller window. */
void sending_slow_down(struct sender *s);

/* m goes into flight: would x fit the window behind it? */
bool sending_fits_behind(const struct sender *s, const struct message *m, const struct message *x);

/* The connection is gone: no answer can come any more to what was in flight. */
void sending_interrupted(struct sender *s);

#endif
