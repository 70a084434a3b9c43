#include "command/cutover_proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "command/session.h"
#include "command/verify_pass.h"
#include "edge/loop.h"

enum {
	SHOWN = 20, /* keys that differ: then it ends, for the clients wait */
	TELL_MS = 5000,
};

/* What proves a table: `boxhaul verify` from the one configuration to the other one. */
static const char *command_of(const struct cutover *m, const char *more, char to[static 2 * CONFIG_TARGET_BYTES])
{
	char target[CONFIG_TARGET_BYTES];

	snprintf(to, (size_t)2 * CONFIG_TARGET_BYTES, "boxhaul verify %s --to %s%s",
		 config_target(m->from.call.config, target), m->to.call.config->path, more);
	return to;
}

/* --- before the fence --- */

static const char standing[] =
	"SELECT s.tab, coalesce(s.pass::text, ''), coalesce(s.why, ''), s.open > 0, to_char(s.began_at, 'YYYY-MM-DD HH24:MI:SS TZ'),"
	" coalesce(w.unknown, ''), coalesce(w.unsent, ''), (SELECT t.take IS NULL FROM boxhaul.sink_table t WHERE t.subscription = $1 AND t.source = s.tab)"
	" FROM boxhaul.verify_standing($1) s, boxhaul.verify_way($1, s.tab, $2::pg_catalog.jsonb -> s.tab) w ORDER BY s.began_at";

static const char shapes[] = "SELECT pg_catalog.jsonb_object_agg(t.said, boxhaul.capture_verify_shape($1, t.tab))"
			     " FROM unnest($2::pg_catalog.text[], $3::pg_catalog.text[]) t (tab, said)";

/* NULL: it is proved; else why not. */
static const char *doubt(struct cutover *m, const struct pg_result *r, int i, enum exit_code *code)
{
	const char *p[] = { m->capture, pg_text(r, i, 0), pg_text(r, i, 1) };
	const char *stands;

	*code = EXIT_OK;
	if (pg_text(r, i, 2)[0] != '\0')
		return pg_text(r, i, 2);
	stands = session_value(m->from.session, &m->from.call,
			       "SELECT boxhaul.move_horizon($1, boxhaul.capture_tab($1, $2), $3::uuid) IS NOT NULL", 3,
			       p, code);
	return stands != NULL && stands[0] == 't'
		       ? NULL
		       : "since its last verify pass it has other files, other partitions, another key or changed columns";
}

/* Nobody compares a column that no change has told of, and nobody would miss it in the target: --unverified does not help. */
static void judge_unknown(const struct cutover *m, const char *tab, const char *unknown, bool *good)
{
	const char *p[] = { m->capture, tab };
	enum exit_code code;
	const char *named;
	char what[CUTOVER_TEXT_BYTES], mend[CUTOVER_TEXT_BYTES], target[CONFIG_TARGET_BYTES];

	if (unknown[0] == '\0')
		return;
	snprintf(what, sizeof what, "table %s: " VERIFY_UNKNOWN, tab, unknown);
	named = session_value(m->from.session, &m->from.call, "SELECT boxhaul.capture_tab($1, $2)", 2, p, &code);
	snprintf(mend, sizeof mend, "`boxhaul capture resync %s %s %s` sends them with all rows; then verify",
		 config_target(m->from.call.config, target), m->capture, named != NULL ? named : tab);
	*good = cutover_judge(false, what, mend);
}

/* Nor one that none ever tells of. */
static void judge_unsent(const char *tab, const char *unsent, bool *good)
{
	char what[CUTOVER_TEXT_BYTES];

	if (unsent[0] == '\0')
		return;
	snprintf(what, sizeof what, "table %s: " VERIFY_UNSENT, tab, unsent);
	*good = cutover_judge(false, what, VERIFY_UNSENT_MEND);
}

enum exit_code cutover_proof_look(struct cutover *m, bool *good)
{
	const char *of[] = { m->capture, m->sources, m->said };
	char *shape = cutover_ask(&m->from, shapes, 3, of);
	const char *p[] = { m->subscription, shape };
	const struct pg_result *r = pg_session_run(m->to.session, standing, 2, p);
	bool anyway = m->from.call.given[OPTION_UNVERIFIED], untold;
	char what[CUTOVER_TEXT_BYTES], mend[CUTOVER_TEXT_BYTES + 2 * CONFIG_TARGET_BYTES],
		command[2 * CONFIG_TARGET_BYTES];
	enum exit_code code = EXIT_OK;
	int proved = 0;

	free(shape);
	if (p[1] == NULL)
		return EXIT_UNREACHABLE;
	if (pg_error(r) != NULL)
		return session_failed(m->to.call.config, "cannot see what is proved", r);
	for (int i = 0; i < pg_rows(r) && code == EXIT_OK; i++) {
		const char *why = doubt(m, r, i, &code);

		judge_unknown(m, pg_text(r, i, 0), pg_text(r, i, 5), good);
		judge_unsent(pg_text(r, i, 0), pg_text(r, i, 6), good);
		proved += why == NULL && code == EXIT_OK;
		if (why == NULL || code != EXIT_OK)
			continue;
		untold = pg_text(r, i, 7)[0] == 't';
		if (untold)
			why = "nobody has changed it, so nothing has told yet what its columns are";
		snprintf(what, sizeof what, "table %s: %s", pg_text(r, i, 0), why);
		snprintf(mend, sizeof mend, "`%s` proves it",
			 command_of(m, pg_text(r, i, 3)[0] == 't' ? " --repair" : "", command));
		if (anyway && !untold)
			printf("warn  %s: all its rows are compared behind the fence (--unverified)\n", what);
		else
			*good = cutover_judge(false, what, mend);
	}
	if (code == EXIT_OK && proved > 0)
		printf("ok    %d of %d table%s verified, by passes that began at %s and later\n", proved, pg_rows(r),
		       pg_rows(r) == 1 ? " is" : "s are", pg_text(r, 0, 4));
	return code;
}

/* --- behind it --- */

struct proof {
	struct cutover *m;
	const char *tab, *named; /* of the source: as messages and the target name it, and as the source does */
	char *columns;           /* text[] that is compared; NULL: all */
	char *hashes;            /* "t": of each row a hash says it */
	char *since_from,
		*since_to; /* what was written since has these xids or higher ones; NULL: all rows are compared */
	char *rows_of;     /* the query for rows by their keys */
	int64_t rows, all; /* compared; of how many, 0: nobody knows */
	int64_t found, begun_ms, told_ms;
};

static char *keep(const struct pg_result *r, int column)
{
	return pg_is_null(r, 0, column) ? NULL : strdup(pg_text(r, 0, column));
}

/* The sums read whole tables: a statement is bound by --timeout. Does not say which result it is of: a query that was made by one of ours. */
static enum step run(const struct proof *x, const struct cutover_side *side, const char *sql, int count,
		     const char *const *p, const struct pg_result **r)
{
	char late[CUTOVER_TEXT_BYTES];
	const struct cutover_words words = { "cannot compare", late };

	snprintf(
		late, sizeof late,
		"table %s was not compared within --timeout: a verify pass just before leaves less to compare, a longer --timeout more time",
		x->tab);
	return cutover_run(x->m, &words, side, sql, count, p, r);
}

/* The first value, malloc'ed; NULL for NULL. */
static enum step ask(const struct proof *x, const struct cutover_side *side, const char *sql, int count,
		     const char *const *p, char **to)
{
	const struct pg_result *r;
	enum step step = run(x, side, sql, count, p, &r);

	*to = step == STEP_DONE ? keep(r, 0) : NULL;
	return step;
}

static enum step gone(const struct proof *x)
{
	fprintf(stderr, "boxhaul: table %s is not captured and applied any more\n", x->tab);
	return STEP_TAKE_BACK;
}

/* As ask(), of a query: NULL is a table that one of the two databases does not know any more. */
static enum step ask_query(const struct proof *x, const struct cutover_side *side, const char *sql, int count,
			   const char *const *p, char **to)
{
	enum step step = ask(x, side, sql, count, p, to);

	return step == STEP_DONE && *to == NULL ? gone(x) : step;
}

static void tell_progress(struct proof *x)
{
	int64_t now = loop_now_ms();

	if (now - x->told_ms < TELL_MS)
		return;
	x->told_ms = now;
	if (x->all > x->rows && x->rows > 0)
		cutover_tell(x->m, "table %s: %" PRId64 " of %" PRId64 " rows compared, %" PRId64 " s left", x->tab,
			     x->rows, x->all, (x->all - x->rows) * (now - x->begun_ms) / x->rows / 1000);
	else
		cutover_tell(x->m, "table %s: %" PRId64 " rows compared", x->tab, x->rows);
}

/* Rows as the source says them: [[key, row], ...]. */
static enum step compare(struct proof *x, const char *said)
{
	const char *p[] = { x->m->token, x->m->subscription, x->tab, x->columns, said };
	const struct pg_result *r;
	enum step step = run(
		x, &x->m->to,
		"SELECT c.kind, pg_catalog.to_jsonb(c.key)::pg_catalog.text"
		" FROM boxhaul.move_compare($1::pg_catalog.uuid, $2, $3, $4::pg_catalog.text[], $5::pg_catalog.jsonb) c",
		5, p, &r);

	for (int i = 0; step == STEP_DONE && i < pg_rows(r); i++, x->found++)
		if (x->found < SHOWN)
			cutover_tell(x->m, "%s: table=%s key=%s", pg_text(r, i, 0), x->tab, pg_text(r, i, 1));
	return step;
}

/* The rows of a result, each a value of JSON, as one array; NULL: out of memory. */
static char *array_of(const struct pg_result *r)
{
	size_t bytes = sizeof "[]", at = 0, n;
	char *all;

	for (int i = 0; i < pg_rows(r); i++)
		bytes += strlen(pg_text(r, i, 0)) + 1;
	all = calloc(1, bytes);
	if (all == NULL)
		return NULL;
	all[at++] = '[';
	for (int i = 0; i < pg_rows(r); i++, at += n) {
		if (i > 0)
			all[at++] = ',';
		n = strlen(pg_text(r, i, 0));
		memcpy(all + at, pg_text(r, i, 0), n);
	}
	all[at] = ']';
	return all;
}

struct query {
	const struct cutover_side *side;
	const char *sql;
	int count;
	const char *const *p;
};

/* What a query finds, some rows or megabytes at a time: neither a table nor what was written for a day has to fit into memory, nor some hundred wide rows into a value of
 * JSON. read: how many there were. */
static enum step page(struct proof *x, const struct query *q, enum step (*each)(struct proof *x, const char *rows),
		      int64_t *read)
{
	static const char open[] = "DECLARE boxhaul_rows NO SCROLL CURSOR FOR ";
	size_t bytes = sizeof open + strlen(q->sql);
	char *declare = malloc(bytes), *rows;
	const struct pg_result *r;
	enum step step = STEP_TAKE_BACK;
	int count = 0;

	if (declare != NULL) {
		snprintf(declare, bytes, "%s%s", open, q->sql);
		step = run(x, q->side, declare, q->count, q->p, &r);
	}
	free(declare);
	while (step == STEP_DONE && x->found < SHOWN) {
		step = run(x, q->side, "SELECT p.p FROM boxhaul.move_page() p (p)", 0, NULL, &r);
		count = step == STEP_DONE ? pg_rows(r) : 0;
		if (count == 0)
			break;
		rows = array_of(r);
		step = rows != NULL ? each(x, rows) : STEP_TAKE_BACK;
		free(rows);
		*read += count;
		tell_progress(x);
	}
	return step == STEP_DONE ? run(x, q->side, "CLOSE boxhaul_rows", 0, NULL, &r) : step;
}

/* Rows of the target, by the keys that they have there: [key, ...]. What is no value of the source's type is no key of a row there. */
static enum step compare_keys(struct proof *x, const char *keys)
{
	const char *p[] = { x->named, keys };
	const struct pg_result *r;
	int64_t again = 0;
	enum step step = run(x, &x->m->from,
			     "SELECT r.readable, r.unreadable FROM boxhaul.verify_readable($1, $2::pg_catalog.jsonb) r",
			     2, p, &r);
	char *readable = step == STEP_DONE ? keep(r, 0) : NULL, *unreadable = step == STEP_DONE ? keep(r, 1) : NULL;
	const char *known[] = { readable };
	const struct query rows = { &x->m->from, x->rows_of, 1, known };

	if (step == STEP_DONE && (readable == NULL || unreadable == NULL))
		step = STEP_TAKE_BACK;
	if (step == STEP_DONE && strcmp(unreadable, "[]") != 0)
		step = compare(x, unreadable);
	if (step == STEP_DONE)
		step = page(x, &rows, compare, &again);
	free(readable);
	free(unreadable);
	return step;
}

static enum step compare_since(struct proof *x)
{
	const char *p[] = { x->m->capture, x->named, x->columns, x->hashes, x->since_from };
	const char *keys[] = { x->m->subscription, x->tab, x->since_to };
	struct query rows = { .side = &x->m->from }, ours = { .side = &x->m->to };
	char *rows_sql = NULL, *keys_sql = NULL;
	enum step step = ask_query(x, rows.side, "SELECT boxhaul.move_rows($1, $2, $3::pg_catalog.text[], $4, $5)", 5,
				   p, &rows_sql);

	if (step == STEP_DONE)
		step = ask_query(x, rows.side, "SELECT boxhaul.move_rows_of($1, $2, $3::pg_catalog.text[], $4)", 4, p,
				 &x->rows_of);
	if (step == STEP_DONE)
		step = ask_query(x, ours.side, "SELECT boxhaul.move_keys($1, $2, $3)", 3, keys, &keys_sql);
	rows.sql = rows_sql;
	ours.sql = keys_sql;
	if (step == STEP_DONE)
		step = page(x, &rows, compare, &x->rows);
	if (step == STEP_DONE)
		step = page(x, &ours, compare_keys, &x->rows);
	free(rows_sql);
	free(keys_sql);
	return step;
}

/* How many keys there are, and their sum: "12 -345". */
static enum step sum_of(const struct proof *x, const struct cutover_side *side, const char *query,
			const char *const p[static 2], char to[static 96], int64_t *count)
{
	char *sql;
	const struct pg_result *r;
	enum step step = ask_query(x, side, query, 2, p, &sql);

	if (step == STEP_DONE)
		step = run(x, side, sql, 0, NULL, &r);
	free(sql);
	if (step != STEP_DONE)
		return step;
	snprintf(to, 96, "%s %s", pg_text(r, 0, 0), pg_text(r, 0, 1));
	*count = strtoll(pg_text(r, 0, 0), NULL, 10);
	return STEP_DONE;
}

/* Where the keys are not the same ones, what was written since says too little. */
static enum step compare_all_or_since(struct proof *x)
{
	const char *at_source[] = { x->m->capture, x->named }, *at_target[] = { x->m->subscription, x->tab };
	char from[96] = "", to[96] = "";
	int64_t here = 0, there = 0;
	const char *why = x->since_from == NULL || x->since_to == NULL ? "no pass that stands has proved it"
								       : "the keys there are not those here";
	enum step step = sum_of(x, &x->m->from, "SELECT boxhaul.move_sum_of_source($1, $2)", at_source, from, &here);

	if (step == STEP_DONE)
		step = sum_of(x, &x->m->to, "SELECT boxhaul.move_sum_of_target($1, $2)", at_target, to, &there);
	if (step != STEP_DONE)
		return step;
	if (x->since_from == NULL || x->since_to == NULL || strcmp(from, to) != 0) {
		free(x->since_from);
		free(x->since_to);
		x->since_from = x->since_to = NULL;
		x->all = here + there;
		cutover_tell(x->m, "table %s: %s, so all its rows are compared: %" PRId64 " and %" PRId64, x->tab, why,
			     here, there);
	}
	step = compare_since(x);
	if (step == STEP_DONE && x->found == 0)
		cutover_tell(x->m, "table %s is equal: %" PRId64 " key%s, %" PRId64 " row%s compared", x->tab, here,
			     plural(here), x->rows, plural(x->rows));
	return step;
}

static const char way_of_target[] =
	"SELECT w.columns, w.hashes, CASE WHEN s.why IS NULL THEN s.pass END,"
	" CASE WHEN s.why IS NULL AND NOT boxhaul.move_reshaped((SELECT boxhaul.capture_relation(t.target)"
	" FROM boxhaul.sink_table t WHERE t.subscription = $1 AND t.source = s.tab), s.horizon) THEN s.horizon END, w.unknown, w.unsent"
	" FROM boxhaul.verify_way($1, $2, $3::pg_catalog.jsonb) w, boxhaul.verify_standing($1) s WHERE s.tab = $2";

/* What no pass compares, and nobody would miss. */
static enum step judge_way(const struct proof *x, const struct pg_result *r)
{
	if (pg_rows(r) == 0)
		return gone(x);
	if (!pg_is_null(r, 0, 4))
		fprintf(stderr, "boxhaul: table %s: " VERIFY_UNKNOWN "\n", x->tab, pg_text(r, 0, 4));
	if (!pg_is_null(r, 0, 5))
		fprintf(stderr, "boxhaul: table %s: " VERIFY_UNSENT ": " VERIFY_UNSENT_MEND "\n", x->tab,
			pg_text(r, 0, 5));
	return pg_is_null(r, 0, 4) && pg_is_null(r, 0, 5) ? STEP_DONE : STEP_TAKE_BACK;
}

/* What is compared, how, and since when. */
static enum step find_way(struct proof *x)
{
	const char *of[] = { x->m->capture, x->named };
	char *shape, *name;
	enum step step = ask(x, &x->m->from, "SELECT boxhaul.capture_verify_shape($1, $2)", 2, of, &shape);
	const char *way[] = { x->m->subscription, x->tab, shape };
	const char *pass[] = { x->m->capture, x->named, NULL, NULL };
	const struct pg_result *r = NULL;

	if (step == STEP_DONE)
		step = run(x, &x->m->to, way_of_target, 3, way, &r);
	free(shape);
	if (step == STEP_DONE)
		step = judge_way(x, r);
	if (step != STEP_DONE)
		return step;
	pass[3] = x->columns = keep(r, 0);
	x->hashes = keep(r, 1);
	pass[2] = name = keep(r, 2);
	x->since_to = keep(r, 3);
	step = ask(x, &x->m->from, "SELECT boxhaul.move_horizon($1, $2, $3::pg_catalog.uuid, $4::pg_catalog.text[])", 4,
		   pass, &x->since_from);
	free(name);
	return step;
}

static enum step prove_table(struct cutover *m, const char *tab, const char *named, int64_t *found)
{
	struct proof x = { .m = m, .tab = tab, .named = named, .begun_ms = loop_now_ms(), .told_ms = loop_now_ms() };
	enum step step = find_way(&x);

	if (step == STEP_DONE)
		step = compare_all_or_since(&x);
	*found += x.found;
	free(x.columns);
	free(x.hashes);
	free(x.since_from);
	free(x.since_to);
	free(x.rows_of);
	return step;
}

/* Outside of a table's turn. */
static enum step say(const struct cutover_side *side, const char *sql)
{
	static const struct cutover_words words = { "cannot compare", "" };

	return cutover_say(&words, side, sql);
}

static const char begin[] = "BEGIN; SELECT boxhaul.move_pin()";

static const char nth[] = "SELECT ($1::pg_catalog.text[])[$2::pg_catalog.int4]";

static enum step prove_tables(struct cutover *m, int64_t *found)
{
	enum step step = say(&m->from, begin);
	struct proof x = { .m = m, .tab = "" };
	bool more = true;

	if (step == STEP_DONE)
		step = say(&m->to, begin);
	for (int i = 1; step == STEP_DONE && more; i++) {
		char at[16], *tab = NULL, *named = NULL;
		const char *one[] = { m->said, at }, *other[] = { m->sources, at };

		snprintf(at, sizeof at, "%d", i);
		step = ask(&x, &m->from, nth, 2, one, &tab);
		if (step == STEP_DONE)
			step = ask(&x, &m->from, nth, 2, other, &named);
		more = tab != NULL && named != NULL;
		if (step == STEP_DONE && more)
			step = prove_table(m, tab, named, found);
		free(tab);
		free(named);
	}
	return step;
}

enum step cutover_prove(struct cutover *m)
{
	char command[2 * CONFIG_TARGET_BYTES];
	int64_t found = 0;
	enum step step = prove_tables(m, &found), ended;

	/* What was found is on record before anything is taken back. */
	ended = say(&m->to, step == STEP_DONE ? "COMMIT" : "ROLLBACK");
	if (ended == STEP_DONE)
		ended = say(&m->from, "ROLLBACK");
	if (step != STEP_DONE || ended != STEP_DONE)
		return step != STEP_DONE ? step : ended;
	if (found == 0)
		return STEP_DONE;
	if (found >= SHOWN)
		cutover_tell(m, "there may be more that differ");
	fprintf(stderr,
		"boxhaul: rows differ, so the target does not open: `%s` sets them right; then say cutover again\n",
		command_of(m, " --repair", command));
	return STEP_TAKE_BACK;
}
