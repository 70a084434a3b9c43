/* An earlier leader, that may live and does not know that it leads no more: how long what it sends may still be stored, and how long that
 * keeps us waiting (G3, G4; the argument stands in lookback.c, and of owned streams in chain.c). */
#ifndef BOXHAUL_CORE_SEND_PREDECESSOR_H
#define BOXHAUL_CORE_SEND_PREDECESSOR_H

#include "core/send/sender_state.h"

/* From then on nothing is stored that was sent before we led. (Before the first leader nothing was.) */
int64_t predecessor_end(const struct sender *s, uint16_t stream);

/* A look that was asked for then does not count: what it stores afterwards would not be known. */
bool predecessor_must_be_waited_for(const struct sender *s, uint16_t stream, int64_t asked_ms);

/* When one may be asked for that counts; of streams that must be waited for. */
int64_t predecessor_wait_until(const struct sender *s, uint16_t stream);

#endif
