/* What is gone from a stream is not taken for never stored: see README.md, What is gone. (What the shell asks for stands in
 * send.h.) */
#ifndef BOXHAUL_CORE_SEND_PROOF_H
#define BOXHAUL_CORE_SEND_PROOF_H

#include "core/send/sender_state.h"

/* m is being sent. May it bear witness later: is all of its lane that was read with it or before it, and stands before it, stored,
 * or is its end on record? */
bool proof_is_evident(const struct sender *s, const struct message *m);

#endif
