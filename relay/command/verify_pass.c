#include "command/verify_pass.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 300, TELL_MS = 5000, SETTLE_MS = 10000 };

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- which tables --- */

static const char tables_of_stream[] =
	"SELECT t.subscription, t.source FROM boxhaul.sink_table t JOIN boxhaul.subscription d ON d.name = t.subscription"
	" WHERE d.stream = $1 ORDER BY 1, 2";

/* Who compares rebuilds rows exactly, in the order in which they were committed. */
static bool can_be_verified(const struct config_capture *c)
{
	return c->format == CAPTURE_FORMAT_TEXT && c->order == CONFIG_ORDER_COMMIT && c->target != CAPTURE_TARGET_KV;
}

/* The source is asked by the names of its configuration; what it does not capture it is told to look for by the other one. */
static enum exit_code find_name(struct verify *v, struct verify_table *t)
{
	enum exit_code code;
	const char *name = session_value(v->source, v->call, "SELECT coalesce(boxhaul.capture_tab($1, $2), $2)", 2,
					 (const char *[]){ t->capture, t->tab }, &code);

	if (name != NULL)
		snprintf(t->named, sizeof t->named, "%s", name);
	return name != NULL ? EXIT_OK : code;
}

/* With --table, by either of its names. */
static bool is_wanted(const struct verify *v, const struct verify_table *t)
{
	const char *wanted = v->call->text[OPTION_TABLE];

	return wanted == NULL || strcmp(t->tab, wanted) == 0 || strcmp(t->named, wanted) == 0;
}

static enum exit_code add_tables(struct verify *v, const struct config_capture *c)
{
	const struct pg_result *r = pg_session_run(v->target, tables_of_stream, 1, (const char *[]){ c->stream.name });
	struct verify_table *more;
	enum exit_code code = EXIT_OK;

	if (pg_error(r) != NULL)
		return session_failed(v->to.config, "cannot see the tables of the target", r);
	more = realloc(v->table, (v->count + (size_t)pg_rows(r) + 1) * sizeof *more);
	if (more == NULL)
		return EXIT_FAILED;
	v->table = more;
	for (int i = 0; i < pg_rows(r) && code == EXIT_OK; i++) {
		struct verify_table *t = &v->table[v->count];

		*t = (struct verify_table){ .left = 0 };
		snprintf(t->capture, sizeof t->capture, "%s", c->name);
		snprintf(t->subscription, sizeof t->subscription, "%s", pg_text(r, i, 0));
		snprintf(t->tab, sizeof t->tab, "%s", pg_text(r, i, 1));
		code = find_name(v, t);
		v->count += code == EXIT_OK && is_wanted(v, t);
	}
	return code;
}

/* After a switch the old database is the copy. */
static enum exit_code find_owner(struct verify *v, struct verify_table *t)
{
	enum exit_code code;
	const char *held = session_value(v->target, &v->to, "SELECT boxhaul.move_holds($1)", 1,
					 (const char *[]){ t->subscription }, &code);

	if (held != NULL && held[0] != '\0')
		snprintf(
			t->why, sizeof t->why,
			"it is written in the target since the cut-over: verify the other way, with -c and --to exchanged");
	return code;
}

static const char way_of_table[] =
	"SELECT coalesce(w.columns::text, ''), w.hashes, w.state, coalesce(w.unknown, ''), coalesce(w.unsent, '') FROM boxhaul.verify_way($1, $2, $3) w";

/* What stands against a pass over it. */
static void doubt_way(struct verify_table *t, const struct pg_result *r)
{
	if (strcmp(pg_text(r, 0, 2), "complete") != 0)
		snprintf(t->why, sizeof t->why, "it is not complete in the target yet (%s)", pg_text(r, 0, 2));
	else if (pg_text(r, 0, 3)[0] != '\0')
		snprintf(t->why, sizeof t->why,
			 VERIFY_UNKNOWN "; `boxhaul capture resync NAME CAPTURE TABLE` sends them", pg_text(r, 0, 3));
	else if (pg_text(r, 0, 4)[0] != '\0')
		snprintf(t->why, sizeof t->why, VERIFY_UNSENT "; " VERIFY_UNSENT_MEND, pg_text(r, 0, 4));
}

/* Hashes say something only where each column is the same here and there. */
static enum exit_code find_way(struct verify *v, struct verify_table *t)
{
	enum exit_code code;
	const char *shape = session_value(v->source, v->call, "SELECT boxhaul.capture_verify_shape($1, $2)", 2,
					  (const char *[]){ t->capture, t->named }, &code);
	const struct pg_result *r;

	if (shape == NULL)
		return code;
	r = pg_session_run(v->target, way_of_table, 3, (const char *[]){ t->subscription, t->tab, shape });
	if (pg_error(r) != NULL)
		return session_failed(v->to.config, "cannot see how a table is made", r);
	if (pg_rows(r) == 0) {
		snprintf(t->why, sizeof t->why, "the sink does not apply it any more");
		return EXIT_OK;
	}
	t->hashes = pg_text(r, 0, 1)[0] == 't';
	doubt_way(t, r);
	t->columns = strdup(pg_text(r, 0, 0));
	return t->columns != NULL ? find_owner(v, t) : EXIT_FAILED;
}

static const char state_here[] =
	"SELECT coalesce((SELECT t.state FROM boxhaul.capture_table t WHERE t.capture = $1 AND t.tab = $2), '')";
static const char state_there[] =
	"SELECT coalesce((SELECT t.state FROM boxhaul.sink_table t WHERE t.subscription = $1 AND t.source = $2), '')";

/* All rows are stored, and one of the two has yet to say so: the capture by its next mark, the sink when it has come to their end, or, behind a cut-over, to the
 * beginning of what it takes now. */
static enum exit_code is_settling(struct verify *v, const struct verify_table *t, bool *settling)
{
	enum exit_code code;
	const char *state =
		session_value(v->source, v->call, state_here, 2, (const char *[]){ t->capture, t->named }, &code);
	bool here = state != NULL && strcmp(state, "complete") == 0;
	bool still = state != NULL && (here || strcmp(state, "reading") == 0 || strcmp(state, "read") == 0);

	if (state == NULL)
		return code;
	state = session_value(v->target, &v->to, state_there, 2, (const char *[]){ t->subscription, t->tab }, &code);
	*settling = state != NULL && still && state[0] != '\0' && here != (strcmp(state, "complete") == 0);
	return code;
}

/* Who has just seen the copy complete, or has just switched, is not told to come again. */
static enum exit_code wait_settled(struct verify *v, const struct verify_table *t)
{
	bool settling = true;
	enum exit_code code = EXIT_OK;

	while (code == EXIT_OK && settling) {
		code = is_settling(v, t, &settling);
		if (code != EXIT_OK || now_ms() >= v->settled_ms || (v->until_ms != 0 && now_ms() >= v->until_ms))
			break;
		if (settling)
			pg_session_wait_notify(v->target, LOOK_MS);
	}
	return code;
}

enum exit_code verify_find(struct verify *v)
{
	const struct config *config = v->call->config;
	enum exit_code code = EXIT_OK;
	bool any = false;

	if (v->call->given[OPTION_TIMEOUT])
		v->until_ms = now_ms() + (int64_t)v->call->number[OPTION_TIMEOUT];
	v->settled_ms = now_ms() + SETTLE_MS;
	for (size_t i = 0; i < config->capture_count && code == EXIT_OK; i++) {
		if (!can_be_verified(&config->captures[i]))
			continue;
		any = true;
		code = add_tables(v, &config->captures[i]);
	}
	if (code == EXIT_OK && v->count == 0) {
		fprintf(stderr, "boxhaul: there is nothing to verify: %s\n",
			any ? "no sink of the target takes such a table from the stream of a capture here"
			    : "no capture of this configuration has format = \"text\" and order = \"commit\"");
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < v->count && code == EXIT_OK; i++) {
		code = wait_settled(v, &v->table[i]);
		if (code == EXIT_OK)
			code = find_way(v, &v->table[i]);
	}
	return code;
}

/* --- a pass --- */

/* keys NULL: all rows. Where it cannot begin the table's `why` says so, and other tables go on. */
static enum exit_code begin(struct verify *v, struct verify_table *t, bool whole, const char *keys, bool repair)
{
	const char *p[] = { t->capture,
			    t->named,
			    t->columns[0] != '\0' ? t->columns : NULL,
			    whole ? "true" : "false",
			    keys,
			    repair ? "true" : "false" };
	const struct pg_result *r =
		pg_session_run(v->source, "SELECT boxhaul.capture_verify($1, $2, $3::text[], $4, $5, $6)", 6, p);
	enum exit_code code = EXIT_OK;

	if (pg_error(r) == NULL)
		snprintf(t->pass, sizeof t->pass, "%s", pg_text(r, 0, 0));
	else
		code = session_failed(v->call->config, "cannot verify", r);
	if (code == EXIT_FAILED) {
		snprintf(t->why, sizeof t->why, "%s", pg_error(r));
		code = EXIT_OK;
	}
	return code;
}

static const char result_of_pass[] =
	"SELECT r.ended_at IS NOT NULL, r.rows, r.ranges, r.different, coalesce(r.why, ''),"
	" pg_catalog.to_char(r.began_at, 'YYYY-MM-DD HH24:MI:SS.MS TZ'), pg_catalog.to_char(r.ended_at, 'YYYY-MM-DD HH24:MI:SS.MS TZ')"
	" FROM boxhaul.verify_result r WHERE r.subscription = $1 AND r.tab = $2 AND r.pass = $3::uuid";

static const char state_of_pass[] =
	"SELECT v.state, v.rows, coalesce(v.rows_estimate, 0), coalesce(extract(epoch FROM clock_timestamp() - v.begun_at), 0)::float8"
	" FROM boxhaul.capture_verify_progress v WHERE v.id = $1::uuid";

static const char state_of_sink[] =
	"SELECT coalesce(k.error, p.stop ->> 'kind', 'it is paused') FROM boxhaul.sink k JOIN boxhaul.inbox_position p ON p.subscription = k.subscription"
	" WHERE k.subscription = $1 AND (k.error IS NOT NULL OR p.stop IS NOT NULL OR p.paused_at IS NOT NULL)";

/* A sink that stands still compares nothing, and is waited for. */
static enum exit_code tell_sink(struct verify *v, const struct verify_table *t)
{
	enum exit_code code;
	const char *why =
		session_value(v->target, &v->to, state_of_sink, 1, (const char *[]){ t->subscription }, &code);

	if (why == NULL || strcmp(why, v->sink_told) == 0)
		return code;
	snprintf(v->sink_told, sizeof v->sink_told, "%s", why);
	if (why[0] != '\0')
		fprintf(stderr, "boxhaul: the sink %s stands still, and compares nothing until it goes on: %s\n",
			t->subscription, why);
	return code;
}

/* Rows and time that are left, by the rate so far. compared: rows, by the sink, which comes behind who reads them. */
static void tell_progress(const struct verify *v, const struct verify_table *t, const struct pg_result *r,
			  double compared, int64_t *told)
{
	bool read = strcmp(pg_text(r, 0, 0), "complete") == 0;
	double rows = strtod(pg_text(r, 0, 1), NULL), all = read ? rows : strtod(pg_text(r, 0, 2), NULL);
	double done = read ? compared : rows, seconds = strtod(pg_text(r, 0, 3), NULL);
	char left[64] = "";

	if (now_ms() - *told < (v->out.terminal ? LOOK_MS : TELL_MS))
		return;
	*told = now_ms();
	if (done > 0 && all > done && seconds > 0)
		snprintf(left, sizeof left, ", %.0f %%, %.0f a second, %.0f s left", 100 * done / all, done / seconds,
			 (all - done) * seconds / done);
	out_print(&v->out, INK_DIM, "%s%s: %s%s %.0f rows%s%s", v->out.terminal ? "\r\033[K" : "", t->tab,
		  read ? "all is read, and the sink has compared" : pg_text(r, 0, 0), read ? "" : ",", done, left,
		  v->out.terminal ? "" : "\n");
	fflush(v->out.file);
}

static void keep_result(struct verify_table *t, const struct pg_result *r, int64_t *different)
{
	if (t->full[0] == '\0') {
		t->rows = strtoll(pg_text(r, 0, 1), NULL, 10);
		t->ranges = strtoll(pg_text(r, 0, 2), NULL, 10);
		snprintf(t->from, sizeof t->from, "%s", pg_text(r, 0, 5));
	}
	*different = strtoll(pg_text(r, 0, 3), NULL, 10);
	snprintf(t->why, sizeof t->why, "%s", pg_text(r, 0, 4));
	snprintf(t->to, sizeof t->to, "%s", pg_text(r, 0, 6));
}

static enum exit_code look(struct verify *v, struct verify_table *t, bool *ended, int64_t *different, int64_t *told)
{
	const struct pg_result *r =
		pg_session_run(v->target, result_of_pass, 3, (const char *[]){ t->subscription, t->tab, t->pass });
	double compared = 0;

	if (pg_error(r) != NULL)
		return session_failed(v->to.config, "cannot see what was found", r);
	if (pg_rows(r) == 1)
		compared = strtod(pg_text(r, 0, 1), NULL);
	*ended = pg_rows(r) == 1 && pg_text(r, 0, 0)[0] == 't';
	if (*ended)
		keep_result(t, r, different);
	/* Its end is stored before it is on record at the source, and no other pass over the table begins before that is. */
	r = pg_session_run(v->source, state_of_pass, 1, (const char *[]){ t->pass });
	if (pg_error(r) != NULL)
		return session_failed(v->call->config, "cannot see how far a pass is", r);
	if (pg_rows(r) == 0 || strcmp(pg_text(r, 0, 0), "given_up") == 0) {
		if (!*ended)
			snprintf(t->why, sizeof t->why, "the pass was given up");
		*ended = true;
		return EXIT_OK;
	}
	*ended = *ended && strcmp(pg_text(r, 0, 0), "complete") == 0;
	tell_progress(v, t, r, compared, told);
	return *ended ? EXIT_OK : tell_sink(v, t);
}

/* Until the target has come to its end. */
static enum exit_code finish(struct verify *v, struct verify_table *t, int64_t *different)
{
	bool ended = false;
	int64_t told = now_ms();
	enum exit_code code = EXIT_OK;

	for (;;) {
		code = look(v, t, &ended, different, &told);
		if (code != EXIT_OK || ended)
			break;
		if (v->until_ms != 0 && now_ms() >= v->until_ms) {
			fprintf(stderr,
				"boxhaul: the pass over %s has not ended in time: it goes on, and its result will stand in boxhaul.verify_result "
				"of the target. Do both daemons run?\n",
				t->tab);
			code = EXIT_FAILED;
			break;
		}
		pg_session_wait_notify(v->target, LOOK_MS);
	}
	if (v->out.terminal)
		out_print(&v->out, INK_PLAIN, "\r\033[K");
	return code;
}

enum exit_code verify_all(struct verify *v)
{
	enum exit_code code = EXIT_OK;

	for (size_t i = 0; i < v->count && code == EXIT_OK; i++)
		if (v->table[i].why[0] == '\0')
			code = begin(v, &v->table[i], !v->table[i].hashes, NULL, false);
	for (size_t i = 0; i < v->count && code == EXIT_OK; i++) {
		struct verify_table *t = &v->table[i];

		if (t->why[0] != '\0')
			continue;
		code = finish(v, t, &t->found);
		t->left = t->found;
		snprintf(t->full, sizeof t->full, "%s", t->pass);
	}
	return code;
}

/* --- repair --- */

static const char keys_of_pass[] =
	"SELECT pg_catalog.jsonb_agg(d.key)::text FROM (SELECT DISTINCT pg_catalog.to_jsonb(x.key) AS key FROM boxhaul.verify_difference x"
	" WHERE x.subscription = $1 AND x.tab = $2 AND x.pass = $3::uuid) d";

/* What the source's types cannot read is no key there, and no pass can ask for it: such rows are told of, and stay. Returns the others, malloc'ed; NULL: it
 * failed, and said so. */
static char *readable_keys(struct verify *v, struct verify_table *t, const char *keys, int64_t *stay,
			   enum exit_code *code)
{
	const struct pg_result *r = pg_session_run(
		v->source,
		"SELECT nullif(r.readable, '[]'), pg_catalog.jsonb_array_length(r.unreadable) FROM boxhaul.verify_readable($1, $2::jsonb) r",
		2, (const char *[]){ t->named, keys });

	*code = EXIT_FAILED;
	if (pg_error(r) != NULL) {
		*code = session_failed(v->call->config, "cannot look at the keys that differ", r);
		return NULL;
	}
	*stay = strtoll(pg_text(r, 0, 1), NULL, 10);
	if (*stay > 0)
		snprintf(
			t->kept, sizeof t->kept,
			"%" PRId64
			" of the keys that the target has can be none of the source: delete these rows there, logged in as the sink",
			*stay);
	return strdup(pg_is_null(r, 0, 0) ? "" : pg_text(r, 0, 0));
}

/* What could not be set right ends neither the pass nor the proof of the others. */
static enum exit_code repair_keys(struct verify *v, struct verify_table *t, const char *keys)
{
	int64_t mended = 0;
	enum exit_code code = begin(v, t, true, keys, true);

	if (code == EXIT_OK && t->why[0] == '\0')
		code = finish(v, t, &mended);
	if (code == EXIT_OK && t->why[0] != '\0' && t->pass[0] != '\0') {
		snprintf(t->kept, sizeof t->kept, "%s", t->why);
		t->why[0] = '\0';
	}
	if (code == EXIT_OK && t->why[0] == '\0')
		code = begin(v, t, true, keys, false);
	if (code == EXIT_OK && t->why[0] == '\0')
		code = finish(v, t, &t->left);
	return code;
}

static enum exit_code repair(struct verify *v, struct verify_table *t)
{
	enum exit_code code;
	int64_t stay = 0;
	const char *found = session_value(v->target, &v->to, keys_of_pass, 3,
					  (const char *[]){ t->subscription, t->tab, t->full }, &code);
	char *keys = found != NULL ? readable_keys(v, t, found, &stay, &code) : NULL;

	if (keys == NULL)
		return code != EXIT_OK ? code : EXIT_FAILED;
	code = EXIT_OK;
	t->left = 0;
	if (keys[0] != '\0')
		code = repair_keys(v, t, keys);
	t->left += stay;
	free(keys);
	return code;
}

enum exit_code verify_repair(struct verify *v)
{
	enum exit_code code = EXIT_OK;

	for (size_t i = 0; i < v->count && code == EXIT_OK; i++)
		if (v->table[i].found > 0 && v->table[i].why[0] == '\0')
			code = repair(v, &v->table[i]);
	return code;
}

enum exit_code verify_settle(struct verify *v)
{
	enum exit_code code = EXIT_OK;

	for (size_t i = 0; i < v->count && code == EXIT_OK; i++)
		if (v->table[i].left == 0 && v->table[i].why[0] == '\0')
			session_value(v->source, v->call, "SELECT boxhaul.capture_verify_proved($1::uuid)", 1,
				      (const char *[]){ v->table[i].full }, &code);
	return code;
}

/* --- what was found --- */

const struct pg_result *verify_keys(struct verify *v, const struct verify_table *t, int most)
{
	char limit[16];
	const char *p[] = { t->subscription, t->tab, t->full, limit };

	snprintf(limit, sizeof limit, "%d", most);
	return pg_session_run(
		v->target,
		"SELECT d.kind, pg_catalog.to_jsonb(d.key)::text, coalesce(pg_catalog.to_char(d.repaired_at,"
		" 'YYYY-MM-DD HH24:MI:SS.MS TZ'), '') FROM boxhaul.verify_difference d"
		" WHERE d.subscription = $1 AND d.tab = $2 AND d.pass = $3::uuid ORDER BY d.id LIMIT $4::bigint",
		4, p);
}

void verify_free(struct verify *v)
{
	for (size_t i = 0; i < v->count; i++)
		free(v->table[i].columns);
	free(v->table);
}
