/* What must be done now and then, and never stands in the way: the ring, the ledger and the wake-ups are cleaned. */
#ifndef BOXHAUL_RUN_HOUSEKEEPING_H
#define BOXHAUL_RUN_HOUSEKEEPING_H

#include "run/relay_state.h"

/* Right behind a fetch, and never else: a sleeping relay asks the database nothing between two safety polls. Returns whether it was
 * time: then whatever else is done now and then is due, too. */
bool housekeeping_behind_fetch(struct relay *r);

/* The lead is gone: nothing is awaited any more, and what failed is not ours. */
void housekeeping_forget(struct relay *r);

/* Why cleaning has failed for long enough to need somebody; "" = it has not. */
const char *housekeeping_trouble(const struct relay *r);

#endif
