#include "books/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "books/codec.h"
#include "books/schema.h"
#include "edge/pg_place.h"

enum { NUMBERS_MAX = 6, NUMBER_BYTES = 24 };

#define RETENTION "pg_catalog.make_interval(secs => $2::pg_catalog.float8 / 1000)"

/* What each is called in the figures, and what it says. Those that say nothing here are flow/outbox_reader's. */
static const struct {
	const char *name, *sql;
} statements[STATEMENTS] = {
	[STATEMENT_FETCH] = { "fetch", NULL },
	[STATEMENT_FETCH_WANTED] = { "fetch_held", NULL },
	[STATEMENT_FETCH_SUMMED] = { "fetch_summed", NULL },
	[STATEMENT_FETCH_WANTED_SUMMED] = { "fetch_held_summed", NULL },
	[STATEMENT_FETCH_CAREFUL] = { "fetch_careful", NULL },
	[STATEMENT_HORIZON] = { "horizon", NULL },
	[STATEMENT_EVIDENCE] = { "evidence", NULL },
	[STATEMENT_READY] = {
		"ready",
		"SELECT " SCHEMA_COLUMNS ", " PG_PLACE_COLUMNS " FROM boxhaul.schema_version",
	},
	[STATEMENT_LEADER_LOCK] = { "leader_lock", "SELECT boxhaul.try_leader_lock()" },
	[STATEMENT_LISTEN] = { "listen", "LISTEN boxhaul" },
	[STATEMENT_LEAD] = {
		"lead",
		"SELECT epoch, at_position, fence, others_ms, first, coalesce((SELECT number FROM boxhaul.paused), 0),"
		" outbox::pg_catalog.int8, sequence::pg_catalog.int8, node, drawn, since::pg_catalog.text"
		"  FROM boxhaul.lead($1, $2)",
	},
	[STATEMENT_RESIGN] = { "resign", "SELECT boxhaul.resign($1, $2)" },
	/* The newest row of each stream, by the ids it covers: found from the end of the index. (A late id's row was written
	 * behind that of the mark that passed it.) Where that one does not know (0), an older one may be of a stream that has
	 * been lost since. */
	[STATEMENT_LOW_WATERS] = {
		"low_waters",
		"SELECT n.i - 1, s.low_water"
		"  FROM pg_catalog.jsonb_array_elements_text($1::pg_catalog.jsonb) WITH ORDINALITY AS n (name, i),"
		"       LATERAL (SELECT x.low_water FROM boxhaul.sent x WHERE x.stream = n.name"
		"                 ORDER BY x.last_id DESC, x.first_id DESC LIMIT 1) s",
	},
	[STATEMENT_EXCEPTIONS] = {
		"exceptions",
		"SELECT e.lo, e.hi, e.kind, e.lane, e.attempts,"
		"       pg_catalog.array_position(ARRAY(SELECT pg_catalog.jsonb_array_elements_text($1::pg_catalog.jsonb)),"
		"                                 e.stream)::pg_catalog.int8 - 1,"
		"       e.low_water,"
		"       EXISTS (SELECT FROM boxhaul.dead_letter d"
		"                WHERE d.id = e.lo AND e.kind = 'held' AND d.decision IS NOT NULL)"
		"  FROM boxhaul.exceptions e ORDER BY e.lo",
	},
	[STATEMENT_MARK] = { "mark", "SELECT boxhaul.mark($1, $2)" },
	[STATEMENT_ANNOUNCE] = { "announce", "SELECT boxhaul.announce($1)" },
	[STATEMENT_FENCE] = { "fence", "SELECT pg_catalog.pg_current_xact_id()" },
	[STATEMENT_RENEW] = { "renew", "SELECT 1" },
	[STATEMENT_CLEAN_SLOT] = { "clean_slot", "SELECT boxhaul.truncate_slot($1, $3, " RETENTION ")" },
	[STATEMENT_CLEAN_SENT] = { "clean_sent", "SELECT boxhaul.clean_sent($1, " RETENTION ", $3)" },
	[STATEMENT_CLEAN_WAKE] = { "clean_wake", "SELECT boxhaul.clean_wake($1)" },
	[STATEMENT_IDS_DIFFER] = { "ids_differ",
				   "SELECT boxhaul.ids_differ(), " SCHEMA_COLUMNS " FROM boxhaul.schema_version" },
	[STATEMENT_DECISIONS] = {
		"decisions",
		"SELECT id, decision = 'redrive' FROM boxhaul.dead_letter WHERE held AND decision IS NOT NULL ORDER BY id",
	},
	[STATEMENT_PAUSE] = { "pause", "SELECT number, told FROM boxhaul.pause_state() WHERE paused" },
	[STATEMENT_QUIET] = { "quiet", "SELECT boxhaul.quiet($1, $2)" },
	/* A handful of descents into indexes: never a look at the backlog itself. */
	[STATEMENT_BACKLOG] = {
		"backlog",
		"SELECT p.position, (SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1),"
		" (SELECT created_at FROM boxhaul.outbox WHERE id > CASE WHEN $1::pg_catalog.int8 < 0 THEN p.position ELSE $1 END"
		"   ORDER BY id LIMIT 1),"
		" CASE WHEN $2::pg_catalog.bool THEN (SELECT o.created_at FROM boxhaul.exceptions e,"
		"   LATERAL (SELECT x.created_at FROM boxhaul.outbox x WHERE x.id BETWEEN e.lo AND e.hi ORDER BY x.id LIMIT 1) o"
		"   WHERE e.kind IN ('parked', 'held') ORDER BY e.lo LIMIT 1) END,"
		" pg_catalog.statement_timestamp(),"
		" (SELECT pg_catalog.count(*) FROM (SELECT FROM boxhaul.dead_letter LIMIT 10000) d),"
		" (SELECT pg_catalog.count(*) FROM (SELECT FROM boxhaul.dead_letter WHERE held LIMIT 10000) d),"
		" CASE WHEN $3::pg_catalog.bool AND NOT EXISTS (SELECT FROM boxhaul.paused) THEN boxhaul.leader_pid() END,"
		" p.leader, a.messages, a.oldest, CASE WHEN $4::pg_catalog.bool THEN (SELECT h.key FROM boxhaul.hot() h) END,"
		" CASE WHEN $6::pg_catalog.bool THEN boxhaul.saga_unclocked() END"
		" FROM boxhaul.position p LEFT JOIN LATERAL boxhaul.appeared() a ON $5::pg_catalog.bool",
	},
};

_Static_assert((int)STATEMENTS <= (int)PG_STATEMENTS, "edge/pg.h has too little room");

const char *ledger_statement_name(unsigned number)
{
	return statements[number].name;
}

/* --- asking --- */

static bool ask(struct pg *pg, unsigned number, const char *const *parameters, int count, pg_answer *answer, void *arg)
{
	return pg_send(pg, &(struct pg_statement){ number, statements[number].sql }, parameters, count, answer, arg);
}

static const char *text_of(int64_t number, char out[NUMBER_BYTES])
{
	snprintf(out, NUMBER_BYTES, "%" PRId64, number);
	return out;
}

/* Parameters that are all numbers; a bool is 0 or 1. */
static bool ask_numbers(struct pg *pg, unsigned number, const int64_t *numbers, int count, pg_answer *answer, void *arg)
{
	const char *parameters[NUMBERS_MAX];
	char texts[NUMBERS_MAX][NUMBER_BYTES];

	for (int i = 0; i < count; i++)
		parameters[i] = text_of(numbers[i], texts[i]);
	return ask(pg, number, parameters, count, answer, arg);
}

/* One parameter: the names of the streams. */
static bool ask_streams(struct pg *pg, unsigned number, const char *const *streams, size_t count, pg_answer *answer,
			void *arg)
{
	char *names = codec_streams(streams, count);
	bool ok = names != NULL && ask(pg, number, &(const char *){ names }, 1, answer, arg);

	free(names);
	return ok;
}

bool ledger_ready(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_READY, NULL, 0, answer, arg);
}

bool ledger_try_lock(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_LEADER_LOCK, NULL, 0, answer, arg);
}

bool ledger_listen(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_LISTEN, NULL, 0, answer, arg);
}

bool ledger_lead(struct pg *pg, const char *leader, uint32_t lease_ms, pg_answer *answer, void *arg)
{
	char lease[NUMBER_BYTES];

	return ask(pg, STATEMENT_LEAD, (const char *const[]){ leader, text_of(lease_ms, lease) }, 2, answer, arg);
}

bool ledger_resign(struct pg *pg, int64_t epoch, int64_t others_ms, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_RESIGN, (int64_t[]){ epoch, others_ms }, 2, answer, arg);
}

bool ledger_low_waters(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg)
{
	return ask_streams(pg, STATEMENT_LOW_WATERS, streams, count, answer, arg);
}

bool ledger_exceptions(struct pg *pg, const char *const *streams, size_t count, pg_answer *answer, void *arg)
{
	return ask_streams(pg, STATEMENT_EXCEPTIONS, streams, count, answer, arg);
}

bool ledger_mark(struct pg *pg, int64_t epoch, const struct mark *mark, const char *const *streams,
		 const struct reasons *reasons, pg_answer *answer, void *arg)
{
	char *batch = codec_mark(mark, streams, reasons), e[NUMBER_BYTES];
	bool ok = batch != NULL &&
		  ask(pg, STATEMENT_MARK, (const char *const[]){ text_of(epoch, e), batch }, 2, answer, arg);

	free(batch);
	return ok;
}

bool ledger_announce(struct pg *pg, uint32_t asleep_seconds, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_ANNOUNCE, (int64_t[]){ asleep_seconds }, 1, answer, arg);
}

bool ledger_fence(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_FENCE, NULL, 0, answer, arg);
}

bool ledger_renew(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_RENEW, NULL, 0, answer, arg);
}

bool ledger_clean_slot(struct pg *pg, int64_t epoch, uint64_t retention_ms, int slot, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_CLEAN_SLOT, (int64_t[]){ epoch, (int64_t)retention_ms, slot }, 3, answer, arg);
}

bool ledger_clean_sent(struct pg *pg, int64_t epoch, uint64_t retention_ms, int most, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_CLEAN_SENT, (int64_t[]){ epoch, (int64_t)retention_ms, most }, 3, answer, arg);
}

bool ledger_clean_wake(struct pg *pg, int most, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_CLEAN_WAKE, (int64_t[]){ most }, 1, answer, arg);
}

bool ledger_ids_differ(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_IDS_DIFFER, NULL, 0, answer, arg);
}

bool ledger_decisions(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_DECISIONS, NULL, 0, answer, arg);
}

bool ledger_backlog(struct pg *pg, const struct ledger_backlog_question *q, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_BACKLOG,
			   (int64_t[]){ q->above, q->held, q->holder, q->hot, q->missing, q->sagas }, 6, answer, arg);
}

bool ledger_pause(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, STATEMENT_PAUSE, NULL, 0, answer, arg);
}

bool ledger_quiet(struct pg *pg, int64_t epoch, uint64_t pause, pg_answer *answer, void *arg)
{
	return ask_numbers(pg, STATEMENT_QUIET, (int64_t[]){ epoch, (int64_t)pause }, 2, answer, arg);
}
