/* The machine's memory, and what every part of it does with it: go to another state, ask for an effect, give up the
 * consumer. For the parts of the machine only: inbox.c (the entry point), inbox_opening.c, inbox_pulling.c,
 * inbox_moving.c. None of them calls another: each leaves the machine in a state, and inbox.c goes on from there. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_STATE_H
#define BOXHAUL_CORE_INBOX_INBOX_STATE_H

#include "core/inbox/inbox_pulls.h"
#include "core/inbox/inbox_queue.h"
#include "core/inbox/inbox_trail.h"
#include "core/inbox/inbox_types.h"

/* A question to the broker that waits for its answer. */
struct inbox_ask {
	uint32_t number; /* 0: none */
	int64_t until_ms;
};

/* Why the time of a message was asked for. */
enum inbox_why {
	INBOX_WHY_BEGIN,   /* OPENING: where the position will stand */
	INBOX_WHY_WITNESS, /* VERIFYING: is it the message we know? */
	INBOX_WHY_FOLLOW,  /* PULLING: it may become the witness */
	INBOX_WHY_CHECK,   /* PULLING: is it still the message we know? */
};

struct inbox {
	struct inbox_settings s;
	enum inbox_state state;
	int64_t now_ms;
	uint64_t random;

	/* Facts about the world, true or not in any state. */
	bool bus_up, paused, credit;
	bool stale;   /* the books may not be what we know: they must be read before anything is begun */
	bool changed; /* and they changed since they were asked for */

	/* The books as they were committed last. */
	uint64_t position;
	uint32_t incarnation;
	int64_t created, witness_time;
	struct inbox_trail trail;

	/* Where it began, and of which stream: of the last books that there were. A database that fails over to an older state may
	 * have none again. */
	uint64_t began;
	int64_t began_created; /* 0: there never were any */

	/* The consumer. */
	uint64_t consumer;          /* its number; 0: none */
	uint64_t consumer_sequence; /* of the last message that came */
	uint64_t heard;  /* it has passed the stream up to here, and brought all that matched and was there; */
	uint64_t sure;   /* and up to here nothing had left the stream before it came by */
	int64_t sign_ms; /* of life */
	struct inbox_pulls pulls;
	struct inbox_queue queue;
	bool large;                  /* the next message is larger than a usual request */
	uint64_t lost_from, lost_to; /* a gap that the next move puts on record; lost_from 0: none */

	/* Questions to the broker. */
	uint32_t asks; /* numbers so far */
	struct inbox_ask info, time;
	int64_t made_until_ms; /* MAKING */
	enum inbox_why why;
	struct inbox_mark asked; /* by `time`: the sequence, and the time that we know */
	struct {                 /* by `info`, while pulling: what it is to speak of */
		uint64_t heard, queue;
		bool check;
	} look;
	uint64_t look_first, look_last; /* before pulling: the answer */
	uint64_t unwitnessed;           /* OPENING: no message stands there any more */
	bool rewinding;                 /* VERIFYING: it is known that the stream lost its end */
	uint64_t stuck_last;            /* where the stream ended at the last check; 0: there was none */
	uint64_t stuck_heard;           /* what the consumer had passed then */
	uint32_t stuck_beats;           /* heartbeats since */
	int64_t check_ms, follow_ms;

	/* Moves. */
	struct inbox_move move[LIMIT_INBOX_MOVES]; /* in flight, oldest first */
	uint32_t moves;
	uint64_t sent;     /* the position when all of them are committed */
	bool place_wanted; /* PLACING: not sent yet; FOLLOW while pulling */
	struct inbox_move place;
	bool follow_waits;           /* PULLING: `place` is wanted as soon as the consumer answers to a request */
	uint32_t follow_after;       /* that was made after this one */
	uint64_t narrow_to, dead_at; /* up to there messages are taken one by one; this one the database cannot store */

	/* Pauses. */
	uint32_t failures;
	int64_t retry_ms;
	enum inbox_stop stop;
	bool stop_stands; /* whatever the stream looks like now: only an operator can end it */
	int64_t stop_ms;  /* looked at again then */

	struct inbox_effect effect[LIMIT_INBOX_EFFECTS];
	uint32_t effect_first, effects;
	struct inbox_stats stats;
};

/* The only place where the state changes. */
void inbox_state_enter(struct inbox *in, enum inbox_state state);

void inbox_state_effect(struct inbox *in, struct inbox_effect effect);
void inbox_state_note(struct inbox *in, struct inbox_note note);

/* A number that is not drawn twice, whoever draws. Never 0. */
uint64_t inbox_state_draw(struct inbox *in);

/* Asks the broker. An earlier question of the kind is not waited for any more. */
void inbox_state_ask_info(struct inbox *in);
void inbox_state_ask_time(struct inbox *in, enum inbox_why why, struct inbox_mark mark);

/* The consumer, its requests and all questions are forgotten; it is deleted, if the broker can be told. Of what it
 * brought, those in question are forgotten: the others came from a stream whose witness agreed, one by one and with
 * nothing lost between them, whatever happened since. */
void inbox_state_drop_consumer(struct inbox *in);

/* Everything that was received and is not in flight is forgotten. */
void inbox_state_drop_queue(struct inbox *in);

/* SETTLING, and then again from the database's position: after a pause where there is a doubt. Without `doubt` it is
 * not a failure. */
void inbox_state_doubt(struct inbox *in, enum inbox_doubt doubt, uint32_t reason);

/* STOPPED. */
void inbox_state_stop(struct inbox *in, enum inbox_stop stop, uint64_t from, uint64_t to, uint32_t reason);

/* Whatever it was stopped for is not so any more. */
void inbox_state_stop_over(struct inbox *in);

/* PLACING: moves the position to `place` before anything is pulled. */
void inbox_state_place(struct inbox *in, struct inbox_move place);

/* Gives the slots of `count` messages back, from this one on. */
void inbox_state_release(struct inbox *in, uint64_t number, uint32_t count);

#endif
