/* The words that the core and its callers share: settings, rows, events, effects, notes, figures.
 *
 * Data only. What happens with them is said in delivery.h. Times are milliseconds of one monotonic clock that counts
 * suspension (CLOCK_BOOTTIME). */
#ifndef BOXHAUL_CORE_VOCABULARY_H
#define BOXHAUL_CORE_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "core/sequences.h"

enum ordering {
	ORDERING_STRICT,    /* at most one message of a key in flight */
	ORDERING_PIPELINED, /* many; order of a key may be lost when one of them fails alone */
	ORDERING_NONE,      /* keys are ignored */
};

enum poison_policy {
	POISON_SKIP, /* the lane goes on behind a dead letter */
	POISON_HOLD, /* the lane waits until an operator decides about the dead letter */
};

#define SLEEP_NEVER UINT32_MAX /* however long the silence is */

struct delivery_settings {
	enum ordering ordering;
	enum poison_policy poison;
	uint32_t streams;         /* configured streams; rows name them 0 .. streams-1 */
	uint32_t window_messages; /* in flight at most */
	uint32_t window_bytes;
	uint32_t queue_messages; /* in memory at most, those in flight included */
	uint32_t queue_bytes;
	uint32_t ack_timeout_ms;
	uint32_t retry_min_ms; /* back-off of a message and of a probe: from, to */
	uint32_t retry_max_ms;
	uint32_t mark_interval_ms; /* at most one mark in this time */
	uint32_t grace_ms;         /* a younger gap holds the position instead of becoming an exception */
	uint32_t lease_ms;         /* no publish later than this after the last sign of life of the database */
	uint32_t sleep_after_ms;   /* announce sleep after so long without a row; or SLEEP_NEVER */
	uint32_t safety_poll_ms;   /* asleep: poll this often without any notification */
	uint32_t idle_pause_ms;    /* awake: the longest pause between polls that find nothing; 0 = 16 */
	uint32_t missing_pause_us; /* between two questions for everything missing, per range; 0 = 100 */

	/* Owned streams: those to which nobody else publishes. A bit for each, 1 << stream. Their messages are sent in the order in
	 * which they were offered, all keys, with the whole window, each chained to the one before (EFFECT_PUBLISH, expected). Poison is
	 * POISON_SKIP there, whatever `poison` says. */
	uint32_t owned;
	/* Of those: a message that is not ours is noted and passed by. Else it stops the stream until chain_go_on(). */
	uint32_t foreign_passes;
	/* The source cannot be asked again for a row that it has offered: whatever befalls an owned stream, its messages stay in memory, and
	 * none of them is ever PARKED; that memory is full tells the source to wait. */
	bool owned_stays;

	/* By stream: where its messages go by batches (EVENT_WIRE), so many are in one, at most. 0: BATCH_MESSAGES. */
	uint32_t batch_messages[LIMIT_STREAMS];
};

/* A batch of a stream is ended after so many messages, where the settings do not say another number. */
enum { BATCH_MESSAGES = 1000 };

/* STREAM_UNROUTED is owned by nobody. */
static inline bool settings_owns(const struct delivery_settings *set, uint32_t stream)
{
	return ((uint64_t)set->owned >> stream & 1) != 0;
}

/* No stream of the configuration takes its subject: it is held until another configuration does. */
#define STREAM_UNROUTED LIMIT_STREAMS

/* A row of the outbox, as the core sees it. */
struct row {
	int64_t id;
	uint64_t xid;    /* of the transaction that wrote it; 0 = not known */
	uint64_t lane;   /* hash of the key; ignored where keyed is false */
	uint32_t bytes;  /* memory it takes while it waits */
	uint16_t stream; /* index of the stream its subject belongs to, or STREAM_UNROUTED */
	uint16_t defect; /* enum reason, 0 = none: why it can never be sent */
	bool keyed;      /* false: unordered */
	int32_t slot;    /* OUT: the message slot it took, or -1 when the core let it go */
};

#define NEVER INT64_MAX /* a time */

/* Floors: a sequence of a stream at or below which no copy of a message can be stored. */
#define LOW_WATER_UNKNOWN UINT64_C(0) /* it may be anywhere */
#define LOW_WATER_NONE UINT64_MAX     /* there can be no copy: it was never sent */

/* An exception as the database keeps it. */
enum exception_kind { EXCEPTION_MISSING, EXCEPTION_PARKED, EXCEPTION_HELD, EXCEPTION_ACTIVE };

struct exception_row {
	int64_t lo, hi;
	enum exception_kind kind;
	uint64_t lane; /* 0 = it is not one lane that is held back */
	uint32_t attempts;
	uint32_t reason; /* OUT only: why it is parked */
	uint64_t
		low_water; /* it was sent, nobody knows whether it is stored, but if so above this; or LOW_WATER_NONE */
	uint16_t stream;   /* of the low water; 0 without one */
	/* It may have been sent, whatever else the books say: it is older than a promotion of the server, or than the dead letter that it
	 * waits behind; and it was not read since. */
	bool doubted;
	bool decided; /* IN only: held, and an operator has decided */
};

/* Where a stream ends that is ours alone: the last message that was known to be stored in it. Times as in an answer to a look-back. */
struct stream_end {
	uint64_t sequence;  /* 0: none */
	int64_t time_ns;    /* of that message; 0: not known */
	int64_t created_ns; /* of the stream; 0: not known */
};

enum event_kind {
	EVENT_TICK,
	EVENT_LEADING, /* we lead; the books as the database holds them */
	EVENT_DEPOSED, /* the lead, or the session that carries it, is gone: everything in memory is void */
	EVENT_BUS_UP,
	EVENT_BUS_DOWN,     /* everything in flight is unknown */
	EVENT_ROWS,         /* the answer to a fetch */
	EVENT_FETCH_FAILED, /* the fetch failed, the session lives */
	EVENT_ACKED,
	EVENT_REFUSED,
	EVENT_MARKED,
	EVENT_ANNOUNCED,
	EVENT_RENEWED,  /* the database answered a renewal */
	EVENT_NOTIFIED, /* the database says: there may be rows */
	EVENT_DECIDED,  /* an operator decided about a dead letter that holds its lane */
	EVENT_LOOKBACK, /* the answer to EFFECT_LOOKBACK */
	EVENT_PAUSED,   /* an operator's pause began or ended */
	EVENT_DRAIN,    /* publish nothing more; settle what is in flight */
	EVENT_SETTINGS, /* other settings from now on */
	EVENT_WIRE,     /* how the messages of a stream may be sent, on this connection */
	EVENT_BATCH,    /* an answer to a batch */
};

/* Why the messages of a stream go by themselves, and not by batches. */
enum wire_reason {
	WIRE_UNTOLD,   /* on this connection nobody has said yet whether they can */
	WIRE_BATCHES,  /* they go by batches */
	WIRE_SET,      /* the settings say so */
	WIRE_ORDERING, /* pipelined: its settings ask for no order that a batch would keep */
	WIRE_SERVER,   /* a server is older than 2.14 */
	WIRE_STREAM,   /* the stream does not allow them (allow_batched) */
	WIRE_COUNTER,  /* it is a stream of counters */
	WIRE_UNKNOWN,  /* it could not be asked */
	WIRE_REFUSED,  /* it was said that they can, and the stream refused one: until the next connection */
	WIRE_TOO_MANY, /* too many batches are open at the server: for a while */
	WIRE_NO_BATCH, /* a message of a batch was answered as if it had come by itself: until the next connection */
	WIRE_DENIED,   /* this login may not hear what is answered to batches */
	WIRE_REASONS
};

/* What a server says of a batch. */
enum batch_answer {
	BATCH_ACK,   /* number: it and all before it are stored */
	BATCH_GAP,   /* a number was left out, or came twice: the batch ends before it. BATCH_END follows */
	BATCH_ERROR, /* number, reason, status: it is refused, and the batch ends before it. BATCH_END follows */
	BATCH_END, /* number: the count; so many are stored, at least. sequence: of the last that was stored now, 0 = none */
	BATCH_REFUSED, /* number: of the message whose reply subject it came on; reason, status: refused before the batch was looked at */
	BATCH_NO_RESPONDERS, /* number: the same; nobody listened (503) */
	BATCH_ALONE,         /* number: the same; it was answered as a message by itself: the server knows no batches */
};

struct event {
	enum event_kind kind;
	int64_t now_ms;
	uint32_t random;
	union {
		struct {
			int64_t position;
			uint64_t fence;   /* an xid drawn when the lead was taken */
			int64_t asked_ms; /* when the question was sent: the lease counts from there */
			const struct exception_row *exceptions; /* ascending, disjoint */
			size_t exception_count;
			/* By stream: every message above the position, and every exception without a low water of its own, is
			 * stored above it if at all. LOW_WATER_NONE where nobody has ever led, LOW_WATER_UNKNOWN where nothing is
			 * on record. */
			const uint64_t *low_water;
			int64_t predecessor_until_ms; /* an earlier leader that lives may publish until then */
			uint64_t operator_pause;      /* as in paused */
		} leading;
		struct {
			struct row *rows; /* ascending by id, each id once */
			size_t count;
			bool complete;    /* false: there may be more wanted rows above the last one; */
			bool beyond;      /* and the next one was asked for as of the kept snapshot, and is not in it */
			uint64_t horizon; /* every xid below it had ended before the rows' snapshot; 0 = not asked */
			int64_t asked_ms;
		} rows;
		struct {
			uint64_t token;
			uint64_t sequence; /* stream sequence, > 0 */
			bool duplicate;
		} acked;
		struct {
			uint64_t token;
			uint32_t reason; /* enum reason or JetStream err_code */
			uint32_t status; /* JetStream code beside it */
		} refused;
		struct {
			uint64_t fence; /* the marking transaction's xid */
			int64_t asked_ms;
		} marked;
		struct {
			bool asleep;
			uint64_t fence; /* asleep: an xid drawn after the flag was set */
			int64_t asked_ms;
		} announced;
		struct {
			int64_t asked_ms;
		} renewed;
		struct {
			int64_t id;
			bool redrive; /* else discard */
		} decided;
		struct {
			uint16_t stream;
			bool ok; /* false: it could not be read; reason says why */
			uint32_t reason;
			int64_t asked_ms;            /* what was stored before that has been seen */
			int64_t duplicate_window_ms; /* how long the stream remembers message ids */
			uint64_t last;               /* the stream's last sequence then; */
			uint64_t first;              /* and its first: what stood below is gone */
			bool another;                /* it is not the stream that was asked the last time */
			/* Of an owned stream: how many messages stand above the sequence that was asked about, and not in `acked`; and
			 * the first of them that has no id as ours have, 0 = none. */
			uint64_t present, foreign;
			/* Nanoseconds since 1970 by the server's clock, 0 = not known: when the stream was created; and when the message at
			 * `marked` was stored, which is not known either where it is not there. */
			int64_t created_ns, marked_ns;
		} lookback;
		/* Copied. Memory is laid out by ordering, streams and queue_messages, and the database has told others how
		 * long the lease is: those four, and what is owned, are as they were. */
		const struct delivery_settings *settings;
		struct {
			uint64_t operator_pause; /* which one; 0 = none: go on */
		} paused;
		/* Given after each EVENT_BUS_UP, as soon as it is known, and when it changes. Until then, and after EVENT_BUS_DOWN, each message
		 * goes by itself. */
		struct {
			uint16_t stream;
			bool batches; /* it may be sent to by batches; else reason says why not */
			enum wire_reason reason;
		} wire;
		/* Answers are told apart by the batch in their subject alone. Those of any other batch are ignored. What was made of none
		 * of these is not told: silence is the same. */
		struct {
			uint16_t stream;
			uint64_t batch;
			enum batch_answer what;
			uint32_t number;
			uint32_t reason; /* enum reason or JetStream err_code */
			uint32_t status;
			uint64_t sequence;
		} batch;
	};
};

struct id_range {
	int64_t lo, hi;
};

/* What one mark changes. All arrays belong to the core and stay as they are until the mark is answered. */
struct mark {
	int64_t from; /* the position that the database holds, as far as we know: it must */
	int64_t position;
	const int64_t *gone; /* lo of exceptions to delete */
	size_t gone_count;
	const struct exception_row *added; /* exceptions to insert */
	size_t added_count;
	const struct dead_letter {
		int64_t id;
		uint32_t reason;
		uint32_t attempts;
		bool held;
	} * dead;
	size_t dead_count;
	const int64_t *resolved; /* dead letters that were stored or discarded: their records may go */
	size_t resolved_count;
	const struct sent {
		int64_t first, last;
		uint16_t stream;
		uint64_t sequence; /* every message of ours above the position is stored above it */
	} * sent;
	size_t sent_count;
};

enum note_kind {
	NOTE_STREAM_BLOCKED, /* stream, reason */
	NOTE_STREAM_OPEN,    /* stream */
	NOTE_LANE_BLOCKED,   /* id, stream, reason, attempts */
	NOTE_LANE_OPEN,      /* id */
	NOTE_DEAD,           /* id, reason, attempts */
	NOTE_HELD,           /* id, reason, attempts */
	NOTE_VANISHED,       /* id .. last: rows we had seen are gone from the outbox */
	NOTE_FULL, /* no room for more exceptions: nothing new is read. id, reason: one of most of them; REASON_NONE: missing */
	NOTE_RETRY,       /* id, stream, reason, attempts */
	NOTE_BLIND,       /* stream: it takes messages, but nobody can say what it holds */
	NOTE_PREDECESSOR, /* stream: its window would not bridge the lease of an earlier leader, which is waited for */
	NOTE_UNROUTED,    /* id: the first one that no stream takes */
	NOTE_FOREIGN, /* stream: one of its sequences id .. last (they are no ids) holds a message of somebody else. reason: that stops
		       * it; REASON_NONE: it is passed by */
	NOTE_WIRE, /* stream; reason (enum wire_reason): how its messages are sent from now on */
};

struct note {
	enum note_kind kind;
	int64_t id, last;
	uint16_t stream;
	uint32_t reason;
	uint32_t attempts;
};

#define EXPECTED_ANY UINT64_MAX /* after whatever stands there */

/* What a message is in its batch: the operation in its reply subject. */
enum batch_op {
	BATCH_BEGINS = 0, /* number 1, and more come */
	BATCH_GOES_ON = 1,
	BATCH_ENDS = 2,     /* this is the last one; of a batch of one, too */
	BATCH_END_ONLY = 3, /* no message: the batch ends before this number */
	BATCH_PING = 4,     /* no message: how far is the one with this number? */
};

enum effect_kind {
	EFFECT_PUBLISH,
	EFFECT_FETCH,
	EFFECT_MARK,
	EFFECT_ANNOUNCE,
	EFFECT_RENEW,    /* ask the database for a sign of life */
	EFFECT_LOOKBACK, /* find out what the stream holds */
	EFFECT_RELEASE,  /* the slot's payload is not needed any more */
	EFFECT_BATCH,    /* something about a batch, and no message */
	EFFECT_NOTE,     /* for the log */
	EFFECT_QUIET,    /* paused, nothing in flight, everything marked; and no earlier leader can be sending */
	EFFECT_DRAINED,  /* nothing in flight, everything marked */
};

struct effect {
	enum effect_kind kind;
	union {
		struct {
			uint32_t slot;
			int64_t id;
			uint64_t token; /* names this attempt; comes back in acked or refused */
			bool blind;     /* nobody could say whether the stream holds it already */
			/* Not to be written to the socket from then on, INT64_MAX: no matter. A copy may be stored, and the stream must
			 * still remember it when this one comes: else the connection is to be dropped instead. */
			int64_t by_ms;
			bool again; /* sent before, or held back: the answer may be any */
			/* All of its lane that was read with it or before it, and stands before it, is stored, or its end is on record: the
			 * message may say from which snapshot it was sent (core/README.md, What is gone). */
			bool evident;
			/* Owned stream: it must be stored right after this sequence, or not at all (Nats-Expected-Last-Sequence; 0 = first
			 * of all). Else EXPECTED_ANY. One that was found in the stream is acknowledged before anything else is asked of the
			 * core: only then does the next one get the number that this one did not need. */
			uint64_t expected;
			/* It is in this batch (fast ingest): a number that is never used again, by anybody. 0: it goes by itself. One that was
			 * found is acknowledged at once, as above; its number is given to the next one. */
			uint64_t batch;
			uint32_t number; /* in its batch, from 1 on */
			enum batch_op op;
			uint16_t flow; /* the server is to say how far it is after so many, about */
		} publish;
		/* To be written behind everything that was handed over before, with an empty message, to the subject of the message in this
		 * slot, which is in flight in the batch. Nothing is stored of it. */
		struct {
			uint16_t stream;
			uint32_t slot;
			uint64_t batch;
			uint32_t number;
			enum batch_op op; /* BATCH_END_ONLY or BATCH_PING */
			uint16_t flow;
		} batch;
		struct {
			int64_t after; /* rows with id > after, if forward; */
			bool forward;
			const struct id_range *wanted; /* and the rows in these ranges; all in ONE snapshot, */
			size_t wanted_count;
			uint32_t rows;  /* ascending, this many at most, */
			uint32_t bytes; /* cut where they exceed this, or sooner; not to nothing twice in a row */
			bool horizon;   /* before it: the snapshot's xmin, and the snapshot itself is kept for later, */
			bool evidence;  /* and the lock table's (costly) */
			bool kept; /* forward no further than to the first row that is not in the snapshot that was kept last */
		} fetch;
		const struct mark *mark;
		struct {
			bool asleep;
		} announce;
		/* Read the ids of the messages above this sequence, and keep them until the next EVENT_LEADING, until the stream
		 * is another one, or until delivery_stats says that what was found is not sought any more: a publish of one that is found there is
		 * acknowledged at once and not sent. LOW_WATER_UNKNOWN: as far back as is reasonable; LOW_WATER_NONE: there is nothing to
		 * read, only the duplicate window is asked for. What stands in `acked` (borrowed until the next step) need not be read. All this if
		 * the stream is still the same and does not end below `known_end`: else nothing is known of it, what was found in it before is
		 * forgotten, and it is read from its end, as far back as is reasonable. `truncated`: that it is not the same is
		 * known already. Asked again before the answer: that one is not awaited any more. */
		struct {
			uint16_t stream;
			uint64_t above;
			uint64_t known_end;
			const struct sequences *acked;
			bool truncated;
			uint64_t marked; /* when this message was stored is asked, too; 0 = none */
		} lookback;
		struct {
			uint32_t slot;
		} release;
		struct {
			uint64_t operator_pause;
		} quiet;
		struct note note;
	};
};

enum pace_mode { PACE_AWAKE, PACE_DROWSY, PACE_ASLEEP };

struct stream_state {
	bool blocked;
	uint32_t reason;
	int64_t since_ms;
	uint64_t acked;
	uint64_t sequence; /* highest acknowledged */
	bool owned;
	uint64_t broken;         /* owned: how often its chain was broken, and begun again behind what is stored */
	uint64_t foreign;        /* owned: messages of somebody else that were met */
	enum wire_reason wire;   /* WIRE_BATCHES, or why its messages go by themselves */
	uint64_t batches;        /* begun */
	uint64_t unclean;        /* of those, so many ended without the server's word on all of them */
	uint64_t settled;        /* messages of those that were sent again by themselves, and are settled */
	uint64_t uncertain;      /* and are not, now */
	uint64_t batch;          /* the open one, 0 = none */
	uint32_t batch_messages; /* sent in it */
};

/* What made us read. */
enum wakeup {
	WAKEUP_OF_POLL,   /* awake: the next poll */
	WAKEUP_OF_SAFETY, /* asleep: the poll that finds everything alone */
	WAKEUP_OF_NOTIFY, /* the database said that there may be rows */
	WAKEUP_OF_MORE,   /* there was more than the last fetch could take */
	WAKEUP_OF_PROBE,  /* something held back is due, or was decided about */
	WAKEUPS,
};

/* Figures; counters only grow. */
struct delivery_stats {
	bool leading, bus_up, draining, paused;
	enum pace_mode pace;
	int64_t position, read; /* marked position; highest id read */
	uint32_t resident, ready, in_flight, backing_off, asking;
	uint32_t resident_bytes;
	uint32_t exceptions, missing, parked_ranges, blocked_lanes;
	uint64_t unrouted;    /* messages held that no stream of the configuration takes */
	uint32_t window;      /* the window now */
	bool full;            /* reading stopped for want of room for exceptions */
	bool found_is_sought; /* a message may be left that was found in a stream: else what was found may be forgotten */
	int64_t last_ack_ms, last_row_ms;
	uint64_t rows, published, acked, duplicates, refused, timeouts, retries, dead, parked, voided, vanished;
	uint64_t fetches, marks, announcements, notifications, stale_replies, notes_dropped, lookbacks;
	uint64_t bytes_published;
	uint64_t wakeups[WAKEUPS]; /* fetches, by what caused them */
	struct {
		uint32_t reason; /* REASON_NONE: all others, or a place that is free */
		uint64_t count;
	} refusals[LIMIT_REASONS + 1];
	struct stream_state stream[LIMIT_STREAMS];
};

#endif
