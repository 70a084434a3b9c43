#include "command/cutover_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "command/cutover_proof.h"
#include "command/cutover_relations.h"
#include "command/line.h"
#include "command/session.h"

/* --- which ones --- */

/* A text of the first row of the last result. */
static char *keep(const struct pg_result *r, int column)
{
	return strdup(pg_text(r, 0, column));
}

static const char where[] =
	"SELECT pg_catalog.format('it is written in database %s of %s', pg_catalog.current_database(),"
	" coalesce(pg_catalog.host(pg_catalog.inet_server_addr()) || ':' || pg_catalog.inet_server_port(),"
	" 'the server with port ' || pg_catalog.current_setting('port')))";

static char *where_is(const struct cutover_side *side, enum exit_code *code)
{
	const char *text = session_value(side->session, &side->call, where, 0, NULL, code);

	return text != NULL ? strdup(text) : NULL;
}

static enum exit_code find_capture(struct cutover *m)
{
	const struct call *call = &m->from.call;
	const struct config *c = call->config;
	char target[CONFIG_TARGET_BYTES];

	if (call->count == 0 && c->capture_count != 1)
		return line_wrong("cutover: of which capture? %s has %zu", config_target(c, target), c->capture_count);
	if (call->count > 0 && config_capture_of(c, call->arguments[0]) == NULL)
		return line_wrong("cutover: %s has no capture %s", config_target(c, target), call->arguments[0]);
	m->capture = strdup(call->count > 0 ? call->arguments[0] : c->captures[0].name);
	return m->capture != NULL ? EXIT_OK : EXIT_FAILED;
}

static const char sinks[] =
	"SELECT k.subscription, pg_catalog.array_agg(t.source ORDER BY t.source), pg_catalog.array_agg(t.target ORDER BY t.source),"
	" pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('from', t.source, 'to', t.target, 'columns', coalesce((SELECT"
	" pg_catalog.jsonb_object_agg(u.s, u.d) FROM unnest(t.source_columns, t.target_columns) u (s, d)), '{}'))), pg_catalog.count(*),"
	" pg_catalog.string_agg(t.source, ', ') FILTER (WHERE t.state <> 'complete'), k.error, p.paused_at IS NOT NULL, k.missing"
	" FROM boxhaul.sink k JOIN boxhaul.subscription d ON d.name = k.subscription"
	" JOIN boxhaul.inbox_position p ON p.subscription = k.subscription JOIN boxhaul.sink_table t ON t.subscription = k.subscription"
	" WHERE d.stream = $1 AND ($2::pg_catalog.text[] IS NULL OR t.source = ANY ($2)) GROUP BY k.subscription, k.error, p.paused_at, k.missing";

static const char left_out[] =
	"SELECT pg_catalog.string_agg(n.n, ', ') FROM pg_catalog.unnest($1::pg_catalog.text[]) n (n) WHERE NOT EXISTS"
	" (SELECT FROM boxhaul.sink_table t WHERE t.subscription = $2 AND t.source = n.n)";

static bool judge_sink(struct cutover *m, const struct pg_result *r)
{
	char what[CUTOVER_TEXT_BYTES], mend[CUTOVER_TEXT_BYTES], target[CONFIG_TARGET_BYTES];
	bool good;

	snprintf(what, sizeof what, "sink %s applies %s table%s%s%s", m->subscription, m->tables_text,
		 plural(strtoll(m->tables_text, NULL, 10)),
		 pg_is_null(r, 0, 6) ? "" : "; it has stopped: ", pg_text(r, 0, 6));
	good = cutover_judge(pg_is_null(r, 0, 6), what, "mend that first");
	if (!pg_is_null(r, 0, 5)) {
		snprintf(what, sizeof what, "tables that are not complete: %s", pg_text(r, 0, 5));
		good = cutover_judge(false, what, "wait until their rows are there");
	}
	if (strcmp(pg_text(r, 0, 8), "0") != 0) {
		snprintf(what, sizeof what, "%s update%s found no row", pg_text(r, 0, 8),
			 plural(strtoll(pg_text(r, 0, 8), NULL, 10)));
		snprintf(mend, sizeof mend, "the copy differs; `boxhaul capture resync %s %s` reads the tables anew",
			 config_target(m->from.call.config, target), m->capture);
		good = cutover_judge(false, what, mend);
	}
	return good;
}

static const char names[] =
	"SELECT (SELECT pg_catalog.array_agg(coalesce(boxhaul.capture_tab($1, s.said), s.said) ORDER BY s.n)"
	" FROM pg_catalog.unnest($2::pg_catalog.text[]) WITH ORDINALITY s (said, n)),"
	" (SELECT pg_catalog.jsonb_agg(e.e || pg_catalog.jsonb_build_object('from', coalesce(boxhaul.capture_tab($1, e.e ->> 'from'), e.e ->> 'from')))"
	" FROM pg_catalog.jsonb_array_elements($3::pg_catalog.jsonb) e (e))";

/* The source is asked by the names of its configuration. What it does not capture it will not find by the other ones, either. */
static enum exit_code find_names(struct cutover *m)
{
	const char *p[] = { m->capture, m->said, m->mapping };
	const struct pg_result *r = pg_session_run(m->from.session, names, 3, p);
	char *mapping;

	if (pg_error(r) != NULL)
		return session_failed(m->from.call.config, "cannot look at the tables", r);
	if (!m->begun)
		m->sources = keep(r, 0);
	mapping = keep(r, 1);
	free(m->mapping);
	m->mapping = mapping;
	return m->sources != NULL && m->mapping != NULL ? EXIT_OK : EXIT_FAILED;
}

/* Of a move that has begun its tables are fenced, and no others: it ends with them, whatever the configuration has meanwhile. */
static enum exit_code find_sink(struct cutover *m, const char *stream, bool *good)
{
	const char *p[] = { stream, m->said };
	const struct pg_result *r = pg_session_run(m->to.session, sinks, 2, p);

	if (pg_error(r) != NULL)
		return session_failed(m->to.call.config, "cannot look at the sink", r);
	if (pg_rows(r) != 1) {
		fprintf(stderr, "boxhaul: %s subscription with tables takes the stream %s there: there has to be one\n",
			pg_rows(r) == 0 ? "no" : "more than one", stream);
		return EXIT_FAILED;
	}
	m->subscription = keep(r, 0);
	if (!m->begun)
		m->said = keep(r, 1);
	m->targets = keep(r, 2);
	m->mapping = keep(r, 3);
	m->tables_text = keep(r, 4);
	if (m->subscription == NULL || m->said == NULL || m->targets == NULL || m->mapping == NULL ||
	    m->tables_text == NULL)
		return EXIT_FAILED;
	*good = judge_sink(m, r) && *good;
	m->left = cutover_ask(&m->to, left_out, 2, (const char *[]){ m->said, m->subscription });
	return m->left != NULL ? find_names(m) : EXIT_UNREACHABLE;
}

/* A text[]; NULL: out of memory. */
static char *text_array(const char *const *texts, size_t count)
{
	size_t bytes = 3;
	char *array, *to;

	for (size_t i = 0; i < count; i++)
		bytes += strlen(texts[i]) * 2 + 3;
	array = to = calloc(1, bytes);
	if (array == NULL)
		return NULL;
	*to++ = '{';
	for (size_t i = 0; i < count; i++) {
		*to++ = i > 0 ? ',' : ' ';
		*to++ = '"';
		for (const char *s = texts[i]; *s != '\0'; s++) {
			if (*s == '"' || *s == '\\')
				*to++ = '\\';
			*to++ = *s;
		}
		*to++ = '"';
	}
	*to = '}';
	return array;
}

/* Streams of the captures that read the target: who takes one of them at the source is the way back. And sequences that the configuration names. */
static bool list_of_configurations(struct cutover *m)
{
	const struct config *to = m->to.call.config;
	const struct config_capture *of = config_capture_of(m->from.call.config, m->capture);
	const char **streams = calloc(to->capture_count + 1, sizeof *streams);

	for (size_t i = 0; streams != NULL && i < to->capture_count; i++)
		streams[i] = to->captures[i].stream.name;
	m->back_streams = streams != NULL ? text_array(streams, to->capture_count) : NULL;
	m->sequences = text_array((const char *const *)of->sequences, of->sequence_count);
	free(streams);
	return m->back_streams != NULL && m->sequences != NULL;
}

/* --- what stands against it --- */

static const char capture_state[] =
	"SELECT c.stream, c.state, c.paused_at IS NOT NULL, (SELECT pg_catalog.string_agg(t.tab || ' (' || coalesce(t.reason, t.state) || ')', ', ')"
	" FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.state <> 'complete' AND NOT t.inserts_only),"
	" (SELECT pg_catalog.count(*) FROM boxhaul.capture_letter l WHERE l.capture = c.name),"
	" boxhaul.capture_diverged(c.name)"
	" FROM boxhaul.capture c WHERE c.name = $1";

static enum exit_code judge_capture(struct cutover *m, char stream[static CUTOVER_TEXT_BYTES], bool *good)
{
	const char *p[] = { m->capture };
	const struct pg_result *r = pg_session_run(m->from.session, capture_state, 1, p);
	char what[CUTOVER_TEXT_BYTES + 128];
	char mend[CUTOVER_TEXT_BYTES], target[CONFIG_TARGET_BYTES];
	bool live;

	if (pg_error(r) != NULL)
		return session_failed(m->from.call.config, "cannot look at the capture", r);
	if (pg_rows(r) == 0) {
		fprintf(stderr, "boxhaul: capture %s was not started\n", m->capture);
		return EXIT_FAILED;
	}
	snprintf(stream, CUTOVER_TEXT_BYTES, "%s", pg_text(r, 0, 0));
	live = strcmp(pg_text(r, 0, 1), "live") == 0 && pg_text(r, 0, 2)[0] != 't';
	snprintf(what, sizeof what, "capture %s is %s%s, and sends to %s", m->capture, pg_text(r, 0, 1),
		 pg_text(r, 0, 2)[0] == 't' ? ", paused" : "", stream);
	snprintf(mend, sizeof mend, "`boxhaul capture status %s %s` says more",
		 config_target(m->from.call.config, target), m->capture);
	*good = cutover_judge(live, what, mend) && *good;
	if (!pg_is_null(r, 0, 3)) {
		snprintf(what, sizeof what, "tables of the capture: %s", pg_text(r, 0, 3));
		*good = cutover_judge(false, what, mend);
	}
	if (strcmp(pg_text(r, 0, 4), "0") != 0) {
		snprintf(what, sizeof what, "dead letters of changes that were never sent: %s", pg_text(r, 0, 4));
		*good = cutover_judge(false, what, mend);
	}
	if (!pg_is_null(r, 0, 5)) {
		snprintf(what, sizeof what, "copies may differ: %s", pg_text(r, 0, 5));
		*good = cutover_judge(false, what, mend);
	}
	return EXIT_OK;
}

static const char same_database[] =
	"SELECT c.system_identifier || '/' || (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = "
	"pg_catalog.current_database()) FROM pg_catalog.pg_control_system() c";

/* Of one database there is nothing to move. */
static enum exit_code judge_databases(struct cutover *m, bool *good)
{
	enum exit_code code;
	const char *text = session_value(m->from.session, &m->from.call, same_database, 0, NULL, &code);
	char from[64];

	if (text == NULL)
		return code;
	snprintf(from, sizeof from, "%s", text);
	text = session_value(m->to.session, &m->to.call, same_database, 0, NULL, &code);
	if (text != NULL && strcmp(from, text) == 0)
		*good = cutover_judge(false, "both configurations name one database",
				      "say --to with that of the other one");
	return code;
}

/* Said again after the switch, or the wrong way round. */
static enum exit_code judge_owner(struct cutover *m, bool *held, bool *good)
{
	const char *p[] = { m->subscription };
	enum exit_code code;
	const char *table = session_value(m->to.session, &m->to.call, "SELECT boxhaul.move_holds($1)", 1, p, &code);
	char what[CUTOVER_TEXT_BYTES];

	*held = table != NULL && table[0] != '\0';
	if (*held) {
		snprintf(what, sizeof what, "the target takes the writes already, of %s", table);
		*good = cutover_judge(
			false, what,
			m->from.call.given[OPTION_BACK]
				? "there is nothing to take back"
				: "the switch is done; `boxhaul cutover --back`, with both configurations in the same places, goes back");
	}
	return code;
}

/* Paused by somebody: it is to go on, or nothing arrives. */
static enum exit_code judge_pause(struct cutover *m, bool *good)
{
	const char *p[] = { m->subscription };
	enum exit_code code;
	const char *paused = session_value(
		m->to.session, &m->to.call,
		"SELECT p.paused_by || coalesce(': ' || p.pause_reason, '') FROM boxhaul.inbox_position p WHERE p.subscription = $1"
		" AND p.paused_at IS NOT NULL",
		1, p, &code);
	char what[CUTOVER_TEXT_BYTES], mend[CUTOVER_TEXT_BYTES], target[CONFIG_TARGET_BYTES];

	if (paused != NULL && paused[0] != '\0') {
		snprintf(what, sizeof what, "the sink is paused by %s", paused);
		snprintf(mend, sizeof mend, "`boxhaul inbox resume %s %s`, if what it says is no reason any more",
			 config_target(m->to.call.config, target), m->subscription);
		*good = cutover_judge(false, what, mend);
	}
	return code;
}

static const char no_sequences[] =
	"SELECT pg_catalog.string_agg(n.n, ', ')"
	" FROM (SELECT pg_catalog.split_part(x, '=', CASE WHEN x LIKE '%=%' THEN $2::pg_catalog.int4 ELSE 1 END) AS n"
	" FROM pg_catalog.unnest($1::pg_catalog.text[]) x) n WHERE NOT EXISTS"
	" (SELECT FROM pg_catalog.pg_sequence s WHERE s.seqrelid = boxhaul.capture_relation(n.n))";

/* Of one that is not there nothing would be set, and nothing be said. */
static enum exit_code judge_sequences(struct cutover *m, const struct cutover_side *side, bool *good)
{
	const char *p[] = { m->sequences, side == &m->from ? "1" : "2" };
	enum exit_code code;
	const char *none = session_value(side->session, &side->call, no_sequences, 2, p, &code);
	char what[CUTOVER_TEXT_BYTES];

	if (none != NULL && none[0] != '\0') {
		snprintf(what, sizeof what, "capture.sequences names what is no sequence in the %s: %s",
			 side == &m->from ? "source" : "target", none);
		*good = cutover_judge(false, what, "create it there, or take it out of the configuration");
	}
	return code;
}

/* What is compared behind the fence is read by these logins: all of it, or nothing is proved. */
static enum exit_code judge_hidden(const struct cutover_side *side, const char *which, const char *tables, bool *good)
{
	const struct pg_result *r =
		pg_session_run(side->session, "SELECT h.tab, h.hint FROM boxhaul.move_hidden($1) h", 1, &tables);
	char what[CUTOVER_TEXT_BYTES];

	if (pg_error(r) != NULL)
		return session_failed(side->call.config, "cannot look at the tables", r);
	for (int i = 0; i < pg_rows(r); i++) {
		snprintf(what, sizeof what,
			 "table %s of the %s has row-level security, which hides rows from this login",
			 pg_text(r, i, 0), which);
		*good = cutover_judge(false, what, pg_text(r, i, 1));
	}
	return EXIT_OK;
}

/* --- a dry run --- */

static enum exit_code tell_plan(struct cutover *m)
{
	struct cutover_relations all;
	const char *p[] = { m->sources, m->sequences };
	const struct pg_result *r;

	if (!cutover_relations(&m->from, m->sources, &all))
		return EXIT_UNREACHABLE;
	for (size_t i = 0; i < all.count; i++) {
		const char *oid[] = { all.each[i].oid };
		enum exit_code code;
		const char *whom = session_value(m->from.session, &m->from.call, "SELECT boxhaul.fence_holders($1)", 1,
						 oid, &code);

		printf("todo  fence %s (%s)%s%s\n", all.each[i].tab, all.each[i].oid,
		       whom != NULL && whom[0] != '\0' ? "; now it would wait for " : "", whom != NULL ? whom : "");
	}
	cutover_relations_free(&all);
	printf("todo  compare, behind the fence, what was written since the last verify pass over each table\n");
	r = pg_session_run(
		m->from.session,
		"SELECT q ->> 'sequence', q ->> 'last' FROM pg_catalog.jsonb_array_elements(boxhaul.move_sequences($1, $2)) q",
		2, p);
	for (int i = 0; pg_error(r) == NULL && i < pg_rows(r); i++)
		printf("todo  behind sequence %s, now at %s\n", pg_text(r, i, 0),
		       pg_is_null(r, i, 1) ? "its beginning" : pg_text(r, i, 1));
	r = pg_session_run(m->from.session,
			   "SELECT s.standby, s.flushed FROM boxhaul.move_standbys(pg_catalog.pg_current_wal_lsn()) s",
			   0, NULL);
	for (int i = 0; pg_error(r) == NULL && i < pg_rows(r); i++)
		printf("todo  wait for standby %s, now at %s\n", pg_text(r, i, 0), pg_text(r, i, 1));
	printf("todo  nothing was changed (--dry-run)\n");
	return EXIT_OK;
}

/* What others write into the copy before it is open makes it differ. */
static bool warn_of_target(struct cutover *m)
{
	struct cutover_relations all;

	if (!cutover_relations(&m->to, m->targets, &all))
		return false;
	for (size_t i = 0; i < all.count; i++)
		if (!all.each[i].fenced)
			printf("warn  table %s (%s) of the target is not fenced: others may have written into the copy\n",
			       all.each[i].tab, all.each[i].oid);
	cutover_relations_free(&all);
	return true;
}

static const char way_back[] =
	"SELECT pg_catalog.string_agg(k.subscription, ', '), pg_catalog.string_agg(k.subscription, ', ') FILTER (WHERE p.paused_at IS NULL)"
	" FROM boxhaul.sink k JOIN boxhaul.subscription d ON d.name = k.subscription JOIN boxhaul.inbox_position p ON p.subscription = k.subscription"
	" WHERE d.stream = ANY ($1::pg_catalog.text[])";

/* After the switch it is too late to make one: what the target has written by then is not sent. */
static enum exit_code warn_of_way_back(struct cutover *m)
{
	const struct pg_result *r = pg_session_run(m->from.session, way_back, 1, (const char *[]){ m->back_streams });
	char target[CONFIG_TARGET_BYTES];

	if (pg_error(r) != NULL)
		return session_failed(m->from.call.config, "cannot look at the way back", r);
	if (pg_is_null(r, 0, 0))
		printf("warn  there will be no way back: no sink of the source takes a capture of the target (boxhaul-move(7))\n");
	else if (!pg_is_null(r, 0, 1))
		printf("warn  the way back would not begin: `boxhaul inbox pause %s %s` first\n",
		       config_target(m->from.call.config, target), pg_text(r, 0, 1));
	else
		printf("ok    the way back stands ready: %s\n", pg_text(r, 0, 0));
	return EXIT_OK;
}

static const char under_way[] =
	"SELECT x.token, x.tables, (SELECT pg_catalog.array_agg(pg_catalog.array_to_string(pg_catalog.parse_ident(t.tab), '.') ORDER BY t.n)"
	" FROM pg_catalog.unnest(x.tables) WITH ORDINALITY t (tab, n))"
	" FROM boxhaul.move_source x WHERE x.capture = $1 AND x.state IN ('fencing', 'fenced')";

/* What is under way is gone on with, whatever else there is. */
static enum exit_code look_for_begun(struct cutover *m)
{
	const char *p[] = { m->capture };
	const struct pg_result *r = pg_session_run(m->from.session, under_way, 1, p);

	if (pg_error(r) != NULL)
		return session_failed(m->from.call.config, "cannot see which moves are under way", r);
	if (pg_rows(r) == 0)
		return EXIT_OK;
	m->begun = true;
	m->sources = keep(r, 1);
	m->said = keep(r, 2);
	printf("ok    goes on with move %s, which has begun\n", pg_text(r, 0, 0));
	return m->sources != NULL && m->said != NULL ? EXIT_OK : EXIT_FAILED;
}

/* What stands against it; and what it is about. */
static enum exit_code judge(struct cutover *m, bool *good)
{
	char stream[CUTOVER_TEXT_BYTES];
	bool held = false;
	enum exit_code code = judge_databases(m, good);

	if (code == EXIT_OK)
		code = judge_capture(m, stream, good);
	if (code == EXIT_OK)
		code = find_sink(m, stream, good);
	if (code == EXIT_OK && !m->begun)
		code = judge_owner(m, &held, good);
	if (code == EXIT_OK && !m->begun && !held)
		code = judge_pause(m, good);
	if (code == EXIT_OK)
		code = judge_hidden(&m->from, "source", m->sources, good);
	if (code == EXIT_OK)
		code = judge_hidden(&m->to, "target", m->targets, good);
	/* What has begun is proved behind the fence, whatever there was before. */
	if (code == EXIT_OK && !m->begun)
		code = cutover_proof_look(m, good);
	if (code == EXIT_OK)
		m->elsewhere = where_is(&m->to, &code);
	if (code == EXIT_OK)
		m->here = where_is(&m->from, &code);
	if (code != EXIT_OK || !list_of_configurations(m))
		return code != EXIT_OK ? code : EXIT_FAILED;
	code = judge_sequences(m, &m->from, good);
	return code == EXIT_OK ? judge_sequences(m, &m->to, good) : code;
}

enum exit_code cutover_plan(struct cutover *m)
{
	bool good = true;
	enum exit_code code = find_capture(m);

	if (code == EXIT_OK)
		code = look_for_begun(m);
	if (code == EXIT_OK)
		code = judge(m, &good);
	if (code != EXIT_OK)
		return code;
	if (!good && !m->begun)
		return EXIT_FAILED;
	if (!warn_of_target(m))
		return EXIT_UNREACHABLE;
	code = warn_of_way_back(m);
	if (code != EXIT_OK)
		return code;
	return m->from.call.given[OPTION_DRY_RUN] ? tell_plan(m) : EXIT_OK;
}

void cutover_plan_free(struct cutover *m)
{
	char *all[] = { m->capture,     m->subscription, m->said, m->sources,      m->targets,   m->mapping,
			m->tables_text, m->elsewhere,    m->here, m->back_streams, m->sequences, m->left };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free(all[i]);
}
