#include "books/capture_ledger.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/capture_tables.h"

enum { NUMBER_BYTES = 24 };

/* A key as the core has it: in one piece (format/capture_key.h). */
#define IN_ONE_PIECE(column)                                                                            \
	"(SELECT pg_catalog.string_agg(pg_catalog.int4send(pg_catalog.octet_length(k.b)) || k.b, ''"    \
	" ORDER BY k.n) FROM (SELECT pg_catalog.convert_to(u.x, pg_catalog.pg_client_encoding()), u.n " \
	"  FROM pg_catalog.unnest(" column ") WITH ORDINALITY u (x, n)) k (b, n))"

/* Of a table that is verified, the pass's. */
#define NOW(column) "CASE WHEN v.pass IS NULL THEN t." column " ELSE v." column " END"

/* The names of its columns now, in the order of the index by which rows are read, in one piece, too. */
#define KEY                                                                                              \
	"(SELECT pg_catalog.string_agg(pg_catalog.int4send(pg_catalog.octet_length(k.b)) || k.b, ''"     \
	" ORDER BY k.n) FROM (SELECT pg_catalog.convert_to(a.attname, pg_catalog.pg_client_encoding())," \
	"  n.n FROM boxhaul.capture_key_of(pg_catalog.to_regclass(t.tab)) i,"                            \
	"  pg_catalog.unnest(i.key) WITH ORDINALITY n (number, n), pg_catalog.pg_attribute a"            \
	"  WHERE a.attrelid = pg_catalog.to_regclass(t.tab) AND a.attnum = n.number) k (b, n))"

static const struct {
	const char *name, *sql;
} statements[CAPTURE_STATEMENTS] = {
	[CAPTURE_STATEMENT_LOCK] = { "capture_lock", "SELECT boxhaul.capture_try_lock($1)" },
	[CAPTURE_STATEMENT_UNLOCK] = { "capture_unlock", "SELECT boxhaul.capture_unlock($1)" },
	[CAPTURE_STATEMENT_DEFINE] = { "capture_define",
				       "SELECT pg_catalog.array_to_string(boxhaul.capture_define($1, $2, $3), '; ')" },
	[CAPTURE_STATEMENT_LEAD] = { "capture_lead", "SELECT (l.books).epoch, l.promoted, (l.books).resigned_lsn"
						     " FROM boxhaul.capture_lead($1, $2) l" },
	[CAPTURE_STATEMENT_BOOKS] = { "capture_books",
				      "SELECT c.state, c.reason, c.detail, c.slot, c.incarnation, c.system_id, c.end_lsn,"
				      " c.commit_time, c.ordinal, c.low_water, pg_catalog.pg_current_wal_insert_lsn(),"
				      " CASE WHEN c.paused_at IS NOT NULL THEN c.pauses ELSE 0 END,"
				      " c.stream_sequence, c.stream_time, c.stream_created, c.former_timeline"
				      " FROM boxhaul.capture c WHERE c.name = $1 AND c.epoch = $2" },
	/* clang-format off */
	[CAPTURE_STATEMENT_TABLES] = { "capture_tables",
		"SELECT t.tab, " NOW("state") ", " NOW("reading") ", " NOW("readings") ","
		" coalesce(k.first, 0), coalesce(k.last - k.first + 1, 0), " NOW("filenode") ", " NOW("rows") ","
		" t.snapshot_id::pg_catalog.text, t.history::pg_catalog.text, t.columns::pg_catalog.text, " IN_ONE_PIECE(NOW("cursor")) ","
		" " IN_ONE_PIECE(NOW("top")) ", t.rows_estimate, " KEY ", t.state = 'unproved', t.snapshot = 'whole',"
		" v.pass, v.id::pg_catalog.text, v.whole, v.keys, v.repair, " IN_ONE_PIECE("v.columns")
		" FROM boxhaul.capture_table t LEFT JOIN LATERAL"
		" (SELECT pg_catalog.min(r.reading) AS first, pg_catalog.max(r.reading) AS last"
		" FROM boxhaul.capture_repair r WHERE r.capture = t.capture AND r.tab = t.tab) k ON true"
		" LEFT JOIN boxhaul.capture_verify v ON v.capture = t.capture AND v.tab = t.tab"
		" AND v.state IN ('waiting', 'reading', 'read') AND t.state IN ('complete', 'unproved')"
		" WHERE t.capture = $1" },
	/* clang-format on */
	[CAPTURE_STATEMENT_RESIGN] = { "capture_resign", "SELECT boxhaul.capture_resign($1, $2, $3)" },
	[CAPTURE_STATEMENT_LIVE] = { "capture_live", "SELECT boxhaul.capture_live($1, $2, $3, $4)" },
	[CAPTURE_STATEMENT_GAP] = { "capture_gap", "SELECT boxhaul.capture_gap($1, $2, $3, $4)" },
	[CAPTURE_STATEMENT_EXAMINE] = { "capture_examine",
					"SELECT state, reason, detail, exist, active_pid, confirmed_lsn, retained, lag, spare,"
					" pause, superseded, slot, incarnation, paused, letters, pass, diverged, copied"
					" FROM boxhaul.capture_examine($1, $2, $3)" },
	[CAPTURE_STATEMENT_FORKED] = { "capture_forked", "SELECT taken, pg_catalog.array_to_string(tables, ', ')"
							 " FROM boxhaul.capture_forked($1, $2, $3, $4)" },
	[CAPTURE_STATEMENT_HERE] = { "capture_here", "SELECT pg_catalog.pg_current_wal_insert_lsn()" },
	[CAPTURE_STATEMENT_MARK] = { "capture_mark", "SELECT boxhaul.capture_mark($1, $2, $3, $4)" },
	[CAPTURE_STATEMENT_DIFFERS] = { "capture_differs", "SELECT tab, why FROM boxhaul.capture_differs($1)" },
	[CAPTURE_STATEMENT_WATCH] = { "capture_watch",
				      "SELECT pg_catalog.array_to_string(boxhaul.capture_watch($1, $2), ', ')" },
	[CAPTURE_STATEMENT_FREE] = { "capture_free", "SELECT boxhaul.capture_free($1, $2, $3)" },
	[CAPTURE_STATEMENT_RESYNC] = { "capture_resync", "SELECT boxhaul.capture_resync($1)" },
	[CAPTURE_STATEMENT_WAITS] = { "capture_waits", "SELECT boxhaul.capture_waits($1)" },
	[CAPTURE_STATEMENT_CARRIED] = { "capture_carried", "SELECT k.ordinal, k.lane, k.low_water, k.bytes, k.held"
							   " FROM boxhaul.capture_carried k WHERE k.capture = $1"
							   " ORDER BY k.ordinal" },
	[CAPTURE_STATEMENT_FETCH] = { "capture_fetch",
				      "SELECT f.ordinal, f.message_id::pg_catalog.text, f.subject, f.position, f.tab, f.why,"
				      " f.payload, f.headers, f.key, f.wire_bytes, f.defect"
				      " FROM boxhaul.capture_fetch($1, $2, $3) f" },
};

_Static_assert((int)CAPTURE_STATEMENT_RESYNC < (int)STATEMENT_RENEW &&
		       (int)CAPTURE_STATEMENTS <= (int)STATEMENT_READY &&
		       (int)CAPTURE_STATEMENTS <= (int)STATEMENT_LISTEN,
	       "unique numbers in one session");

const char *capture_ledger_statement_name(unsigned number)
{
	return number < CAPTURE_STATEMENTS && statements[number].name != NULL ? statements[number].name
	       : number < STATEMENTS                                          ? ledger_statement_name(number)
									      : "other";
}

/* --- asking --- */

static bool ask(struct pg *pg, unsigned number, const char *const *parameters, int count, pg_answer *answer, void *arg)
{
	return pg_send(pg, &(struct pg_statement){ number, statements[number].sql }, parameters, count, answer, arg);
}

struct number {
	char text[NUMBER_BYTES];
};

/* Borrows from `n`, which it writes. */
static const char *number(struct number *n, int64_t value)
{
	/* cppcheck-suppress ctuuninitvar ; it is written here, and read by nobody before */
	snprintf(n->text, sizeof n->text, "%" PRId64, value);
	return n->text;
}

/* NULL for 0. */
static const char *position(struct number *n, uint64_t lsn)
{
	if (lsn == 0)
		return NULL;
	/* cppcheck-suppress ctuuninitvar ; as above */
	snprintf(n->text, sizeof n->text, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
	return n->text;
}

/* --- the lead --- */

bool capture_ledger_try_lock(struct pg *pg, const char *capture, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_LOCK, (const char *[]){ capture }, 1, answer, arg);
}

bool capture_ledger_unlock(struct pg *pg, const char *capture, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_UNLOCK, (const char *[]){ capture }, 1, answer, arg);
}

static void add_table(json_t *list, const char *table, const char *snapshot, bool inserts_only)
{
	json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "table", table, "snapshot", snapshot, "inserts_only",
					      (int)inserts_only));
}

bool capture_ledger_definition(struct capture_definition *d, const struct config *config, size_t index)
{
	const struct config_capture *c = &config->captures[index];
	json_t *list = json_array();
	size_t count = capture_tables_count(c);

	for (size_t i = 0; i < capture_tables_count(c); i++)
		add_table(list, capture_tables_name(c, i), capture_tables_snapshot(c, i), i >= c->table_count);
	for (size_t i = 0; i < config->outbox_table_count; i++) {
		const struct config_outbox_table *t = &config->outbox_tables[i];

		if (t->source != OUTBOX_SOURCE_WAL || strcmp(t->capture, c->name) != 0)
			continue;
		add_table(list, t->table, "none", true);
		count++;
	}
	*d = (struct capture_definition){
		.sql = statements[CAPTURE_STATEMENT_DEFINE].sql,
		.tables = json_array_size(list) == count ? json_dumps(list, JSON_COMPACT) : NULL,
	};
	json_decref(list);
	d->parameters[0] = c->name;
	d->parameters[1] = c->stream.name;
	d->parameters[2] = d->tables;
	return d->tables != NULL;
}

void capture_ledger_definition_free(struct capture_definition *d)
{
	free(d->tables);
	d->tables = NULL;
}

bool capture_ledger_define(struct pg *pg, const struct config *config, size_t index, pg_answer *answer, void *arg)
{
	struct capture_definition d;
	bool ok = capture_ledger_definition(&d, config, index) &&
		  ask(pg, CAPTURE_STATEMENT_DEFINE, d.parameters, CAPTURE_DEFINITION_PARAMETERS, answer, arg);

	capture_ledger_definition_free(&d);
	return ok;
}

bool capture_ledger_lead(struct pg *pg, const char *capture, const char *leader, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_LEAD, (const char *[]){ capture, leader }, 2, answer, arg);
}

bool capture_ledger_resign(struct pg *pg, const char *capture, int64_t epoch, uint64_t confirmed, pg_answer *answer,
			   void *arg)
{
	struct number e, lsn = { "" };

	return ask(pg, CAPTURE_STATEMENT_RESIGN,
		   (const char *[]){ capture, number(&e, epoch), position(&lsn, confirmed) }, 3, answer, arg);
}

/* --- the books --- */

bool capture_ledger_ask_books(struct pg *pg, const char *capture, int64_t epoch, pg_answer *answer, void *arg)
{
	struct number e;

	return ask(pg, CAPTURE_STATEMENT_BOOKS, (const char *[]){ capture, number(&e, epoch) }, 2, answer, arg);
}

bool capture_ledger_ask_tables(struct pg *pg, const char *capture, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_TABLES, (const char *[]){ capture }, 1, answer, arg);
}

bool capture_ledger_ask_carried(struct pg *pg, const char *capture, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_CARRIED, (const char *[]){ capture }, 1, answer, arg);
}

bool capture_ledger_fetch(struct pg *pg, const char *capture, int64_t epoch, const int64_t *ordinals, size_t count,
			  pg_answer *answer, void *arg)
{
	/* An array as PostgreSQL writes it: {1,2}. */
	char list[LIMIT_CAPTURE_FETCH * NUMBER_BYTES + 2];
	struct number e;
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += (size_t)snprintf(list + n, sizeof list - n, "%s%" PRId64, i == 0 ? "{" : ",", ordinals[i]);
	snprintf(list + n, sizeof list - n, "}");
	return ask(pg, CAPTURE_STATEMENT_FETCH, (const char *[]){ capture, number(&e, epoch), list }, 3, answer, arg);
}

/* --- the mark --- */

bool capture_ledger_mark(struct pg *pg, const struct capture_mark_books *m, pg_answer *answer, void *arg)
{
	enum { PARAMETERS = 4 };
	struct array payloads = { .bytes = NULL };
	int bytes[PARAMETERS] = { 0 };
	const char *p[PARAMETERS] = { m->capture->name };
	struct number e;
	char *text;
	bool ok;

	array_begin(&payloads, ARRAY_BYTEA);
	text = capture_mark_text(m, &payloads);
	p[1] = number(&e, m->epoch);
	p[2] = text;
	ok = text != NULL && array_end(&payloads, true, &p[3], &bytes[3]) &&
	     pg_send_binary(pg,
			    &(struct pg_statement){ CAPTURE_STATEMENT_MARK, statements[CAPTURE_STATEMENT_MARK].sql }, p,
			    bytes, PARAMETERS, answer, arg);
	array_free(&payloads);
	free(text);
	return ok;
}

/* --- the slot --- */

bool capture_ledger_live(struct pg *pg, const char *capture, int64_t epoch, uint32_t incarnation, uint64_t lsn,
			 pg_answer *answer, void *arg)
{
	struct number e, i, at = { "" };

	return ask(pg, CAPTURE_STATEMENT_LIVE,
		   (const char *[]){ capture, number(&e, epoch), number(&i, incarnation), position(&at, lsn) }, 4,
		   answer, arg);
}

bool capture_ledger_gap(struct pg *pg, const char *capture, int64_t epoch, const char *reason, const char *detail,
			pg_answer *answer, void *arg)
{
	struct number e;

	return ask(pg, CAPTURE_STATEMENT_GAP, (const char *[]){ capture, number(&e, epoch), reason, detail }, 4, answer,
		   arg);
}

bool capture_ledger_forked(struct pg *pg, const char *capture, int64_t epoch, uint64_t fork, const char *phantom,
			   pg_answer *answer, void *arg)
{
	struct number e, at = { "0/0" };

	position(&at, fork);
	return ask(pg, CAPTURE_STATEMENT_FORKED, (const char *[]){ capture, number(&e, epoch), at.text, phantom }, 4,
		   answer, arg);
}

bool capture_ledger_examine(struct pg *pg, const char *capture, int64_t epoch, uint64_t confirmed, pg_answer *answer,
			    void *arg)
{
	struct number e, at = { "" };

	return ask(pg, CAPTURE_STATEMENT_EXAMINE,
		   (const char *[]){ capture, number(&e, epoch), position(&at, confirmed) }, 3, answer, arg);
}

bool capture_ledger_here(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_HERE, NULL, 0, answer, arg);
}

bool capture_ledger_free_slot(struct pg *pg, const char *capture, int64_t epoch, bool superseded, pg_answer *answer,
			      void *arg)
{
	struct number e;

	return ask(pg, CAPTURE_STATEMENT_FREE,
		   (const char *[]){ capture, number(&e, epoch), superseded ? "true" : "false" }, 3, answer, arg);
}

bool capture_ledger_differs(struct pg *pg, const char *capture, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_DIFFERS, (const char *[]){ capture }, 1, answer, arg);
}

bool capture_ledger_watch(struct pg *pg, const char *capture, int64_t epoch, pg_answer *answer, void *arg)
{
	struct number e;

	return ask(pg, CAPTURE_STATEMENT_WATCH, (const char *[]){ capture, number(&e, epoch) }, 2, answer, arg);
}

bool capture_ledger_resync(struct pg *pg, const char *capture, pg_answer *answer, void *arg)
{
	return ask(pg, CAPTURE_STATEMENT_RESYNC, (const char *[]){ capture }, 1, answer, arg);
}

bool capture_ledger_waits(struct pg *pg, int64_t pid, pg_answer *answer, void *arg)
{
	struct number p;

	return ask(pg, CAPTURE_STATEMENT_WAITS, (const char *[]){ number(&p, pid) }, 1, answer, arg);
}
