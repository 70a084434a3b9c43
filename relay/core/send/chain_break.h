/* Owned streams: the chain is broken, and what is in flight is waited for. For the files of the chain, and those that end a batch. */
#ifndef BOXHAUL_CORE_SEND_CHAIN_BREAK_H
#define BOXHAUL_CORE_SEND_CHAIN_BREAK_H

#include "core/send/sender_state.h"

/* All messages of an owned stream, in their order. */
static inline struct lane *chain_lane(struct sender *s, uint16_t stream)
{
	return &s->lanes.owned[stream];
}

/* Nothing of it is sent, and no look that is under way counts. */
void chain_stand(struct sender *s, uint16_t stream);

/* It FLOWS no more: the next number is not known. */
void chain_break(struct sender *s, uint16_t stream);

/* It is not looked at before. */
void chain_put_off(struct chain *c, int64_t until_ms);

/* What was sent last has had no answer. */
bool chain_newest_is_in_flight(const struct sender *s, const struct chain *c);

/* m, in flight, is not waited for any more, whatever became of it. */
void chain_call_back(struct sender *s, struct message *m);

/* Nothing of a stream that parks waits in memory while it is shut, but its probe. */
void chain_park_what_waits(struct sender *s, uint16_t stream);

/* What was in flight in a batch, from `first` on (NULL: nothing), is not awaited any more. What went by itself before it still is. */
void chain_batch_failed(struct sender *s, uint16_t stream, struct message *first);

/* A look is wanted, if the chain is broken, nothing is waited for, and it is not too soon. */
void chain_look_if_settled(struct sender *s, uint16_t stream);

/* What is overdue; and when that will be. */
void chain_timers(struct sender *s);
int64_t chain_deadline(const struct sender *s);

/* --- what it tells of a batch (batch.c) --- */

/* What is in flight is called back. */
void batch_called_back(struct sender *s, uint16_t stream);

#endif
