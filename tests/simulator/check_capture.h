/* The checker of the capture's world: what a capture promises (core/capture/README.md), looked at from outside.
 *
 * It knows the whole log, and what was stored in which order. A reader who knows nothing but the stream makes a copy of the tables
 * from it; at rest the copy is what the source holds. */
#ifndef SIM_CHECK_CAPTURE_H
#define SIM_CHECK_CAPTURE_H

#include "capture_world.h"

/* A message is about to be stored: is it its turn? And the copy goes on. */
void check_capture_stored(struct capture_sim *s, const struct message *m);

/* Of the rows that this touches nothing is demanded any more: what was published of them is not what the source holds. */
void check_capture_taint(struct capture_sim *s, const struct op *op);

/* It is on record as a dead letter. */
/* It is put on record as one that holds its key. */
void check_capture_held(struct capture_sim *s, const struct message *m);
void check_capture_lettered(struct capture_sim *s, const struct message *m);

/* The books went to this position. */
void check_capture_marked(struct capture_sim *s, const struct capture_mark *m);

/* A relay tells the server that it needs nothing below this any more. */
void check_capture_confirmed(struct capture_sim *s, const struct host *h, uint64_t lsn);

/* Everything that will ever be sent was sent, and is on record. Else why not. */
const char *check_capture_rests(struct capture_sim *s);

/* At rest: the copy is what the source holds; and the position follows the log without a mark. */
void check_capture_whole(struct capture_sim *s);

#endif
