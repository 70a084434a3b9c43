/* Where a stream ends, as far as is known, and that it has lost its end. (What others may ask of that stands in send.h.) */
#ifndef BOXHAUL_CORE_SEND_LOOKBACK_END_H
#define BOXHAUL_CORE_SEND_LOOKBACK_END_H

#include "core/send/sender_state.h"

/* The stream has stored m, which is still in memory, at this sequence: so says the answer to this attempt. */
void lookback_acked(struct sender *s, const struct message *m, uint16_t attempt, uint64_t sequence, bool duplicate);

/* Of a batch that began when the stream ended at `floor` at least, some are stored, the last of them at this sequence. Nothing is
 * said of where the others stand. */
void lookback_batch_stored(struct sender *s, uint16_t stream, uint64_t floor, uint64_t sequence);

/* Up to this sequence it was read. */
void lookback_advance_to(struct lookback *l, uint64_t sequence);

/* The stream is another one, or has lost its end, nobody knows how much of it; now it ends at `last` at least. What was known of it
 * is void. */
void lookback_truncated(struct sender *s, uint16_t stream, uint64_t last);

/* Where it ends at least, if it has not lost its end. */
uint64_t lookback_known_end(const struct sender *s, uint16_t stream);

/* --- what it tells --- */

/* The stream has lost its end: where the next message of an owned one must stand is not known; and no sequence that is told of the
 * batch under way says where it ends. */
void chain_truncated(struct sender *s, uint16_t stream);
void batch_truncated(struct sender *s, uint16_t stream);

#endif
