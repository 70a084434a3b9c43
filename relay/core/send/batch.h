/* Batches: the messages of a stream in one numbered sequence, of which the stream stores a beginning and nothing else (fast ingest). Alone in
 * writing struct batch, and what a message knows of its batch. The picture and the argument stand in batch.c. */
#ifndef BOXHAUL_CORE_SEND_BATCH_H
#define BOXHAUL_CORE_SEND_BATCH_H

#include "core/limits.h"
#include "core/mutant.h"
#include "core/send/sender_state.h"

/* --- what happens --- */

/* A lead begins: no message is in a batch. And it ends: what is in a batch goes without a word. */
void batch_begin(struct sender *s);
void batch_forget(struct sender *s);

/* The connection is gone: all that is in a batch is uncertain, and nobody has said yet what the next connection can do. */
void batch_interrupted(struct sender *s);

/* m came to memory, and there are streams that take batches. */
void batch_admitted(struct sender *s, struct message *m);

/* m was handed out in a batch, and is not written: it was found in the stream. */
void batch_found(struct sender *s, struct message *m);

/* m, the oldest in flight in its batch, met silence. */
void batch_silent(struct sender *s, const struct message *m);

/* --- what is asked --- */

/* m, which may be in a batch, goes by itself beside the one that is ending. Nothing of its lane is in that one, or waits before m, so it is where it
 * would be if there were no batches, and it does not wait for the answer to others. Not where many wait: those are the next batch. */
static inline bool batch_goes_beside(const struct sender *s, const struct message *m)
{
	const struct message_list *place = s->lanes.place;

	if (m->lane != NULL && (m->lane->owned || (m->lane->active > 1 && !MUTANT(batch_beside_its_own))))
		return false;
	return place[PLACE_READY].count + place[PLACE_STANDBY].count <= LIMIT_BESIDE_A_BATCH;
}

/* m is READY, and is not to be sent before the batch that is under way has ended. In an owned stream nothing is: what waits for the next batch
 * must not be overtaken by what goes by itself. */
static inline bool batch_must_wait(const struct sender *s, const struct message *m)
{
	const struct batch *b = &s->batch[m->stream];

	if (m->single && (m->lane == NULL || !m->lane->owned || MUTANT(batch_overtaken)))
		return false;
	return b->state == BATCH_IS_BROKEN ||
	       (b->state == BATCH_IS_ENDING && !batch_goes_beside(s, m) && !MUTANT(batch_unended));
}

/* m, which is READY and fits the window, is being sent: in a batch, or by itself. */
void batch_sent(struct sender *s, struct message *m, struct effect *f);

/* What is overdue, and when that will be. Outcomes follow. */
void batch_timers(struct sender *s);
int64_t batch_deadline(const struct sender *s);

#endif
