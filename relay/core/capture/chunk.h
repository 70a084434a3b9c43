/* The open chunk: rows of one table that were read in one snapshot S, each waiting for its place in the stream.
 *
 *     open --> a change that S has not seen, of a key in it: the row first, then the change
 *          --> TRUNCATE that S has not seen: all that are left, then it
 *          --> the log has passed all that S has seen: all that are left, in key order
 *
 * Why a row belongs there is argued in README.md, Chunks. Keys are PostgreSQL's text, compared for equality alone: no collation
 * enters. The key's bytes are the owner's, in the row's slot. */
#ifndef BOXHAUL_CORE_CAPTURE_CHUNK_H
#define BOXHAUL_CORE_CAPTURE_CHUNK_H

#include "core/capture/capture_rows.h"
#include "core/capture/snapshot_xids.h"

struct chunk_row {
	const void *key;
	uint32_t key_bytes;
	uint32_t slot; /* CAPTURE_NO_SLOT: it went out */
};

struct chunk {
	struct capture_rows *rows; /* borrowed */
	struct snapshot_xids xids;
	bool open;
	uint32_t table;
	struct chunk_row *row; /* in key order */
	uint32_t *slots;       /* what chunk_slots() returned */
	size_t count, left, capacity;
	uint64_t bytes;   /* of those that are left */
	size_t first;     /* none before it is left */
	uint32_t *bucket; /* index + 1 of a row; 0: empty */
	size_t buckets;   /* a power of two */
};

bool chunk_create(struct chunk *c, struct capture_rows *rows, size_t capacity, size_t most_unseen);
void chunk_destroy(struct chunk *c);

/* There is none. The slots of its rows are the caller's matter. */
void chunk_forget(struct chunk *c);

/* These rows, which its xids have taken the snapshot of. Takes each, and writes its slot. */
void chunk_open(struct chunk *c, uint32_t table, struct capture_row *rows, size_t count);

/* The row of this key goes out, if it is in the chunk. Returns whether it was. */
bool chunk_emit(struct chunk *c, const void *key, uint32_t key_bytes);

/* The slots of all that are left, in key order; c->left of them, until the chunk is stepped again. */
const uint32_t *chunk_slots(struct chunk *c);

/* The first one that is left goes out, in key order. */
void chunk_emit_first(struct chunk *c);

/* The first `count` that are left are no more: a message stands for them, which is the caller's. */
void chunk_drop_first(struct chunk *c, size_t count);

/* All that are left go out, in key order. Returns how many. */
size_t chunk_emit_all(struct chunk *c);

#endif
