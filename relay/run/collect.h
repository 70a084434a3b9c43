/* What is known of the relay at this moment, for everything that tells of it. */
#ifndef BOXHAUL_RUN_COLLECT_H
#define BOXHAUL_RUN_COLLECT_H

#include "watch/facts.h"

/* Fills the facts; `relay` is the struct relay. They borrow from it, until the loop's next callback. Costs some microseconds for
 * each message in memory, at most four times a second: for the tick and for the port, never for a message. */
void collect(void *relay, struct facts *f);

#endif
