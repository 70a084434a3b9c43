/* What is known of the captures at one moment: collected by run/capture_room.c; from outside by command/look_capture.c, which knows what
 * boxhaul.capture_look() says. */
#ifndef BOXHAUL_WATCH_CAPTURE_FACTS_H
#define BOXHAUL_WATCH_CAPTURE_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A captured table, as the books have it. Rows that were there before the capture come in chunks: its snapshot. */
struct capture_table_facts {
	const char *name; /* "public.orders" */
	const char *
		state; /* in the words of the books: waiting, reading, read, complete, unproved, refused; verifying: a verify pass over it is under way; "" = it has no snapshot */
	const char *reason; /* why it is refused, unproved, or not published; "" */
	uint64_t rows,
		estimate; /* of the snapshot, or of the pass: stored so far; about so many are to come in all, 0 = not known */
	bool whole;  /* it is read in one piece, under one transaction */
	double rate; /* rows a second of it, in the last ten seconds; negative = not known */
};

/* Everything is borrowed, until the loop's next callback. No text is NULL. Counters are of this process, and only grow. */
struct capture_one_facts {
	const char *name, *stream, *slot; /* slot: the replication slot's name; "" = none is made yet */
	const char *role;                 /* disconnected, starting, standby, leader */
	bool leads, stands_by;
	int64_t epoch;
	const char *trouble; /* why it neither leads nor stands by; "" */

	const char *state; /* of the books: none, creating, live, gap; "" = not known */
	const char *
		reason; /* of a gap, in the word of the books: gone, lost, foreign, timeline, system, truncated, let_go; "" */
	const char *detail;   /* and in a sentence: what was found; "" */
	const char *diverged; /* why copies may differ since a promotion; "" */
	bool paused;
	const char *paused_by; /* by whom, since when and why */
	bool nobody_leads;     /* seen from outside: no daemon reads it */

	/* Who is waited for, as "pid 4711 (psql, in a transaction for 3 min)": the slot cannot be made, the barrier before the first chunk does
	 * not open, or a commit is in limbo. "" = nobody. */
	const char *waits_for, *waits_what; /* waits_what: "the replication slot", "the first chunk", "a chunk" */
	int64_t waits_us;                   /* for so long */

	bool streams;       /* the server sends us the log now */
	const char *broken; /* why it does not, though we lead and the capture is live; "" */
	const char *failed; /* why the last mark failed; "" = it did not */
	bool blocked;       /* the stream takes nothing, so the log is not read */
	const char *blocked_why;
	int64_t blocked_us; /* for so long */

	bool wal_known;          /* the server was asked, every few seconds; else the next five are 0 */
	uint64_t lag_bytes;      /* of log that was written and is not confirmed */
	uint64_t retained_bytes; /* of log that the slot keeps the server from removing */
	uint64_t
		safe_bytes; /* so much more, and the server takes the slot away (max_slot_wal_keep_size); 0 = it has no such bound */
	uint64_t budget_bytes; /* wal_budget; 0 = none */
	bool lets_go;          /* on_budget: the slot is dropped then; else it is only said */

	int64_t lag_us; /* how long ago the oldest commit that was received and is not stored was committed; 0 = all is stored; negative:
	                       * only who leads knows */
	uint64_t lag_commits; /* received, and not stored whole */
	uint64_t confirmed;   /* the position up to which the server may forget, as an LSN */

	uint64_t commits, changes, bytes; /* read from the log; bytes: of what the server sent */
	uint64_t stored;                  /* messages that JetStream acknowledged */
	uint64_t rate;                    /* of these in the last full second */
	uint64_t snapshot_rows;           /* of chunks, stored */
	uint64_t chunks, void_chunks; /* read; and read again, for a commit was in limbo or the columns were others */
	uint64_t repairs;             /* rows that were read again, because a change came without an unchanged value */
	uint64_t left_out;            /* messages of a configured prefix that were of no transaction */
	uint64_t chain_broken,
		foreign;       /* commit order: how often the chain began anew; messages of others in the stream */
	uint64_t dead;         /* changes that became dead letters */
	uint64_t dead_letters; /* that stand in the table now, at the last look */
	uint64_t carried;      /* changes in the books that wait for their key */
	uint64_t held;         /* of these: dead letters that hold their key until somebody decides */
	bool carried_full;     /* as many as may be: when memory is full, too, the log is not read on */
	size_t unfinished;     /* tables whose snapshot is not complete */
	size_t verifying;      /* tables over which a verify pass is under way */
	size_t table_count;
	const struct capture_table_facts *table;
};

struct capture_facts {
	bool postgres_up, nats_up; /* the captures have a control session and a connection of their own */
	const char *postgres_why, *nats_why;
	uint64_t reconnects_postgres, reconnects_nats;
	int64_t schema; /* as inbox_facts.h */
	size_t count;   /* 0: there are no captures, and all else is empty */
	const struct capture_one_facts *capture;
};

#endif
