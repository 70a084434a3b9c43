/* What the sender has to say about a ticket, as data; and the words for it: scope, doubt, turn.
 *
 * A ticket is a number by which the source knows a message. The sender gives it back, and compares tickets: of one scope the
 * lower one goes first. What a ticket means is the source's matter. */
#ifndef BOXHAUL_CORE_SEND_OUTCOME_H
#define BOXHAUL_CORE_SEND_OUTCOME_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vocabulary.h"

/* What a message is held back with: 0 nothing, 1..LIMIT_STREAMS a stream, then STREAM_UNROUTED's, else a lane's hash (top bit set). */
typedef uint64_t scope_id;

enum { SCOPE_NONE = 0 };

static inline scope_id scope_of_stream(uint32_t stream)
{
	return stream + 1;
}
static inline bool scope_is_lane(scope_id s)
{
	return s > STREAM_UNROUTED + 1;
}
static inline scope_id scope_of_lane(uint64_t hash)
{
	return hash | (UINT64_C(1) << 63);
}

/* Of a message that was sent nobody may know whether it is stored. What is known then: */
struct doubt {
	int64_t sent_ms; /* its last publish; NEVER: it is not stored, or was looked for since */
	uint64_t
		low_water; /* low water: a copy, if stored, stands above this sequence; LOW_WATER_NONE: it was never sent */
	uint16_t stream; /* of the low water; 0 without one */
};

#define NO_DOUBT ((struct doubt){ .sent_ms = NEVER, .low_water = LOW_WATER_NONE })
/* doubt.sent_ms: an earlier leader sent it, at a time that is not known. */
#define SENT_BY_PREDECESSOR INT64_MIN

/* How a message came to the sender. It is offered with this, and the outcome gives it back. */
enum turn {
	TURN_REGULAR,  /* above all that was offered before */
	TURN_LATE,     /* it was missing, or parked: others have passed it */
	TURN_REDRIVEN, /* late; and it is a dead letter that held its lane, sent again */
};

enum outcome_kind {
	OUTCOME_SETTLED, /* ticket, turn, stream: it is stored */
	OUTCOME_DEAD,    /* ticket, turn, stream, reason, attempts, doubt: can never be stored; its lane goes on */
	OUTCOME_HELD,    /* the same, scope: and its lane waits for an operator */
	OUTCOME_PARKED, /* ticket, turn, scope, reason, scope_reason, attempts, doubt: out of memory, to be offered again */
	OUTCOME_OPEN, /* scope, parked: so many tickets that were parked for it are wanted again, by the next round */
	OUTCOME_TRUNCATED, /* stream: it has lost its end; low waters that are known of it are void */
	OUTCOME_FIRST,     /* stream, sequence: nobody led before, and what it held when we came is not ours */
	OUTCOME_FOREIGN, /* stream, sequence: owned, and somebody else has published to it, at or behind this sequence */
	OUTCOME_INHERITED, /* stream: whatever earlier leaders may have stored there has been looked for */
};

struct outcome {
	enum outcome_kind kind;
	enum turn turn;
	uint16_t stream;
	bool oldest; /* HELD, PARKED: its lane is held back because of it, so nothing behind it was sent in its turn */
	int64_t ticket;
	scope_id scope;
	uint32_t reason;       /* why it was refused; REASON_NONE: it was not */
	uint32_t scope_reason; /* why its scope is held back */
	uint32_t attempts;
	size_t parked; /* HELD, PARKED: with it so many are parked for its scope */
	uint64_t sequence;
	struct doubt doubt;
};

/* The outcomes of a step, from the sender to the source. They lie in one array, which begins again when all are taken. */
struct outcomes {
	struct outcome *list;
	size_t capacity, count, taken;
};

/* The next one, or NULL. It stays as it is until the next call of the sender that may bring outcomes. */
static inline const struct outcome *outcomes_take(struct outcomes *o)
{
	if (o->taken < o->count)
		return &o->list[o->taken++];
	o->count = o->taken = 0;
	return NULL;
}

/* A place for one more, for the sender. There is room for all that one step can bring. */
static inline struct outcome *outcomes_add(struct outcomes *o, enum outcome_kind kind)
{
	struct outcome *added = &o->list[o->count++];

	assert(o->count <= o->capacity);
	added->kind = kind;
	return added;
}

static inline bool outcomes_wait(const struct outcomes *o)
{
	return o->taken < o->count;
}

#endif
