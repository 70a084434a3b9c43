/* The words that the inbox's core and its callers share: settings, books, events, effects, figures.
 *
 * Data only. What happens with them is said in inbox.h. Times that end in _ms are milliseconds of one monotonic clock
 * that counts suspension (CLOCK_BOOTTIME). The time of a message, and when a stream was created, are nanoseconds since
 * 1970 by the broker's clock; the core only asks whether two of them are equal. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_TYPES_H
#define BOXHAUL_CORE_INBOX_INBOX_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LIMIT_INBOX_TRAIL = 1000, /* marks that are kept to go back to */
	LIMIT_INBOX_PULLS = 2,    /* requests outstanding at the consumer */
	LIMIT_INBOX_MOVES = 2,    /* statements in flight to the database */
	LIMIT_INBOX_EFFECTS = 64, /* that wait for inbox_next() */
	LIMIT_INBOX_NOTES = 32,   /* of these, notes and dropped where there are more */
};

#define INBOX_NEVER INT64_MAX /* a time of the monotonic clock */

enum inbox_dedupe {
	INBOX_DEDUPE_IDS,      /* the database leaves out ids that it knows: what comes again does no harm */
	INBOX_DEDUPE_POSITION, /* nothing but the position: nothing may come again under another sequence */
};
enum inbox_on { INBOX_ON_STOP, INBOX_ON_GO_ON }; /* on_gap: continue; on_recreated: restart */
enum inbox_start { INBOX_START_ALL, INBOX_START_NEW, INBOX_START_SEQUENCE };

struct inbox_settings {
	enum inbox_dedupe dedupe;
	enum inbox_on on_gap;
	enum inbox_on on_recreated; /* INBOX_ON_GO_ON only with INBOX_DEDUPE_IDS */
	enum inbox_start start;     /* of a subscription that has no books yet */
	uint64_t start_sequence;    /* >= 1; the first that is wanted */
	uint32_t queue_messages;    /* in memory at most; as it was at inbox_create() */
	uint32_t queue_bytes;       /* the same; but for one message that is larger */
	uint32_t take_messages;     /* of one statement at most */
	uint32_t take_bytes;
	uint32_t large_bytes;  /* room for the largest message that the broker takes, with subject and headers */
	uint32_t heartbeat_ms; /* twice that is at most expires_ms, or the broker refuses the request */
	uint32_t expires_ms;
	uint32_t answer_timeout_ms; /* of a question to the broker */
	uint32_t retry_min_ms;      /* before a consumer is made anew: from, to */
	uint32_t retry_max_ms;
	uint32_t check_interval_ms;  /* between two looks whether stream and witness are as they were */
	uint32_t follow_interval_ms; /* the position follows a quiet filter at most so often */
};

/* A sequence of the stream, and the time of the message at it. */
struct inbox_mark {
	uint64_t sequence;
	int64_t time; /* 0: not known */
};

enum inbox_stop {
	INBOX_STOP_NONE,
	INBOX_STOP_GAP,         /* from .. to have left the stream before they were taken */
	INBOX_STOP_TRUNCATED,   /* the stream lost its end: it ends at `to`, or holds another message at `from` */
	INBOX_STOP_RECREATED,   /* it is another stream */
	INBOX_STOP_KIND,        /* a work queue, an interest stream, a mirror: it cannot be read by position */
	INBOX_STOP_NO_STREAM,   /* there is none of that name */
	INBOX_STOP_START_AHEAD, /* start_sequence lies behind the end, `to` */
	INBOX_STOP_REFUSED,     /* the consumer cannot be made, and never will be; reason */
};

/* What the database has on record about the subscription. */
struct inbox_books {
	uint64_t position;    /* all that matched up to it has been taken */
	uint32_t incarnation; /* which history of the stream; raised whenever the position goes back */
	int64_t created;      /* the stream's; 0: the subscription was never opened, and the rest says nothing */
	uint64_t began;       /* all that matches above it is to be taken: where it began, or went back to since */
	int64_t witness_time; /* of the message at the position; 0: there was none */
	bool paused;          /* by an operator */
	enum inbox_stop stop; /* as INBOX_EFFECT_STOP put it on record; an operator who decides clears it */
	const struct inbox_mark *trail; /* ascending, all at or below the position, of histories that still count */
	size_t trail_count;             /* the last LIMIT_INBOX_TRAIL of them count */
};

/* A state is a place: the machine is in one of them. */
enum inbox_state {
	INBOX_AWAY,      /* we do not lead: there are no books */
	INBOX_READING,   /* the books are asked for again */
	INBOX_OFFLINE,   /* no connection to the broker */
	INBOX_PAUSED,    /* by an operator */
	INBOX_STOPPED,   /* somebody must decide; see stop */
	INBOX_WAITING,   /* the next try has its time */
	INBOX_OPENING,   /* no books yet: where does the stream stand? */
	INBOX_MAKING,    /* the consumer is asked for */
	INBOX_LOOKING,   /* it is there: is the stream the one we know? */
	INBOX_VERIFYING, /* does the witness agree, or else which mark of the trail? */
	INBOX_PLACING,   /* the position is moved without messages, before anything is pulled */
	INBOX_PULLING,   /* messages come and are taken; the position follows where none match */
	INBOX_SETTLING,  /* the consumer is given up; what it brought for sure is still taken */
	INBOX_STATES,
};

/* Why a consumer was given up. */
enum inbox_doubt {
	INBOX_DOUBT_NONE,       /* it is not: pause, books that changed, the broker went away */
	INBOX_DOUBT_HOLE,       /* its sequence is not the next one */
	INBOX_DOUBT_ORDER,      /* the stream's sequence does not rise */
	INBOX_DOUBT_OVERRUN,    /* more than was asked for */
	INBOX_DOUBT_HEARTBEAT,  /* it says that it has sent more than has come */
	INBOX_DOUBT_SILENCE,    /* nothing for two heartbeats */
	INBOX_DOUBT_STATUS,     /* it is gone, or our requests are */
	INBOX_DOUBT_STUCK,      /* it lives, and neither brings nor passes what the stream holds */
	INBOX_DOUBT_UNANSWERED, /* the broker did not answer in time */
	INBOX_DOUBT_REFUSED,    /* it could not be made; reason */
	INBOX_DOUBT_STREAM,     /* the stream is not what it was when we looked */
	INBOX_DOUBT_WITNESS,    /* the message at the position is another one */
	INBOX_DOUBT_GAP,        /* messages left the stream before they came */
	INBOX_DOUBT_MOVE,       /* the database did not move the position */
	INBOX_DOUBTS,
};

/* What moves the position. */
enum inbox_move_kind {
	INBOX_MOVE_TAKE,    /* rows: `count` messages from `slot` on */
	INBOX_MOVE_FOLLOW,  /* nothing matched up to `to` */
	INBOX_MOVE_BEGIN,   /* the first books: created, incarnation 1 */
	INBOX_MOVE_SKIP,    /* over what is lost: gap */
	INBOX_MOVE_REWIND,  /* back to `to`, which still agrees; incarnation + 1; the trail above it is void */
	INBOX_MOVE_RESTART, /* another stream: created, incarnation + 1; all of the trail is void */
};

enum inbox_moved {
	INBOX_MOVED_OK,      /* committed */
	INBOX_MOVED_NOT,     /* the compare-and-set hit no row */
	INBOX_MOVED_FAILED,  /* the statement failed, nothing of it is there */
	INBOX_MOVED_DATA,    /* the same, and the data of a row is to blame (SQLSTATE 22, 23, 54) */
	INBOX_MOVED_UNKNOWN, /* nobody can say */
};

enum inbox_status {
	INBOX_STATUS_ENDED, /* 404, 408, 409 Batch Completed: the request is over */
	INBOX_STATUS_SIZE,  /* 409 Message Size Exceeds MaxBytes */
	INBOX_STATUS_BUSY,  /* 409 Exceeded MaxWaiting */
	INBOX_STATUS_GONE,  /* 503; 409 Consumer Deleted, Leadership Change, and whatever is not known */
};

enum inbox_answer { INBOX_ANSWER_NONE, INBOX_ANSWER_FOUND, INBOX_ANSWER_MISSING };

enum inbox_event_kind {
	INBOX_EVENT_TICK,
	INBOX_EVENT_LEADING, /* we lead; the books as they are */
	INBOX_EVENT_DEPOSED, /* the lead, or the session that carries it, is gone: everything in memory is void, and
				   * no answer to a move or to a question for the books comes any more */
	INBOX_EVENT_BOOKS,   /* the answer to INBOX_EFFECT_BOOKS */
	INBOX_EVENT_BOOKS_FAILED, /* the same; the session lives */
	INBOX_EVENT_CHANGED,      /* an operator changed the books: rewind, accept-gap */
	INBOX_EVENT_BUS_UP,
	INBOX_EVENT_BUS_DOWN, /* all consumers and questions are forgotten */
	INBOX_EVENT_MADE,     /* the consumer is there, with the very configuration that was asked for */
	INBOX_EVENT_REFUSED,  /* it is not, or it is not as it was asked for */
	INBOX_EVENT_INFO,     /* the answer to INBOX_EFFECT_INFO */
	INBOX_EVENT_TIME,     /* the answer to INBOX_EFFECT_TIME */
	INBOX_EVENT_MESSAGE,
	INBOX_EVENT_HEARTBEAT,
	INBOX_EVENT_STATUS,
	INBOX_EVENT_MOVED,  /* the answer to INBOX_EFFECT_MOVE; in the order in which they were asked for */
	INBOX_EVENT_CREDIT, /* may the database be given anything? */
	INBOX_EVENT_SETTINGS,
	INBOX_EVENT_PAUSED, /* an operator's pause began or ended */
	INBOX_EVENTS,
};

struct inbox_event {
	enum inbox_event_kind kind;
	int64_t now_ms;
	uint32_t random;
	union {
		struct inbox_books books; /* LEADING, BOOKS */
		struct {
			uint64_t consumer;
			uint32_t reason; /* JetStream err_code; 0: no answer */
			bool hopeless; /* asking again changes nothing: rights, kind of stream, filters were dropped */
		} refused;
		struct {
			uint64_t consumer;
		} made;
		struct {
			uint32_t ask;
			enum inbox_answer answer; /* MISSING: there is no such stream */
			int64_t created;
			uint64_t first, last; /* an empty stream: first is last + 1, or both are 0 */
			bool usable;          /* limits retention, no mirror */
		} info;
		struct {
			uint32_t ask;
			enum inbox_answer answer; /* MISSING: no message at that sequence */
			int64_t time;
		} time;
		struct {
			uint64_t consumer;
			uint64_t consumer_sequence;
			uint64_t sequence;
			int64_t time;
			uint32_t pull;  /* the request that it came for; 0: not known */
			uint32_t bytes; /* as the broker counts them: subject, reply, headers, body */
			int32_t slot;   /* OUT: where its payload is kept, or -1: it is not wanted */
		} message;
		struct {
			uint64_t consumer;
			uint64_t consumer_sequence; /* Nats-Last-Consumer */
			uint64_t sequence;          /* Nats-Last-Stream */
			uint32_t pull;              /* the request that it came for; 0: not known */
		} heartbeat;
		struct {
			uint64_t consumer;
			uint32_t pull; /* 0: not known */
			enum inbox_status status;
		} status;
		struct {
			enum inbox_moved result;
		} moved;
		struct {
			bool open;
		} credit;
		const struct inbox_settings *settings; /* copied */
		struct {
			bool paused;
		} paused;
	};
};

/* One statement, one transaction: compare, set, and store what comes with it. */
struct inbox_move {
	enum inbox_move_kind kind;
	uint64_t from;        /* where name, epoch, `incarnation` and `from` are as they stand; BEGIN: no books */
	uint32_t incarnation; /* before the move; REWIND and RESTART raise it */
	uint64_t to;
	int64_t time;              /* of the message at `to`: witness and new row of the trail; 0: none is known */
	int64_t created;           /* BEGIN, RESTART */
	uint32_t slot, count;      /* TAKE: slots slot, slot + 1, ... modulo queue_messages */
	uint64_t gap_from, gap_to; /* numbers that left the stream unseen, to be put on record; gap_from 0: none */
	bool dead;                 /* TAKE of one message that the database cannot store: its dead letter instead */
};

enum inbox_note_kind {
	INBOX_NOTE_DOUBT,       /* doubt, reason: the consumer is made anew */
	INBOX_NOTE_STOPPED,     /* stop, from, to */
	INBOX_NOTE_GAP,         /* from .. to: gone on over it */
	INBOX_NOTE_REWOUND,     /* from: the position it was; to: the one it is */
	INBOX_NOTE_RECREATED,   /* from: the position it was */
	INBOX_NOTE_LARGE,       /* from: the position; a message behind it has a request to itself */
	INBOX_NOTE_DEAD,        /* from: the sequence that the database cannot store */
	INBOX_NOTE_BEGUN,       /* from: the position; what stands in the stream up to there is not taken */
	INBOX_NOTE_BEGUN_AGAIN, /* the same: the books of what it took before are gone */
};

struct inbox_note {
	enum inbox_note_kind kind;
	enum inbox_doubt doubt;
	enum inbox_stop stop;
	uint32_t reason;
	uint64_t from, to;
};

enum inbox_effect_kind {
	INBOX_EFFECT_BOOKS,  /* read the books again, under our epoch */
	INBOX_EFFECT_MAKE,   /* a consumer of this number that starts at this sequence */
	INBOX_EFFECT_DELETE, /* a consumer; nobody waits for the answer */
	INBOX_EFFECT_INFO,   /* ask for the stream's state, of its leader */
	INBOX_EFFECT_TIME,   /* ask for the message at a sequence, of the stream's leader */
	INBOX_EFFECT_PULL,
	INBOX_EFFECT_MOVE,
	INBOX_EFFECT_RELEASE, /* the payloads of these slots are not needed any more */
	INBOX_EFFECT_STOP,    /* for the books: why it stands still; INBOX_STOP_NONE: it does not any more */
	INBOX_EFFECT_NOTE,    /* for the log */
};

struct inbox_effect {
	enum inbox_effect_kind kind;
	union {
		struct {
			uint64_t consumer; /* never the same twice */
			uint64_t start;
		} make;
		struct {
			uint64_t consumer;
		} delete;
		struct {
			uint32_t ask; /* comes back in the answer; no answer need come */
			uint64_t sequence;
		} ask; /* INFO (without sequence), TIME */
		struct {
			uint64_t consumer;
			uint32_t pull; /* comes back with what it brings */
			uint32_t messages, bytes, expires_ms, heartbeat_ms;
		} pull;
		struct inbox_move move;
		struct {
			uint32_t slot, count; /* never over the end of the slots */
		} release;
		struct {
			enum inbox_stop stop;
			uint32_t reason;
			uint64_t from, to;
		} stop;
		struct inbox_note note;
	};
};

/* A look inside; counters only grow. */
struct inbox_stats {
	enum inbox_state state;
	enum inbox_stop stop;
	uint64_t stop_from, stop_to;
	uint64_t position; /* committed */
	uint32_t incarnation;
	uint64_t last;              /* of the stream, when we looked last */
	int64_t checked_ms;         /* the witness agreed; INBOX_NEVER: not yet */
	uint32_t queued, in_flight; /* messages */
	uint32_t queued_bytes;
	uint64_t taken, moves, follows, consumers, pulls, large, dead, rewinds, restarts, gaps, ignored, notes_dropped;
	uint64_t doubts[INBOX_DOUBTS];
};

#endif
