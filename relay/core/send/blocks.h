/* What cannot take messages now: streams and lanes that are held back, and how they come back.
 *
 *     OPEN --refusal--> SHUT --due--> SHUT, one message probes --ack--> OPEN
 *                         ^                       |
 *                         +------- refusal -------+
 *     HELD: shut, and waits for an operator instead of the clock
 *
 * One more stands for what no stream of the configuration takes (STREAM_UNROUTED). It is always shut and never probed: only another
 * configuration opens it, and that comes with another lead. So such rows wait in the books, and take no memory, as those of any stream
 * that is shut. They are not given up: which streams there are is this relay's configuration, and that of the next leader may know
 * better. As with any stream, what follows with the same key in other streams goes on.
 *
 * This is the table. What opens and shuts a block, and who probes, is decided in holding.c and holding_parked.c, which alone write
 * its fields. */
#ifndef BOXHAUL_CORE_SEND_BLOCKS_H
#define BOXHAUL_CORE_SEND_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/send/outcome.h"

enum block_state {
	BLOCK_OPEN,         /* but what was parked has to be offered again first: open_from */
	BLOCK_SHUT,         /* probed from time to time */
	BLOCK_HELD,         /* a dead letter holds it */
	BLOCK_HELD_DECIDED, /* the same; and an operator had decided already when the books were read */
};

struct block {
	scope_id scope;
	enum block_state state;
	uint32_t failures;
	uint32_t reason;
	uint32_t open_from; /* rows of this round on may pass: it asks for everything that was parked before it */
	int64_t since_ms;
	int64_t due_ms;  /* SHUT: when to probe; INT64_MAX: not before its stream is open */
	int64_t probe;   /* the ticket that probes, 0 = none */
	int64_t held_by; /* HELD: the ticket of the dead letter */
	size_t parked;   /* tickets that are parked for it */
	bool inherited;  /* a lane's: the books say so; it holds back what is of owned streams, too */
};

static inline bool block_is_shut(const struct block *b)
{
	return b != NULL && b->state != BLOCK_OPEN;
}

static inline bool block_is_held(const struct block *b)
{
	return b->state >= BLOCK_HELD;
}

static inline bool block_is_probed_by(const struct block *b, int64_t ticket)
{
	return b != NULL && b->probe == ticket;
}

struct blocks {
	struct block stream[LIMIT_STREAMS + 1];
	uint32_t streams;
	struct block *lane; /* so many, without holes */
	size_t lanes;
	uint32_t *slot; /* open addressing, twice the limit: where in `lane`, from 1 on; 0 = free */
};

/* False: no memory. */
bool blocks_create(struct blocks *b, uint32_t streams);
void blocks_destroy(struct blocks *b);

/* All are open, and none of a lane is left. */
void blocks_clear(struct blocks *b);

/* The block of a scope; NULL when a lane has none. A stream always has one. */
struct block *blocks_find(struct blocks *b, scope_id scope);

/* Finds or makes it; NULL when too many lanes are blocked. */
struct block *blocks_get(struct blocks *b, scope_id scope);

/* Forgets a lane's block that is open and has nothing parked. The last one moves to its place: no pointer to that lives on. */
void blocks_drop(struct blocks *b, struct block *block);

/* Iteration over all blocks in use: NULL to begin, NULL at the end. Not stable across get; after a drop its place holds
 * another one, which was not met yet, or lies behind the end (blocks_holds). */
struct block *blocks_next(struct blocks *b, struct block *after);
static inline bool blocks_holds(const struct blocks *b, const struct block *lane)
{
	return lane < b->lane + b->lanes;
}

#endif
