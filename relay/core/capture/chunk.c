#include "core/capture/chunk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/capture/capture_mutant.h"

bool chunk_create(struct chunk *c, struct capture_rows *rows, size_t capacity, size_t most_unseen)
{
	*c = (struct chunk){ .rows = rows, .capacity = capacity, .buckets = 4 };
	while (c->buckets < 2 * capacity)
		c->buckets *= 2;
	c->row = calloc(capacity, sizeof *c->row);
	c->bucket = calloc(c->buckets, sizeof *c->bucket);
	c->slots = calloc(capacity, sizeof *c->slots);
	return snapshot_xids_create(&c->xids, most_unseen) && c->row != NULL && c->bucket != NULL && c->slots != NULL;
}

void chunk_destroy(struct chunk *c)
{
	snapshot_xids_destroy(&c->xids);
	free(c->row);
	free(c->bucket);
	free(c->slots);
}

void chunk_forget(struct chunk *c)
{
	c->open = false;
	c->count = c->left = c->first = 0;
	c->bytes = 0;
}

/* --- the index --- */

/* FNV-1a. Whoever can choose keys can make the search slow, but no longer than the chunk. */
static size_t hash(const void *key, uint32_t bytes)
{
	const unsigned char *at = key;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (uint32_t i = 0; i < bytes; i++)
		h = (h ^ at[i]) * UINT64_C(0x100000001b3);
	return (size_t)(h ^ h >> 32);
}

/* A row that is out has none: what its key pointed into may have been released since. Its bucket stays taken, so that those behind it are found. */
static bool has_key(const struct chunk_row *row, const void *key, uint32_t bytes)
{
	return row->slot != CAPTURE_NO_SLOT && row->key_bytes == bytes && memcmp(row->key, key, bytes) == 0;
}

/* The bucket of this key, or the empty one where it belongs. */
static uint32_t *bucket_of(const struct chunk *c, const void *key, uint32_t bytes)
{
	size_t at = hash(key, bytes) & (c->buckets - 1);

	while (c->bucket[at] != 0 && !has_key(&c->row[c->bucket[at] - 1], key, bytes))
		at = (at + 1) & (c->buckets - 1);
	return &c->bucket[at];
}

void chunk_open(struct chunk *c, uint32_t table, struct capture_row *rows, size_t count)
{
	assert(!c->open && count <= c->capacity);
	memset(c->bucket, 0, c->buckets * sizeof *c->bucket);
	c->open = true;
	c->table = table;
	c->count = c->left = count;
	c->first = 0;
	c->bytes = 0;
	for (size_t i = 0; i < count; i++) {
		uint32_t *bucket;

		rows[i].slot = capture_rows_take(c->rows, &rows[i], true);
		c->bytes += rows[i].bytes;
		c->row[i] = (struct chunk_row){ rows[i].key, rows[i].key_bytes, rows[i].slot };
		bucket = bucket_of(c, rows[i].key, rows[i].key_bytes);
		assert(*bucket == 0); /* each key once */
		*bucket = (uint32_t)i + 1;
	}
}

static void leaves(struct chunk *c, struct chunk_row *row)
{
	c->bytes -= c->rows->slot[row->slot].bytes;
	row->slot = CAPTURE_NO_SLOT;
	c->left--;
}

static void emit(struct chunk *c, struct chunk_row *row)
{
	if (row->slot == CAPTURE_NO_SLOT)
		return;
	capture_rows_append(c->rows, row->slot);
	leaves(c, row);
}

static void drop(struct chunk *c, struct chunk_row *row)
{
	capture_rows_drop(c->rows, row->slot);
	leaves(c, row);
}

bool chunk_emit(struct chunk *c, const void *key, uint32_t key_bytes)
{
	uint32_t index = c->open ? *bucket_of(c, key, key_bytes) : 0;
	struct chunk_row *row = index > 0 ? &c->row[index - 1] : NULL;

	if (row == NULL || row->slot == CAPTURE_NO_SLOT)
		return false;
	if (MUTANT(drop_instead)) {
		drop(c, row);
		return true;
	}
	emit(c, row);
	return true;
}

const uint32_t *chunk_slots(struct chunk *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		if (c->row[i].slot != CAPTURE_NO_SLOT)
			c->slots[n++] = c->row[i].slot;
	assert(n == c->left);
	return c->slots;
}

static struct chunk_row *first_left(struct chunk *c)
{
	assert(c->left > 0);
	while (c->row[c->first].slot == CAPTURE_NO_SLOT)
		c->first++;
	return &c->row[c->first];
}

void chunk_emit_first(struct chunk *c)
{
	emit(c, first_left(c));
}

void chunk_drop_first(struct chunk *c, size_t count)
{
	for (size_t i = 0; i < count; i++)
		drop(c, first_left(c));
}

size_t chunk_emit_all(struct chunk *c)
{
	size_t left = c->left;

	while (c->left > 0)
		chunk_emit_first(c);
	return left;
}
