/* The statements, and arrays written as text: '{1,2,3}'. Marks are small, so text costs nothing that matters. */
#include "ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/refusal.h"

static const struct pg_statement ready = {
	STATEMENT_READY,
	"SELECT pg_catalog.max(version), pg_catalog.pg_is_in_recovery(),"
	" pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4,"
	" (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
	" CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN ('x' || pg_catalog.left(pg_catalog.pg_walfile_name("
	"  pg_catalog.pg_current_wal_lsn()), 8))::pg_catalog.bit(32)::pg_catalog.int8 END"
	" FROM boxhaul.schema_version"
};

/* The lock belongs to the database, and to the session: lose the connection, lose the lead. */
static const struct pg_statement leader_lock = { STATEMENT_LEADER_LOCK,
						 "SELECT pg_catalog.pg_try_advisory_lock(1651472488, 1)" };

static const struct pg_statement listen_ = { STATEMENT_LISTEN, "LISTEN boxhaul" };

static const struct pg_statement lead = {
	STATEMENT_LEAD,
	"SELECT epoch, at_position, fence, others_ms, first, coalesce((SELECT number FROM boxhaul.paused), 0)"
	"  FROM boxhaul.lead($1, $2)"
};

static const struct pg_statement resign_ = { STATEMENT_RESIGN, "SELECT boxhaul.resign($1, $2)" };

/* The newest row of each stream, by the ids it covers: found from the end of the index. (A late id's row was written behind that
 * of the mark that passed it.) Where that one does not know (0), an older
 * one may be of a stream that has been lost since. */
static const struct pg_statement floors = {
	STATEMENT_FLOORS, "SELECT n.i - 1, s.last_seq"
			  "  FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS n (name, i),"
			  "       LATERAL (SELECT x.last_seq FROM boxhaul.sent x WHERE x.stream = n.name"
			  "                 ORDER BY x.last_id DESC, x.first_id DESC LIMIT 1) s"
};

static const struct pg_statement exceptions = {
	STATEMENT_EXCEPTIONS,
	"SELECT e.lo, e.hi, pg_catalog.left(e.kind, 1), e.lane, e.attempts,"
	"       pg_catalog.array_position($1::pg_catalog.text[], e.stream)::pg_catalog.int8 - 1, e.seq,"
	"       EXISTS (SELECT FROM boxhaul.dead_letter d"
	"                WHERE d.id = e.lo AND e.kind = 'held' AND d.decision IS NOT NULL)"
	"  FROM boxhaul.exceptions e ORDER BY e.lo"
};

static const struct pg_statement mark_ = {
	STATEMENT_MARK,
	"SELECT boxhaul.mark($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
};

static const struct pg_statement announce = { STATEMENT_ANNOUNCE, "SELECT boxhaul.announce($1)" };

static const struct pg_statement fence = { STATEMENT_FENCE, "SELECT pg_catalog.pg_current_xact_id()" };

static const struct pg_statement renew = { STATEMENT_RENEW, "SELECT 1" };

static const struct pg_statement clean = {
	STATEMENT_CLEAN, "SELECT boxhaul.clean($1, pg_catalog.make_interval(secs => $2::pg_catalog.float8 / 1000))"
};

static const struct pg_statement decisions = {
	STATEMENT_DECISIONS,
	"SELECT id, decision = 'redrive' FROM boxhaul.dead_letter WHERE held AND decision IS NOT NULL ORDER BY id"
};

static const struct pg_statement pause_ = {
	STATEMENT_PAUSE,
	"SELECT number, 'by ' || paused_by || ' since ' || pg_catalog.to_char(since, 'YYYY-MM-DD HH24:MI:SS TZ')"
	"       || coalesce(': ' || reason, '')"
	"  FROM boxhaul.paused"
};

static const struct pg_statement quiet = { STATEMENT_QUIET, "SELECT boxhaul.quiet($1, $2)" };

/* A handful of descents into indexes: never a look at the backlog itself. */
static const struct pg_statement backlog = {
	STATEMENT_BACKLOG,
	"SELECT p.position, (SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1),"
	" (SELECT created_at FROM boxhaul.outbox WHERE id > CASE WHEN $1::pg_catalog.int8 < 0 THEN p.position ELSE $1 END"
	"   ORDER BY id LIMIT 1),"
	" CASE WHEN $2::pg_catalog.bool THEN (SELECT o.created_at FROM boxhaul.exceptions e,"
	"   LATERAL (SELECT x.created_at FROM boxhaul.outbox x WHERE x.id BETWEEN e.lo AND e.hi ORDER BY x.id LIMIT 1) o"
	"   WHERE e.kind IN ('parked', 'held') ORDER BY e.lo LIMIT 1) END,"
	" pg_catalog.statement_timestamp(),"
	" (SELECT pg_catalog.count(*) FROM (SELECT FROM boxhaul.dead_letter LIMIT 10000) d),"
	" (SELECT pg_catalog.count(*) FROM (SELECT FROM boxhaul.dead_letter WHERE held LIMIT 10000) d),"
	" CASE WHEN $3::pg_catalog.bool AND NOT EXISTS (SELECT FROM boxhaul.paused) THEN (SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted"
	"   AND classid = 1651472488 AND objid = 1 AND database = (SELECT oid FROM pg_catalog.pg_database"
	"   WHERE datname = pg_catalog.current_database()) LIMIT 1) END,"
	" p.leader"
	" FROM boxhaul.position p"
};

const char *ledger_statement_name(unsigned number)
{
	static const char *const names[STATEMENTS] = {
		[STATEMENT_FETCH] = "fetch",
		[STATEMENT_FETCH_WANTED] = "fetch_held",
		[STATEMENT_FETCH_SUMMED] = "fetch_summed",
		[STATEMENT_FETCH_WANTED_SUMMED] = "fetch_held_summed",
		[STATEMENT_HORIZON] = "horizon",
		[STATEMENT_EVIDENCE] = "evidence",
		[STATEMENT_LEADER_LOCK] = "leader_lock",
		[STATEMENT_LEAD] = "lead",
		[STATEMENT_FLOORS] = "floors",
		[STATEMENT_RESIGN] = "resign",
		[STATEMENT_EXCEPTIONS] = "exceptions",
		[STATEMENT_MARK] = "mark",
		[STATEMENT_ANNOUNCE] = "announce",
		[STATEMENT_FENCE] = "fence",
		[STATEMENT_RENEW] = "renew",
		[STATEMENT_CLEAN] = "clean",
		[STATEMENT_DECISIONS] = "decisions",
		[STATEMENT_READY] = "ready",
		[STATEMENT_LISTEN] = "listen",
		[STATEMENT_BACKLOG] = "backlog",
		[STATEMENT_PAUSE] = "pause",
		[STATEMENT_QUIET] = "quiet",
	};

	return number < STATEMENTS && names[number] != NULL ? names[number] : "other";
}

static struct pg_parameter text(const char *s)
{
	return (struct pg_parameter){ .value = s };
}

bool ledger_ready(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &ready, NULL, 0, answer, arg);
}

bool ledger_try_lock(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &leader_lock, NULL, 0, answer, arg);
}

bool ledger_listen(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &listen_, NULL, 0, answer, arg);
}

bool ledger_lead(struct pg *pg, const char *leader, uint32_t lease_ms, pg_answer *answer, void *arg)
{
	char lease[24];

	snprintf(lease, sizeof lease, "%" PRIu32, lease_ms);
	return pg_send(pg, &lead, (struct pg_parameter[]){ text(leader), text(lease) }, 2, answer, arg);
}

bool ledger_resign(struct pg *pg, int64_t epoch, int64_t others_ms, pg_answer *answer, void *arg)
{
	char e[24], others[24];

	snprintf(e, sizeof e, "%" PRId64, epoch);
	snprintf(others, sizeof others, "%" PRId64, others_ms);
	return pg_send(pg, &resign_, (struct pg_parameter[]){ text(e), text(others) }, 2, answer, arg);
}

bool ledger_announce(struct pg *pg, bool asleep, pg_answer *answer, void *arg)
{
	return pg_send(pg, &announce, &(struct pg_parameter){ .value = asleep ? "t" : "f" }, 1, answer, arg);
}

bool ledger_fence(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &fence, NULL, 0, answer, arg);
}

bool ledger_renew(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &renew, NULL, 0, answer, arg);
}

bool ledger_clean(struct pg *pg, int64_t epoch, uint64_t retention_ms, pg_answer *answer, void *arg)
{
	char e[24], r[24];

	snprintf(e, sizeof e, "%" PRId64, epoch);
	snprintf(r, sizeof r, "%" PRIu64, retention_ms);
	return pg_send(pg, &clean, (struct pg_parameter[]){ text(e), text(r) }, 2, answer, arg);
}

bool ledger_decisions(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &decisions, NULL, 0, answer, arg);
}

bool ledger_backlog(struct pg *pg, int64_t above, bool held, bool holder, pg_answer *answer, void *arg)
{
	char a[24];

	snprintf(a, sizeof a, "%" PRId64, above);
	return pg_send(pg, &backlog,
		       (struct pg_parameter[]){ text(a), text(held ? "t" : "f"), text(holder ? "t" : "f") }, 3, answer,
		       arg);
}

int64_t ledger_since_us(const struct pg_result *r, int row, int column, int now, int64_t asked_us)
{
	int64_t age, since, latest = loop_now_us();

	/* Whoever inserted the row may have written anything there, infinity included. */
	if (pg_is_null(r, row, column) || __builtin_sub_overflow(pg_int8(r, row, now), pg_int8(r, row, column), &age) ||
	    __builtin_sub_overflow(asked_us, age, &since))
		return latest;
	return since < latest ? since : latest;
}

bool ledger_pause(struct pg *pg, pg_answer *answer, void *arg)
{
	return pg_send(pg, &pause_, NULL, 0, answer, arg);
}

bool ledger_quiet(struct pg *pg, int64_t epoch, uint64_t pause, pg_answer *answer, void *arg)
{
	char e[24], number[24];

	snprintf(e, sizeof e, "%" PRId64, epoch);
	snprintf(number, sizeof number, "%" PRIu64, pause);
	return pg_send(pg, &quiet, (struct pg_parameter[]){ text(e), text(number) }, 2, answer, arg);
}

/* --- the mark --- */

/* Twenty parameters; each array is a memory stream. */
enum { ARRAYS = 18 };

_Static_assert((int)ARRAYS + 2 <= (int)PG_PARAMETERS && (int)STATEMENTS <= (int)PG_STATEMENTS,
	       "edge/pg.h has too little room");

struct arrays {
	FILE *f[ARRAYS];
	char *text[ARRAYS];
	size_t bytes[ARRAYS];
	size_t count[ARRAYS];
	bool failed;
};

enum {
	GONE_LO,
	NEW_LO,
	NEW_HI,
	NEW_KIND,
	NEW_LANE,
	NEW_ATTEMPTS,
	NEW_ERROR,
	NEW_STREAM,
	NEW_SEQ,
	DEAD_ID,
	DEAD_REASON,
	DEAD_ATTEMPTS,
	DEAD_HELD,
	UNDEAD_ID,
	SENT_FIRST,
	SENT_LAST,
	SENT_STREAM,
	SENT_SEQ,
};

static void open_arrays(struct arrays *a)
{
	memset(a, 0, sizeof *a);
	for (int i = 0; i < ARRAYS; i++) {
		a->f[i] = open_memstream(&a->text[i], &a->bytes[i]);
		if (a->f[i] == NULL || fputc('{', a->f[i]) == EOF)
			a->failed = true;
	}
}

static void close_arrays(struct arrays *a)
{
	for (int i = 0; i < ARRAYS; i++)
		if (a->f[i] != NULL && (fputc('}', a->f[i]) == EOF || fclose(a->f[i]) != 0))
			a->failed = true;
}

static void free_arrays(struct arrays *a)
{
	for (int i = 0; i < ARRAYS; i++)
		free(a->text[i]);
}

static FILE *element(struct arrays *a, int i)
{
	if (a->count[i]++ > 0)
		fputc(',', a->f[i]);
	return a->f[i];
}

static void add_int(struct arrays *a, int i, int64_t v)
{
	fprintf(element(a, i), "%" PRId64, v);
}

/* NULL is NULL; quotes and backslashes are escaped. */
static void add_text(struct arrays *a, int i, const char *s)
{
	FILE *f = element(a, i);

	if (s == NULL) {
		fputs("NULL", f);
		return;
	}
	fputc('"', f);
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

/* Codes of the server that are not in our table are named by number. */
static void add_reason(struct arrays *a, int i, uint32_t reason)
{
	char line[128];

	if (reason == REASON_NONE) {
		add_text(a, i, NULL);
		return;
	}
	if (reason >= 10000)
		snprintf(line, sizeof line, "%s (%" PRIu32 ")", refusal_text(reason), reason);
	else
		snprintf(line, sizeof line, "%s", refusal_text(reason));
	add_text(a, i, line);
}

static void add_exceptions(struct arrays *a, const struct mark *m, const char *const *streams)
{
	static const char *const kinds[] = {
		[EXCEPTION_MISSING] = "missing",
		[EXCEPTION_PARKED] = "parked",
		[EXCEPTION_HELD] = "held",
		[EXCEPTION_ACTIVE] = "active",
	};

	for (size_t i = 0; i < m->gone_count; i++)
		add_int(a, GONE_LO, m->gone[i]);
	for (size_t i = 0; i < m->added_count; i++) {
		const struct exception_row *e = &m->added[i];

		add_int(a, NEW_LO, e->lo);
		add_int(a, NEW_HI, e->hi);
		add_text(a, NEW_KIND, kinds[e->kind]);
		if (e->lane != 0)
			add_int(a, NEW_LANE, (int64_t)e->lane);
		else
			add_text(a, NEW_LANE, NULL);
		add_int(a, NEW_ATTEMPTS, e->attempts);
		add_reason(a, NEW_ERROR, e->reason);
		add_text(a, NEW_STREAM, e->floor != FLOOR_NONE ? streams[e->stream] : NULL);
		if (e->floor != FLOOR_NONE || e->doubted)
			add_int(a, NEW_SEQ, e->floor != FLOOR_NONE ? (int64_t)e->floor : 0);
		else
			add_text(a, NEW_SEQ, NULL);
	}
}

static void add_letters(struct arrays *a, const struct mark *m)
{
	for (size_t i = 0; i < m->dead_count; i++) {
		add_int(a, DEAD_ID, m->dead[i].id);
		add_reason(a, DEAD_REASON, m->dead[i].reason);
		add_int(a, DEAD_ATTEMPTS, m->dead[i].attempts);
		fputc(m->dead[i].held ? 't' : 'f', element(a, DEAD_HELD));
	}
	for (size_t i = 0; i < m->undead_count; i++)
		add_int(a, UNDEAD_ID, m->undead[i]);
}

static void add_sent(struct arrays *a, const struct mark *m, const char *const *streams)
{
	for (size_t i = 0; i < m->sent_count; i++) {
		add_int(a, SENT_FIRST, m->sent[i].first);
		add_int(a, SENT_LAST, m->sent[i].last);
		add_text(a, SENT_STREAM, streams[m->sent[i].stream]);
		add_int(a, SENT_SEQ, (int64_t)m->sent[i].sequence);
	}
}

/* One parameter: the names of the streams. */
static bool send_streams(struct pg *pg, const struct pg_statement *statement, const char *const *streams, size_t count,
			 pg_answer *answer, void *arg)
{
	struct arrays a;
	bool ok = false;

	open_arrays(&a);
	for (size_t i = 0; i < count && !a.failed; i++)
		add_text(&a, 0, streams[i]);
	close_arrays(&a);
	if (!a.failed)
		ok = pg_send(pg, statement, &(struct pg_parameter){ .value = a.text[0] }, 1, answer, arg);
	free_arrays(&a);
	return ok;
}

bool ledger_floors(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg)
{
	return send_streams(pg, &floors, streams, count, answer, arg);
}

bool ledger_exceptions(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg)
{
	return send_streams(pg, &exceptions, streams, count, answer, arg);
}

bool ledger_mark(struct pg *pg, int64_t epoch, const struct mark *mark, const char *const *streams, pg_answer *answer,
		 void *arg)
{
	struct pg_parameter p[2 + ARRAYS];
	struct arrays a;
	char e[24], to[24];
	bool ok = false;

	open_arrays(&a);
	if (!a.failed) {
		add_exceptions(&a, mark, streams);
		add_letters(&a, mark);
		add_sent(&a, mark, streams);
	}
	close_arrays(&a);
	snprintf(e, sizeof e, "%" PRId64, epoch);
	snprintf(to, sizeof to, "%" PRId64, mark->position);
	p[0] = text(e);
	p[1] = text(to);
	for (int i = 0; i < ARRAYS; i++)
		p[2 + i] = text(a.text[i]);
	if (!a.failed)
		ok = pg_send(pg, &mark_, p, 2 + ARRAYS, answer, arg);
	free_arrays(&a);
	return ok;
}
