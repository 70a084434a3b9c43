/* Owned streams: the chain of expected sequences. Alone in writing struct chain, with chain_break and chain_shut; the picture and the
 * argument stand in chain.c. (What the owner may ask stands in send.h, what the look tells in lookback.h.) */
#ifndef BOXHAUL_CORE_SEND_CHAIN_H
#define BOXHAUL_CORE_SEND_CHAIN_H

#include "core/send/sender_state.h"

/* --- what happens --- */

/* We lead: nothing is known of any stream. */
void chain_begin(struct sender *s);

/* The connection is gone: nothing is known any more. */
void chain_interrupted(struct sender *s);

/* And what was in flight waits. */
void chain_rewound(struct sender *s);

/* Something of it left memory. */
void chain_changed(struct sender *s, uint16_t stream);

/* m, which is READY and may be sent, is being sent: gives it its number. */
void chain_sent(struct sender *s, struct message *m, struct effect *f);

/* m, in memory still, is stored at this sequence: so says the answer to this attempt. */
void chain_acked(struct sender *s, const struct message *m, uint16_t attempt, uint64_t sequence, bool duplicate);

/* m, in flight, is about to become a dead letter: what stands behind it will be refused. */
void chain_poisoned(struct sender *s, const struct message *m);

/* --- what is asked --- */

/* m is READY: may it be sent? False: it waits again. */
bool chain_may_send(struct sender *s, const struct message *m);

#endif
