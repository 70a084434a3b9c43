/* `boxhaul check`: every line ok, warn or FAIL, with what mends it. Looks at everything even after a failure. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/commands.h"
#include "command/out.h"
#include "command/session.h"
#include "edge/natsio_session.h"
#include "edge/pg.h"
#include "ledger.h"
#include "log.h"
#include "message.h"

enum { NOTIFY_TIMEOUT_MS = 3000 };

struct check {
	const struct config *config;
	bool failed, unreachable;
};

__attribute__((format(printf, 2, 3))) static void say(const char *verdict, const char *format, ...)
{
	enum ink ink = verdict[0] == 'o' ? INK_GOOD : verdict[0] == 'w' ? INK_WARN : INK_BAD;
	struct out o = out_open(stdout);
	char line[1024], clean[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	log_scrub(line, clean, sizeof clean);
	out_print(&o, ink, "%-4s", verdict);
	out_print(&o, INK_PLAIN, "  %s\n", clean);
}

#define ok(...) say("ok", __VA_ARGS__)
#define warn(...) say("warn", __VA_ARGS__)
#define fail(c, ...) (say("FAIL", __VA_ARGS__), (c)->failed = true)

/* --- PostgreSQL --- */

static bool check_schema(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "SELECT max(version) FROM boxhaul.schema_version", 0, NULL);
	long version;

	if (pg_error(r) != NULL) {
		if (strcmp(pg_sqlstate(r), "42501") == 0)
			fail(c, "schema: %s: GRANT boxhaul_relay TO the relay's user", pg_error(r));
		else
			fail(c, "schema: %s: run `boxhaul migrate`", pg_error(r));
		return false;
	}
	version = strtol(pg_text(r, 0, 0), NULL, 10);
	if (version < SCHEMA_VERSION)
		fail(c, "schema: version %ld, this boxhaul needs %d: run `boxhaul migrate`", version, SCHEMA_VERSION);
	else if (version > SCHEMA_VERSION)
		fail(c, "schema: version %ld, this boxhaul knows %d: install the newer boxhaul", version,
		     SCHEMA_VERSION);
	else
		ok("schema: version %ld", version);
	return version == SCHEMA_VERSION;
}

static void check_grants(struct check *c, struct pg_session *s)
{
	static const char sql[] =
		"SELECT what FROM (VALUES"
		" ('SELECT on boxhaul.outbox', pg_catalog.has_table_privilege('boxhaul.outbox', 'SELECT')),"
		" ('SELECT on boxhaul.exceptions', pg_catalog.has_table_privilege('boxhaul.exceptions', 'SELECT')),"
		" ('SELECT on boxhaul.dead_letter', pg_catalog.has_table_privilege('boxhaul.dead_letter', 'SELECT')),"
		" ('SELECT on boxhaul.sent', pg_catalog.has_table_privilege('boxhaul.sent', 'SELECT')),"
		" ('EXECUTE on boxhaul.lead', pg_catalog.has_function_privilege('boxhaul.lead(text, integer)', 'EXECUTE')),"
		" ('EXECUTE on boxhaul.resign', pg_catalog.has_function_privilege('boxhaul.resign(bigint, integer)', 'EXECUTE')),"
		" ('EXECUTE on boxhaul.announce', pg_catalog.has_function_privilege('boxhaul.announce(boolean)', 'EXECUTE')),"
		" ('EXECUTE on boxhaul.outbox_xmin', pg_catalog.has_function_privilege('boxhaul.outbox_xmin()', 'EXECUTE')),"
		" ('EXECUTE on boxhaul.mark', (SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE'))"
		"   FROM pg_catalog.pg_proc p WHERE p.proname = 'mark' AND p.pronamespace = 'boxhaul'::regnamespace)),"
		" ('EXECUTE on boxhaul.clean', pg_catalog.has_function_privilege('boxhaul.clean(bigint, interval)', 'EXECUTE'))"
		") AS v (what, may) WHERE may IS NOT TRUE";
	const struct pg_result *r = pg_session_run(s, sql, 0, NULL);

	if (pg_error(r) != NULL)
		fail(c, "grants: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	else if (pg_rows(r) > 0)
		fail(c, "grants: the relay's user lacks %s: GRANT boxhaul_relay TO the relay's user", pg_text(r, 0, 0));
	else
		ok("grants: the relay's user may do all it needs");
}

static void check_ring(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "SELECT boxhaul.slot_seconds()", 0, NULL);
	uint64_t ring_ms = strtoull(pg_text(r, 0, 0), NULL, 10) * 1000 * 6;

	if (pg_error(r) != NULL)
		fail(c, "ring: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	else if (c->config->retention_ms > ring_ms)
		warn("ring: holds %" PRIu64 " s, outbox.retention is %" PRIu64 " s: run `boxhaul migrate`",
		     ring_ms / 1000, c->config->retention_ms / 1000);
	else
		ok("ring: a slot lasts %s s, rows are kept %" PRIu64 " s", pg_text(r, 0, 0),
		   c->config->retention_ms / 1000);
}

static void check_listen(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "LISTEN boxhaul_check", 0, NULL);

	if (pg_error(r) == NULL)
		r = pg_session_run(s, "SELECT pg_catalog.pg_notify('boxhaul_check', '')", 0, NULL);
	if (pg_error(r) != NULL)
		fail(c, "notify: %s", pg_error(r));
	else if (!pg_session_wait_notify(s, NOTIFY_TIMEOUT_MS))
		fail(c,
		     "notify: LISTEN was accepted, but nothing arrives: a pooler stands between; connect to the server directly");
	else
		ok("notify: a notification came back");
}

static void check_server(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(
		s,
		"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('max_prepared_transactions'),"
		" pg_catalog.current_setting('server_version')",
		0, NULL);

	if (pg_error(r) != NULL) {
		fail(c, "server: %s", pg_error(r));
		return;
	}
	if (pg_session_server_version(s) < 130000)
		fail(c, "server: PostgreSQL %s is too old: 13 or newer is needed", pg_text(r, 0, 2));
	else if (pg_text(r, 0, 0)[0] == 't')
		fail(c,
		     "server: it is in recovery (a standby): connect to the primary, e.g. target_session_attrs=read-write");
	else
		ok("server: PostgreSQL %s, primary", pg_text(r, 0, 2));
}

static void check_postgres(struct check *c, const struct call *call)
{
	char error[512];
	struct pg_session *s = session_try(call, LOGIN_RELAY, error, sizeof error);

	if (s == NULL) {
		fail(c, "database: %s: check postgres.conninfo, and that the server runs and lets this user in", error);
		c->unreachable = true;
		return;
	}
	ok("database: connected");
	check_server(c, s);
	if (check_schema(c, s)) {
		check_grants(c, s);
		check_ring(c, s);
	}
	check_listen(c, s);
	pg_session_close(s);
}

/* --- NATS --- */

static bool covers(const struct natsio_stream_info *info, const char *pattern)
{
	for (size_t i = 0; i < info->subject_count; i++)
		if (strcmp(info->subjects[i], pattern) == 0 || message_subject_matches(info->subjects[i], pattern))
			return true;
	return false;
}

static void check_subjects(struct check *c, const struct config_stream *w, const struct natsio_stream_info *info)
{
	for (size_t i = 0; i < w->subject_count; i++)
		if (!covers(info, w->subjects[i]))
			fail(c, "stream %s: does not take %s: nats stream edit %s --subjects ...,%s", w->name,
			     w->subjects[i], w->name, w->subjects[i]);
		else
			ok("stream %s: takes %s", w->name, w->subjects[i]);
}

static void check_safety(struct check *c, const struct config_stream *w, const struct natsio_stream_info *info)
{
	if (info->no_ack)
		fail(c, "stream %s: no_ack is on, nothing can be known to be stored: nats stream edit %s --ack",
		     w->name, w->name);
	if (info->sealed)
		fail(c, "stream %s: it is sealed and takes nothing: use another stream", w->name);
	if (info->mirror)
		fail(c, "stream %s: it is a mirror and takes nothing: configure its origin", w->name);
	if (info->retention == 1)
		warn("stream %s: interest retention acknowledges and drops what no consumer wants", w->name);
	if (info->retention == 2)
		warn("stream %s: work-queue retention forgets message ids when a message is consumed: late repeats are not recognised",
		     w->name);
	if (!info->discard_new && (info->max_bytes > 0 || info->max_messages > 0))
		warn("stream %s: discard old deletes unread messages when it is full: nats stream edit %s --discard=new",
		     w->name, w->name);
	if (!info->file_storage)
		warn("stream %s: memory storage does not survive a restart of the server", w->name);
	if (info->replicas < w->replicas)
		warn("stream %s: %" PRId64 " replicas, the configuration says %" PRIu32
		     ": nats stream edit %s --replicas=%" PRIu32,
		     w->name, info->replicas, w->replicas, w->name, w->replicas);
}

static void check_sizes(const struct check *c, const struct config_stream *w, const struct natsio_stream_info *info)
{
	if (info->duplicate_window_ms < w->duplicate_window_ms)
		warn("stream %s: the duplicate window is %" PRId64 " ms, the configuration says %" PRIu32
		     " ms: nats stream edit %s --dupe-window=%" PRIu32 "ms",
		     w->name, info->duplicate_window_ms, w->duplicate_window_ms, w->name, w->duplicate_window_ms);
	else
		ok("stream %s: duplicate window %" PRId64 " ms", w->name, info->duplicate_window_ms);
	if (info->max_msg_size > 0 && info->max_msg_size < c->config->max_message_bytes)
		warn("stream %s: max_msg_size %" PRId64 " is smaller than outbox.max_message_size %" PRIu32
		     ": larger messages become dead letters: nats stream edit %s --max-msg-size=%" PRIu32,
		     w->name, info->max_msg_size, c->config->max_message_bytes, w->name, c->config->max_message_bytes);
}

static void check_stream(struct check *c, struct natsio_session *s, const struct config_stream *w)
{
	struct natsio_stream_info info;
	char error[512];

	if (!natsio_session_stream(s, w->name, &info, error, sizeof error)) {
		fail(c, "stream %s: %s", w->name, error);
		return;
	}
	if (!info.exists && w->create) {
		ok("stream %s: not there yet, `run` will create it", w->name);
	} else if (!info.exists) {
		fail(c,
		     "stream %s: it does not exist: nats stream add %s --subjects=%s --storage=file --discard=new, or set create = true",
		     w->name, w->name, w->subjects[0]);
	} else {
		ok("stream %s: exists, %" PRId64 " messages", w->name, info.messages);
		check_subjects(c, w, &info);
		check_safety(c, w, &info);
		check_sizes(c, w, &info);
		if (!natsio_session_may_read(s, w->name))
			warn("stream %s: no answer to $JS.API.STREAM.MSG.GET.%s: let this login publish to it, or messages may "
			     "be stored twice after a restart",
			     w->name, w->name);
	}
	natsio_stream_info_free(&info);
}

static void check_nats(struct check *c, const struct call *call)
{
	const struct config *g = c->config;
	char error[512] = "";
	struct natsio_session *s = session_try_nats(call, error, sizeof error);

	if (s == NULL) {
		fail(c, "nats: %s: check nats.urls and the login, and that the server runs", error);
		c->unreachable = true;
		return;
	}
	ok("nats: connected");
	if (natsio_session_max_payload(s) < (int64_t)g->max_message_bytes)
		warn("nats: max_payload %" PRId64 " is smaller than outbox.max_message_size %" PRIu32
		     ": larger messages become dead letters",
		     natsio_session_max_payload(s), g->max_message_bytes);
	for (size_t i = 0; i < g->stream_count; i++)
		check_stream(c, s, &g->streams[i]);
	natsio_session_close(s);
}

enum exit_code command_check(const struct call *call)
{
	struct check c = { .config = call->config };

	ok("config: %s", c.config->path);
	check_postgres(&c, call);
	check_nats(&c, call);
	natsio_shutdown();
	return c.unreachable ? EXIT_UNREACHABLE : c.failed ? EXIT_FAILED : EXIT_OK;
}
