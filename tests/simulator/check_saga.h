/* The promises of sagas, S1 to S12, and that no money is lost or made. They look at the whole truth, which nobody else may. */
#ifndef SIM_CHECK_SAGA_H
#define SIM_CHECK_SAGA_H

#include "saga_world.h"

/* S1, S12: a message is published, and somebody committed it. */
void check_saga_published(struct saga_sim *s, uint16_t message);

/* S1 to S6, S8, S11: what a transaction does to a saga, when it is committed; notes what is known of its steps. */
void check_saga_commit(struct saga_sim *s, struct change *c);

/* S8 to S10, locks: the row as it stands now. */
void check_saga_row(struct saga_sim *s, uint32_t saga);

/* S4, S7: a step is done or undone, now. */
void check_saga_effect(struct saga_sim *s, uint32_t service, uint32_t saga, uint32_t step, enum dir dir);

/* Every saga has ended, or is stuck for a reason that no healing mends. Else why not. */
const char *check_saga_settled(const struct saga_sim *s, uint32_t *saga);

/* S8, S12, conservation: at rest. */
void check_saga_rest(struct saga_sim *s);

#endif
