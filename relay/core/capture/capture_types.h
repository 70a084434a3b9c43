/* The words that the capture's core and its callers share: settings, books, events, effects, figures.
 *
 * Data only. What happens with them is said in capture.h. Times that end in _ms are milliseconds of one monotonic clock that
 * counts suspension (CLOCK_BOOTTIME). Commit times are microseconds since 2000-01-01 as PostgreSQL writes them; the core only
 * hands them on. A position is an LSN: a byte of the source's log. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_TYPES_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vocabulary.h"

enum {
	LIMIT_CAPTURE_TABLES = 1024,
	LIMIT_CAPTURE_CHUNK_ROWS = 65536,
	LIMIT_CAPTURE_XIDS = 65536,    /* streamed transactions not known to be visible, without a new barrier */
	LIMIT_CAPTURE_XIP = 65536,     /* transactions under way in a snapshot: with more of them a chunk is void */
	LIMIT_CAPTURE_COMMITS = 4096,  /* commit boundaries that are kept apart */
	LIMIT_CAPTURE_REPAIRS = 65536, /* of a table, not read yet: with more of them it is read again from the start */
	LIMIT_CAPTURE_LETTERS = 64,    /* dead letters of one mark */
	LIMIT_CAPTURE_STEPS =
		16, /* steps of cursors that are not marked: so many chunks may lie between two marks, or fewer */
	LIMIT_CAPTURE_NOTES = 16,
	LIMIT_CAPTURE_CARRIED = 16384, /* changes in the books that wait for their key */
	LIMIT_CAPTURE_CARRIES = 256,   /* of these, that one mark puts there */
	LIMIT_CAPTURE_FETCH = 64,      /* and that are in memory again at once */
};

#define CAPTURE_NO_TABLE UINT32_MAX
#define CAPTURE_NO_SLOT UINT32_MAX

struct capture_settings {
	/* streams = 1; poison: POISON_HOLD only where it is not in_commit_order; ordering = ORDERING_STRICT; owned and owned_stays follow from in_commit_order. queue_messages: changes in memory at most (rows of chunks
	 * have room of their own, see capture_slots()). lease_ms, mark_interval_ms, the back-off and the window as there; grace,
	 * sleep, polls do not count. */
	struct delivery_settings send;
	bool in_commit_order; /* order = "commit": the stream is owned, one sequence. Else the lane of each row counts */
	uint32_t tables;      /* rows and books name them 0 .. tables-1; 0: none has rows to be read */
	bool rows_together; /* only in commit order: rows of a chunk that nothing came between go out in messages of several (CAPTURE_EFFECT_WINDOW) */
	uint32_t chunk_rows;  /* >= 1 */
	uint32_t chunk_share; /* 1 .. 100: per cent of the time that chunks may take from the stream */
	uint32_t
		chunk_wait_ms; /* so long the stream may stand still for a transaction in its limbo; then it goes on for as long */
	uint32_t
		whole_ms; /* so long the transaction may last under which a table is read whole (capture_table.whole) */
	uint32_t carry_after_ms; /* order = key: what has waited for so long for its key goes into the books */
	uint32_t most_xids, most_repairs, most_commits, most_carried; /* 0: LIMIT_CAPTURE_...; less, for tests */
};

/* --- the books --- */

enum capture_table_state {
	CAPTURE_TABLE_WAITING,  /* its rows are to be read; nothing was yet */
	CAPTURE_TABLE_READING,  /* some were: the cursor stands in the books, if there was a row */
	CAPTURE_TABLE_READ,     /* all were, with all repairs; its end message is not stored yet */
	CAPTURE_TABLE_COMPLETE, /* nothing is to be read */
	CAPTURE_TABLE_REFUSED, /* nothing is to be read, and it is not complete: the books say why; its changes go on */
};

/* A reading is one walk over a table (or one repair): part of the id of each of its rows, so that a row that is read again on
 * purpose is no duplicate, and one that comes again after a crash is. Readings of a table count up from 1. */
struct capture_table {
	enum capture_table_state state;
	uint32_t reading;  /* of the walk under way; 0: it has not begun */
	uint32_t readings; /* the highest that was ever given; never falls, for a number is given once */
	/* Readings of repairs whose keys stand in the books: the first, and how many from there to the last (some may have no keys). Not
	 * a column: LEADING says what is found there, and a mark says which of them are done. */
	uint32_t repair_first, repair_count;
	uint64_t filenode; /* of the walk under way (all its leaves, hashed); 0: not known */
	uint64_t rows;     /* read, and stored */
	/* The walk is a verify pass: its number. All rows are stored already; what is read is sent for comparison, at the place where the row would stand. All of the
	 * above is then said of the pass, which has books of its own. 0: it is none. Only in commit order. */
	uint64_t pass;
	/* Its rows are read in one piece, under one snapshot, for they have no key; nothing but inserts comes of it in the log. Not a column that a mark changes. Only in
	 * commit order. */
	bool whole;
};

/* --- what comes in --- */

/* One row or change, as the core sees it. Its payload is the owner's, kept under `slot` until CAPTURE_EFFECT_RELEASE; `key` points into it
 * and must stay as it is until then. */
struct capture_row {
	const void
		*key; /* PostgreSQL's text of the key columns, in one piece; compared byte by byte. NULL: it has none */
	uint32_t key_bytes;
	uint32_t bytes;  /* memory it takes while it waits */
	uint64_t lane;   /* hash of table and key; ignored in commit order. 0: unordered */
	uint16_t defect; /* enum reason, 0 = none: why it can never be sent; it becomes a dead letter in its turn */
	uint32_t slot;   /* OUT: where its payload is kept, or CAPTURE_NO_SLOT: the core let it go */
};

/* The key of one change of several that are one message, in its payload. */
struct capture_key_of {
	const void *key;
	uint32_t key_bytes;
};

enum capture_change_kind {
	CAPTURE_CHANGE_ROW,      /* insert, update, delete; or several of these */
	CAPTURE_CHANGE_TRUNCATE, /* of one table; a TRUNCATE message that names several is several changes */
	CAPTURE_CHANGE_OTHER, /* of no table that is read: logical message, outbox row, description of a table, begin, end */
};

enum capture_chunk_kind {
	/* The row with the largest key: there a walk ends. None: the table is empty. Asked before a walk's first rows. */
	CAPTURE_CHUNK_TOP,
	CAPTURE_CHUNK_ROWS,   /* the next rows behind the cursor */
	CAPTURE_CHUNK_REPAIR, /* the rows that have one of the keys which the books hold for this reading */
	/* A table that is read whole. OPEN: begin a transaction of one snapshot, which the answer brings without a row. PIECE: the next rows under that snapshot, in any order, each
	 * once; the log does not stand still for these. When there are no more (`complete`) the transaction ends by itself. */
	CAPTURE_CHUNK_OPEN,
	CAPTURE_CHUNK_PIECE,
};

/* pg_current_snapshot() of a statement. */
struct capture_snapshot {
	uint64_t xmin, xmax; /* 64 bits, with the epoch */
	const uint64_t *xip; /* ascending; borrowed for the step */
	size_t xip_count;
};

/* One that an earlier leader has left in the books. */
struct capture_inherited {
	int64_t ordinal;
	uint64_t lane, low_water; /* as it was put there */
	uint32_t bytes;
	bool held; /* a dead letter: it holds its lane until an operator decides */
};

enum capture_event_kind {
	CAPTURE_EVENT_LEADING, /* we lead; the books. All that was in memory is void. The walsender is to start only when asked */
	CAPTURE_EVENT_STREAM_UP,   /* the answer to CAPTURE_EFFECT_STREAM: it streams */
	CAPTURE_EVENT_STREAM_DOWN, /* the walsender is gone, the lead is not: it will be asked for again */
	CAPTURE_EVENT_BEGIN,       /* see capture_takes() for all of the next four */
	CAPTURE_EVENT_CHANGE,
	CAPTURE_EVENT_COMMIT,
	CAPTURE_EVENT_POSITION,     /* keepalive; or a logical message of ours outside of transactions */
	CAPTURE_EVENT_DRAWN,        /* the answer to CAPTURE_EFFECT_DRAW */
	CAPTURE_EVENT_HORIZON,      /* the answer to CAPTURE_EFFECT_HORIZON */
	CAPTURE_EVENT_CHUNK,        /* the answer to CAPTURE_EFFECT_CHUNK */
	CAPTURE_EVENT_CHUNK_FAILED, /* the same, or to any question of the reader session: nothing came of it */
	CAPTURE_EVENT_CHUNK_END,    /* the answer to CAPTURE_EFFECT_CHUNK_END */
	CAPTURE_EVENT_WINDOW,       /* the answer to CAPTURE_EFFECT_WINDOW */
	CAPTURE_EVENT_CONTROL,      /* the answer to CAPTURE_EFFECT_CONTROL */
	CAPTURE_EVENT_CARRIED,      /* the answer to CAPTURE_EFFECT_FETCH */
	CAPTURE_EVENT_MARKED,       /* the answer to CAPTURE_EFFECT_MARK: it is committed */
	CAPTURE_EVENT_VERIFY,       /* somebody asks for a verify pass over a table that capture_may_verify() */
	CAPTURE_EVENT_END,          /* the answer to CAPTURE_EFFECT_END. None need come */
	CAPTURE_EVENT_READING,      /* an operator paused the reading of rows, or let it go on */
	CAPTURE_EVENT_COMMON, /* `common`: TICK, DEPOSED, BUS_UP, BUS_DOWN, ACKED, REFUSED, LOOKBACK, RENEWED, PAUSED, DRAIN, SETTINGS */
};

struct capture_event {
	enum capture_event_kind kind;
	int64_t now_ms;
	uint32_t random;
	union {
		struct {
			uint64_t end_lsn; /* all that was committed below is settled, on record */
			int64_t commit_time;
			int64_t ordinal; /* of the last message at or below it; the next one has ordinal + 1 */
			uint64_t
				wal_end; /* the insert position, asked for after the lead was taken: an earlier leader was streamed
					      * nothing above it */
			uint64_t behind;       /* of the books, as in `marked` */
			uint64_t low_water;    /* of the stream, as in struct event */
			struct stream_end end; /* commit order: of the last mark */
			int64_t asked_ms;
			int64_t predecessor_until_ms; /* who led before, ourselves included, sends nothing since; may be past; 0 = nobody did */
			uint64_t operator_pause;
			bool reading_paused;                     /* as in `reading` */
			const struct capture_table *tables;      /* settings.tables of them, copied */
			const struct capture_inherited *carried; /* ascending; at most LIMIT_CAPTURE_CARRIED; copied */
			size_t carried_count;
		} leading;
		struct {
			uint32_t xid;
			uint64_t final_lsn; /* of the commit record */
			int64_t commit_time;
		} begin;
		struct {
			enum capture_change_kind kind;
			uint32_t
				index; /* ascending in the transaction and equal at every re-send: what was taken already is let go */
			uint32_t table;         /* or CAPTURE_NO_TABLE */
			struct capture_row row; /* its key is the OLD one where the change has one, else the new one */
			/* The change gives its row another key: the new one, in the payload, too. Else NULL. */
			const void *repair_key;
			uint32_t repair_key_bytes;
			bool moves_whole; /* then: all columns were sent, and nothing is to be read once more */
			/* It is not sent as it is, for it is not whole and nothing but whole rows may be: the row under repair_key is read, and
			 * sent instead. */
			bool read_instead;
			/* Several changes of this table that are one message: the keys of those behind the first one. None of them gives its row another
			 * key, and each that is sent again is in a message with the same changes (README.md, Changes that go together). */
			const struct capture_key_of *others;
			uint32_t other_count;
			/* The core does not want it: CAPTURE_NO_SLOT in row.slot, and nothing of it is kept. */
		} change;
		struct {
			uint64_t end_lsn;
		} commit;
		struct {
			uint64_t lsn; /* everything committed below it has been sent to us */
			bool idle; /* a keepalive: it may be confirmed when nothing is in flight. (False: our own message) */
		} position;
		struct {
			uint64_t xid; /* drawn by pg_current_xact_id(), in a transaction of its own that has ended */
		} drawn;
		struct {
			/* Of a snapshot taken after the xid was drawn: every transaction below it that may have written to a captured table
			 * has ended. The snapshot's xmin; or higher, if nobody who holds a write lock on such a table is below. On 13 the
			 * xmin alone: what is open when a table is added is not decoded later either. */
			uint64_t horizon;
			uint64_t xmax; /* of the snapshot: no fence (design.md section 3), for figures alone */
		} horizon;
		struct {
			struct capture_snapshot snapshot; /* of the very statement that read the rows */
			struct capture_row *
				rows; /* in key order; a key once. TOP: of the one that there may be the key alone counts */
			size_t count; /* at most as many as were asked for */
			bool complete; /* ROWS: there is nothing behind the last one that is not above the top. PIECE: nothing at all */
			uint64_t filenode; /* of root and leaves, hashed, as of the statement; never 0 */
		} chunk;
		struct {
			uint32_t
				reason; /* 0: try again later. Else the table cannot be read for now: said, tried again after long */
		} chunk_failed;
		struct {
			uint64_t lsn;
		} chunk_end;
		struct {
			bool none; /* each goes out as it is */
			/* Messages in the place of the rows, in their order: messages[i] is for the next rows[i] of them, all together for each one. Where that is 1 the row goes
			 * out as it is, and messages[i] does not count. */
			struct capture_row *messages;
			const uint32_t *rows;
			size_t count;
		} window;
		struct {
			uint32_t table;
			bool end;
			bool none; /* such messages are not sent: there is no row, and it counts as stored in its place */
			struct capture_row row;
		} control;
		struct {
			const int64_t *ordinals;  /* of those asked for that are there, ascending */
			struct capture_row *rows; /* of each; their lane does not count */
			size_t count;
		} carried;
		struct {
			int64_t asked_ms;
			uint64_t
				behind; /* a position of the log behind the mark, where the slot is copied to standbys; 0: it is not */
		} marked;
		struct {
			uint32_t table;
			struct capture_table now; /* the books of the pass, which has not begun */
		} verify;
		struct {
			uint64_t sequence;
			int64_t time_ns; /* when the stream has stored it; 0: it is not there, or nobody says it */
		} end;
		struct {
			bool paused;
		} reading;
		const struct event *common; /* its own now_ms and random do not count */
	};
};

/* --- what goes out --- */

/* What one mark changes, in one transaction: all of it or nothing. All arrays belong to the core and stay as they are until the mark
 * is answered; so do the payloads in the slots. */
struct capture_mark {
	uint64_t end_lsn; /* all that was committed below is settled */
	int64_t commit_time;
	int64_t from_ordinal; /* as the books hold it: it must */
	int64_t ordinal;
	uint64_t low_water;    /* all above `ordinal` is stored above this sequence, if at all */
	struct stream_end end; /* commit order: all that is marked and stored is stored up to here. Else it is all 0 */
	const struct capture_cursor {
		uint32_t table;
		struct capture_table now; /* state, reading, filenode, rows */
		bool restart;             /* the cursor goes: the walk begins at the start (its reading is a new one) */
		uint32_t slot; /* the cursor is the key of the row in this slot; CAPTURE_NO_SLOT: it stays as it is */
		uint32_t top;  /* the same of the key at which the walk ends; `restart` takes it, too */
			       /* Repairs of all readings below now.repair_first are done: their keys go. */
	} * cursors;           /* to be applied one after the other: a table may stand in it twice */
	size_t cursor_count;
	const struct capture_repair {
		uint32_t table;
		uint32_t reading; /* that will read it */
		const void *key;
		uint32_t key_bytes;
	} * repairs; /* to be put on record; one may be there already */
	size_t repair_count;
	const struct capture_letter {
		uint32_t slot;
		int64_t ordinal;
		uint32_t reason, attempts;
	} * letters; /* whole, to be put on record; one may be there already */
	size_t letter_count;
	/* Carried. First, where carried_void: low waters of all that are on record do not hold any more. */
	bool carried_void;
	const struct capture_carry {
		uint32_t slot;
		int64_t ordinal;
		uint64_t lane;
		uint64_t low_water; /* LOW_WATER_NONE: it stands at or behind one that is held, and was never sent */
		uint32_t attempts, reason; /* reason: why its key takes nothing; 0: it waits behind others */
	} * carries;                       /* whole, to be put on record */
	size_t carry_count;
	/* Of what is on record as carried with this mark, or was before: dead letters that hold their key from now on. */
	const struct capture_held {
		int64_t ordinal;
		uint32_t reason, attempts;
	} * held;
	size_t held_count;
	const int64_t *gone; /* ordinals of those that were stored, or are letters by now */
	size_t gone_count;
};

enum capture_note_kind {
	CAPTURE_NOTE_READING,  /* table: its rows are being read, reading */
	CAPTURE_NOTE_AGAIN,    /* table: its rows are read again from the start; reason CAPTURE_AGAIN_... */
	CAPTURE_NOTE_COMPLETE, /* table, rows */
	CAPTURE_NOTE_LIMBO, /* xid: the chunks wait for a transaction that is committed and not visible yet; said once a wait */
	CAPTURE_NOTE_BARRIER, /* xid: the chunks wait for transactions below it; said once a wait */
	CAPTURE_NOTE_FAILED,  /* table, reason */
	CAPTURE_NOTE_TORN,    /* a transaction that was begun did not come again after the stream began anew */
};

enum capture_again {
	CAPTURE_AGAIN_FILENODE = 1,
	CAPTURE_AGAIN_REPAIRS,
	CAPTURE_AGAIN_PIECE, /* read whole, and broken off: by another lead, a session that was lost, a pause */
	CAPTURE_AGAIN_LONG,  /* read whole, for longer than whole_ms */
};

struct capture_note {
	enum capture_note_kind kind;
	uint32_t table, reason, reading;
	uint64_t xid, rows;
};

/* Why the stream that we fill is not the one that has what the books say is stored. */
enum capture_lost_why {
	CAPTURE_LOST_UNTOLD,  /* what this leader knows of it does not hold any more */
	CAPTURE_LOST_ANEW,    /* it was created at another time */
	CAPTURE_LOST_END,     /* it ends at `last`, below `marked` */
	CAPTURE_LOST_REGROWN, /* what stands at `marked` was stored at another time */
};

struct capture_lost {
	enum capture_lost_why why;
	uint64_t marked, last; /* where the books have it end; where it ends. UNTOLD: 0 */
};

enum capture_effect_kind {
	CAPTURE_EFFECT_STREAM, /* START_REPLICATION at `stream.lsn`: all that was committed at or above it is wanted */
	CAPTURE_EFFECT_CONFIRM, /* `confirm.lsn`: flush position of every status update from now on; never falls while we lead */
	CAPTURE_EFFECT_DRAW,    /* draw an xid: pg_current_xact_id() in a transaction of its own */
	CAPTURE_EFFECT_HORIZON, /* ask for the horizon, in a new snapshot */
	CAPTURE_EFFECT_CHUNK,   /* read rows; the stream stands still until it is answered (capture_takes) */
	CAPTURE_EFFECT_LET_GO, /* end the transaction under which a table is read whole: nothing more is asked under it */
	/* Ask for a position behind everything that the chunk has seen: pg_current_wal_insert_lsn(). And see to it that the stream gets
	 * there soon: then pg_logical_emit_message(), or a status update that wants an answer. */
	CAPTURE_EFFECT_CHUNK_END,
	/* A verify pass: make one message of the rows in these slots, which stand at one place. The stream stands still until it is answered, which is at once. */
	CAPTURE_EFFECT_WINDOW,
	CAPTURE_EFFECT_CONTROL, /* make the message that says that the rows of a table begin, or are all there */
	CAPTURE_EFFECT_MARK,
	CAPTURE_EFFECT_END, /* ask the stream when it has stored the message at `end.sequence`: the next mark waits for it, for a while */
	CAPTURE_EFFECT_FETCH, /* bring these out of the books. One at a time; what is not there any more is left out */
	CAPTURE_EFFECT_RELEASE, /* the payload in this slot is not needed any more */
	CAPTURE_EFFECT_NOTE,
	CAPTURE_EFFECT_LOST_END, /* the stream has lost its end, or is another one: gap `truncated`; nothing is sent any more */
	CAPTURE_EFFECT_COMMON, /* `common`: PUBLISH, RENEW, LOOKBACK, NOTE, QUIET, DRAINED; publish.slot is a slot of ours, .id an ordinal */
};

struct capture_effect {
	enum capture_effect_kind kind;
	union {
		struct {
			uint64_t lsn;
		} stream, confirm;
		struct {
			enum capture_chunk_kind kind;
			uint32_t table;
			uint32_t reading; /* for the ids of its rows */
			uint32_t repairs; /* REPAIR: the reading whose keys are to be read */
			uint32_t
				after; /* ROWS: behind the key of the row in this slot; CAPTURE_NO_SLOT: from_start, or else the cursor of the books */
			bool from_start;
			uint32_t
				upto; /* ROWS: up to the key of the row in this slot; CAPTURE_NO_SLOT: to the top of the books */
			uint32_t rows; /* at most */
			uint64_t nth;  /* PIECE: so many came before these, for their ids */
		} chunk;
		struct {
			uint32_t table;
			uint32_t reading;
			bool end;
		} control;
		struct {
			uint32_t table;
			uint32_t reading;
			const uint32_t *slots; /* of the core, until the answer: in key order, at least one */
			size_t count;
		} window;
		const struct capture_mark *mark;
		struct {
			uint64_t sequence;
		} end;
		struct capture_lost lost; /* LOST_END */
		struct {
			const int64_t *ordinals; /* ascending, until it is answered */
			size_t count;
		} fetch;
		struct {
			uint32_t slot;
		} release;
		struct capture_note note;
		struct effect common;
	};
};

/* --- figures --- */

enum capture_reader_state {
	CAPTURE_READER_IDLE,    /* nothing to read */
	CAPTURE_READER_PAUSED,  /* by an operator */
	CAPTURE_READER_BARRIER, /* waits for `waits_for`, an xid: transactions below it */
	CAPTURE_READER_RESTING, /* the stream has its share of the time; or the last question failed */
	CAPTURE_READER_ROOM,    /* its rows are not stored yet */
	CAPTURE_READER_LIMBO,   /* waits for `waits_for`, an xid: committed, streamed, not visible yet */
	CAPTURE_READER_READING, /* the answer is awaited */
	CAPTURE_READER_WINDOW,  /* rows are in memory, the stream is compared with them */
};

/* Counters only grow. */
struct capture_stats {
	const struct delivery_stats *send; /* of the sender and the lead; what is the outbox's stays 0 */
	uint64_t received_lsn, settled_lsn, marked_lsn, confirmed_lsn; /* settled: of whole commits */
	int64_t received_time, settled_time, marked_time;              /* commit times of those; 0: none yet */
	int64_t ordinal, marked_ordinal;                               /* given last; marked */
	enum capture_reader_state reader;
	uint64_t waits_for;
	uint64_t read_instead;   /* changes that were not sent, and their rows read whole */
	uint32_t table;          /* that is being read; or CAPTURE_NO_TABLE */
	uint32_t tables_open;    /* not complete */
	uint32_t open_commits;   /* received, and not settled whole; at most LIMIT_CAPTURE_COMMITS are told apart */
	uint32_t unseen_commits; /* streamed, not known to be visible */
	uint32_t repairs;        /* readings of them that are not read yet */
	bool lost_end;
	uint64_t commits,
		commits_settled; /* since we lead: came whole; of them those that are settled. What is left is the lag */
	uint64_t let_go; /* changes that were given, and that the snapshot of a table that is read whole has seen */
	uint64_t changes, rows_read, rows_early, chunks, windows, chunks_void, chunks_failed, barriers, marks, controls,
		skipped;
	uint64_t open_rows; /* of the chunk in memory */
	uint64_t unsettled; /* rows that have an ordinal and are neither stored nor letters, nor carried */
	uint32_t carried;   /* in the books, or on their way there */
	uint32_t held;      /* of these: dead letters that hold their key until an operator decides */
	bool carried_full; /* no more can be: what waits for its key stays in memory, and stops the reading when that is full */
};

#endif
