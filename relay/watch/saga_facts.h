/* What is known of the sagas that are started in this database at one moment: collected by run/inbox_sagas.c; from outside by
 * command/look_inbox.c. */
#ifndef BOXHAUL_WATCH_SAGA_FACTS_H
#define BOXHAUL_WATCH_SAGA_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "flow/saga_figures.h"

/* Everything is borrowed. No text is NULL. */
struct saga_facts {
	bool here;          /* sagas may be started here; else there is nothing to tell */
	bool leads;         /* this relay takes their answers, and so their deadlines; else another one does */
	bool runs;          /* and deadlines count; else the answers have to be caught up with first */
	uint64_t unclocked; /* so many are open, and no daemon is their clock; 0 where our own configuration has them */
	const char *trouble; /* why deadlines cannot be taken; "" = they can */
	const struct saga_figures *figures;
};

#endif
