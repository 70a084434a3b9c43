/* From what boxhaul.capture_look() says to facts, so that commands judge by the same function, and in the same words, as a relay does. */
#ifndef BOXHAUL_COMMAND_LOOK_CAPTURE_H
#define BOXHAUL_COMMAND_LOOK_CAPTURE_H

#include <jansson.h>

#include "config/config.h"
#include "watch/capture_facts.h"

/* Only tables that ail are kept, and not all of those: the verdict names one. */
enum { LOOK_AILING_TABLES = 4 };

struct look_capture {
	struct capture_facts facts; /* borrows from the JSON, and from what stands below */
	struct capture_one_facts capture[LIMIT_CAPTURES];
	struct capture_table_facts table[LIMIT_CAPTURES][LOOK_AILING_TABLES];
};

/* captures: the array; NULL: there are none. One that is configured, and not in it, has not been started. What only a relay knows is left as if all were well. */
void look_capture_fill(const json_t *captures, const struct config *config, struct look_capture *out);

/* Adds to each of those that the relay on this machine reads what it says of it, as "told". relay: /status; or NULL. */
void look_capture_add_told(json_t *captures, const json_t *relay);

#endif
