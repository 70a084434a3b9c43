/* The beginning of a replication stream. */
#include "edge/pg_replication.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/pg_answer.h"
#include "edge/pg_login.h"
#include "edge/pg_wal_data.h"

enum { COMMAND_BYTES = 2048 };

static void keep_error(struct pg_replication_made *m, PGconn *c, const PGresult *r)
{
	const char *state = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	const char *primary = r != NULL ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;

	snprintf(m->sqlstate, sizeof m->sqlstate, "%s", state != NULL ? state : "");
	free(m->why);
	m->why = pg_answer_line_of(primary != NULL ? primary : PQerrorMessage(c));
}

/* "replication slot "x" is active for PID 4711": the number is the same in every language of the server, and the last one in it. */
static uint32_t pid_in(const char *words)
{
	uint32_t pid = 0;

	for (const char *at = words; *at != '\0';) {
		size_t digits = strspn(at, "0123456789");

		if (digits > 0)
			pid = (uint32_t)strtoul(at, NULL, 10);
		at += digits > 0 ? digits : 1;
	}
	return pid;
}

/* A result with one row, or NULL with the error kept. */
static PGresult *ask(struct pg_replication_made *m, PGconn *c, const char *command)
{
	PGresult *r = PQexec(c, command);

	if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1)
		return r;
	keep_error(m, c, r);
	PQclear(r);
	return NULL;
}

static bool read_lsn(const char *text, uint64_t *lsn)
{
	unsigned high, low;
	char behind;

	if (sscanf(text, "%X/%X%c", &high, &low, &behind) != 2)
		return false;
	*lsn = (uint64_t)high << 32 | low;
	return true;
}

/* By the replication protocol, for the file itself is for superusers. */
static bool find_fork(struct pg_replication_made *m, PGconn *c, uint32_t former)
{
	char command[64];
	PGresult *r;

	snprintf(command, sizeof command, "TIMELINE_HISTORY %" PRIu32, m->place.timeline);
	r = ask(m, c, command);
	if (r != NULL && PQnfields(r) >= 2) {
		m->place.forked = true;
		m->place.fork_lsn = pg_wal_data_fork(PQgetvalue(r, 0, 1), (size_t)PQgetlength(r, 0, 1), former);
	}
	PQclear(r);
	return m->place.forked;
}

static bool find_place(struct pg_replication_made *m, PGconn *c)
{
	PGresult *r = ask(m, c, "IDENTIFY_SYSTEM");
	bool ok = r != NULL && PQnfields(r) >= 3 && read_lsn(PQgetvalue(r, 0, 2), &m->place.flushed_lsn);

	if (ok) {
		m->place.system = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
		m->place.timeline = (uint32_t)strtoul(PQgetvalue(r, 0, 1), NULL, 10);
		m->place.version = PQserverVersion(c);
	}
	PQclear(r);
	if (!ok)
		return false;
	r = ask(m, c, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'"); /* in ms */
	if (r == NULL)
		return false;
	m->place.timeout_ms = (uint32_t)strtoul(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	return true;
}

/* As a literal: the quotes doubled. */
static void write_literal(char *out, size_t size, const char *text)
{
	size_t n = 0;

	out[n++] = '\'';
	for (; *text != '\0' && n + 4 < size; text++) {
		if (*text == '\'')
			out[n++] = '\'';
		out[n++] = *text;
	}
	out[n++] = '\'';
	out[n] = '\0';
}

/* By the server's version, and not by trial: an option that it does not know is an error. `two_phase` is never given: given once, the slot
 * keeps it for good. `binary` is left at its default, for keys are compared as text. Proto 1: a transaction comes whole and after its commit,
 * so the position of its commit, which is part of what its changes are called, is known before the first of them. */
static bool start_replication(struct pg_replication_made *m, PGconn *c, const struct pg_replication_start *s)
{
	char command[COMMAND_BYTES], publications[sizeof s->publications + 64];
	PGresult *r;
	bool ok;

	write_literal(publications, sizeof publications, s->publications);
	snprintf(command, sizeof command,
		 "START_REPLICATION SLOT \"%s\" LOGICAL %" PRIX32 "/%" PRIX32
		 " (proto_version '1', publication_names %s%s)",
		 s->slot, (uint32_t)(s->from_lsn >> 32), (uint32_t)s->from_lsn, publications,
		 s->messages && PQserverVersion(c) >= 140000 ? ", messages 'true'" : "");
	r = PQexec(c, command);
	ok = PQresultStatus(r) == PGRES_COPY_BOTH;
	if (!ok)
		keep_error(m, c, r);
	PQclear(r);
	if (!ok && strcmp(m->sqlstate, "55006") == 0 && m->why != NULL)
		m->pid = pid_in(m->why);
	return ok;
}

void pg_replication_begin(const struct pg_replication_start *s, struct pg_replication_made *m)
{
	PGconn *c = pg_login(&s->options, &m->why);

	if (c == NULL)
		return;
	if (!find_place(m, c) || (s->former_timeline != 0 && !find_fork(m, c, s->former_timeline)) ||
	    !start_replication(m, c, s) || PQsetnonblocking(c, 1) != 0) {
		if (m->why == NULL)
			keep_error(m, c, NULL);
		PQfinish(c);
		return;
	}
	m->conn = c;
}
