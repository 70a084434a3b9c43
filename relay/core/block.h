/* What cannot take messages now: streams and lanes that are held back, and how they come back.
 *
 *     open --refusal--> blocked --due--> probing one message --ack--> open
 *                          ^                     |
 *                          +------ refusal ------+
 *     blocked, held: waits for an operator instead of the clock
 */
#ifndef BOXHAUL_CORE_BLOCK_H
#define BOXHAUL_CORE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/position.h"

struct block {
	scope_id scope; /* 0 = free entry of the lanes' table */
	bool blocked;   /* false: open, but what was parked has to be read again first */
	bool held;      /* an operator decides */
	bool decided;   /* held: he had, when the books were read */
	uint32_t failures;
	uint32_t reason;
	uint32_t open_from; /* rows from this fetch on may pass: it asks for everything parked before them */
	int64_t since_ms;
	int64_t due_ms;   /* blocked, not held: when to probe */
	int64_t probe_id; /* the message that probes, 0 = none under way */
	int64_t held_id;  /* held: the dead letter */
	size_t parked;    /* exceptions parked for it */
};

struct blocks {
	struct block stream[LIMIT_STREAMS];
	uint32_t streams;
	struct block *lane; /* open addressing; twice the limit */
	size_t lanes;
};

bool blocks_create(struct blocks *b, uint32_t streams);
void blocks_destroy(struct blocks *b);
void blocks_clear(struct blocks *b);

/* The block of a scope; NULL when a lane has none. A stream always has one. */
struct block *blocks_find(struct blocks *b, scope_id scope);

/* Finds or makes it; NULL when too many lanes are blocked. */
struct block *blocks_get(struct blocks *b, scope_id scope);

/* Forgets a lane's block that is open and has nothing parked. */
void blocks_drop(struct blocks *b, struct block *block);

/* Iteration over all blocks in use: NULL to begin, NULL at the end. Not stable across get and drop. */
struct block *blocks_next(struct blocks *b, struct block *after);

#endif
