/* A pooler in transaction mode hands the same backend to many clients, one transaction each. What we set in such a session, the
 * service would have in its own: search_path, synchronous_commit, a time-out. And a lock, a prepared statement or a LISTEN of
 * ours would be anybody's. So it is told apart before the first setting.
 *
 *     the backend's pid is what the login said          no pooler, nothing more is asked
 *     it is another, and stays ours while a second
 *     connection is there                               a pooler in session mode: each has a backend of its own
 *     both are served by one backend, or ours changes   a pooler in transaction (or statement) mode: refused
 *
 * Only the pooler's backend that was used last tells: it is the one that the next question gets. Where other clients are
 * quicker, ours changes instead. So both are asked in turns, a few times. */
#include "edge/pg_pooler.h"

#include <poll.h>
#include <stdlib.h>

#include "edge/loop.h"

/* Rounds: in a busy pool each finds it in two of three cases; only behind a pooler are they played at all. */
enum { ROUNDS = 20, PATIENCE_MS = 3000 };

static const char transaction_mode[] =
	"a connection pooler in transaction mode stands between: what boxhaul sets, locks and listens to would be everybody's. "
	"Connect to PostgreSQL itself, or to a pool in session mode";

/* Waits until the answer has come; false: not in that time. */
static bool wait_for_answer(PGconn *c)
{
	int64_t until = loop_now_ms() + PATIENCE_MS;

	while (PQconsumeInput(c) == 1) {
		struct pollfd p = { .fd = PQsocket(c), .events = POLLIN };
		int64_t left = until - loop_now_ms();

		if (PQisBusy(c) == 0)
			return true;
		if (left <= 0 || poll(&p, 1, (int)left) < 0)
			return false;
	}
	return false;
}

/* The pid of the backend that serves it now; 0: not known. */
static int backend_of(PGconn *c)
{
	PGresult *r, *end;
	int pid = 0;

	if (PQsendQuery(c, "SELECT pg_catalog.pg_backend_pid()") != 1 || !wait_for_answer(c))
		return 0;
	r = PQgetResult(c);
	if (PQresultStatus(r) == PGRES_TUPLES_OK)
		pid = (int)strtol(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	while ((end = PQgetResult(c)) != NULL)
		PQclear(end);
	return pid;
}

/* A second one that gets no backend while ours stands: ours is kept for us. */
static bool is_shared(PGconn *c, int backend, const char *const *keys, const char *const *values)
{
	PGconn *second = PQconnectdbParams(keys, values, 1);
	bool shared = false;

	for (int i = 0; i < ROUNDS && !shared && PQstatus(second) == CONNECTION_OK; i++) {
		int theirs = backend_of(second);

		if (theirs == 0)
			break;
		shared = theirs == backend || backend_of(c) != backend;
	}
	PQfinish(second);
	return shared;
}

const char *pg_pooler_objection(PGconn *c, const char *const *keys, const char *const *values)
{
	int backend = backend_of(c);

	if (backend == 0)
		return "the login was answered, and then nothing";
	return backend != PQbackendPID(c) && is_shared(c, backend, keys, values) ? transaction_mode : NULL;
}
