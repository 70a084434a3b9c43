/* The messages that a command seeks in the streams: a set of bounded size, by message id. */
#ifndef BOXHAUL_COMMAND_ID_SET_H
#define BOXHAUL_COMMAND_ID_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/stored.h"

enum { ID_SET_MAX = 1 << 19 }; /* 32 MB */

struct id_set_member {
	struct stored_id uuid;
	int64_t id;
	int64_t created_s;
	uint16_t stream;
	bool used, found;
};

struct id_set {
	struct id_set_member *slot; /* twice ID_SET_MAX */
	size_t count;
};

/* An empty set; false when out of memory: it may only be freed then. */
bool id_set_create(struct id_set *s);
void id_set_free(struct id_set *s);
/* Takes everything out. */
void id_set_clear(struct id_set *s);
/* Copies a message into the set, over one of the same id. There is room: count < ID_SET_MAX. */
void id_set_add(struct id_set *s, const struct id_set_member *m);
/* NULL: it is not in the set. */
struct id_set_member *id_set_find(const struct id_set *s, const struct stored_id *uuid);
/* One after the other, from NULL on; NULL: there are no more. */
struct id_set_member *id_set_next(const struct id_set *s, const struct id_set_member *after);

#endif
