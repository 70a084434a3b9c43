#include "edge/pg_session.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/loop.h"
#include "edge/pg_answer.h"
#include "edge/pg_hosts.h"
#include "edge/pg_login.h"
#include "edge/pg_place.h"

struct pg_session {
	PGconn *conn;
	struct pg_result result;
};

/* What the server says unasked is for nobody; left to itself libpq writes it to stderr. */
static void on_notice(void *arg, const PGresult *r)
{
	(void)arg, (void)r;
}

/* A command waits as long as it must; it, or whoever called it, sets a limit of its own. A role's limits are meant for its
 * application. Those a server of an older version does not know are left out.
 *
 * Nor are statements compiled: each runs once, and to compile it takes longer. While tables are cut over nobody can write meanwhile. */
static const char patience[] =
	"SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings s WHERE s.name IN ('lock_timeout',"
	" 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout', 'jit')";

/* False with *why set. */
static bool set_patience(PGconn *c, char **why)
{
	PGresult *r = PQexec(c, patience);
	bool ok = PQresultStatus(r) == PGRES_TUPLES_OK;

	if (!ok)
		*why = pg_answer_line_of(PQerrorMessage(c));
	PQclear(r);
	return ok;
}

struct pg_session *pg_session_open(const struct pg_options *options, char *error, size_t error_size)
{
	struct pg_session *s = calloc(1, sizeof *s);
	char *why = NULL;

	if (s != NULL)
		s->conn = pg_login(options, &why);
	if (s == NULL || s->conn == NULL || !set_patience(s->conn, &why)) {
		snprintf(error, error_size, "%s", why != NULL ? why : "out of memory");
		free(why);
		pg_session_close(s);
		return NULL;
	}
	PQsetNoticeReceiver(s->conn, on_notice, NULL);
	return s;
}

/* Of a session. A server that does not tell has no timeline. */
struct place {
	int64_t system, timeline; /* 0: in recovery */
};

static struct place place_of(struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "SELECT " PG_PLACE_COLUMNS, 0, NULL);

	if (pg_error(r) != NULL || pg_text(r, 0, 0)[0] != 'f')
		return (struct place){ .system = 0 };
	return (struct place){ .system = strtoll(pg_text(r, 0, 1), NULL, 10),
			       .timeline = strtoll(pg_text(r, 0, 2), NULL, 10) };
}

/* Timelines of two systems say nothing of each other: the one that stands first is meant. */
static bool is_better(struct place a, struct place b)
{
	return a.timeline != 0 && (b.timeline == 0 || (a.system == b.system && a.timeline > b.timeline));
}

struct pg_session *pg_session_open_newest(const struct pg_options *options, char *error, size_t error_size)
{
	struct pg_session *best = pg_session_open(options, error, error_size);
	uint32_t hosts = best != NULL ? pg_hosts_count(options->conninfo) : 1;
	struct place place = hosts > 1 ? place_of(best) : (struct place){ .system = 0 };
	struct pg_options o = *options;

	for (uint32_t i = 1; i < hosts; i++) {
		char why[512]; /* one that does not answer is none of ours */
		struct pg_session *other;
		struct place its;

		o.turn = i;
		o.turn_alone = true;
		other = pg_session_open(&o, why, sizeof why);
		its = other != NULL ? place_of(other) : (struct place){ .system = 0 };
		if (is_better(its, place)) {
			pg_session_close(best);
			best = other;
			place = its;
		} else {
			pg_session_close(other);
		}
	}
	return best;
}

void pg_session_close(struct pg_session *s)
{
	if (s == NULL)
		return;
	PQclear(s->result.r);
	PQfinish(s->conn);
	free(s);
}

const struct pg_result *pg_session_run(struct pg_session *s, const char *sql, int count, const char *const *parameters)
{
	PQclear(s->result.r);
	s->result.r =
		count > 0 ? PQexecParams(s->conn, sql, count, NULL, parameters, NULL, NULL, 0) : PQexec(s->conn, sql);
	pg_answer_describe(&s->result);
	return &s->result;
}

bool pg_session_wait_notify(struct pg_session *s, int timeout_ms)
{
	int64_t until = loop_now_ms() + timeout_ms;
	PGnotify *n;

	for (;;) {
		struct pollfd p = { .fd = PQsocket(s->conn), .events = POLLIN };
		int64_t left = until - loop_now_ms();

		n = PQnotifies(s->conn);
		if (n != NULL) {
			PQfreemem(n);
			return true;
		}
		if (left <= 0 || poll(&p, 1, (int)left) < 0 || PQconsumeInput(s->conn) == 0)
			return false;
	}
}

int pg_session_server_version(const struct pg_session *s)
{
	return PQserverVersion(s->conn);
}
