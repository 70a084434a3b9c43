/* From what boxhaul.inbox_look() says to facts, so that commands judge by the same function, and in the same words, as a relay does. */
#ifndef BOXHAUL_COMMAND_LOOK_INBOX_H
#define BOXHAUL_COMMAND_LOOK_INBOX_H

#include <jansson.h>

#include "watch/inbox_facts.h"

struct look_inbox {
	struct inbox_facts facts; /* borrows from the JSON, and from what stands below */
	struct inbox_stats stats[LIMIT_SUBSCRIPTIONS];
	struct inbox_backlog backlog[LIMIT_SUBSCRIPTIONS];
	struct saga_figures sagas;
};

/* subscriptions: the array; NULL: there is no inbox. sagas: what boxhaul.saga_look() says; NULL: nothing. What only a relay knows is left as if
 * all were well. */
void look_inbox_fill(const json_t *subscriptions, const json_t *sagas, struct look_inbox *out);

/* Behind that: are sagas open that no daemon is the clock of? A configuration with the group sagas is not asked. */
void look_inbox_sagas(const json_t *subscriptions, const struct config *config, struct look_inbox *out);

#endif
