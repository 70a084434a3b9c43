/* `boxhaul capture plan`: what it would do and what is missing, line by line; or the SQL of it. Changes nothing. */
#include "command/capture_plan.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "books/capture_tables.h"
#include "books/codec.h"
#include "command/capture_show.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/out.h"
#include "command/session.h"

enum { PARAMETERS = 7, LINE_BYTES = 2048, ABOUT_WIDTH = 28 };

/* clang-format off */
static const char plan_query[] =
	"SELECT p.about, p.verdict, p.what, coalesce(p.mend, ''), coalesce(p.statement, '')"
	" FROM boxhaul.capture_plan($1, ARRAY(SELECT pg_catalog.jsonb_array_elements_text($2)), ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3)),"
	" ARRAY(SELECT pg_catalog.jsonb_array_elements_text($4)), $5, $6, $7) p";
/* clang-format on */

/* --- asking --- */

void capture_plan_look_login(const struct call *call, struct capture_plan_login *login)
{
	struct pg_session *s;
	const struct pg_result *r;

	*login = (struct capture_plan_login){ .name = "" };
	s = session_try(call, LOGIN_CAPTURE, login->why, sizeof login->why);
	if (s == NULL)
		return;
	r = pg_session_run(s, "SELECT session_user::pg_catalog.text", 0, NULL);
	if (pg_error(r) == NULL)
		snprintf(login->name, sizeof login->name, "%s", pg_text(r, 0, 0));
	pg_session_close(s);
	pg_session_close(session_try(call, LOGIN_WALSENDER, login->why, sizeof login->why));
}

/* Of other people's outbox tables those that this capture reads; a JSON array, to be freed. */
static char *outboxes_of(const struct config *config, const char *capture)
{
	const char *names[LIMIT_OUTBOX_TABLES];
	size_t n = 0;

	for (size_t i = 0; i < config->outbox_table_count; i++)
		if (config->outbox_tables[i].capture != NULL && strcmp(config->outbox_tables[i].capture, capture) == 0)
			names[n++] = config->outbox_tables[i].table;
	return codec_streams(names, n);
}

static bool has_messages(const struct config *config, const char *capture)
{
	for (size_t i = 0; i < config->messages_count; i++)
		if (config->messages[i].capture != NULL && strcmp(config->messages[i].capture, capture) == 0)
			return true;
	return false;
}

static void tell_rows(const struct pg_result *r, capture_plan_tell *tell, void *arg)
{
	for (int i = 0; i < pg_rows(r); i++)
		tell(arg, &(struct capture_plan_line){ .about = pg_text(r, i, 0),
						       .verdict = pg_text(r, i, 1),
						       .what = pg_text(r, i, 2),
						       .mend = pg_text(r, i, 3),
						       .statement = pg_text(r, i, 4) });
}

enum exit_code capture_plan_ask(struct pg_session *s, const struct config *config, const struct config_capture *capture,
				const struct capture_plan_login *login, capture_plan_tell *tell, void *arg)
{
	char *tables = codec_streams((const char *const *)capture->tables, capture->table_count);
	char *inserts = codec_streams((const char *const *)capture->inserts_only, capture->inserts_only_count);
	char *outboxes = outboxes_of(config, capture->name);
	const char *p[PARAMETERS] = { capture->name,
				      tables,
				      inserts,
				      outboxes,
				      capture_tables_plan(capture),
				      has_messages(config, capture->name) ? "true" : "false",
				      login->name[0] != '\0' ? login->name : NULL };
	const struct pg_result *r = pg_session_run(s, plan_query, PARAMETERS, p);

	free(tables);
	free(inserts);
	free(outboxes);
	if (pg_error(r) != NULL)
		return session_failed(config, "cannot plan the capture", r);
	if (login->why[0] != '\0')
		tell(arg,
		     &(struct capture_plan_line){
			     .about = "login",
			     .verdict = "FAIL",
			     .what = login->why,
			     .mend = login->name[0] == '\0'
					     ? "look at postgres.capture_conninfo, and let that login in (pg_hba.conf)"
					     : "let it in for replication of this database: pg_hba.conf, by the database's name",
			     .statement = "" });
	tell_rows(r, tell, arg);
	return EXIT_OK;
}

/* --- telling --- */

struct telling {
	struct out out;
	json_t *lines;   /* --json */
	bool sql, quiet; /* --sql; only what has to be mended */
	int failed, todo;
};

static enum ink ink_of(const char *verdict)
{
	return strcmp(verdict, "ok") == 0     ? INK_GOOD
	       : strcmp(verdict, "FAIL") == 0 ? INK_BAD
	       : strcmp(verdict, "note") == 0 ? INK_DIM
					      : INK_WARN;
}

static void print_line(const struct telling *t, const struct capture_plan_line *l)
{
	char about[128], what[LINE_BYTES], mend[LINE_BYTES];

	out_print(&t->out, ink_of(l->verdict), "%-4s", l->verdict);
	out_print(&t->out, INK_BOLD, "  %-*s ", ABOUT_WIDTH, utf8_line(l->about, about, sizeof about));
	out_print(&t->out, INK_PLAIN, "%s%s%s\n", utf8_line(l->what, what, sizeof what), l->mend[0] != '\0' ? ": " : "",
		  utf8_line(l->mend, mend, sizeof mend));
	if (l->statement[0] != '\0')
		out_print(&t->out, INK_DIM, "      %-*s %s;\n", ABOUT_WIDTH, "",
			  utf8_line(l->statement, what, sizeof what));
}

/* What is said stands in comments, so that all of it may go to psql. */
static void print_sql(const struct capture_plan_line *l)
{
	char about[128], what[LINE_BYTES], mend[LINE_BYTES];

	if (strcmp(l->verdict, "FAIL") == 0 || l->statement[0] != '\0')
		printf("-- %s: %s%s%s\n", utf8_line(l->about, about, sizeof about),
		       utf8_line(l->what, what, sizeof what), l->mend[0] != '\0' ? ": " : "",
		       utf8_line(l->mend, mend, sizeof mend));
	if (l->statement[0] != '\0')
		printf("%s;\n", l->statement);
}

static void tell_line(void *arg, const struct capture_plan_line *l)
{
	struct telling *t = arg;
	bool fails = strcmp(l->verdict, "FAIL") == 0;

	t->failed += fails;
	t->todo += strcmp(l->verdict, "todo") == 0;
	if (t->lines != NULL)
		json_array_append_new(t->lines,
				      json_pack("{s:s, s:s, s:s, s:s, s:s}", "about", l->about, "verdict", l->verdict,
						"what", l->what, "mend", l->mend, "statement", l->statement));
	else if (t->sql)
		print_sql(l);
	else if (!t->quiet || fails)
		print_line(t, l);
}

static void print_end(const struct call *call, const struct telling *t)
{
	const char *name = call->arguments[0];
	char target[CONFIG_TARGET_BYTES];

	config_target(call->config, target);
	if (t->failed > 0)
		printf("%d thing%s to be mended first; `boxhaul capture plan --sql %s %s` prints the SQL for who administers the server\n",
		       t->failed, t->failed == 1 ? " has" : "s have", target, name);
	else if (t->todo > 0)
		printf("`boxhaul capture start %s %s` does what is to do, as the login of postgres.migrate_conninfo\n",
		       target, name);
	else
		puts("all is there");
}

static enum exit_code plan(struct pg_session *s, const struct call *call)
{
	const struct config_capture *capture = config_capture_of(call->config, call->arguments[0]);
	struct telling t = { .out = out_open(stdout),
			     .lines = call->given[OPTION_JSON] ? json_array() : NULL,
			     .sql = call->given[OPTION_SQL] };
	struct capture_plan_login login;
	enum exit_code code;

	capture_plan_look_login(call, &login);
	code = capture_plan_ask(s, call->config, capture, &login, tell_line, &t);
	if (code == EXIT_OK && t.lines != NULL) {
		out_json(&t.out, t.lines);
	} else if (code == EXIT_OK && !t.sql) {
		print_end(call, &t);
	}
	json_decref(t.lines);
	return code == EXIT_OK && t.failed > 0 ? EXIT_FAILED : code;
}

enum exit_code command_capture_plan(const struct call *call)
{
	return capture_show_configured(call) != NULL ? inbox_with_session(call, plan) : EXIT_USAGE;
}

/* --- doing --- */

/* The statements, as they are to be run. */
struct todo {
	struct telling telling;
	json_t *statements;
};

static void keep_line(void *arg, const struct capture_plan_line *l)
{
	struct todo *t = arg;

	tell_line(&t->telling, l);
	if (strcmp(l->verdict, "todo") == 0)
		json_array_append_new(t->statements, json_string(l->statement));
}

/* Nobody's statement waits for ours: a lock that is not to be had soon is given up. */
static const char begin[] = "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL search_path = pg_catalog, pg_temp";

static enum exit_code run_all(struct pg_session *owner, const struct call *call, const json_t *statements)
{
	const struct pg_result *r = pg_session_run(owner, begin, 0, NULL);
	const json_t *one;
	size_t i;

	json_array_foreach (statements, i, one) {
		if (pg_error(r) != NULL)
			break;
		r = pg_session_run(owner, json_string_value(one), 0, NULL);
	}
	if (pg_error(r) == NULL)
		r = pg_session_run(owner, "COMMIT", 0, NULL);
	if (pg_error(r) == NULL) {
		json_array_foreach (statements, i, one)
			printf("did     %s\n", json_string_value(one));
		return EXIT_OK;
	}
	fprintf(stderr,
		"boxhaul: it needs who owns the tables, and may create in the database: set postgres.migrate_conninfo, or let a DBA run "
		"what `boxhaul capture plan --sql` prints\n");
	return session_failed(call->config, "cannot do what is to be done", r);
}

enum exit_code capture_plan_carry_out(struct pg_session *s, const struct call *call,
				      const struct config_capture *capture)
{
	struct todo t = { .telling = { .out = out_open(stdout), .quiet = true }, .statements = json_array() };
	struct capture_plan_login login;
	struct pg_session *owner = NULL;
	enum exit_code code;

	capture_plan_look_login(call, &login);
	code = capture_plan_ask(s, call->config, capture, &login, keep_line, &t);
	if (code == EXIT_OK && t.telling.failed > 0) {
		print_end(call, &t.telling);
		code = EXIT_FAILED;
	}
	if (code == EXIT_OK && json_array_size(t.statements) > 0) {
		owner = session_open(call, LOGIN_OWNER);
		code = owner != NULL ? run_all(owner, call, t.statements) : EXIT_UNREACHABLE;
	}
	pg_session_close(owner);
	json_decref(t.statements);
	return code;
}
