/* The state of the sender, for the files of core/send alone; its face is send.h. Each part names the file that writes it;
 * the others only read it, and call that file's functions. */
#ifndef BOXHAUL_CORE_SEND_SENDER_STATE_H
#define BOXHAUL_CORE_SEND_SENDER_STATE_H

#include <assert.h>

#include "core/backoff.h"
#include "core/notes.h"
#include "core/send/blocks.h"
#include "core/send/lanes.h"

/* Is it known what a stream holds? And is it being asked? See the table in lookback_step.c. */
enum knowledge {
	LOOKBACK_UNKNOWN, /* nothing is sent to it */
	LOOKBACK_TAKES,   /* the same; but it stored a message that was sent though nobody could read it */
	LOOKBACK_KNOWN,   /* it may be sent to */
	LOOKBACK_BLIND,   /* it takes messages, but cannot be read: sent to all the same, until the next connection */
};

enum question {
	QUESTION_NONE,
	QUESTION_WANTED,
	QUESTION_ASKED, /* the answer is awaited */
};

/* How much of what others sent has been looked for since we lead. */
enum phase {
	PHASE_UNREAD,      /* nothing */
	PHASE_UNREAD_SENT, /* nothing; and a message was sent blindly before */
	PHASE_READ,        /* what was stored up to the first look-back */
	PHASE_OURS,        /* all: nobody else can have stored anything since the last one */
};

struct lookback {
	enum knowledge knowledge;
	enum question question;
	enum phase phase;
	bool truncated;         /* it has lost its end: what was found in it is void, and the next question says so */
	uint32_t rounds;        /* answers in a row that took too long to count */
	uint32_t failures;      /* questions in a row that were refused, or not answered */
	int64_t blind_probe;    /* the ticket that may be sent once though nobody could read it; 0 = none */
	uint64_t read_up_to;    /* read up to here, or ours: nothing is read twice */
	struct sequences acked; /* above: ours, and settled */
	uint64_t asked_end;     /* where it ended at least when the question was asked */
	uint64_t inherited;     /* the low water that earlier leaders left */
	int64_t asked_ms, heard_ms;  /* of the last answer: when it was asked for, and when it came; 0 = none */
	int64_t duplicate_window_ms; /* 0 = not known */
	int64_t again_ms;            /* a question that nobody waits for failed: not before this */
};

/* Of an owned stream: where its next message must stand, and whether that is known. See the picture in chain.c. */
struct chain {
	enum {
		CHAIN_BROKEN, /* it is not known: nothing is sent */
		CHAIN_FLOWS,
		CHAIN_STOPPED, /* and an operator is waited for */
	} state;
	bool looks;           /* a look was asked for since nothing was in flight any more: its answer counts */
	uint64_t base;        /* the stream ended here when numbers were given anew */
	uint64_t tail;        /* what has a number ends here, if all of it is stored */
	uint64_t newest;      /* the token of the last one sent */
	int64_t call_back_ms; /* then what is in flight still is not waited for any more; NEVER */
	int64_t again_ms;     /* not to be looked at sooner */
	int64_t proved_ms;    /* when a message was last told to stand where it should */
	uint32_t failures;    /* so often broken in a row, without any message that came to stand where it should */
	int64_t sent_ms;      /* when something was sent last; 0 = never */
	int64_t former_ms;    /* and in an earlier lead of ours */
	/* Of the messages that looks have found above `above`, up to `upto`, so many no message of ours was told to be; `early`: those that
	 * were told before the answer came. */
	uint64_t unclaimed, above, upto;
	uint64_t asked_above; /* of the look under way */
	bool counts; /* all that we stored since the last look is known, so what else there is can be counted */
	struct sequences early;
	uint64_t broken, foreign; /* figures */
};

/* The batch of a stream that is under way, and what is left of those before. See the picture in batch.c. */
struct batch {
	enum {
		BATCH_IS_NONE,
		BATCH_IS_OPEN,
		BATCH_IS_ENDING, /* its last message was sent, or that there is none any more; the server's word is awaited */
		BATCH_IS_BROKEN, /* nothing more is sent in it; the server's word is awaited for a while */
	} state;
	enum wire_reason wire; /* WIRE_BATCHES, or why none is begun */
	enum wire_reason said; /* and what was noted of that last */
	bool runs;             /* one may be begun: of a lane several are READY at once */
	bool disturbed;        /* something was said of it that a clean end does not bring */
	bool lost;             /* since it began the stream has lost its end */
	enum { SAY_NOTHING, SAY_PING, SAY_END } say;
	uint64_t id;
	uint32_t sent, acked;           /* numbers */
	uint32_t refused;               /* the server has refused this number, 0 = none: */
	uint32_t reason, status;        /* that is why */
	struct message *first, *last;   /* what is in flight in it */
	uint64_t floor;                 /* the stream ended here at least when it began */
	int64_t moved_ms;               /* something was sent in it, or told to be stored */
	int64_t progress_ms, pinged_ms; /* told to be stored, or the first that is not was sent; asked */
	int64_t until_ms;   /* ENDING, with nothing in flight, or BROKEN: the server's word is not awaited any longer */
	int64_t again_ms;   /* no batch before this */
	uint32_t uncertain; /* in memory */
	uint64_t begun, unclean, settled; /* figures */
};

struct sender {
	const struct delivery_settings *set; /* the owner's; may change between two steps */
	struct notes *notes;                 /* the owner's */
	struct delivery_stats *stats;        /* the owner's: what counts events is written as they happen */
	struct lanes lanes;
	struct blocks blocks;
	struct backoff backoff;

	/* memory.c */
	uint64_t flight_bytes, resident_bytes;
	struct outcomes outcomes;

	/* sender.c */
	int64_t now_ms;
	bool bus_up;
	uint32_t round;       /* of the source's reading */
	uint32_t dead_credit; /* so many dead letters may still be made before the source says more */
	struct predecessor {
		int64_t until_ms; /* an earlier leader may publish until then; we did, at most, until we took the lead */
		bool last_is_known;
		int64_t last_ticket; /* and nothing above this; INT64_MAX until it is known */
		bool remains;        /* some of it may be left to be sent */
		bool lives;          /* it may: it has not resigned, and its lease is not over */
	} predecessor;

	/* holding.c */
	int64_t due_ms; /* the earliest block that is due */

	/* sending.c */
	uint32_t send_window, send_window_credit;
	uint32_t flight_limit; /* the window; or what was in flight already when it was made smaller */
	uint32_t silent[LIMIT_STREAMS];
	struct acked {
		uint64_t count, highest;
	} acked[LIMIT_STREAMS];

	/* lookback.c */
	struct lookback lookback[LIMIT_STREAMS];

	/* chain.c */
	struct chain chain[LIMIT_STREAMS];

	/* batch.c */
	struct batch batch[LIMIT_STREAMS];
	uint64_t batching; /* a bit for each stream that batches may be sent to, on this connection */
	uint64_t batch_random, batches;
};

/* When what failed so often in a row may be tried again. */
static inline int64_t sender_state_retry_at(struct sender *s, uint32_t failures)
{
	return s->now_ms + backoff_pause_ms(&s->backoff, s->set->retry_min_ms, s->set->retry_max_ms, failures);
}

/* It was refused for this reason, and will be sent again. */
static inline void sender_state_tell_retry(struct sender *s, struct message *m, uint32_t reason)
{
	m->reason = reason;
	s->stats->retries++;
	notes_add(s->notes, (struct note){ .kind = NOTE_RETRY,
					   .id = m->ticket,
					   .stream = m->stream,
					   .reason = reason,
					   .attempts = m->attempts });
}

/* The block of m's stream; and of its lane, or NULL. */
static inline struct block *sender_state_stream_block(struct sender *s, const struct message *m)
{
	return &s->blocks.stream[m->stream];
}
static inline struct block *sender_state_lane_block(struct sender *s, const struct message *m)
{
	if (m->lane == NULL || s->blocks.lanes == 0)
		return NULL;
	return blocks_find(&s->blocks, m->lane->owned ? m->key : m->lane->hash);
}

static inline size_t sender_state_resident(const struct sender *s)
{
	return s->lanes.slots - s->lanes.place[PLACE_FREE].count;
}

static inline int64_t sender_state_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

#endif
