#include "flow/capture_slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/pg.h"
#include "edge/pg_place.h"

enum { ASK, MAKE };

/* A day: an operator sees whom it waits for long before. Then it is tried again. */
static const uint32_t TIMEOUT_MS = 24 * 60 * 60 * 1000;

enum { NAME_BYTES = 64, WHY_BYTES = 512, SQLSTATE_BYTES = 6 };

struct capture_slot {
	struct loop *loop;
	struct pg_options login;
	struct capture_slot_handlers handlers;
	struct loop_timer *over;
	struct pg *pg; /* NULL: idle */
	char name[NAME_BYTES];
	enum config_capture_failover failover;
	struct served_place place;
	int64_t pid;
	bool ended; /* what came of it is told when the session is not in our hands any more */
	uint64_t lsn;
	char why[WHY_BYTES], sqlstate[SQLSTATE_BYTES]; /* "": it was made */
};

/* A session must not be closed under its own callback. */
static void on_over(void *arg)
{
	struct capture_slot *s = arg;

	if (!s->ended)
		return;
	capture_slot_end(s);
	if (s->why[0] != '\0')
		s->handlers.failed(s->handlers.arg, s->why, s->sqlstate);
	else
		s->handlers.made(s->handlers.arg, s->lsn);
}

static void over(struct capture_slot *s, const char *why, const char *sqlstate)
{
	s->ended = true;
	snprintf(s->why, sizeof s->why, "%s", why);
	snprintf(s->sqlstate, sizeof s->sqlstate, "%s", sqlstate);
	loop_timer_at(s->over, loop_now_ms());
}

static void on_made(void *arg, const struct pg_result *r)
{
	struct capture_slot *s = arg;

	if (pg_error(r) != NULL) {
		over(s, pg_error(r), pg_sqlstate(r));
		return;
	}
	s->lsn = (uint64_t)pg_int8(r, 0, 0);
	over(s, "", "");
}

/* The arguments by version: one that a server does not know is an error. Never two_phase: it would stay with the slot for good. */
static const char *statement_for(int64_t version)
{
	return version >= 170000
		       ? "SELECT lsn FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', false, false,"
			 " $2::pg_catalog.bool)"
		       : "SELECT lsn FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', false)";
}

static void on_asked(void *arg, const struct pg_result *r)
{
	enum { PID, SERVER_VERSION, IN_RECOVERY, SYSTEM, TIMELINE, SYNCHRONIZED };
	struct capture_slot *s = arg;
	const char *parameters[2] = { s->name };
	int64_t version;
	bool can, on;

	if (pg_error(r) != NULL) {
		over(s, pg_error(r), pg_sqlstate(r));
		return;
	}
	if (pg_int8(r, 0, IN_RECOVERY) != 0 || pg_int8(r, 0, SYSTEM) != s->place.system ||
	    pg_int8(r, 0, TIMELINE) != s->place.timeline) {
		over(s, "the session for the slot reached another server than the control session", "");
		return;
	}
	s->pid = pg_int8(r, 0, PID);
	version = pg_int8(r, 0, SERVER_VERSION);
	can = version >= 170000;
	on = s->failover == CONFIG_FAILOVER_ON ||
	     (s->failover == CONFIG_FAILOVER_AUTO && can && pg_int8(r, 0, SYNCHRONIZED) != 0);
	if (on && !can) {
		over(s, "failover = \"on\" needs PostgreSQL 17: before it a slot is not on the standbys", "0A000");
		return;
	}
	parameters[1] = on ? "true" : "false";
	if (!pg_send(s->pg, &(struct pg_statement){ MAKE, statement_for(version) }, parameters, can ? 2 : 1, on_made,
		     s))
		over(s, "a statement could not be sent", "");
}

static void on_up(void *arg)
{
	static const struct pg_statement ask = {
		ASK,
		"SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num')::pg_catalog.int4,"
		" " PG_PLACE_COLUMNS ","
		" coalesce(pg_catalog.current_setting('synchronized_standby_slots', true), '') <> '',"
		/* It waits for transactions as for locks. */
		" pg_catalog.set_config('lock_timeout', '0', false)"
	};
	struct capture_slot *s = arg;

	if (!s->ended && !pg_send(s->pg, &ask, NULL, 0, on_asked, s))
		over(s, "a statement could not be sent", "");
}

static void on_down(void *arg, const char *why)
{
	struct capture_slot *s = arg;

	if (!s->ended)
		over(s, why, "");
}

static void on_notified(void *arg, const char *payload)
{
	(void)arg;
	(void)payload;
}

struct capture_slot *capture_slot_create(struct loop *l, const struct pg_options *login,
					 const struct capture_slot_handlers *handlers)
{
	struct capture_slot *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->loop = l;
	s->login = *login;
	s->login.statement_timeout_ms = TIMEOUT_MS;
	s->handlers = *handlers;
	s->over = loop_timer(l, on_over, s);
	if (s->over != NULL)
		return s;
	free(s);
	return NULL;
}

/* Its session was ended while there was a loop. */
void capture_slot_free(struct capture_slot *s)
{
	free(s);
}

bool capture_slot_begin(struct capture_slot *s, const char *name, enum config_capture_failover failover,
			const struct served_place *place)
{
	const struct pg_handlers handlers = { .up = on_up, .down = on_down, .notified = on_notified, .arg = s };

	snprintf(s->name, sizeof s->name, "%s", name);
	s->failover = failover;
	s->place = *place;
	s->ended = false;
	s->pid = 0;
	s->pg = pg_open(s->loop, &s->login, &handlers);
	return s->pg != NULL;
}

void capture_slot_end(struct capture_slot *s)
{
	pg_close(s->pg);
	s->pg = NULL;
	s->pid = 0;
	s->ended = false;
	loop_timer_at(s->over, INT64_MAX);
}

bool capture_slot_is_busy(const struct capture_slot *s)
{
	return s->pg != NULL;
}

int64_t capture_slot_pid(const struct capture_slot *s)
{
	return s->pid;
}

const char *capture_slot_mend(const char *sqlstate)
{
	static const struct {
		const char *sqlstate, *mend;
	} known[] = {
		{ "55000", "set wal_level = logical, which needs a restart of the server" },
		{ "42501", "ALTER ROLE ... REPLICATION for the login of the captures" },
		{ "53400", "raise max_replication_slots, or drop slots that nobody needs" },
		{ "0A000", "set failover = \"auto\"" },
		/* those of this database were looked for before */
		{ "42710",
		  "another database of this server has a slot of this name: drop that slot, or give the capture another name" },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(known[i].sqlstate, sqlstate) == 0)
			return known[i].mend;
	return "";
}
