#include "core/capture/commits.h"

#include <assert.h>
#include <stdlib.h>

#include "core/capture/capture_mutant.h"

bool commits_create(struct commits *c, size_t capacity)
{
	*c = (struct commits){ .capacity = capacity };
	c->ring = calloc(capacity, sizeof *c->ring);
	return c->ring != NULL;
}

void commits_destroy(struct commits *c)
{
	free(c->ring);
}

void commits_begin(struct commits *c, struct commit settled)
{
	c->first = c->count = 0;
	c->settled = settled;
}

static struct commit *at(struct commits *c, size_t i)
{
	return &c->ring[(c->first + i) % c->capacity];
}

void commits_add(struct commits *c, struct commit commit)
{
	struct commit *last = c->count > 0 ? at(c, c->count - 1) : NULL;

	assert(commit.ordinal >= (last != NULL ? last->ordinal : c->settled.ordinal));
	assert(commit.end_lsn >= (last != NULL ? last->end_lsn : c->settled.end_lsn));
	/* Without a message of its own it is settled when the one before it is. */
	if (last != NULL && (last->ordinal == commit.ordinal || c->count == c->capacity))
		*last = commit;
	else
		*at(c, c->count++) = commit;
}

void commits_settle(struct commits *c, int64_t ordinal)
{
	while (c->count > 0 && at(c, 0)->ordinal <= ordinal + MUTANT(commit_by_one)) {
		c->settled = *at(c, 0);
		c->first = (c->first + 1) % c->capacity;
		c->count--;
	}
}

void commits_reach(struct commits *c, int64_t ordinal)
{
	commits_settle(c, ordinal);
	if (c->count == 0 && ordinal > c->settled.ordinal)
		c->settled.ordinal = ordinal;
}
