/* What an operator decides about a capture. Done by the SQL; here it is asked about and told. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "books/capture_ledger.h"
#include "books/capture_tables.h"
#include "command/ask.h"
#include "command/capture_plan.h"
#include "command/capture_show.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/line.h"
#include "command/look.h"
#include "command/session.h"

/* --- start, add: what the configuration says is put in place --- */

static enum exit_code define(struct pg_session *s, const struct call *call, const struct config_capture *capture)
{
	struct capture_definition d;
	enum exit_code code = EXIT_FAILED;

	if (capture_ledger_definition(&d, call->config, (size_t)(capture - call->config->captures)))
		session_value(s, call, d.sql, CAPTURE_DEFINITION_PARAMETERS, d.parameters, &code);
	capture_ledger_definition_free(&d);
	return code;
}

static enum exit_code start(struct pg_session *s, const struct call *call)
{
	const struct config_capture *capture = config_capture_of(call->config, call->arguments[0]);
	char target[CONFIG_TARGET_BYTES];
	const char *fresh;
	enum exit_code code = capture_plan_carry_out(s, call, capture);

	if (code == EXIT_OK)
		code = define(s, call, capture);
	if (code != EXIT_OK)
		return code;
	fresh = session_value(s, call, "SELECT boxhaul.capture_start($1)", 1, (const char *[]){ call->arguments[0] },
			      &code);
	if (fresh == NULL)
		return code;
	config_target(call->config, target);
	if (fresh[0] == 't')
		printf("capture %s is started: the daemon makes its replication slot, and then reads; `boxhaul capture status %s %s` shows how far it is\n",
		       capture->name, target, capture->name);
	else
		printf("capture %s was started already\n", capture->name);
	return EXIT_OK;
}

enum exit_code command_capture_start(const struct call *call)
{
	return capture_show_configured(call) != NULL ? inbox_with_session(call, start) : EXIT_USAGE;
}

/* Its number, written as in the configuration; capture_tables_count(): it does not stand there. */
static size_t number_of(const struct config_capture *c, const char *table)
{
	size_t i = 0;

	while (i < capture_tables_count(c) && strcmp(capture_tables_name(c, i), table) != 0)
		i++;
	return i;
}

static enum exit_code add(struct pg_session *s, const struct call *call)
{
	const struct config_capture *c = config_capture_of(call->config, call->arguments[0]);
	const char *table = call->arguments[1], *fresh;
	size_t number = number_of(c, table);
	const char *p[] = { c->name, table, capture_tables_snapshot(c, number),
			    number >= c->table_count ? "true" : "false" };
	json_t *o;
	enum exit_code code = capture_show_look(s, call, c->name, &o); /* only to one that was started */

	json_decref(o);
	if (code == EXIT_OK)
		code = capture_plan_carry_out(s, call, c);
	if (code != EXIT_OK)
		return code;
	fresh = session_value(s, call, "SELECT boxhaul.capture_add($1, $2, $3, $4)", 4, p, &code);
	if (fresh != NULL)
		printf(fresh[0] == 't'
			       ? "table %s is captured from now on; rows that are there already follow. Reload the daemon: it has to know of it\n"
			       : "table %s was captured already\n",
		       table);
	return code;
}

enum exit_code command_capture_add(const struct call *call)
{
	const struct config_capture *c = capture_show_configured(call);

	if (c == NULL)
		return EXIT_USAGE;
	if (number_of(c, call->arguments[1]) == capture_tables_count(c))
		return line_wrong(
			"%s: put it into the configuration first, into `tables` of capture %s, or `inserts_only`; written the same way",
			call->arguments[1], c->name);
	return inbox_with_session(call, add);
}

/* --- pause, resume, resync --- */

static enum exit_code pause_(struct pg_session *s, const struct call *call)
{
	char who[256];
	const char *p[] = { call->arguments[0], session_who(who, sizeof who), call->text[OPTION_REASON] };
	enum exit_code code;
	const char *fresh = session_value(s, call, "SELECT boxhaul.capture_pause($1, $2, $3)", 3, p, &code);

	if (fresh != NULL)
		puts(fresh[0] == 't' ? "paused: the log is not read any more; the server keeps it until it is resumed"
				     : "it was paused already");
	return code;
}

enum exit_code command_capture_pause(const struct call *call)
{
	return inbox_with_session(call, pause_);
}

static enum exit_code resume(struct pg_session *s, const struct call *call)
{
	enum exit_code code;
	const char *was = session_value(s, call, "SELECT boxhaul.capture_resume($1)", 1,
					(const char *[]){ call->arguments[0] }, &code);

	if (was != NULL)
		puts(was[0] == 't' ? "resumed" : "it was not paused");
	return code;
}

enum exit_code command_capture_resume(const struct call *call)
{
	return inbox_with_session(call, resume);
}

static enum exit_code resync(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0], call->count > 1 ? call->arguments[1] : NULL };
	enum exit_code code;
	const char *did = session_value(s, call, "SELECT boxhaul.capture_resync($1, $2)", 2, p, &code);

	if (did != NULL)
		printf("%s\n", did);
	return code;
}

enum exit_code command_capture_resync(const struct call *call)
{
	return inbox_with_session(call, resync);
}

/* --- drop --- */

/* The daemon that read it lets go when it learns that the capture is gone: until then its walsender uses the slot. Somebody else who does is named. */
static const char drop_slots[] =
	"SELECT pg_catalog.pg_terminate_backend(s.active_pid) FROM pg_catalog.pg_replication_slots s"
	" WHERE s.database = pg_catalog.current_database() AND s.slot_name ~ ('^boxhaul_' || $1 || '_[0-9]+$')"
	" AND boxhaul.capture_is_ours($1, s.active_pid)";
static const char drop_free[] =
	"SELECT s.slot_name, pg_catalog.pg_drop_replication_slot(s.slot_name) FROM pg_catalog.pg_replication_slots s"
	" WHERE s.database = pg_catalog.current_database() AND s.slot_name ~ ('^boxhaul_' || $1 || '_[0-9]+$') AND s.active_pid IS NULL";
static const char slots_left[] =
	"SELECT pg_catalog.string_agg(s.slot_name || coalesce(pg_catalog.format(' (pid %s, %s of %s)', a.pid, a.application_name, a.usename), ''), ', ')"
	" FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid"
	" WHERE s.database = pg_catalog.current_database() AND s.slot_name ~ ('^boxhaul_' || $1 || '_[0-9]+$')";

static const char slots_without_books[] =
	"SELECT NOT EXISTS (SELECT FROM boxhaul.capture c WHERE c.name = $1) AND EXISTS (SELECT FROM pg_catalog.pg_replication_slots s"
	" WHERE s.database = pg_catalog.current_database() AND s.slot_name ~ ('^boxhaul_' || $1 || '_[0-9]+$'))";

enum { DROP_TRIES = 50, DROP_PAUSE_MS = 100 };

/* A slot that stays keeps the server's log for ever, so it is not gone before it is gone. */
static enum exit_code drop_all_slots(const struct call *call, const char *name)
{
	struct pg_session *s = session_open(call, LOGIN_CAPTURE);
	const char *p[] = { name }, *left = "";
	enum exit_code code = EXIT_OK;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	for (int i = 0; left != NULL && i < DROP_TRIES && code == EXIT_OK; i++) {
		const struct pg_result *r;

		session_value(s, call, drop_slots, 1, p, &code);
		r = pg_session_run(s, drop_free, 1, p);
		for (int k = 0; pg_error(r) == NULL && k < pg_rows(r); k++)
			printf("did     dropped replication slot %s\n", pg_text(r, k, 0));
		if (code == EXIT_OK)
			left = session_value(s, call, slots_left, 1, p, &code);
		left = left != NULL && left[0] != '\0' ? left : NULL;
		if (left != NULL)
			pg_session_wait_notify(s, DROP_PAUSE_MS);
	}
	if (left != NULL)
		fprintf(stderr,
			"boxhaul: replication slot %s is still used: stop who uses it, then say `boxhaul capture drop` again\n",
			left);
	pg_session_close(s);
	return left != NULL ? EXIT_FAILED : code;
}

static enum exit_code drop_publications(const struct call *call, const char *name)
{
	struct pg_session *s = session_open(call, LOGIN_OWNER);
	const struct pg_result *r;
	enum exit_code code = EXIT_OK;
	char sql[256];

	if (s == NULL)
		return EXIT_UNREACHABLE;
	snprintf(sql, sizeof sql, "DROP PUBLICATION IF EXISTS boxhaul_%s, boxhaul_%s_inserts", name, name);
	r = pg_session_run(s, sql, 0, NULL);
	if (pg_error(r) != NULL)
		code = session_failed(call->config, "cannot drop the publications", r);
	else
		printf("did     %s\n", sql);
	pg_session_close(s);
	return code;
}

static bool is_name(const char *name)
{
	return name[0] != '\0' && strlen(name) <= 40 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static enum exit_code ask_about(struct pg_session *s, const struct call *call, const char *name)
{
	char kept[32];
	json_t *o;
	enum exit_code code = capture_show_look(s, call, name, &o);

	if (code != EXIT_OK)
		return code;
	code = ask(
		call,
		"Forget capture %s of stream %s, its replication slot with %s of the log, and its publications? What changes from then on is "
		"not sent; started again, it reads every table anew.",
		name, look_text(o, "stream"),
		bytes_text((uint64_t)inbox_number(o, "retained_bytes"), kept, sizeof kept));
	json_decref(o);
	return code;
}

/* The books first: whoever reads it must not make another slot. Where they are gone already, an earlier drop did not come to its end. */
static enum exit_code drop(struct pg_session *s, const struct call *call)
{
	const char *name = call->arguments[0], *p[] = { name };
	enum exit_code code;
	const char *left = session_value(s, call, slots_without_books, 1, p, &code);

	if (left == NULL)
		return code;
	if (left[0] != 't') {
		code = ask_about(s, call, name);
		if (code == EXIT_OK)
			session_value(s, call, "SELECT boxhaul.capture_drop($1)", 1, p, &code);
	}
	if (code == EXIT_OK)
		code = drop_all_slots(call, name);
	if (code == EXIT_OK)
		code = drop_publications(call, name);
	if (code == EXIT_OK)
		printf("capture %s is gone; its stream and its dead letters stay\n", name);
	return code;
}

enum exit_code command_capture_drop(const struct call *call)
{
	if (!is_name(call->arguments[0]))
		return line_wrong("%s: no capture has such a name", call->arguments[0]);
	return inbox_with_session(call, drop);
}
