/* Messages in memory and their lanes.
 *
 * A state is a place: each message is in exactly one of these, and lanes_move() is the only mover.
 *
 *     FREE -> WAITING -> READY -> IN_FLIGHT -> DONE -> FREE
 *                         ^  ^        |
 *        ASKING, STANDBY +  +BACKOFF +`-> UNRECORDED -> DONE
 *
 * A lane is the FIFO of one key: all its messages in memory, oldest first. At most `limit` of them are active
 * (READY, ASKING, STANDBY, IN_FLIGHT, BACKOFF), always the oldest; the others are WAITING. While one is UNRECORDED, none of them goes on but what is
 * a dead letter, too.
 *
 * Where a stream is `wide` its messages go by batches (batch.h), and more of a lane are active: as many as stand one behind the other, are of
 * this stream, and may be in a batch. A batch stores them in order or not at all.
 *
 * All messages of an owned stream are in one lane, which is the stream's for ever, and whose limit is none. When its chain is broken it
 * STANDS: what was READY waits again, and what is in flight is answered or called back (chain.c).
 */
#ifndef BOXHAUL_CORE_SEND_LANES_H
#define BOXHAUL_CORE_SEND_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mutant.h"
#include "core/send/outcome.h"

enum place {
	PLACE_FREE,
	PLACE_WAITING,
	PLACE_READY,
	PLACE_ASKING,  /* not sent before it is known what its stream holds */
	PLACE_STANDBY, /* not sent before the batch that is under way has ended */
	PLACE_IN_FLIGHT,
	PLACE_BACKOFF,
	PLACE_UNRECORDED, /* a dead letter, not on record yet: nothing of its lane is sent behind it */
	PLACE_DONE,
	PLACES
};

/* The copies of a message that may be stored: publishes of which nobody knows what became. Written by doubt.c. */
struct copies {
	uint16_t count;     /* one in flight included; UINT16_MAX: so many, or more */
	int64_t first_ms;   /* when the first of them was sent; NEVER: there is none, or it was looked for since */
	int64_t last_ms;    /* the last publish */
	uint64_t low_water; /* low water: they are stored, if at all, above this sequence */
};

struct message {
	int64_t ticket;
	uint64_t xid; /* of the transaction that wrote its row; 0 = not known */
	uint32_t bytes;
	uint16_t stream;
	uint16_t tries;    /* publishes in a row without an ack */
	uint16_t attempts; /* refusals; an outage is none */
	uint16_t attempt;  /* number of the publish under way, part of its token */
	uint16_t
		lost_attempt; /* what it was when it was seen that the stream is another one, or has lost its end; else 0 */
	uint32_t generation; /* of the slot: what a token of an earlier message does not know */
	uint32_t reason;     /* of the last refusal */
	enum place place;
	enum turn turn;
	bool keyed;      /* false: its lane, if any, is its own */
	bool defect;     /* will be refused by us: reason says why */
	bool single;     /* it goes by itself, and never in a batch; written by batch.c */
	bool uncertain;  /* it was in a batch whose end was unclean, and is not settled since; the same */
	uint32_t number; /* in flight in a batch: its number there; else 0; the same */
	int64_t at_ms;   /* in flight: since; back-off: until */
	struct copies copies;
	struct lane *lane;                       /* NULL = unordered */
	struct message *next, *prev;             /* in its place */
	struct message *lane_next, *lane_prev;   /* in its lane */
	struct message *batch_next, *batch_prev; /* in its batch */
	struct message *age_next, *age_prev; /* all in memory but UNRECORDED and DONE, in the order they were offered */
	scope_id
		key; /* of an owned stream: the lane that it would be in; the books may hold that back, from before it was owned */
	uint64_t due; /* of an owned stream, in flight: the sequence at which it must stand */
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
	uint32_t unrecorded; /* dead letters that are not on record yet */
	enum {
		LANE_FLOWS,      /* as many in flight as may be */
		LANE_SETTLES,    /* pipelined: one failed; nothing is sent until the others in flight are answered, */
		LANE_RECOVERING, /* and then one by one until an ack */
		LANE_STANDS,     /* owned: none becomes ready */
	} flow;
	bool owned;
	uint32_t limit;    /* owned: so many are active at most */
	int64_t until_ms;  /* settles: and not before this */
	struct lane *next; /* of its hash bucket, or of the free list */
};

struct lanes {
	struct message *message; /* the slots */
	size_t slots;
	struct message_list place[PLACES];
	struct message *oldest, *newest;
	struct lane *pool, *free_lanes, **bucket;
	size_t buckets;
	bool pipelined;
	uint64_t wide;                    /* a bit for each stream whose messages go by batches */
	struct lane owned[LIMIT_STREAMS]; /* those of owned streams */
};

/* Memory for so many messages. False: there is none. */
bool lanes_create(struct lanes *l, size_t slots, bool pipelined);
void lanes_destroy(struct lanes *l);

/* Moves a message to the end of a place (BACKOFF: to where its at_ms belongs). The caller does not move a message that
 * WAITS, nor one out of memory: lanes_finish() does that. */
void lanes_move(struct lanes *l, struct message *m, enum place to);

/* A message for this ticket at the end of its lane (keyed), or ready at once. There must be a free slot. Of one lane the tickets
 * come in ascending order, but for those that were parked: they come while nothing above them is in memory. */
struct message *lanes_add(struct lanes *l, int64_t ticket, bool keyed, uint64_t hash);

/* The same for an owned stream: at the end of its lane. */
struct message *lanes_add_owned(struct lanes *l, int64_t ticket, uint16_t stream);

/* The lane of an owned stream stands: what is in flight stays so, all else waits. Then it goes on, from the oldest, with so many at once. */
void lanes_stand(struct lanes *l, uint16_t stream);
void lanes_go(struct lanes *l, uint16_t stream, uint32_t limit);

/* m, of an owned stream whose lane stands, is in flight, and waits again. */
void lanes_recall(struct lanes *l, struct message *m);

/* From now on the messages of this stream go by batches; m, which was added, may be one of them. */
void lanes_widen(struct lanes *l, uint16_t stream);
void lanes_join(struct lanes *l, struct message *m);

/* And from now on they do not: of each lane one at a time, from the oldest, and what was in a batch (but for `stays`, or NULL) before
 * everything else. */
void lanes_narrow(struct lanes *l, uint16_t stream, const struct message *stays);

/* m, of a lane, is a dead letter: it leaves memory's order, and keeps its lane from going on until lanes_finish(). Not for pipelined. */
void lanes_dead_letter(struct lanes *l, struct message *m);

/* Takes m out of its lane and out of memory's order, to DONE; the next of its lane may become READY. */
void lanes_finish(struct lanes *l, struct message *m);

/* m was answered with an ack: a recovering lane may go on at full speed. To be called before lanes_finish(). */
static inline void lanes_acked(const struct message *m)
{
	/* Only its oldest ends that: an ack that comes late, for one behind it, says nothing about the one that failed. */
	if (m->lane != NULL && m->lane->flow == LANE_RECOVERING && (m->lane->first == m || MUTANT(recovers_by_any)))
		m->lane->flow = LANE_FLOWS;
}

/* m, in flight, has to be sent again, not before until_ms. */
void lanes_retry(struct lanes *l, struct message *m, int64_t until_ms);

/* Everything in flight has to be sent again, before anything that was not sent yet, in the same order. */
void lanes_rewind(struct lanes *l);

/* What was ASKING about this stream, or on STANDBY for it, is READY, before everything else, in the same order. */
void lanes_answer(struct lanes *l, uint16_t stream);
void lanes_resume(struct lanes *l, uint16_t stream);

/* Does m count among those of its lane that may be sent at once? */
static inline bool message_is_active(const struct message *m)
{
	return m->place == PLACE_READY || m->place == PLACE_ASKING || m->place == PLACE_STANDBY ||
	       m->place == PLACE_IN_FLIGHT || m->place == PLACE_BACKOFF;
}

/* Do the stream's messages go by batches? */
static inline bool lanes_are_wide(const struct lanes *l, uint16_t stream)
{
	return (l->wide >> stream & 1) != 0;
}

#endif
