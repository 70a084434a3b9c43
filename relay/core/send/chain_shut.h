/* Owned streams: one that takes nothing, or waits for an operator. */
#ifndef BOXHAUL_CORE_SEND_CHAIN_SHUT_H
#define BOXHAUL_CORE_SEND_CHAIN_SHUT_H

#include "core/refusal.h"
#include "core/send/sender_state.h"

/* It takes nothing, and its messages wait in memory. */
bool chain_is_shut_in_memory(const struct sender *s, uint16_t stream);
void chain_open_in_memory(struct sender *s, uint16_t stream);

/* It takes nothing now, and m is the one that shows it. */
void chain_shut(struct sender *s, struct message *m, uint32_t reason);

/* Nothing is sent until an operator says so. */
void chain_stop(struct sender *s, uint16_t stream, uint32_t reason);

/* Stops it where somebody else has stored something. Returns whether it may go on. */
bool chain_has_no_foreign(struct sender *s, uint16_t stream);

/* m, in flight, was refused, and not as poison; or met silence. */
void chain_refused(struct sender *s, struct message *m, uint32_t reason, enum refusal_verdict verdict);

/* The settings are others: what is passed by does not stop a stream any more. */
void chain_adjust(struct sender *s);

#endif
