/* Open addressing, half full at most: message ids are random already. */
#include "command/wanted.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 * WANTED_MAX };

bool wanted_create(struct wanted *w)
{
	*w = (struct wanted){ .slot = calloc(SLOTS, sizeof *w->slot) };
	return w->slot != NULL;
}

void wanted_free(struct wanted *w)
{
	free(w->slot);
}

void wanted_clear(struct wanted *w)
{
	memset(w->slot, 0, SLOTS * sizeof *w->slot);
	w->count = 0;
}

/* Where it is, or where it belongs. */
static struct wanted_message *place(const struct wanted *w, const struct stored_id *uuid)
{
	uint64_t hash;
	size_t i;

	memcpy(&hash, uuid->byte + sizeof uuid->byte - sizeof hash, sizeof hash);
	for (i = hash % SLOTS; w->slot[i].used; i = (i + 1) % SLOTS)
		if (memcmp(&w->slot[i].uuid, uuid, sizeof *uuid) == 0)
			break;
	return &w->slot[i];
}

void wanted_add(struct wanted *w, const struct wanted_message *m)
{
	struct wanted_message *to = place(w, &m->uuid);

	w->count += !to->used;
	*to = *m;
	to->used = true;
}

struct wanted_message *wanted_find(const struct wanted *w, const struct stored_id *uuid)
{
	struct wanted_message *m = place(w, uuid);

	return m->used ? m : NULL;
}

struct wanted_message *wanted_next(const struct wanted *w, const struct wanted_message *after)
{
	for (size_t i = after != NULL ? (size_t)(after - w->slot) + 1 : 0; i < SLOTS; i++)
		if (w->slot[i].used)
			return &w->slot[i];
	return NULL;
}
