/* The books in the database: every statement on our own tables but the reading of rows. Each call sends one statement,
 * which is one transaction; the answer comes back through the callback given. */
#ifndef BOXHAUL_LEDGER_H
#define BOXHAUL_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/delivery.h"
#include "edge/pg.h"

/* Numbers of prepared statements, unique over ledger and source. */
enum {
	STATEMENT_FETCH,
	STATEMENT_FETCH_WANTED,
	STATEMENT_FETCH_SUMMED,
	STATEMENT_FETCH_WANTED_SUMMED,
	STATEMENT_HORIZON,
	STATEMENT_EVIDENCE,
	STATEMENT_LEADER_LOCK,
	STATEMENT_LEAD,
	STATEMENT_FLOORS,
	STATEMENT_RESIGN,
	STATEMENT_EXCEPTIONS,
	STATEMENT_MARK,
	STATEMENT_ANNOUNCE,
	STATEMENT_FENCE,
	STATEMENT_RENEW,
	STATEMENT_CLEAN,
	STATEMENT_DECISIONS,
	STATEMENT_PAUSE,
	STATEMENT_QUIET,
	STATEMENT_READY,
	STATEMENT_LISTEN,
	STATEMENT_BACKLOG,
	STATEMENTS,
};

/* What a statement is for, in a word. */
const char *ledger_statement_name(unsigned number);

enum { SCHEMA_VERSION = 8 };

/* One row: schema version, in recovery, max_prepared_transactions, the server's system identifier, its timeline (NULL
 * in recovery). An error where the schema is missing. */
bool ledger_ready(struct pg *pg, pg_answer *answer, void *arg);

/* One row, one bool: did we get the leader's lock? It lives as long as the session. */
bool ledger_try_lock(struct pg *pg, pg_answer *answer, void *arg);
bool ledger_listen(struct pg *pg, pg_answer *answer, void *arg);

/* One row: epoch, position, fence; for how many milliseconds from now an earlier leader may still publish; (bool) whether
 * nobody has led before; which pause stands, 0 = none. */
bool ledger_lead(struct pg *pg, const char *leader, uint32_t lease_ms, pg_answer *answer, void *arg);

/* We publish nothing any more; somebody who led before us may, for so long. One row, void. */
bool ledger_resign(struct pg *pg, int64_t epoch, int64_t others_ms, pg_answer *answer, void *arg);

/* Rows: stream's index (as in `streams`), floor. Streams without a floor on record are left out. */
bool ledger_floors(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg);

/* Rows: lo, hi, kind ('m','p','h','a'), lane (or NULL), attempts, stream's index (or NULL), its floor (or NULL), decided
 * (bool: held, and an operator has decided); ascending. */
bool ledger_exceptions(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg);

/* One row: fence. Fails when another relay leads. `streams` names the configured streams by index. */
bool ledger_mark(struct pg *pg, int64_t epoch, const struct mark *mark, const char *const *streams, pg_answer *answer,
		 void *arg);

bool ledger_announce(struct pg *pg, bool asleep, pg_answer *answer, void *arg);
/* One row: an xid drawn now, in a transaction of its own. */
bool ledger_fence(struct pg *pg, pg_answer *answer, void *arg);

bool ledger_renew(struct pg *pg, pg_answer *answer, void *arg);

/* One row: how many slots of the ring were emptied. */
bool ledger_clean(struct pg *pg, int64_t epoch, uint64_t retention_ms, pg_answer *answer, void *arg);

/* Rows: id, redrive (bool) of dead letters that hold their lane and are decided. */
bool ledger_decisions(struct pg *pg, pg_answer *answer, void *arg);

/* One row, what waits: position; newest id; created_at of the oldest row above `above` (negative: above the position) and, if
 * `held`, of the oldest one that is held back; now; dead letters, and those that hold their lane (both 10,000 at the most); if
 * `holder`, the pid of the session that has the leader's lock; the name of the last leader. Each may be NULL. */
bool ledger_backlog(struct pg *pg, int64_t above, bool held, bool holder, pg_answer *answer, void *arg);

/* A time of the server as one of loop_now_us(), so that the two machines' clocks need not agree: `now` is the column that
 * holds the server's own time then. Never later than now; now if there is none. */
int64_t ledger_since_us(const struct pg_result *r, int row, int column, int now, int64_t asked_us);

/* No row, or one: the number of the pause that stands, and (text) by whom, since when and why. */
bool ledger_pause(struct pg *pg, pg_answer *answer, void *arg);

/* All is quiet in this pause. One row, void. */
bool ledger_quiet(struct pg *pg, int64_t epoch, uint64_t pause, pg_answer *answer, void *arg);

#endif
