/* Owned streams: what somebody else has stored in one. Of what looks have found, how much was nobody told to be? Only what is ours, and not
 * known to be stored, is sent again; so when that is over, what is left was sent by somebody else. Alone in writing what struct chain counts of that.
 * (What the owner may ask stands in send.h, what the look tells in lookback.h.) */
#ifndef BOXHAUL_CORE_SEND_CHAIN_FOREIGN_H
#define BOXHAUL_CORE_SEND_CHAIN_FOREIGN_H

#include "core/refusal.h"
#include "core/send/sender_state.h"

/* What stands at this sequence is ours. */
void chain_foreign_claim(struct sender *s, uint16_t stream, uint64_t sequence);

/* Is it passed by? Else it stops the stream. */
bool chain_foreign_passes(const struct sender *s, uint16_t stream);

/* Nothing of ours is left that could be what looks have found. Is something left of that? Then it is counted, and told. */
bool chain_foreign_found(struct sender *s, uint16_t stream);

#endif
