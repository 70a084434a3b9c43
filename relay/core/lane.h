/* Messages in memory and their lanes.
 *
 * A state is a place: each message is in exactly one of these, and message_move() is the only mover.
 *
 *     FREE -> WAITING -> READY -> IN_FLIGHT -> DONE -> FREE
 *                         ^  ^        |
 *                  ASKING +  +BACKOFF +
 *
 * A lane is the FIFO of one key: all its messages in memory, oldest first. At most `limit` of them are active
 * (READY, ASKING, IN_FLIGHT, BACKOFF), always the oldest; the others are WAITING.
 */
#ifndef BOXHAUL_CORE_LANE_H
#define BOXHAUL_CORE_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/delivery.h"

enum place {
	PLACE_FREE,
	PLACE_WAITING,
	PLACE_READY,
	PLACE_ASKING, /* not sent before it is known what its stream holds */
	PLACE_IN_FLIGHT,
	PLACE_BACKOFF,
	PLACE_DONE,
	PLACES
};

struct message {
	int64_t id;
	uint32_t bytes;
	uint16_t stream;
	uint16_t tries;      /* publishes in a row without an ack */
	uint16_t attempts;   /* refusals; an outage is none */
	uint16_t attempt;    /* number of the publish under way, part of its token */
	uint32_t generation; /* of the slot: what a token of an earlier message does not know */
	uint32_t reason;     /* of the last refusal */
	enum place place;
	bool keyed;                            /* false: its lane, if any, is its own */
	bool defect;                           /* will be refused by us: reason says why */
	bool late;                             /* stands in the book as active: does not hold the position */
	bool redriven;                         /* a dead letter that held its lane, sent again */
	int64_t at_ms;                         /* in flight: since; back-off: until */
	uint16_t doubts;                       /* publishes of which nobody knows what became, one in flight included */
	int64_t doubt_ms;                      /* when the first of them was; or NEVER */
	int64_t sent_ms;                       /* the last publish */
	uint64_t floor;                        /* a copy of those, if stored, stands above this sequence */
	struct lane *lane;                     /* NULL = unordered */
	struct message *next, *prev;           /* in its place */
	struct message *lane_next, *lane_prev; /* in its lane */
	struct message *age_next, *age_prev;   /* all in memory but DONE, in the order they were read */
};

struct message_list {
	struct message *first, *last;
	size_t count;
};

struct lane {
	uint64_t hash;
	struct message *first, *last;
	struct message *waiting; /* the oldest that is WAITING, or NULL */
	uint32_t active;
	bool recovering;    /* pipelined: one by one until an ack, after one failed */
	bool settling;      /* pipelined: one failed; nothing is sent until the others in flight are answered */
	int64_t until_ms;   /* settling: and not before this */
	struct lane *chain; /* of its hash bucket, or of the free list */
};

struct lanes {
	struct message *message; /* the slots */
	size_t slots;
	struct message_list place[PLACES];
	struct message *oldest, *newest;
	struct lane *pool, *free_lanes, **bucket;
	size_t buckets;
	bool pipelined;
};

bool lanes_create(struct lanes *l, size_t slots, bool pipelined);
void lanes_destroy(struct lanes *l);

/* Moves a message to the end of a place (BACKOFF: to where its at_ms belongs). */
void message_move(struct lanes *l, struct message *m, enum place to);

/* A message for this row at the end of its lane (keyed) or ready at once. There must be a free slot. */
struct message *lanes_add(struct lanes *l, int64_t id, bool keyed, uint64_t hash);

/* Takes m out of its lane and out of memory's order, to DONE; the next of its lane may become READY. */
void lanes_finish(struct lanes *l, struct message *m);

/* m was answered with an ack: a recovering lane may go on at full speed. (Call before lanes_finish.) */
void lanes_acked(struct lanes *l, const struct message *m);

/* m, in flight, has to be sent again, not before until_ms. */
void lanes_retry(struct lanes *l, struct message *m, int64_t until_ms);

/* Everything in flight has to be sent again, before anything that was not sent yet, in the same order. */
void lanes_rewind(struct lanes *l);

/* What was ASKING about this stream is READY, before everything else, in the same order. */
void lanes_answer(struct lanes *l, uint16_t stream);

void lanes_audit(const struct lanes *l);

#endif
