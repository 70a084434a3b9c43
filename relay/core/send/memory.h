/* Messages in memory: what they weigh, and how they come and go. Alone in writing what is in flight, and what it weighs.
 * (What the source may ask of memory stands in send.h.) */
#ifndef BOXHAUL_CORE_SEND_MEMORY_H
#define BOXHAUL_CORE_SEND_MEMORY_H

#include "core/send/sender_state.h"

/* m came to memory; m, which is READY, goes into flight. */
static inline void memory_admitted(struct sender *s, const struct message *m)
{
	s->resident_bytes += m->bytes;
}
static inline void memory_departs(struct sender *s, struct message *m)
{
	assert(m->place == PLACE_READY);
	s->flight_bytes += m->bytes;
	lanes_move(&s->lanes, m, PLACE_IN_FLIGHT);
}

/* m, in flight in a batch, is about to be taken back (lanes_narrow). */
void memory_grounded(struct sender *s, const struct message *m);

/* It tells of a batch: m leaves memory, and was uncertain. */
void batch_settled(struct sender *s, struct message *m);

/* m is to be sent again, not before until_ms. */
void memory_retry(struct sender *s, struct message *m, int64_t until_ms);

/* m, in flight in an owned stream, waits in its lane again. */
void memory_recall(struct sender *s, struct message *m);

/* Takes m out of memory. Its outcome is the caller's. */
void memory_release(struct sender *s, struct message *m);

/* m, of a lane, is a dead letter: its lane waits behind it until memory_on_record(). Its outcome is the caller's. */
void memory_dead_letter(struct sender *s, struct message *m);

/* Everything goes, without an outcome. */
void memory_clear(struct sender *s);

/* Everything that was in flight waits to be sent again. */
void memory_rewind(struct sender *s);

#endif
