/* Blocks: an array for the streams; for the lanes an array without holes, and an index of it, a hash table with linear probing. So a
 * walk costs what there is, not what there may be. */
#include "core/send/blocks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutant.h"
#include "core/refusal.h"

enum { SLOTS = 2 * LIMIT_BLOCKED_LANES };

bool blocks_create(struct blocks *b, uint32_t streams)
{
	*b = (struct blocks){ .streams = streams };
	b->lane = calloc(LIMIT_BLOCKED_LANES, sizeof *b->lane);
	b->slot = calloc(SLOTS, sizeof *b->slot);
	if (b->lane == NULL || b->slot == NULL) {
		blocks_destroy(b);
		return false;
	}
	blocks_clear(b);
	return true;
}

void blocks_destroy(struct blocks *b)
{
	free(b->lane);
	free(b->slot);
	b->lane = NULL;
	b->slot = NULL;
}

void blocks_clear(struct blocks *b)
{
	if (b->lanes > 0)
		memset(b->slot, 0, SLOTS * sizeof *b->slot);
	b->lanes = 0;
	for (uint32_t i = 0; i < LIMIT_STREAMS; i++)
		b->stream[i] = (struct block){ .scope = scope_of_stream(i) };
	b->stream[STREAM_UNROUTED] = (struct block){ .scope = scope_of_stream(STREAM_UNROUTED),
						     .state = BLOCK_SHUT,
						     .reason = DEFECT_SUBJECT_UNROUTED,
						     .due_ms = INT64_MAX };
}

static size_t home(scope_id scope)
{
	return (size_t)((scope * UINT64_C(0x9e3779b97f4a7c15)) >> 40) % SLOTS;
}

/* Where the lane's number stands, or belongs. */
static size_t slot_of(const struct blocks *b, scope_id scope)
{
	size_t i = home(scope);

	while (b->slot[i] != 0 && b->lane[b->slot[i] - 1].scope != scope)
		i = (i + 1) % SLOTS;
	return i;
}

struct block *blocks_find(struct blocks *b, scope_id scope)
{
	uint32_t number;

	if (scope == SCOPE_NONE)
		return NULL;
	if (!scope_is_lane(scope))
		return &b->stream[scope - 1];
	number = b->slot[slot_of(b, scope)];
	return number != 0 ? &b->lane[number - 1] : NULL;
}

struct block *blocks_get(struct blocks *b, scope_id scope)
{
	struct block *found;

	assert(b != NULL && b->lane != NULL && scope != SCOPE_NONE);
	found = blocks_find(b, scope);
	if (found != NULL || b->lanes == LIMIT_BLOCKED_LANES)
		return found;
	b->lane[b->lanes] = (struct block){ .scope = scope };
	b->slot[slot_of(b, scope)] = (uint32_t)++b->lanes;
	return &b->lane[b->lanes - 1];
}

/* Whoever probed past the slot moves up. */
static void close_hole(struct blocks *b, size_t hole)
{
	size_t i = hole;

	for (;;) {
		i = (i + 1) % SLOTS;
		if (b->slot[i] == 0 || (MUTANT(hole_at_the_end) && i == 0))
			break;
		if ((i + SLOTS - home(b->lane[b->slot[i] - 1].scope)) % SLOTS >= (i + SLOTS - hole) % SLOTS) {
			b->slot[hole] = b->slot[i];
			hole = i;
		}
	}
	b->slot[hole] = 0;
}

void blocks_drop(struct blocks *b, struct block *block)
{
	struct block *last = &b->lane[b->lanes - 1];

	assert(scope_is_lane(block->scope) && block->state == BLOCK_OPEN && block->parked == 0);
	close_hole(b, slot_of(b, block->scope));
	if (block != last) {
		b->slot[slot_of(b, last->scope)] = (uint32_t)(block - b->lane) + 1;
		*block = *last;
	}
	b->lanes--;
}

struct block *blocks_next(struct blocks *b, struct block *after)
{
	size_t next = 0;

	if (after == NULL)
		return &b->stream[0];
	if (after >= b->stream && after < b->stream + LIMIT_STREAMS) {
		if (after + 1 < b->stream + b->streams)
			return after + 1;
	} else {
		next = (size_t)(after - b->lane) + 1;
	}
	return next < b->lanes ? &b->lane[next] : NULL;
}
