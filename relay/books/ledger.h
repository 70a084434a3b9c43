/* The relay's statements on the books. Each call sends one statement, which is one transaction; the answer comes back through the
 * callback given. What is in it, codec.h reads. (What commands ask stands in sql/; rows are read by flow/outbox_reader.) */
#ifndef BOXHAUL_BOOKS_LEDGER_H
#define BOXHAUL_BOOKS_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "books/reasons.h"
#include "core/delivery.h"
#include "edge/pg.h"

/* Numbers of prepared statements, unique over ledger and outbox_reader. */
enum {
	STATEMENT_FETCH,
	STATEMENT_FETCH_WANTED,
	STATEMENT_FETCH_SUMMED,
	STATEMENT_FETCH_WANTED_SUMMED,
	STATEMENT_FETCH_CAREFUL,
	STATEMENT_HORIZON,
	STATEMENT_EVIDENCE,
	STATEMENT_LEADER_LOCK,
	STATEMENT_LEAD,
	STATEMENT_LOW_WATERS,
	STATEMENT_RESIGN,
	STATEMENT_EXCEPTIONS,
	STATEMENT_MARK,
	STATEMENT_ANNOUNCE,
	STATEMENT_FENCE,
	STATEMENT_RENEW,
	STATEMENT_CLEAN_SLOT,
	STATEMENT_CLEAN_SENT,
	STATEMENT_CLEAN_WAKE,
	STATEMENT_IDS_DIFFER,
	STATEMENT_DECISIONS,
	STATEMENT_PAUSE,
	STATEMENT_QUIET,
	STATEMENT_READY,
	STATEMENT_LISTEN,
	STATEMENT_BACKLOG,
	STATEMENTS,
};

/* What a statement is for, in a word; number < STATEMENTS. */
const char *ledger_statement_name(unsigned number);

/* One row: SCHEMA_COLUMNS (schema.h), PG_PLACE_COLUMNS (pg_place.h). An error where the schema is missing. */
bool ledger_ready(struct pg *pg, pg_answer *answer, void *arg);

/* One row, one bool: did we get the leader's lock? It lives as long as the session. */
bool ledger_try_lock(struct pg *pg, pg_answer *answer, void *arg);
bool ledger_listen(struct pg *pg, pg_answer *answer, void *arg);

/* codec_lead() */
bool ledger_lead(struct pg *pg, const char *leader, uint32_t lease_ms, pg_answer *answer, void *arg);

/* We publish nothing any more; somebody who led before us may, for so long. One row, void. */
bool ledger_resign(struct pg *pg, int64_t epoch, int64_t others_ms, pg_answer *answer, void *arg);

/* codec_low_waters(): of each of these streams, where one is on record. */
bool ledger_low_waters(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg);

/* codec_exceptions(), ascending; `streams` as in ledger_low_waters(). */
bool ledger_exceptions(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg);

/* One row: fence. Fails when another relay leads. `streams` names the configured streams by index, `reasons` says
 * why in words. */
bool ledger_mark(struct pg *pg, int64_t epoch, const struct mark *mark, const char *const *streams,
		 const struct reasons *reasons, pg_answer *answer, void *arg);

/* We poll (0), or sleep and want to be notified for so many seconds. One row, void. */
bool ledger_announce(struct pg *pg, uint32_t asleep_seconds, pg_answer *answer, void *arg);

/* One row: an xid drawn now, in a transaction of its own. */
bool ledger_fence(struct pg *pg, pg_answer *answer, void *arg);

/* One row, which only says that the database lives. */
bool ledger_renew(struct pg *pg, pg_answer *answer, void *arg);

/* Housekeeping, each bounded and by itself. One row: whether the slot of the ring was emptied; how many rows went, `most` of
 * them (as many: there may be more). */
bool ledger_clean_slot(struct pg *pg, int64_t epoch, uint64_t retention_ms, int slot, pg_answer *answer, void *arg);
bool ledger_clean_sent(struct pg *pg, int64_t epoch, uint64_t retention_ms, int most, pg_answer *answer, void *arg);
bool ledger_clean_wake(struct pg *pg, int most, pg_answer *answer, void *arg);

/* One row: NULL, or (text) why nobody may lead over these books. */
bool ledger_ids_differ(struct pg *pg, pg_answer *answer, void *arg);

/* Rows: id, redrive (bool) of dead letters that hold their lane and are decided. */
bool ledger_decisions(struct pg *pg, pg_answer *answer, void *arg);

/* codec_backlog(), what waits. */
struct ledger_backlog_question {
	int64_t above; /* the oldest row above this id; negative: above the position */
	bool held;     /* the oldest one that is held back */
	bool holder;   /* who has the leader's lock, unless all is paused */
	bool hot;      /* the key that most have */
	bool missing;  /* how many have come into view among the missing ids */
	bool sagas;    /* how many sagas are open that no daemon is the clock of */
};
bool ledger_backlog(struct pg *pg, const struct ledger_backlog_question *q, pg_answer *answer, void *arg);

/* No row, or one: the number of the pause that stands, and (text) by whom, since when and why. */
bool ledger_pause(struct pg *pg, pg_answer *answer, void *arg);

/* All is quiet in this pause. One row, void. */
bool ledger_quiet(struct pg *pg, int64_t epoch, uint64_t pause, pg_answer *answer, void *arg);

#endif
