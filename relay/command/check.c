/* `boxhaul check`: every line ok, warn or FAIL, with what mends it. Looks at everything even after a failure. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "base/utf8.h"
#include "books/reasons.h"
#include "books/schema.h"
#include "command/check_capture.h"
#include "command/check_inbox.h"
#include "command/check_run.h"
#include "command/check_sagas.h"
#include "command/check_say.h"
#include "command/commands.h"
#include "command/out.h"
#include "command/session.h"
#include "command/stream_walk.h"
#include "edge/natsio_session.h"
#include "edge/pg_session.h"
#include "flow/stream_wire.h"

enum {
	NOTIFY_TIMEOUT_MS = 3000,
	ANSWER_PATIENCE_MS = 5000,
	ACCOUNT_PATIENCE_MS = 1000,
	JETSTREAM_OFF = 10039, /* for the account; by JetStream's numbers */
	STREAM_NOT_FOUND = 10059,
};

/* --- PostgreSQL --- */

static bool check_schema(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, SCHEMA_QUESTION, 0, NULL);
	char what[SCHEMA_TEXT_BYTES], text[SCHEMA_TEXT_BYTES];
	const char *mend = schema_advice(pg_sqlstate(r), c->target, text);
	struct schema_found found;
	enum schema_fit fit;

	if (pg_error(r) != NULL) {
		fail(c, "schema: %s: %s", pg_error(r), mend != NULL ? mend : "see the log of the server");
		return false;
	}
	found = schema_of_text(r);
	fit = schema_fit(&found, c->target, what, text);
	if (fit == SCHEMA_OURS)
		ok(c, "schema: version %d", schema_version());
	else if (fit == SCHEMA_SERVED)
		warn(c, "schema: %s: %s", what, text);
	else
		fail(c, "schema: %s: %s", what, text);
	return fit != SCHEMA_REFUSED;
}

static bool check_grants(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(
		s, "SELECT boxhaul.not_granted(), pg_catalog.pg_has_role('boxhaul_relay', 'USAGE')", 0, NULL);

	if (pg_error(r) != NULL)
		fail(c, "grants: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	else if (pg_rows(r) > 0 && pg_text(r, 0, 1)[0] == 't') /* it is the role that lacks it */
		fail(c, "grants: boxhaul_relay lacks %s: the schema is not whole: apply all of sql/*.sql again",
		     pg_text(r, 0, 0));
	else if (pg_rows(r) > 0)
		fail(c, "grants: the relay's user lacks %s: GRANT boxhaul_relay TO the relay's user", pg_text(r, 0, 0));
	else
		ok(c, "grants: the relay's user may do all it needs");
	return pg_error(r) == NULL && pg_rows(r) == 0;
}

static bool check_ids(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(
		s, "SELECT w.why, boxhaul.ids_remedy(w.why) FROM boxhaul.ids_differ() AS w (why)", 0, NULL);

	if (pg_error(r) != NULL)
		fail(c, "ids: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	else if (pg_text(r, 0, 0)[0] != '\0')
		fail(c, "ids: %s: %s", pg_text(r, 0, 0), pg_text(r, 0, 1));
	else
		ok(c, "ids: the sequence counts one by one, above the position and every row");
	return pg_error(r) == NULL && pg_text(r, 0, 0)[0] == '\0';
}

/* The functions run with their owner's rights, not with those of the relay's user. */
static bool check_owner(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "SELECT owner, what, mend FROM boxhaul.owner_lacks()", 0, NULL);

	if (pg_error(r) != NULL)
		fail(c, "owner: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	else if (pg_rows(r) > 0)
		fail(c, "owner: %s, who owns boxhaul's functions, lacks %s: %s", pg_text(r, 0, 0), pg_text(r, 0, 1),
		     pg_text(r, 0, 2));
	return pg_error(r) == NULL && pg_rows(r) == 0;
}

static void check_ring(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "SELECT boxhaul.slot_seconds()", 0, NULL);
	uint64_t ring_ms = strtoull(pg_text(r, 0, 0), NULL, 10) * 1000 * 6;

	if (pg_error(r) != NULL)
		fail(c, "ring: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	else if (c->config->retention_ms > ring_ms)
		warn(c, "ring: holds %" PRIu64 " s, outbox.retention is %" PRIu64 " s: run `boxhaul migrate %s`",
		     ring_ms / 1000, c->config->retention_ms / 1000, c->target);
	else
		ok(c, "ring: a slot lasts %s s, rows are kept %" PRIu64 " s", pg_text(r, 0, 0),
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
		ok(c, "notify: a notification came back");
}

/* True: it can be written to. */
static bool check_server(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(
		s,
		"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('max_prepared_transactions'),"
		" pg_catalog.current_setting('server_version')",
		0, NULL);

	if (pg_error(r) != NULL) {
		fail(c, "server: %s", pg_error(r));
		return false;
	}
	if (pg_session_server_version(s) < 130000)
		fail(c, "server: PostgreSQL %s is too old: 13 or newer is needed", pg_text(r, 0, 2));
	else if (pg_text(r, 0, 0)[0] == 't')
		fail(c,
		     "server: it is in recovery (a standby): connect to the primary, e.g. target_session_attrs=read-write");
	else
		ok(c, "server: PostgreSQL %s, primary", pg_text(r, 0, 2));
	return pg_text(r, 0, 0)[0] != 't';
}

static void check_postgres(struct check *c, const struct call *call)
{
	char error[512 + CONFIG_TARGET_BYTES];
	struct pg_session *s = session_try(call, LOGIN_RELAY, error, sizeof error);
	bool writable;

	if (s == NULL) {
		fail(c, "database: %s: check postgres.conninfo, and that the server runs and lets this user in", error);
		c->unreachable = true;
		return;
	}
	ok(c, "database: connected");
	pg_session_run(s, "SET lock_timeout = '1s'; SET statement_timeout = '8s'; SET row_security = off", 0, NULL);
	writable = check_server(c, s);
	if (check_schema(c, s)) {
		bool may = check_grants(c, s), owns = !may || check_owner(c, s), counts = owns && check_ids(c, s);

		check_ring(c, s);
		if (writable && may && counts && c->config->stream_count > 0)
			check_run(c, s);
		if (writable && may)
			check_inbox_books(c, s);
		if (may)
			check_sagas(c, s);
		if (may)
			check_capture(c, call, s);
	}
	check_listen(c, s);
	pg_session_close(s);
}

/* --- NATS --- */

static void check_subjects(struct check *c, const struct config_stream *w, const struct stream_info *info)
{
	for (size_t i = 0; i < w->subject_count; i++)
		if (!stream_info_takes(info, w->subjects[i]))
			fail(c, "stream %s: does not take %s: nats stream edit %s --subjects ...,%s", w->name,
			     w->subjects[i], w->name, w->subjects[i]);
		else
			ok(c, "stream %s: takes %s", w->name, w->subjects[i]);
}

static void check_safety(struct check *c, const struct config_stream *w, const struct stream_info *info)
{
	if (info->no_ack)
		fail(c, "stream %s: no_ack is on, nothing can be known to be stored: nats stream edit %s --ack",
		     w->name, w->name);
	if (info->sealed)
		fail(c,
		     "stream %s: it is sealed and takes nothing: take these subjects out of it, then configure another stream for them",
		     w->name);
	if (info->mirror)
		fail(c, "stream %s: it is a mirror and takes nothing: configure its origin", w->name);
	if (info->allow_counters)
		fail(c,
		     "stream %s: it takes only counters (allow_msg_counter): take these subjects out of it, then configure another stream for them",
		     w->name);
	if (info->persist_async)
		warn(c,
		     "stream %s: persist_mode async acknowledges before it has written: a crash of the server loses messages",
		     w->name);
	if (info->max_messages_per_subject > 0 && !info->discard_new_per_subject)
		warn(c,
		     "stream %s: of a subject it keeps the last %" PRIu64
		     ": what it dropped cannot be found, and a late repeat is stored behind what came after it",
		     w->name, info->max_messages_per_subject);
	if (info->max_age_ms > 0 && info->max_age_ms < c->config->retention_ms)
		warn(c,
		     "stream %s: it drops messages after %" PRIu64 " s, the outbox keeps rows for %" PRIu64
		     " s: `boxhaul reconcile %s` cannot check what is dropped",
		     w->name, info->max_age_ms / 1000, c->config->retention_ms / 1000, c->target);
	if (info->retention == RETENTION_INTEREST)
		warn(c, "stream %s: interest retention acknowledges and drops what no consumer wants", w->name);
	if (info->retention == RETENTION_WORK_QUEUE)
		warn(c,
		     "stream %s: work-queue retention forgets message ids when a message is consumed: late repeats are not recognised",
		     w->name);
	if (!info->discard_new && (info->max_bytes > 0 || info->max_messages > 0))
		warn(c,
		     "stream %s: discard old deletes unread messages when it is full: nats stream edit %s --discard=new",
		     w->name, w->name);
	if (!info->file_storage)
		warn(c, "stream %s: memory storage does not survive a restart of the server", w->name);
	if (info->replicas < w->replicas)
		warn(c,
		     "stream %s: %" PRIu32 " replicas, the configuration says %" PRIu32
		     ": nats stream edit %s --replicas=%" PRIu32,
		     w->name, info->replicas, w->replicas, w->name, w->replicas);
}

/* Is there room for one more message like those that are there? */
static void check_bytes(struct check *c, const struct config_stream *w, const struct stream_info *info,
			const char *whose, uint64_t used, uint64_t limit)
{
	uint64_t one = info->messages > 0 ? info->bytes / info->messages : 1;

	if (limit > 0 && used + one > limit)
		fail(c,
		     "stream %s: %s (%" PRIu64 " of %" PRIu64
		     " bytes): it takes nothing: consume or purge messages, or raise the limit",
		     w->name, whose, used, limit);
	else if (limit > 0 && used >= limit / 10 * 9)
		warn(c, "stream %s: nearly, %s: %" PRIu64 " of %" PRIu64 " bytes", w->name, whose, used, limit);
}

/* Does it take anything now? */
static void check_room(struct check *c, const struct config_stream *w, const struct stream_info *info)
{
	if (info->file_storage)
		check_bytes(c, w, info, "the account's JetStream storage is used up", c->account.storage,
			    c->account.max_storage);
	else
		check_bytes(c, w, info, "the account's JetStream memory is used up", c->account.memory,
			    c->account.max_memory);
	if (!info->discard_new)
		return;
	check_bytes(c, w, info, "it is full", info->bytes, info->max_bytes);
	if (info->max_messages > 0 && info->messages >= info->max_messages)
		fail(c,
		     "stream %s: it is full (%" PRIu64 " of %" PRIu64
		     " messages): it takes nothing: consume or purge messages, or raise the limit",
		     w->name, info->messages, info->max_messages);
	else if (info->max_messages > 0 && info->messages >= info->max_messages / 10 * 9)
		warn(c, "stream %s: nearly, it is full: %" PRIu64 " of %" PRIu64 " messages", w->name, info->messages,
		     info->max_messages);
}

/* What was stored and is gone would be sent once more, behind its successors. */
static void check_owned(struct check *c, const struct config_stream *w, const struct stream_info *info)
{
	if (!w->owned)
		return;
	if (info->retention != RETENTION_LIMITS || info->max_messages_per_subject > 0)
		fail(c,
		     "stream %s: it is owned, and loses messages one by one (its retention, or max_msgs_per_subject): what was "
		     "stored without an answer could be stored again, out of its order: keep them (retention limits, "
		     "max_msgs_per_subject -1), or owned = false",
		     w->name);
	else
		ok(c, "stream %s: owned: all of it in one order", w->name);
}

/* One by one is right, too: only where batches are asked for by name it is a warning. */
static void check_wire(struct check *c, const struct config_stream *w, const struct stream_info *info)
{
	enum wire_reason reason = stream_wire_of(c->config, (uint16_t)(w - c->config->streams), info);
	char todo[STREAM_WIRE_ADVICE_BYTES];
	const char *advice = stream_wire_advice(reason, w->name, todo, sizeof todo);

	if (reason == WIRE_BATCHES)
		ok(c, "stream %s: messages go in batches of %" PRIu32 " at most", w->name, w->batch_messages);
	else if (w->send == SEND_BATCH)
		warn(c, "stream %s: messages go one by one: %s%s%s", w->name, stream_wire_text(reason),
		     advice[0] != '\0' ? ": " : "", advice);
	else if (reason != WIRE_UNKNOWN) /* that has lines of its own */
		ok(c, "stream %s: messages go one by one: %s%s%s", w->name, stream_wire_text(reason),
		   advice[0] != '\0' ? "; for batches, " : "", advice);
}

static void check_sizes(const struct check *c, const struct config_stream *w, const struct stream_info *info)
{
	if (info->duplicate_window_ms < w->duplicate_window_ms)
		warn(c,
		     "stream %s: the duplicate window is %" PRIu64 " ms, the configuration says %" PRIu32
		     " ms: nats stream edit %s --dupe-window=%" PRIu32 "ms",
		     w->name, info->duplicate_window_ms, w->duplicate_window_ms, w->name, w->duplicate_window_ms);
	else
		ok(c, "stream %s: duplicate window %" PRIu64 " ms", w->name, info->duplicate_window_ms);
	if (info->max_message_bytes > 0 && info->max_message_bytes < c->config->max_message_bytes)
		warn(c,
		     "stream %s: max_msg_size %" PRIu64 " is smaller than outbox.max_message_size %" PRIu32
		     ": larger messages become dead letters: nats stream edit %s --max-msg-size=%" PRIu32,
		     w->name, info->max_message_bytes, c->config->max_message_bytes, w->name,
		     c->config->max_message_bytes);
}

static void check_found(struct check *c, const struct stream_walk *walk, const struct config_stream *w,
			const struct stream_info *info)
{
	ok(c, "stream %s: exists, %" PRIu64 " messages", w->name, info->messages);
	check_subjects(c, w, info);
	check_safety(c, w, info);
	check_room(c, w, info);
	check_sizes(c, w, info);
	check_owned(c, w, info);
	check_wire(c, w, info);
	if (!stream_walk_is_allowed(walk))
		warn(c,
		     "stream %s: no answer to %s.STREAM.MSG.GET.%s: let this login publish to it, or messages may "
		     "be stored twice after a restart",
		     w->name, walk->prefix, w->name);
}

/* Whether the servers are enough for it cannot be asked: JetStream says so when the stream is made. */
static void check_creation(struct check *c, const struct config_stream *w)
{
	ok(c, "stream %s: not there yet, `run` will create it", w->name);
	if (w->replicas > 1 && c->servers < (int)w->replicas)
		warn(c,
		     "stream %s: replicas = %" PRIu32
		     ", and %d server%s known: whether there are enough cannot be known "
		     "before it is made: set replicas = 1 for it, or run the servers as a cluster of as many",
		     w->name, w->replicas, c->servers, c->servers == 1 ? " is" : "s are");
}

static void check_refused(struct check *c, const struct config_stream *w, const struct answer_error *error)
{
	char text[REASONS_TEXT_BYTES];

	if (error->err_code == STREAM_NOT_FOUND && w->create)
		check_creation(c, w);
	else if (error->err_code == STREAM_NOT_FOUND)
		fail(c,
		     "stream %s: it does not exist: nats stream add %s --subjects=%s --storage=file --discard=new, or set create = true",
		     w->name, w->name, w->subjects[0]);
	else if (error->err_code == JETSTREAM_OFF)
		fail(c, "stream %s: JetStream is off for this login's account: add jetstream: enabled to the account",
		     w->name);
	else
		fail(c, "stream %s: the server says: %s", w->name,
		     reasons_sentence(answer_err_code(error), error->words, text, sizeof text));
}

/* In the words of README.md: Debian's package brings neither the setting nor the directory. */
static void check_nobody(struct check *c, const struct config_stream *w)
{
	const char *prefix = c->config->nats.jetstream_prefix;

	if (strcmp(prefix, "$JS.API") != 0)
		fail(c,
		     "stream %s: nobody answers for JetStream at %s: look at nats.jetstream_domain and nats.jetstream_prefix",
		     w->name, prefix);
	else
		fail(c,
		     "stream %s: nobody answers for JetStream: switch it on at the server (with Debian's package, as root: "
		     "`install -d -o nats -g nats /var/lib/nats`; "
		     "`echo 'jetstream { store_dir: /var/lib/nats }' >>/etc/nats-server.conf`; "
		     "`systemctl restart nats-server`), or, at a leaf node, set nats.jetstream_domain",
		     w->name);
	c->nobody = true;
}

static void check_stream(struct check *c, struct natsio_session *s, const struct config_stream *w)
{
	struct stream_walk walk = { .session = s,
				    .prefix = c->config->nats.jetstream_prefix,
				    .stream = w->name,
				    .patience_ms = ANSWER_PATIENCE_MS };
	struct stream_info info;

	switch (stream_walk_info(&walk, &info)) {
	case STREAM_WALK_OK: check_found(c, &walk, w, &info); break;
	case STREAM_WALK_ERROR: check_refused(c, w, &info.error); break;
	case STREAM_WALK_NOBODY: check_nobody(c, w); break;
	case STREAM_WALK_SILENCE:
		fail(c, "stream %s: no answer: let this login publish to %s.STREAM.INFO.%s and subscribe to %s.>",
		     w->name, walk.prefix, w->name, c->config->nats.inbox_prefix);
		break;
	}
	stream_info_free(&info);
}

/* Nothing is known of it where the login may not ask, or another account's JetStream is used: the relay never asks. */
static void ask_account(struct check *c, struct natsio_session *s)
{
	struct stream_walk walk = { .session = s,
				    .prefix = c->config->nats.jetstream_prefix,
				    .patience_ms = ACCOUNT_PATIENCE_MS };

	if (!stream_walk_account(&walk, &c->account))
		c->account = (struct account_info){ .storage = 0 };
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
	ok(c, "nats: connected");
	if (natsio_session_max_payload(s) < (int64_t)g->max_message_bytes)
		warn(c,
		     "nats: max_payload %" PRId64 " is smaller than outbox.max_message_size %" PRIu32
		     ": larger messages become dead letters",
		     natsio_session_max_payload(s), g->max_message_bytes);
	c->servers = natsio_session_servers(s);
	ask_account(c, s);
	for (size_t i = 0; i < g->stream_count && !c->nobody; i++)
		check_stream(c, s, &g->streams[i]);
	check_inbox_streams(c, s);
	natsio_session_close(s);
}

static void print_json(const struct check *c)
{
	struct out out = out_open(stdout);
	json_t *o = json_pack("{s:s, s:b, s:O}", "instance", c->config->name, "ok", !c->failed && !c->unreachable,
			      "checks", c->lines);

	out_json(&out, o);
	json_decref(o);
}

enum exit_code command_check(const struct call *call)
{
	struct check c = { .config = call->config, .lines = call->given[OPTION_JSON] ? json_array() : NULL };

	config_target(call->config, c.target);
	ok(&c, "config: %s", c.config->path);
	check_postgres(&c, call);
	check_nats(&c, call);
	natsio_shutdown();
	if (c.lines != NULL)
		print_json(&c);
	json_decref(c.lines);
	return c.unreachable ? EXIT_UNREACHABLE : c.failed ? EXIT_FAILED : EXIT_OK;
}
