/* The settings of a session. */
#include "edge/pg_setup.h"

#include <inttypes.h>
#include <stdio.h>

#include "edge/pg_answer.h"
#include "edge/pg_login.h"

/* The server ends a statement after so long. */
enum { STATEMENT_TIMEOUT_MS = 30000 };

/* Settings of our session. Those a server of an older version does not know are left out.
 *
 * The keep-alives are the server's: the backend of a dead relay must not keep the leader's lock for hours. A database without an
 * encoding holds any bytes for text, and would answer with an error where they are no UTF-8: it must send them as they are. */
#define SETTINGS                                                                                                    \
	"('search_path', ''), ('idle_in_transaction_session_timeout', '10000'), ('idle_session_timeout', '0'),"     \
	" ('default_transaction_isolation', 'read committed'), ('client_min_messages', 'warning'),"                 \
	" ('client_encoding', CASE pg_catalog.current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII'" \
	"   ELSE 'UTF8' END),"                                                                                      \
	" ('tcp_keepalives_idle', '3'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'),"           \
	" ('tcp_user_timeout', '9000')"

/* The plans are pinned: a stale statistic must never turn "the next thousand ids" into a sort of the backlog.
 * A lost mark is repeated after a crash, so a commit need not wait for the disk. Rows that a policy hides must be an error:
 * to us a row that is not there was rolled back.
 *
 * None of it holds where other people's functions are called: their plans are the planner's, and what they have committed may be
 * published in the next moment, so it has to be on disk. */
#define SETTINGS_OF_OURS                                                                                                                             \
	SETTINGS                                                                                                                                     \
	", ('lock_timeout', '2000'), ('transaction_timeout', '0'), ('synchronous_commit', 'off'), ('row_security', 'off'), ('bytea_output', 'hex')," \
	" ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), ('plan_cache_mode', 'force_generic_plan'),"                                       \
	" ('jit', 'off')"

#define SET_ALL(settings)                                                            \
	"SELECT pg_catalog.set_config(s.name, v.value, false) FROM (VALUES" settings \
	", ('statement_timeout', '%" PRIu32 "')) AS v (name, value) JOIN pg_catalog.pg_settings s USING (name)"

uint32_t pg_setup_timeout_ms(const struct pg_options *o)
{
	return o->statement_timeout_ms != 0 ? o->statement_timeout_ms : STATEMENT_TIMEOUT_MS;
}

static PGresult *set_up(PGconn *c, const struct pg_options *o)
{
	char sql[sizeof(SET_ALL(SETTINGS_OF_OURS)) + 16];

	if (o->foreign_code)
		snprintf(sql, sizeof sql, SET_ALL(SETTINGS), pg_setup_timeout_ms(o));
	else
		snprintf(sql, sizeof sql, SET_ALL(SETTINGS_OF_OURS), pg_setup_timeout_ms(o));
	return PQexec(c, sql);
}

PGconn *pg_setup_session(const struct pg_options *o, char **why)
{
	PGconn *c = pg_login(o, why);
	PGresult *r;

	if (c == NULL)
		return NULL;
	r = set_up(c, o);
	if (PQresultStatus(r) != PGRES_TUPLES_OK || PQsetnonblocking(c, 1) != 0 || PQenterPipelineMode(c) != 1) {
		*why = pg_answer_line_of(PQerrorMessage(c));
		PQclear(r);
		PQfinish(c);
		return NULL;
	}
	PQclear(r);
	return c;
}
