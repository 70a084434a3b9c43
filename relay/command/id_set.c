/* Open addressing, half full at most: message ids are random already. */
#include "command/id_set.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 * ID_SET_MAX };

bool id_set_create(struct id_set *s)
{
	*s = (struct id_set){ .slot = calloc(SLOTS, sizeof *s->slot) };
	return s->slot != NULL;
}

void id_set_free(struct id_set *s)
{
	free(s->slot);
}

void id_set_clear(struct id_set *s)
{
	memset(s->slot, 0, SLOTS * sizeof *s->slot);
	s->count = 0;
}

/* Where it is, or where it belongs. */
static struct id_set_member *place(const struct id_set *s, const struct stored_id *uuid)
{
	uint64_t hash;
	size_t i;

	memcpy(&hash, uuid->byte + sizeof uuid->byte - sizeof hash, sizeof hash);
	for (i = hash % SLOTS; s->slot[i].used; i = (i + 1) % SLOTS)
		if (memcmp(&s->slot[i].uuid, uuid, sizeof *uuid) == 0)
			break;
	return &s->slot[i];
}

void id_set_add(struct id_set *s, const struct id_set_member *m)
{
	struct id_set_member *to = place(s, &m->uuid);

	s->count += !to->used;
	*to = *m;
	to->used = true;
}

struct id_set_member *id_set_find(const struct id_set *s, const struct stored_id *uuid)
{
	struct id_set_member *m = place(s, uuid);

	return m->used ? m : NULL;
}

struct id_set_member *id_set_next(const struct id_set *s, const struct id_set_member *after)
{
	for (size_t i = after != NULL ? (size_t)(after - s->slot) + 1 : 0; i < SLOTS; i++)
		if (s->slot[i].used)
			return &s->slot[i];
	return NULL;
}
