/* Blocks: an array for the streams, a hash table with linear probing for the lanes. */
#include "core/block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 * LIMIT_BLOCKED_LANES };

bool blocks_create(struct blocks *b, uint32_t streams)
{
	*b = (struct blocks){ .streams = streams };
	b->lane = calloc(SLOTS, sizeof *b->lane);
	if (b->lane == NULL)
		return false;
	blocks_clear(b);
	return true;
}

void blocks_destroy(struct blocks *b)
{
	free(b->lane);
	b->lane = NULL;
}

void blocks_clear(struct blocks *b)
{
	if (b->lanes > 0)
		memset(b->lane, 0, SLOTS * sizeof *b->lane);
	b->lanes = 0;
	for (uint32_t i = 0; i < LIMIT_STREAMS; i++)
		b->stream[i] = (struct block){ .scope = scope_of_stream(i) };
}

static size_t home(scope_id scope)
{
	return (size_t)((scope * UINT64_C(0x9e3779b97f4a7c15)) >> 40) % SLOTS;
}

static struct block *slot_of(struct blocks *b, scope_id scope)
{
	size_t i = home(scope);

	while (b->lane[i].scope != SCOPE_NONE && b->lane[i].scope != scope)
		i = (i + 1) % SLOTS;
	return &b->lane[i];
}

struct block *blocks_find(struct blocks *b, scope_id scope)
{
	struct block *s;

	if (scope == SCOPE_NONE)
		return NULL;
	if (!scope_is_lane(scope))
		return &b->stream[scope - 1];
	s = slot_of(b, scope);
	return s->scope == scope ? s : NULL;
}

struct block *blocks_get(struct blocks *b, scope_id scope)
{
	struct block *s;

	if (!scope_is_lane(scope))
		return blocks_find(b, scope);
	s = slot_of(b, scope);
	if (s->scope == scope)
		return s;
	if (b->lanes == LIMIT_BLOCKED_LANES)
		return NULL;
	*s = (struct block){ .scope = scope };
	b->lanes++;
	return s;
}

void blocks_drop(struct blocks *b, struct block *block)
{
	size_t hole = (size_t)(block - b->lane), i = hole;

	assert(scope_is_lane(block->scope) && !block->blocked && block->parked == 0);
	/* Close the hole: whoever probed past it moves up. */
	for (;;) {
		i = (i + 1) % SLOTS;
		if (b->lane[i].scope == SCOPE_NONE)
			break;
		if ((i + SLOTS - home(b->lane[i].scope)) % SLOTS >= (i + SLOTS - hole) % SLOTS) {
			b->lane[hole] = b->lane[i];
			hole = i;
		}
	}
	b->lane[hole] = (struct block){ .scope = SCOPE_NONE };
	b->lanes--;
}

struct block *blocks_next(struct blocks *b, struct block *after)
{
	size_t i = 0;

	if (after == NULL)
		return &b->stream[0];
	if (after >= b->stream && after < b->stream + LIMIT_STREAMS) {
		if (after + 1 < b->stream + b->streams)
			return after + 1;
	} else {
		i = (size_t)(after - b->lane) + 1;
	}
	if (b->lanes == 0)
		return NULL;
	while (i < SLOTS && b->lane[i].scope == SCOPE_NONE)
		i++;
	return i < SLOTS ? &b->lane[i] : NULL;
}
