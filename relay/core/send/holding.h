/* How messages leave memory, and how streams and lanes are held back and come back. With holding_parked.c alone in writing struct
 * block (but for owned streams, which chain.c may shut). What became of messages is said by outcomes (outcome.h). (What the source
 * may ask of what is parked stands in send.h, and is answered in holding_parked.c.) */
#ifndef BOXHAUL_CORE_SEND_HOLDING_H
#define BOXHAUL_CORE_SEND_HOLDING_H

#include "core/send/sender_state.h"

/* A lead begins or ends: everything is open, and nothing is parked. */
void holding_begin(struct sender *s);

/* m is stored. It leaves memory, and what it probed opens. */
void holding_settle(struct sender *s, struct message *m);

/* m can never be stored. It leaves memory as a dead letter, and its lane goes on, or with POISON_HOLD waits for an operator.
 * Where so many lanes are blocked that it cannot, m stays, and is tried again. There must be credit for a dead letter. */
void holding_dead_letter(struct sender *s, struct message *m, uint32_t reason);

/* m leaves memory and is held back with its lane, if that is shut, else with b, which is. A probe of the lane that stands behind m in memory
 * goes with it. */
void holding_park_with_lane_or(struct sender *s, struct message *m, struct block *b);

/* m's stream takes nothing now: m, and everything of it that is not in flight, is held back. */
void holding_block_stream(struct sender *s, struct message *m, uint32_t reason);

/* m's lane cannot go on now: m, and what of it is not in flight, is held back. Where so many lanes are blocked that it
 * cannot, m stays, and is tried again. */
void holding_block_lane(struct sender *s, struct message *m, uint32_t reason);

/* Which block keeps a message of this stream, lane (or SCOPE_NONE) and ticket out of memory, or NULL. */
struct block *holding_gate(struct sender *s, uint16_t stream, scope_id lane, int64_t ticket);

/* A message that was offered does not come to memory, but is held back with b. The outcome is the caller's. */
void holding_turn_away(struct sender *s, struct block *b, uint16_t stream, scope_id lane, int64_t ticket);

/* Does m probe its stream or its lane? */
bool holding_is_probe(struct sender *s, const struct message *m);

/* If this ticket is b's probe, it has failed: another one is chosen after the pause. b may be NULL. */
void holding_probe_fails(struct sender *s, struct block *b, int64_t ticket);

/* b opens: what is parked for it is asked for in the next round, before anything newer. A lane's block for which nothing is parked
 * is gone afterwards. */
void holding_open(struct sender *s, struct block *b);

/* So many tickets are not parked for b any more. b may be gone afterwards. */
void holding_unparked(struct sender *s, struct block *b, size_t tickets);

#endif
