/* The messages that are looked for in the streams: a set of bounded size, by message id. */
#ifndef BOXHAUL_COMMAND_WANTED_H
#define BOXHAUL_COMMAND_WANTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stored.h"

enum { WANTED_MAX = 1 << 19 }; /* 32 MB */

struct wanted_message {
	struct stored_id uuid;
	int64_t id;
	int64_t created_s;
	uint16_t stream;
	bool used, found;
};

struct wanted {
	struct wanted_message *slot; /* twice WANTED_MAX */
	size_t count;
};

bool wanted_create(struct wanted *w);
void wanted_free(struct wanted *w);
void wanted_clear(struct wanted *w);
/* There is room: count < WANTED_MAX. */
void wanted_add(struct wanted *w, const struct wanted_message *m);
/* NULL: it is not looked for. */
struct wanted_message *wanted_find(const struct wanted *w, const struct stored_id *uuid);
/* One after the other, from NULL on; NULL: there are no more. */
struct wanted_message *wanted_next(const struct wanted *w, const struct wanted_message *after);

#endif
