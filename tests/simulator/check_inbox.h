/* The promises of the inbox, I1 to I12, each in a function of its own. They look at the whole truth, which nobody else
 * may. */
#ifndef SIM_CHECK_INBOX_H
#define SIM_CHECK_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "inbox_world.h"

/* --- when a move is committed; `before` is the position and the incarnation that the database had --- */

/* I1, I8: it starts where the last one ended. I2: one whose books are lost begins no later than it had begun, as far as the host was
 * told. */
void check_inbox_continues(struct inbox_sim *s, const struct host *h, uint32_t subscription,
			   const struct inbox_move *m);

/* I9: the history that it comes from is the one that the position stands in. */
void check_inbox_history(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, uint16_t history);

/* I9: the witness stands at the position. */
void check_inbox_witness(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, uint16_t history);

/* I2, I12: what it passes is in it, was known, or is on record as lost; and only what was lost is. */
void check_inbox_passes(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, uint16_t history);

/* I4: rows get their ids in the order of the stream. */
void check_inbox_order(struct inbox_sim *s, uint32_t subscription, const struct inbox_move *m, const uint32_t *copies);

/* I3: a row for a copy whose id is not known; or once more for one without id, in another incarnation. */
void check_inbox_once(struct inbox_sim *s, uint32_t subscription, uint32_t copy);

/* --- when rows are handled --- */

/* I3, I5, I6: once, in the order of its key, behind nothing that is parked. */
void check_inbox_effect(struct inbox_sim *s, uint32_t subscription, uint16_t row);

/* I7: a slot is emptied of it. */
void check_inbox_emptied(struct inbox_sim *s, uint32_t subscription, uint16_t row);

/* I11: attempts are failures of the handler, and nothing else. */
void check_inbox_attempts(struct inbox_sim *s, uint32_t subscription, uint16_t row);

/* I10: a worker waits for nothing but its lane. */
void check_inbox_lane_is_free(struct inbox_sim *s, uint32_t subscription, uint32_t lane);

/* --- what the core asks for --- */

void check_inbox_effect_asked(struct inbox_sim *s, const struct host *h, uint32_t subscription,
			      const struct inbox_effect *e);
void check_inbox_room(struct inbox_sim *s, const struct host *h, uint32_t subscription);

/* --- at the end --- */

/* All that matches and is still there was taken, and all rows are handled. */
bool check_inbox_settled(const struct inbox_sim *s);
/* Why not, for the report. */
void check_inbox_explain(const struct inbox_sim *s, char *text, size_t size);
/* Every id that can have an effect has one. */
void check_inbox_complete(struct inbox_sim *s);
/* Quiet for long: the position follows. */
void check_inbox_followed(struct inbox_sim *s);

#endif
