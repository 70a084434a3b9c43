/* The relay's statements on the books of the inbox. Each call sends one statement, which is one transaction; false: it was not sent. The
 * answer comes back through the callback given.
 *
 * The session commits without waiting for the disk. A server that crashes may lose the last moves: rows, ids and position of each
 * together, and whatever workers did with them, for what they committed stands behind it in the same log. They are taken again. */
#ifndef BOXHAUL_BOOKS_INBOX_LEDGER_H
#define BOXHAUL_BOOKS_INBOX_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "books/arrays.h"
#include "config/config.h"
#include "core/inbox/inbox_types.h"
#include "edge/pg.h"

/* Numbers of prepared statements of the inbox's session, which has two of ledger.h besides: STATEMENT_READY and STATEMENT_LISTEN. */
enum {
	INBOX_STATEMENT_LOCK,
	INBOX_STATEMENT_UNLOCK,
	INBOX_STATEMENT_DEFINE,
	INBOX_STATEMENT_LEAD,
	INBOX_STATEMENT_BOOKS,
	INBOX_STATEMENT_OPEN,
	INBOX_STATEMENT_TAKE,
	INBOX_STATEMENT_FOLLOW,
	INBOX_STATEMENT_PASS,
	INBOX_STATEMENT_REWIND,
	INBOX_STATEMENT_RESTART,
	INBOX_STATEMENT_STOP,
	INBOX_STATEMENT_WAKE,
	INBOX_STATEMENT_WATCH,
	INBOX_STATEMENT_CLEAN,
	INBOX_STATEMENT_FIGURES,
	INBOX_STATEMENT_CLEAN_SAGAS,
	INBOX_STATEMENT_DEFINE_SINK,
	INBOX_STATEMENT_APPLY,
	INBOX_STATEMENTS,
};

/* What a statement is for, in a word; those of ledger.h, too. */
const char *inbox_ledger_statement_name(unsigned number);

/* One row, one bool: did we get the subscription's lock? It lives as long as the session, or until it is given back. */
bool inbox_ledger_try_lock(struct pg *pg, const char *subscription, pg_answer *answer, void *arg);
bool inbox_ledger_unlock(struct pg *pg, const char *subscription, pg_answer *answer, void *arg);

/* The same as a statement for a command's session. False: no memory. */
enum { INBOX_DEFINITION_PARAMETERS = 15, INBOX_DEFINITION_NUMBERS = 6 };
struct inbox_definition {
	unsigned number; /* of the statement */
	int count;       /* of its parameters: a sink has all of them */
	const char *sql;
	const char *parameters[INBOX_DEFINITION_PARAMETERS];
	char *subjects; /* owned */
	char key[32], numbers[INBOX_DEFINITION_NUMBERS][24];
};
bool inbox_ledger_definition(struct inbox_definition *d, const struct config_subscription *s);
void inbox_ledger_definition_free(struct inbox_definition *d);

/* Fits the subscription on record to the configuration, or creates it. One row: (text) what changed, "" = nothing. */
bool inbox_ledger_define(struct pg *pg, const struct config_subscription *s, pg_answer *answer, void *arg);

/* One row: the epoch, from now on ours. An error where other subjects are on record than `s` has. */
bool inbox_ledger_lead(struct pg *pg, const struct config_subscription *s, const char *leader, pg_answer *answer,
		       void *arg);

/* inbox_ledger_read_books() */
bool inbox_ledger_books(struct pg *pg, const char *subscription, int64_t epoch, pg_answer *answer, void *arg);

/* Reads the books; false: there are none under our epoch, or they make no sense. `trail` has room for LIMIT_INBOX_TRAIL marks and must
 * live as long as the books. */
bool inbox_ledger_read_books(const struct pg_result *result, struct inbox_books *books, struct inbox_mark *trail);

/* The rows of a move: one array a column, in the order of the parameters of inbox_take(). */
enum inbox_column {
	INBOX_COLUMN_SEQUENCE,
	INBOX_COLUMN_ID,
	INBOX_COLUMN_SUBJECT,
	INBOX_COLUMN_KEY,
	INBOX_COLUMN_PAYLOAD,
	INBOX_COLUMN_HEADERS,
	INBOX_COLUMN_STORED,
	INBOX_COLUMN_REASON,
	INBOX_COLUMNS
};

/* The statement of a move: compares and sets, and stores what comes with it; `rows` of a TAKE only. A
 * sink applies them instead. inbox_ledger_moved() */
bool inbox_ledger_move(struct pg *pg, const char *subscription, bool sink, int64_t epoch, const struct inbox_move *move,
		       struct array rows[INBOX_COLUMNS], pg_answer *answer, void *arg);

struct inbox_ledger_taken {
	uint32_t taken, left_out, dead;
	bool asleep;         /* workers sleep, and were not notified */
	int64_t now_us;      /* the database's clock, since 1970; 0: it does not say */
	const char *trouble; /* why a sink could not apply them; NULL: it could. Lives as long as the result */
};

/* What a move's answer says; `taken` is all zero but after a TAKE that is committed, and but for the trouble of a sink. */
enum inbox_moved inbox_ledger_moved(const struct pg_result *result, bool sink, enum inbox_move_kind kind,
				    struct inbox_ledger_taken *taken);

/* The error with this state is about a text that the database's encoding has no characters for. It is looked at before all else. */
bool inbox_ledger_blames_encoding(const char *sqlstate);

/* Puts on record why nothing is taken at this position, or with INBOX_STOP_NONE that it is over. created_ns: of the stream that is there
 * now; `last`: where it ends; `words`: of the server that refused, or "". One row, one bool. */
struct inbox_ledger_stop {
	enum inbox_stop stop;
	uint64_t at_position, from, to, last;
	uint32_t reason;
	int64_t created_ns;
	const char *words;
};
bool inbox_ledger_stop(struct pg *pg, const char *subscription, int64_t epoch, const struct inbox_ledger_stop *stop,
		       pg_answer *answer, void *arg);

/* "gap", "truncated", ...: as the books have it; and the other way round, where what is not known is INBOX_STOP_NONE. */
const char *inbox_ledger_stop_word(enum inbox_stop stop);
enum inbox_stop inbox_ledger_stop_of(const char *word);

/* Wakes workers that found nothing. One row, one bool. */
bool inbox_ledger_wake(struct pg *pg, const char *subscription, pg_answer *answer, void *arg);

/* Looks after lanes that stand. One row: how many do. */
bool inbox_ledger_watch(struct pg *pg, const char *subscription, pg_answer *answer, void *arg);

/* One step of each ring, and the trail; of all subscriptions. One row: (text) what was done, "" = nothing. */
bool inbox_ledger_clean(struct pg *pg, pg_answer *answer, void *arg);

/* Sagas that ended longer ago, and what was done here for sagas of others. One row: how many went, INBOX_CLEAN_SAGAS at most. */
enum { INBOX_CLEAN_SAGAS = 1000 };
bool inbox_ledger_clean_sagas(struct pg *pg, uint64_t retention_ms, pg_answer *answer, void *arg);

/* One row: rows that wait, that are handled; how long the oldest waits, in microseconds; parked, held, dead letters, lanes that stand; and of
 * the row to be looked at first: id, key, state, error. Then, with `sagas`, how many of them are open that no daemon is the clock of;
 * of a sink, the changes that took effect, tables that are not complete, updates that found no row; and rows that differ, a table that has some, tables
 * that are not proved, and for how many microseconds all are. */
bool inbox_ledger_figures(struct pg *pg, const char *subscription, bool sagas, pg_answer *answer, void *arg);

#endif
