/* Batches: which wire there is, what is in a batch, and how it ends. For the files of batches alone. */
#ifndef BOXHAUL_CORE_SEND_BATCH_END_H
#define BOXHAUL_CORE_SEND_BATCH_END_H

#include "core/send/sender_state.h"

enum { BATCH_WORD_MS = 1000 }; /* so long the server's word on a batch that is over is awaited */

static inline bool batch_is_owned(const struct sender *s, uint16_t stream)
{
	return settings_owns(s->set, stream);
}

/* So long, but at most a part of the time after which silence is a failure. */
int64_t batch_within(const struct sender *s, int64_t most_ms, uint32_t part);

/* --- which wire --- */

void batch_set_wire(struct sender *s, uint16_t stream, enum wire_reason reason);

/* A batch may be begun, if the wire is there and nothing is uncertain. From now on none is begun; of each lane one message is READY
 * at most, and `stays` (or NULL), which is in flight, stays so. */
void batch_run_if_settled(struct sender *s, uint16_t stream);
void batch_stop(struct sender *s, uint16_t stream, const struct message *stays);

/* m, in memory and in no batch, may be in one, or goes by itself; the same of all of a stream. */
void batch_judge(struct sender *s, struct message *m);
void batch_judge_all(struct sender *s, uint16_t stream);

/* --- what is in it --- */

void batch_append(struct batch *b, struct message *m);
void batch_take_out(struct batch *b, struct message *m);

/* The first so many are stored. Outcomes follow. */
void batch_stored_up_to(struct sender *s, uint16_t stream, uint32_t number);

/* --- how it ends --- */

/* It is over. What is in flight in it, but for `stays` (or NULL), waits to be sent: as uncertain, or as never sent. */
void batch_disband(struct sender *s, uint16_t stream, bool uncertain, struct message *stays);

/* Nobody knows what is stored of what is in flight in it. Nothing is. */
void batch_ends_unclean(struct sender *s, uint16_t stream);
void batch_ends_whole(struct sender *s, uint16_t stream);

/* --- what it tells of messages (sending.c) --- */

/* m is stored: it is counted, and leaves memory. */
void sending_stored(struct sender *s, struct message *m);

/* m, in flight, is refused, and its batch, if it was in one, is over. */
void sending_was_refused(struct sender *s, struct message *m, uint32_t reason, uint32_t status);

/* The server asks for a smaller window. */
void sending_slow_down(struct sender *s);

/* m goes into flight: would x fit the window behind it? */
bool sending_fits_behind(const struct sender *s, const struct message *m, const struct message *x);

#endif
