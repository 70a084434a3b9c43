/* The statements on the books of a capture (sql/010_capture.sql), and what is in their rows. Each call sends one statement, which is one
 * transaction, over the capture's control session; false: it was not sent. The answer comes back through the callback given.
 *
 * Tables have numbers here, as in the core: those of the configuration's `tables` in order, then those of `inserts_only`. Outbox tables have
 * none: no rows of them are read. */
#ifndef BOXHAUL_BOOKS_CAPTURE_LEDGER_H
#define BOXHAUL_BOOKS_CAPTURE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "books/capture_mark.h"
#include "books/ledger.h"
#include "config/config.h"
#include "core/capture/capture_types.h"
#include "edge/pg.h"

/* Numbers of prepared statements of the control session, which has ledger.h's STATEMENT_RENEW, STATEMENT_READY and STATEMENT_LISTEN
 * besides. */
enum {
	CAPTURE_STATEMENT_LOCK,
	CAPTURE_STATEMENT_UNLOCK,
	CAPTURE_STATEMENT_DEFINE,
	CAPTURE_STATEMENT_LEAD,
	CAPTURE_STATEMENT_BOOKS,
	CAPTURE_STATEMENT_TABLES,
	CAPTURE_STATEMENT_RESIGN,
	CAPTURE_STATEMENT_LIVE,
	CAPTURE_STATEMENT_GAP,
	CAPTURE_STATEMENT_EXAMINE,
	CAPTURE_STATEMENT_MARK,
	CAPTURE_STATEMENT_DIFFERS,
	CAPTURE_STATEMENT_WATCH,
	CAPTURE_STATEMENT_FREE,
	CAPTURE_STATEMENT_RESYNC,
	CAPTURE_STATEMENT_WAITS = STATEMENT_RENEW + 1,
	CAPTURE_STATEMENT_CARRIED,
	CAPTURE_STATEMENT_FETCH,
	CAPTURE_STATEMENT_FORKED,
	CAPTURE_STATEMENT_HERE,
	CAPTURE_STATEMENTS,
};

/* What a statement is for, in a word; those of ledger.h, too. */
const char *capture_ledger_statement_name(unsigned number);

/* --- the lead --- */

/* One row, one bool: did we get the capture's lock? It lives as long as the session, or until it is given back. */
bool capture_ledger_try_lock(struct pg *pg, const char *capture, pg_answer *answer, void *arg);
bool capture_ledger_unlock(struct pg *pg, const char *capture, pg_answer *answer, void *arg);

/* The same as a statement for a command's session: fits the books to capture `index` of the configuration, or creates them. One row: (text) what
 * changed, "" = nothing. False: no memory. */
enum { CAPTURE_DEFINITION_PARAMETERS = 3 };
struct capture_definition {
	const char *sql;
	const char *parameters[CAPTURE_DEFINITION_PARAMETERS];
	char *tables; /* owned */
};
bool capture_ledger_definition(struct capture_definition *d, const struct config *config, size_t index);
void capture_ledger_definition_free(struct capture_definition *d);

bool capture_ledger_define(struct pg *pg, const struct config *config, size_t index, pg_answer *answer, void *arg);

/* One row: the epoch, from now on ours; (bool) the server was promoted since the last lead; what the last leader confirmed when it resigned, as an
 * LSN, or NULL. */
bool capture_ledger_lead(struct pg *pg, const char *capture, const char *leader, pg_answer *answer, void *arg);

/* We send nothing any more; this was confirmed. One row, void. */
bool capture_ledger_resign(struct pg *pg, const char *capture, int64_t epoch, uint64_t confirmed, pg_answer *answer,
			   void *arg);

/* --- the books --- */

enum capture_ledger_state { CAPTURE_LEDGER_NONE, CAPTURE_LEDGER_CREATING, CAPTURE_LEDGER_LIVE, CAPTURE_LEDGER_GAP };

/* "none", "creating", "live", "gap" */
const char *capture_ledger_state_word(enum capture_ledger_state state);

enum {
	CAPTURE_LEDGER_SLOT_BYTES = 64,
	CAPTURE_LEDGER_REASON_BYTES = 16,
	CAPTURE_LEDGER_DETAIL_BYTES = 512,
	CAPTURE_LEDGER_ID_BYTES = 37,
};

/* The verify pass under way over a table (sql/012_verify.sql); number 0: there is none. `now` of the table is then the pass's. */
struct capture_ledger_pass {
	uint64_t number;
	char id[CAPTURE_LEDGER_ID_BYTES]; /* a uuid: part of the ids of what it sends */
	bool whole;                       /* rows are sent as they are; else their hashes */
	bool keys;                        /* it is about some keys alone */
	bool repair;                      /* who compares is to mend */
	char *columns;                    /* names in one piece (format/capture_key.h); NULL: all. Owned */
	size_t columns_bytes;
};

/* A table in the books: as the core has it, and what only its callers need. */
struct capture_ledger_table {
	struct capture_table now;
	char snapshot_id[CAPTURE_LEDGER_ID_BYTES]; /* a uuid: part of the ids of rows that are read */
	char history
		[CAPTURE_LEDGER_ID_BYTES]; /* a uuid: of its changes none is missing between two that have the same; "": it has none */
	char *columns;                     /* as consumers were told last: JSON; NULL: they were told nothing. Owned */
	void *cursor; /* the key up to which all rows are stored (format/capture_key.h); NULL: there is none. Owned */
	size_t cursor_bytes;
	void *top; /* the same of the largest key when its walk began: there it ends; NULL: not known, or it was empty. Owned */
	size_t top_bytes;
	char *key; /* the names of the columns of its key, in its order, in one piece, too; NULL: it has none. Owned */
	size_t key_bytes;
	int64_t estimate; /* of rows; 0: not known */
	bool unproved;    /* the core has it as complete */
	struct capture_ledger_pass pass;
};

struct capture_ledger_books {
	enum capture_ledger_state state;
	char reason
		[CAPTURE_LEDGER_REASON_BYTES]; /* of a gap: gone, lost, foreign, timeline, system, truncated, let_go; or "" */
	char detail[CAPTURE_LEDGER_DETAIL_BYTES]; /* the same in words */
	char slot[CAPTURE_LEDGER_SLOT_BYTES];     /* "": there is none */
	uint32_t incarnation;
	uint64_t system; /* of the server that the slot was made on */
	uint64_t end_lsn;
	int64_t commit_time, ordinal;
	uint64_t low_water;    /* of the stream; LOW_WATER_UNKNOWN: not known; LOW_WATER_NONE: nothing was ever sent */
	struct stream_end end; /* of the last mark; sequence 0: it names none */
	uint64_t wal_end;      /* the server's insert position at the time of the answer */
	uint64_t pause;        /* the number of the one that stands; 0 = none */
	uint32_t former_timeline; /* 0; or capture_ledger_forked() is to be told */
	bool alone; /* no earlier leader can be sending any more; of who took the lead, not of these statements */
	struct capture_ledger_table *tables; /* of capture_ledger_tables(); owned. Else NULL */
	size_t table_count;
	struct capture_inherited *carried; /* of capture_ledger_read_carried(); owned. Else NULL */
	size_t carried_count;
};

/* capture_ledger_read_books(): all but the tables. No row: the epoch is over. */
bool capture_ledger_ask_books(struct pg *pg, const char *capture, int64_t epoch, pg_answer *answer, void *arg);
bool capture_ledger_read_books(const struct pg_result *result, struct capture_ledger_books *books);

/* capture_ledger_read_tables(): in the order of their numbers. False: out of memory, or it makes no sense. What is in the answer and not in the
 * configuration is left out, what is only in the configuration waits. */
bool capture_ledger_ask_tables(struct pg *pg, const char *capture, pg_answer *answer, void *arg);
bool capture_ledger_read_tables(const struct pg_result *result, const struct config_capture *c,
				struct capture_ledger_books *books);

/* capture_ledger_read_carried(): what is carried, ascending. False: out of memory, or more than a capture ever carries. */
bool capture_ledger_ask_carried(struct pg *pg, const char *capture, pg_answer *answer, void *arg);
bool capture_ledger_read_carried(const struct pg_result *result, struct capture_ledger_books *books);

/* A change that was carried, as it was. Of the result, which it borrows from; texts that were not there are "". */
struct capture_ledger_change {
	int64_t ordinal;
	const char *message_id, *subject, *position, *tab, *why;
	const char *payload, *headers, *key; /* key: NULL: it has none */
	size_t payload_bytes, headers_bytes, key_bytes, wire_bytes;
	uint16_t defect;
};

/* These, by ordinal, but for those that are gone; ascending. Fails where the epoch is over. */
bool capture_ledger_fetch(struct pg *pg, const char *capture, int64_t epoch, const int64_t *ordinals, size_t count,
			  pg_answer *answer, void *arg);
void capture_ledger_read_change(const struct pg_result *result, int row, struct capture_ledger_change *change);

/* What the books own. They may be empty (all 0). */
void capture_ledger_books_free(struct capture_ledger_books *books);

/* --- the mark --- */

/* One row, void. Fails when another daemon leads, or an operator has changed the books. */
bool capture_ledger_mark(struct pg *pg, const struct capture_mark_books *m, pg_answer *answer, void *arg);

/* --- the slot --- */

/* The slot was made: what commits at or above lsn will come. One row, one bool: it is on record; false: the books have gone on meanwhile. */
bool capture_ledger_live(struct pg *pg, const char *capture, int64_t epoch, uint32_t incarnation, uint64_t lsn,
			 pg_answer *answer, void *arg);

/* Puts a gap on record. One row, one bool: it is now; false: there was one, or the epoch is over. */
bool capture_ledger_gap(struct pg *pg, const char *capture, int64_t epoch, const char *reason, const char *detail,
			pg_answer *answer, void *arg);

/* After a promotion: it is known from where the log goes on, and the first message in the stream that was committed beyond it; NULL: there is none. One row: (bool)
 * it is on record, or the books have gone on; (text) tables whose copies are to be compared, "" = none. Where there are any, our epoch is over. */
bool capture_ledger_forked(struct pg *pg, const char *capture, int64_t epoch, uint64_t fork, const char *phantom,
			   pg_answer *answer, void *arg);

/* capture_ledger_read_look(). confirmed: the slot stands no higher, or it is a gap; what the last leader left when it resigned. 0: not known; and while
 * somebody confirms, for by then the slot may have moved on. An error where the epoch is over. */
bool capture_ledger_examine(struct pg *pg, const char *capture, int64_t epoch, uint64_t confirmed, pg_answer *answer,
			    void *arg);

struct capture_ledger_look {
	enum capture_ledger_state state; /* of the capture, as it is from now on */
	char reason[CAPTURE_LEDGER_REASON_BYTES], detail[CAPTURE_LEDGER_DETAIL_BYTES]; /* of a gap */
	char slot[CAPTURE_LEDGER_SLOT_BYTES];                                          /* "": there is none */
	uint32_t incarnation;
	bool exists;
	bool copied;        /* to standbys (PostgreSQL 17) */
	int64_t active_pid; /* of who uses it; 0: nobody */
	uint64_t confirmed;
	int64_t retained, lag; /* bytes of the log that it holds back; that are beyond what was confirmed */
	int64_t spare;         /* so many more does the server keep for it; negative: no limit */
	uint64_t pause;        /* as in the books */
	char paused[CAPTURE_LEDGER_DETAIL_BYTES];   /* by whom, since when and why; "" */
	char diverged[CAPTURE_LEDGER_DETAIL_BYTES]; /* why copies may differ since a promotion; "" */
	uint64_t pass;    /* the highest number of a verify pass that has not begun; 0: there is none */
	uint64_t letters; /* dead letters that stand in the table; counted up to 10,000 */
	bool superseded;  /* there are slots of ours that nothing is read from any more: capture_ledger_free_slot() */
};
void capture_ledger_read_look(const struct pg_result *result, struct capture_ledger_look *look);

/* One row: (lsn) the server's insert position. capture_ledger_read_here(): 0 where it is not told. */
bool capture_ledger_here(struct pg *pg, pg_answer *answer, void *arg);
uint64_t capture_ledger_read_here(const struct pg_result *result);

/* Ends whoever uses the slot, and with `superseded` those that are not needed any more: where nobody does they are dropped. One row: (text) what was
 * done, "" = nothing. An error where a session cannot be ended. */
bool capture_ledger_free_slot(struct pg *pg, const char *capture, int64_t epoch, bool superseded, pg_answer *answer,
			      void *arg);

/* capture_ledger_read_differences(): "there is no publication boxhaul_shop; public.orders: there is no such table"; "" = all are as the configuration has
 * them. */
bool capture_ledger_differs(struct pg *pg, const char *capture, pg_answer *answer, void *arg);
void capture_ledger_read_differences(const struct pg_result *result, char *out, size_t size);

/* The text of an answer that is one; "" for NULL, and for an error. It belongs to the result. */
const char *capture_ledger_read_words(const struct pg_result *result);

/* One row: (text) tables that are unproved from now on, "" = none. */
bool capture_ledger_watch(struct pg *pg, const char *capture, int64_t epoch, pg_answer *answer, void *arg);

/* All tables are read again, behind a new slot: the policy gap = "resync". One row: (text) what will be done. */
bool capture_ledger_resync(struct pg *pg, const char *capture, pg_answer *answer, void *arg);

/* Whom a session waits for, and since when: the one with this process number. One row: (text) "pid 4711 (psql, in a transaction for 3 min)", ...;
 * NULL: for nobody. */
bool capture_ledger_waits(struct pg *pg, int64_t pid, pg_answer *answer, void *arg);

#endif
