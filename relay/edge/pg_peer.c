/* libpq has no code for a login that failed, only words, in the server's language. But of a connection that is made step by step it
 * can be asked to say the SQLSTATE instead of words. */
#include "edge/pg_peer.h"

#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "edge/loop.h"

enum { PATIENCE_MS = 5000 };

/* Of the connection's own: invalid_authorization_specification. */
static const char refused[] = ":  28000";

static bool wait_for(PGconn *c, short events, int64_t until_ms)
{
	struct pollfd p = { .fd = PQsocket(c), .events = events };
	int64_t left_ms = until_ms - loop_now_ms();

	return p.fd >= 0 && left_ms > 0 && poll(&p, 1, (int)left_ms) > 0;
}

/* To its end, whichever. */
static void connect_by_steps(PGconn *c)
{
	int64_t until_ms = loop_now_ms() + PATIENCE_MS;
	PostgresPollingStatusType next = PGRES_POLLING_WRITING;

	while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
		if (!wait_for(c, next == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ms))
			return;
		next = PQconnectPoll(c);
	}
}

static bool is_ours(const char *user)
{
	const struct passwd *me = getpwuid(geteuid());

	return me != NULL && strcmp(me->pw_name, user) == 0;
}

bool pg_peer_wanted(const struct pg_options *options, char *user, size_t size)
{
	const char *const keys[] = { "application_name", "dbname", NULL };
	const char *const values[] = { options->application_name, options->conninfo, NULL };
	PGconn *c = PQconnectStartParams(keys, values, 1);
	bool wanted = false;

	if (c != NULL && PQstatus(c) != CONNECTION_BAD) {
		PQsetErrorVerbosity(c, PQERRORS_SQLSTATE);
		connect_by_steps(c);
		wanted = PQstatus(c) == CONNECTION_BAD && PQhost(c) != NULL && PQhost(c)[0] == '/' &&
			 PQconnectionNeedsPassword(c) == 0 && strstr(PQerrorMessage(c), refused) != NULL &&
			 PQuser(c) != NULL && !is_ours(PQuser(c));
	}
	if (wanted)
		snprintf(user, size, "%s", PQuser(c));
	PQfinish(c);
	return wanted;
}
