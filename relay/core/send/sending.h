/* Sending, and what the answers mean. Alone in writing the send window, and what is counted of answers. (What comes from outside is
 * declared in send.h.) */
#ifndef BOXHAUL_CORE_SEND_SENDING_H
#define BOXHAUL_CORE_SEND_SENDING_H

#include "core/send/sender_state.h"

/* A lead begins or ends: nothing is in flight, and the window is as wide as may be. */
void sending_begin(struct sender *s);

/* The connection is gone: no answer can come any more to what was in flight. */
void sending_interrupted(struct sender *s);

#endif
