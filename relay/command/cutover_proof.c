#include "command/cutover_proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/session.h"
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
	"SELECT s.tab, coalesce(s.pass::text, ''), coalesce(s.why, ''), s.open > 0, to_char(s.began_at, 'YYYY-MM-DD HH24:MI:SS TZ')"
	" FROM boxhaul.verify_standing($1) s ORDER BY s.began_at";

/* NULL: it is proved; else why not. */
static const char *doubt(struct cutover *m, const struct pg_result *r, int i, enum exit_code *code)
{
	const char *p[] = { m->capture, pg_text(r, i, 0), pg_text(r, i, 1) };
	const char *stands;

	*code = EXIT_OK;
	if (pg_text(r, i, 2)[0] != '\0')
		return pg_text(r, i, 2);
	stands = session_value(m->from.session, &m->from.call,
			       "SELECT boxhaul.move_horizon($1, $2, $3::uuid) IS NOT NULL", 3, p, code);
	return stands != NULL && stands[0] == 't'
		       ? NULL
		       : "since its last verify pass it has other files, other partitions, another key or changed columns";
}

enum exit_code cutover_proof_look(struct cutover *m, bool *good)
{
	const char *p[] = { m->subscription };
	const struct pg_result *r = pg_session_run(m->to.session, standing, 1, p);
	bool anyway = m->from.call.given[OPTION_UNVERIFIED];
	char what[CUTOVER_TEXT_BYTES], mend[CUTOVER_TEXT_BYTES + 2 * CONFIG_TARGET_BYTES],
		command[2 * CONFIG_TARGET_BYTES];
	enum exit_code code = EXIT_OK;
	int proved = 0;

	if (pg_error(r) != NULL)
		return session_failed(m->to.call.config, "cannot see what is proved", r);
	for (int i = 0; i < pg_rows(r) && code == EXIT_OK; i++) {
		const char *why = doubt(m, r, i, &code);

		proved += why == NULL && code == EXIT_OK;
		if (why == NULL || code != EXIT_OK)
			continue;
		snprintf(what, sizeof what, "table %s: %s", pg_text(r, i, 0), why);
		snprintf(mend, sizeof mend, "`%s` proves it",
			 command_of(m, pg_text(r, i, 3)[0] == 't' ? " --repair" : "", command));
		if (anyway)
			printf("warn  %s: all its rows are compared behind the fence (--unverified)\n", what);
		else
			*good = cutover_judge(false, what, mend);
	}
	if (code == EXIT_OK && proved > 0)
		printf("ok    %d of %d tables are verified, by passes that began at %s and later\n", proved, pg_rows(r),
		       pg_text(r, 0, 4));
	return code;
}

/* --- behind it --- */

struct proof {
	struct cutover *m;
	const char *tab; /* of the source */
	char *columns;   /* text[] that is compared; NULL: all */
	char *hashes;    /* "t": of each row a hash says it */
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

/* Does not say which result it is of: a query that was made by one of ours. */
static enum step run(const struct cutover_side *side, const char *sql, int count, const char *const *p,
		     const struct pg_result **r)
{
	*r = pg_session_run(side->session, sql, count, p);
	return pg_error(*r) == NULL ? STEP_DONE : cutover_failed(side, "cannot compare", *r);
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
		&x->m->to,
		"SELECT c.kind, pg_catalog.to_jsonb(c.key)::pg_catalog.text"
		" FROM boxhaul.move_compare($1::pg_catalog.uuid, $2, $3, $4::pg_catalog.text[], $5::pg_catalog.jsonb) c",
		5, p, &r);

	for (int i = 0; step == STEP_DONE && i < pg_rows(r); i++, x->found++)
		if (x->found < SHOWN)
			cutover_tell(x->m, "%s: table=%s key=%s", pg_text(r, i, 0), x->tab, pg_text(r, i, 1));
	return step;
}

/* Rows of the target, by the keys that they have there: [key, ...]. */
static enum step compare_keys(struct proof *x, const char *keys)
{
	const struct pg_result *r;
	enum step step = run(&x->m->from, x->rows_of, 1, &keys, &r);

	return step == STEP_DONE ? compare(x, pg_text(r, 0, 0)) : step;
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

/* What a query finds, some rows at a time: neither a table nor what was written for a day has to fit into memory. */
static enum step page(struct proof *x, const struct cutover_side *side, const char *query,
		      enum step (*each)(struct proof *x, const char *rows))
{
	static const char open[] = "DECLARE boxhaul_rows NO SCROLL CURSOR FOR ";
	size_t bytes = sizeof open + strlen(query);
	char *declare = malloc(bytes), *rows;
	const struct pg_result *r;
	enum step step = STEP_TAKE_BACK;
	int count = 0;

	if (declare != NULL) {
		snprintf(declare, bytes, "%s%s", open, query);
		step = run(side, declare, 0, NULL, &r);
	}
	free(declare);
	while (step == STEP_DONE && x->found < SHOWN) {
		step = run(side, "FETCH 200 FROM boxhaul_rows", 0, NULL, &r);
		count = step == STEP_DONE ? pg_rows(r) : 0;
		if (count == 0)
			break;
		rows = array_of(r);
		step = rows != NULL ? each(x, rows) : STEP_TAKE_BACK;
		free(rows);
		x->rows += count;
		tell_progress(x);
		if (step == STEP_DONE && cutover_is_over(x->m)) {
			fprintf(stderr, "boxhaul: table %s was not compared within --timeout\n", x->tab);
			step = STEP_TAKE_BACK;
		}
	}
	return step == STEP_DONE ? run(side, "CLOSE boxhaul_rows", 0, NULL, &r) : step;
}

static enum step compare_since(struct proof *x)
{
	const char *rows[] = { x->m->capture, x->tab, x->columns, x->hashes, x->since_from };
	const char *keys[] = { x->m->subscription, x->tab, x->since_to };
	char *query =
		cutover_ask(&x->m->from, "SELECT boxhaul.move_rows($1, $2, $3::pg_catalog.text[], $4, $5)", 5, rows);
	enum step step = STEP_UNKNOWN;

	x->rows_of = query != NULL
			     ? cutover_ask(&x->m->from,
					   "SELECT boxhaul.move_rows_of($1, $2, $3::pg_catalog.text[], $4)", 4, rows)
			     : NULL;
	if (x->rows_of != NULL)
		step = page(x, &x->m->from, query, compare);
	free(query);
	if (step == STEP_DONE) {
		query = cutover_ask(&x->m->to, "SELECT boxhaul.move_keys($1, $2, $3)", 3, keys);
		step = query != NULL ? page(x, &x->m->to, query, compare_keys) : STEP_UNKNOWN;
		free(query);
	}
	return step;
}

/* How many keys there are, and their sum: "12 -345". */
static enum step sum_of(const struct cutover_side *side, const char *query, const char *of, const char *tab,
			char to[static 96], int64_t *count)
{
	const char *p[] = { of, tab };
	char *sql = cutover_ask(side, query, 2, p);
	const struct pg_result *r;
	enum step step = sql != NULL ? run(side, sql, 0, NULL, &r) : STEP_UNKNOWN;

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
	char from[96] = "", to[96] = "";
	int64_t here = 0, there = 0;
	const char *why = x->since_from == NULL || x->since_to == NULL ? "no pass that stands has proved it"
								       : "the keys there are not those here";
	enum step step =
		sum_of(&x->m->from, "SELECT boxhaul.move_sum_of_source($1, $2)", x->m->capture, x->tab, from, &here);

	if (step == STEP_DONE)
		step = sum_of(&x->m->to, "SELECT boxhaul.move_sum_of_target($1, $2)", x->m->subscription, x->tab, to,
			      &there);
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
		cutover_tell(x->m, "table %s is equal: %" PRId64 " keys, %" PRId64 " rows compared", x->tab, here,
			     x->rows);
	return step;
}

/* What is compared, how, and since when. */
static enum step find_way(struct proof *x)
{
	const char *shape_of[] = { x->tab };
	char *shape = cutover_ask(&x->m->from, "SELECT boxhaul.capture_verify_shape($1)", 1, shape_of);
	const char *way[] = { x->m->subscription, x->tab, shape };
	const char *pass[] = { x->m->capture, x->tab, NULL, NULL };
	const struct pg_result *r;
	enum step step =
		shape == NULL
			? STEP_UNKNOWN
			: run(&x->m->to,
			      "SELECT w.columns, w.hashes, CASE WHEN s.why IS NULL THEN s.pass END,"
			      " CASE WHEN s.why IS NULL AND NOT boxhaul.move_reshaped((SELECT boxhaul.capture_relation(t.target)"
			      " FROM boxhaul.sink_table t WHERE t.subscription = $1 AND t.source = s.tab), s.horizon) THEN s.horizon END FROM boxhaul.verify_way($1, $2, $3::pg_catalog.jsonb) w,"
			      " boxhaul.verify_standing($1) s WHERE s.tab = $2",
			      3, way, &r);
	char *name;

	free(shape);
	if (step != STEP_DONE)
		return step;
	pass[3] = x->columns = keep(r, 0);
	x->hashes = keep(r, 1);
	pass[2] = name = keep(r, 2);
	x->since_to = keep(r, 3);
	step = run(&x->m->from, "SELECT boxhaul.move_horizon($1, $2, $3::pg_catalog.uuid, $4::pg_catalog.text[])", 4,
		   pass, &r);
	free(name);
	if (step == STEP_DONE)
		x->since_from = keep(r, 0);
	return step;
}

static enum step prove_table(struct cutover *m, const char *tab, int64_t *found)
{
	struct proof x = { .m = m, .tab = tab, .begun_ms = loop_now_ms(), .told_ms = loop_now_ms() };
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

static const char begin[] = "BEGIN; SELECT boxhaul.move_pin()";

static enum step prove_tables(struct cutover *m, int64_t *found)
{
	const char *p[] = { m->sources };
	const struct pg_result *r;
	enum step step = run(&m->from, begin, 0, NULL, &r);

	if (step == STEP_DONE)
		step = run(&m->to, begin, 0, NULL, &r);
	for (int i = 1; step == STEP_DONE; i++) {
		char at[16], *tab;
		const char *one[] = { p[0], at };

		snprintf(at, sizeof at, "%d", i);
		tab = cutover_ask(&m->from, "SELECT ($1::pg_catalog.text[])[$2::pg_catalog.int4]", 2, one);
		if (tab == NULL || tab[0] == '\0') {
			step = tab != NULL ? STEP_DONE : STEP_UNKNOWN;
			free(tab);
			break;
		}
		step = prove_table(m, tab, found);
		free(tab);
	}
	return step;
}

enum step cutover_prove(struct cutover *m)
{
	char command[2 * CONFIG_TARGET_BYTES];
	int64_t found = 0;
	const struct pg_result *r;
	enum step step = prove_tables(m, &found), ended;

	/* What was found is on record before anything is taken back. */
	ended = run(&m->to, step == STEP_DONE ? "COMMIT" : "ROLLBACK", 0, NULL, &r);
	if (ended == STEP_DONE)
		ended = run(&m->from, "ROLLBACK", 0, NULL, &r);
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
