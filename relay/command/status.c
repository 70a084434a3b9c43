/* `boxhaul status`: the verdict in the first line, the figures below. Works while no relay runs, and needs no more than
 * boxhaul_monitor. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "command/capture_show.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/line.h"
#include "command/look.h"
#include "command/out.h"
#include "command/session.h"
#include "command/status_all.h"
#include "command/look_verdict.h"

enum { LINE_BYTES = 512, SHOWN_MAX = 5 };

struct page {
	const struct out *out;
	const json_t *look;
};

static void label(const struct page *p, const char *name)
{
	out_print(p->out, INK_DIM, "%-14s ", name);
}

__attribute__((format(printf, 3, 4))) static void line(const struct page *p, const char *name, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	label(p, name);
	out_print(p->out, INK_PLAIN, "%s\n", text);
}

/* One figure of age, or a dash. */
static const char *age(const json_t *o, const char *path, char to[static 32])
{
	if (look_at(o, path) == NULL)
		return snprintf(to, 32, "-"), to;
	return duration_text(look_number(o, path), to, 32);
}

/* --- who --- */

static void print_relay(const struct page *p)
{
	const json_t *o = p->look;
	double others = look_number(o, "relay_sessions") - look_is(o, "leading");
	char a[32], text[LINE_BYTES], standing_by[32] = "";

	if (others > 0)
		snprintf(standing_by, sizeof standing_by, "; %.0f %s by", others, others == 1 ? "stands" : "stand");
	if (!look_is(o, "leading"))
		line(p, "relay", "nobody leads%s", standing_by);
	else
		line(p, "relay", "leading for %s, backend pid %.0f%s%s", age(o, "led_seconds", a),
		     look_number(o, "leader_session.pid"), look_is(o, "asleep") ? ", asleep" : "", standing_by);
	if (look_at(o, "epoch") != NULL)
		line(p, look_is(o, "leading") ? "leader" : "last leader", "%s (epoch %.0f)",
		     look_text(o, "leader")[0] != '\0' ? utf8_line(look_text(o, "leader"), text, sizeof text)
						       : "nobody so far",
		     look_number(o, "epoch"));
}

static const char *connection(const json_t *o, char *to, size_t size)
{
	char why[LINE_BYTES / 2];

	if (look_is(o, "connected"))
		snprintf(to, size, "connected");
	else
		snprintf(to, size, "NOT connected: %s", utf8_line(look_text(o, "why"), why, sizeof why));
	return to;
}

static void print_here(const struct page *p)
{
	const json_t *r = look_at(p->look, "relay");
	char text[LINE_BYTES];

	if (!look_is(r, "reachable")) {
		line(p, "on this host", "%s; what only a relay knows (NATS, what is in flight) is not known here",
		     utf8_line(look_text(r, "why_not"), text, sizeof text));
		return;
	}
	line(p, "on this host", "%s, %s: %s", look_text(r, "role"), look_is(r, "ready") ? "ready" : "NOT ready",
	     utf8_line(look_text(r, "summary"), text, sizeof text));
	line(p, "connections", "PostgreSQL %s", connection(look_at(r, "postgres"), text, sizeof text));
	line(p, "", "NATS %s", connection(look_at(r, "nats"), text, sizeof text));
	line(p, "in flight", "%.0f (window %.0f), %.0f in memory", look_number(r, "in_flight_messages"),
	     look_number(r, "window_messages"), look_number(r, "queue_messages"));
}

/* --- what --- */

/* Of transactions that were open when the position passed them. */
static const char *late_text(double late, char *to, size_t size)
{
	snprintf(to, size, ", about %.0f of them below the position, committed late", late);
	return to;
}

/* The leader counts what the streams acknowledge; the books know ids, with or without a message. */
static void print_rate(const struct page *p)
{
	bool counted =
		strcmp(look_text(p->look, "relay.role"), "leader") == 0 && look_at(p->look, "relay.rate_60s") != NULL;
	const json_t *o = counted ? look_at(p->look, "relay") : p->look;
	double ten = look_number(o, "rate_10s"), sixty = look_number(o, "rate_60s");

	line(p, "rate", "%s%.*f a second in the last 10 s, %.*f in the last minute%s", counted ? "" : "about ",
	     ten < 10, ten, sixty < 10, sixty, counted ? "" : " (by ids)");
}

static void print_progress(const struct page *p)
{
	const json_t *o = p->look, *oldest = look_at(o, "oldest");
	double waiting = look_number(o, "waiting"), late = look_number(o, "late");
	char a[32], subject[128], key[128], text[128];

	if (look_at(o, "position") == NULL || look_at(o, "waiting") == NULL)
		return;
	line(p, "position", "%.0f (newest id %.0f), marked %s%s", look_number(o, "position"),
	     look_number(o, "newest_id"), age(o, "marked_seconds", a),
	     look_at(o, "marked_seconds") != NULL ? " ago" : "");
	line(p, "waiting", "%.0f%s rows%s", waiting, waiting >= LOOK_COUNT_MAX ? " or so" : "",
	     late > 0 ? late_text(late, text, sizeof text) : " above the position");
	if (look_at(o, "hot") != NULL)
		line(p, "", "most of the next ones (%.0f of %.0f) have the key %s: one after the other",
		     look_number(o, "hot.messages"), look_number(o, "hot.of"),
		     utf8_line(look_text(o, "hot.key"), key, sizeof key));
	line(p, "lag", "%s%s", age(o, "lag_seconds", a), oldest != NULL ? "" : " (nothing waits)");
	if (oldest != NULL)
		line(p, "oldest", "message %.0f, subject %s%s%s", look_number(oldest, "id"),
		     utf8_line(look_text(oldest, "subject"), subject, sizeof subject),
		     look_at(oldest, "key") != NULL ? ", key " : "",
		     utf8_line(look_text(oldest, "key"), key, sizeof key));
	print_rate(p);
}

/* What a kind without an error means. */
static const char *meaning(const char *kind)
{
	return strcmp(kind, "missing") == 0
		       ? "drawn, no row seen by the relay: its transaction is open, was rolled back, or has committed just now"
	       : strcmp(kind, "held") == 0   ? "behind a dead letter: redrive or discard it"
	       : strcmp(kind, "active") == 0 ? "being published"
					     : "held back";
}

static void print_exceptions(const struct page *p)
{
	const char *name = "exceptions";
	const json_t *r;
	size_t i;

	if (json_array_size(look_at(p->look, "reasons")) == 0)
		line(p, name, "none");
	json_array_foreach (look_at(p->look, "reasons"), i, r) {
		const char *kind = look_text(r, "kind"), *why = look_text(r, "reason");
		char text[LINE_BYTES / 2], a[32];

		line(p, name, "%s %.0f, for %s: %s", kind, look_number(r, "ids"), age(r, "seconds", a),
		     why[0] != '\0' ? utf8_line(why, text, sizeof text) : meaning(kind));
		name = "";
	}
}

static void print_lanes(const struct page *p)
{
	double held = look_number(p->look, "lanes_held");
	const json_t *l;
	size_t i;

	if (held > 0)
		line(p, "lanes held", "%.0f", held);
	json_array_foreach (look_at(p->look, "lanes"), i, l) {
		char key[128], why[LINE_BYTES / 2];

		line(p, "", "key %s: %.0f from message %.0f on: %s", utf8_line(look_text(l, "key"), key, sizeof key),
		     look_number(l, "ids"), look_number(l, "id"),
		     look_is(l, "held") ? "its dead letter waits for redrive or discard"
					: utf8_line(look_text(l, "reason"), why, sizeof why));
	}
	line(p, "dead letters", "%.0f (%.0f hold their lane)", look_number(p->look, "dead_letters"),
	     look_number(p->look, "held"));
}

/* The relay's own words about one of a list, if it is here. */
static const json_t *told_of(const struct page *p, const char *list, const char *name)
{
	const json_t *s;
	size_t i;

	json_array_foreach (look_at(p->look, list), i, s)
		if (strcmp(look_text(s, "name"), name) == 0)
			return s;
	return NULL;
}

static void print_streams(const struct page *p)
{
	const char *name = "streams";
	const json_t *s;
	size_t i;

	json_array_foreach (look_at(p->look, "streams"), i, s) {
		const json_t *told = told_of(p, "relay.streams", look_text(s, "name"));
		char a[32], why[LINE_BYTES] = "", detail[LINE_BYTES], marked[64] = "nothing sent yet";

		if (look_at(s, "last_id") != NULL)
			snprintf(marked, sizeof marked, "up to message %.0f, %s ago", look_number(s, "last_id"),
				 age(s, "seconds", a));
		if (look_is(told, "blocked"))
			utf8_line(look_text(told, "reason"), why, sizeof why);
		line(p, name, "%s: %s%s%s%s%s%s", look_text(s, "name"), marked,
		     strcmp(look_text(told, "wire"), "batch") == 0 ? "; in batches" : "",
		     look_is(told, "blocked") ? "; takes nothing: " : "", why,
		     look_text(told, "detail")[0] != '\0' ? ": " : "",
		     utf8_line(look_text(told, "detail"), detail, sizeof detail));
		name = "";
	}
}

/* --- the inbox --- */

static void print_inbox(const struct page *p, const struct config *config)
{
	const char *name = "inbox";
	const json_t *o;
	size_t i;

	json_array_foreach (look_at(p->look, "inbox"), i, o) {
		const json_t *told = told_of(p, "relay.subscriptions", look_text(o, "subscription"));
		char what[INBOX_SAID_BYTES], mend[INBOX_SAID_BYTES], lag[64] = "", standing[INBOX_STANDING_BYTES];

		inbox_judge(o, config, what, mend);
		if (look_at(told, "lag_messages") != NULL)
			snprintf(lag, sizeof lag, ", %.0f in the stream not taken", look_number(told, "lag_messages"));
		line(p, name, "%s from %s: position %.0f%s; %s", look_text(o, "subscription"), look_text(o, "stream"),
		     look_number(o, "position"), lag, inbox_standing(o, standing));
		if (mend[0] != '\0')
			line(p, "", "%s: %s", what, mend);
		name = "";
	}
}

static void print_sagas(const struct page *p)
{
	const json_t *o = look_at(p->look, "sagas");
	double stuck = look_number(o, "stuck");
	char oldest[32], worst[32], longest[64] = "";

	if (!look_is(o, "configured") && look_number(o, "open") == 0 && stuck == 0)
		return;
	if (stuck > 0)
		snprintf(longest, sizeof longest, ", the oldest for %s", age(o, "oldest_stuck_seconds", worst));
	line(p, "sagas", "%.0f open, the oldest for %s; %.0f stuck%s; %.0f deadlines passed without an answer",
	     look_number(o, "open"), age(o, "oldest_open_seconds", oldest), stuck, longest, look_number(o, "timeouts"));
}

static void print_captures(const struct page *p, const struct config *config)
{
	const char *name = "captures";
	char pass[CAPTURE_PASS_BYTES];
	const json_t *o;
	struct wrong w;
	size_t i;

	json_array_foreach (look_at(p->look, "captures"), i, o) {
		const char *verified = capture_show_pass(told_of(p, "relay.captures", look_text(o, "name")), pass);

		capture_show_judge(o, config, &w);
		line(p, name, "%s%s%s", w.what, verified != NULL ? "; " : "", verified != NULL ? verified : "");
		if (w.mend[0] != '\0')
			line(p, "", "%s", w.mend);
		name = "";
	}
}

/* --- who blocks whom --- */

static void print_blocked(const struct page *p)
{
	const char *name = "waits";
	char who[LINE_BYTES / 2];
	const json_t *b, *by;
	size_t i, k;

	json_array_foreach (look_at(p->look, "blocked"), i, b) {
		line(p, name, "%s for %s on %s", look_verdict_who(look_at(b, "who"), who, sizeof who),
		     look_text(b, "wants"), look_text(b, "on"));
		json_array_foreach (look_at(b, "by"), k, by)
			line(p, "", "  behind %s", look_verdict_who(by, who, sizeof who));
		name = "";
	}
}

static void print_locks(const struct page *p)
{
	const char *name = "locks";
	char who[LINE_BYTES / 2], more[32] = "";
	const json_t *l;
	size_t i;

	json_array_foreach (look_at(p->look, "locks"), i, l) {
		const json_t *on = look_at(l, "on");

		if (json_array_size(on) > 1)
			snprintf(more, sizeof more, " and %zu more", json_array_size(on) - 1);
		if (i < SHOWN_MAX)
			line(p, name, "%s has %s on %s%s", look_verdict_who(look_at(l, "who"), who, sizeof who),
			     look_text(l, "mode"), json_string_value(json_array_get(on, 0)), more);
		name = "";
	}
}

/* Transactions that are open on the outbox, and the oldest in the whole server: what is missing waits for them. */
static void print_open(const struct page *p)
{
	const json_t *writers = look_at(p->look, "writers"), *horizon = look_at(p->look, "horizon"), *w;
	const char *name = "open";
	char who[LINE_BYTES / 2];
	size_t i;

	json_array_foreach (writers, i, w) {
		if (i < SHOWN_MAX)
			line(p, name, "%s has written to the outbox", look_verdict_who(w, who, sizeof who));
		name = "";
	}
	if (horizon == NULL)
		line(p, "oldest xid", "no transaction is open");
	else
		line(p, "oldest xid", "%s in database %s", look_verdict_who(horizon, who, sizeof who),
		     look_text(horizon, "database")[0] != '\0' ? look_text(horizon, "database") : "(any)");
	if (!look_is(p->look, "sees_all"))
		line(p, "", "(what a session does, and since when, is seen by a login with pg_read_all_stats)");
}

/* --- the whole --- */

static void print_first_line(const struct page *p)
{
	const char *state = look_text(p->look, "state"), *action = look_text(p->look, "action");
	enum ink ink = !look_is(p->look, "ready")      ? INK_BAD
		       : strcmp(state, "ok") == 0      ? INK_GOOD
		       : strcmp(state, "standby") == 0 ? INK_GOOD
						       : INK_WARN;

	out_print(p->out, ink, "%s\n", look_text(p->look, "summary"));
	if (action[0] != '\0')
		out_print(p->out, INK_PLAIN, "%s\n", action);
	if (look_is(p->look, "recovering"))
		out_print(p->out, INK_WARN,
			  "this server is a standby: what it shows may be late, and nothing can be relayed from it\n");
}

static void print_text(const struct out *out, const json_t *look, const struct config *config)
{
	const struct page p = { .out = out, .look = look };
	const json_t *what;
	size_t i;

	print_first_line(&p);
	if (look_at(look, "database") == NULL)
		print_relay(&p);
	print_here(&p);
	if (look_at(look, "database") != NULL) {
		line(&p, "database", "NOT connected: %s", look_text(look, "database.why"));
		return;
	}
	json_array_foreach (look_at(look, "unread"), i, what)
		line(&p, "not read", "%s: %s", look_text(what, "what"),
		     look_is(what, "locked") ? "a lock is in the way" : "it takes too long");
	print_progress(&p);
	if (look_at(look, "position") != NULL) {
		print_exceptions(&p);
		print_lanes(&p);
		print_streams(&p);
	}
	print_inbox(&p, config);
	print_sagas(&p);
	print_captures(&p, config);
	print_blocked(&p);
	print_locks(&p);
	print_open(&p);
}

static void print_look(const struct call *call, json_t *look, const struct out *out)
{
	look_verdict_add(look, call->config);
	if (!call->given[OPTION_JSON]) {
		print_text(out, look, call->config);
		return;
	}
	out_json(out, look);
}

static enum exit_code look_and_print(const struct call *call, struct pg_session *s, const struct out *out)
{
	json_t *look;
	enum exit_code code = look_take(s, call->config, &look);

	if (code != EXIT_OK)
		return code;
	print_look(call, look, out);
	code = look_judge(call, look);
	json_decref(look);
	return code;
}

/* The database is away: the relay on this machine may know more of it. */
static void print_without_database(const struct call *call, const char *why, const struct out *out)
{
	json_t *look = look_without_database(call->config, why);

	if (look != NULL)
		print_look(call, look, out);
	json_decref(look);
}

/* NULL: it has been printed how things are without the database. */
static struct pg_session *begin(const struct call *call, const struct out *out, enum exit_code *code)
{
	char why[512 + CONFIG_TARGET_BYTES];
	struct pg_session *s = session_try(call, LOGIN_RELAY, why, sizeof why);

	*code = EXIT_UNREACHABLE;
	if (s != NULL)
		*code = look_begin(s, call->config);
	else
		print_without_database(call, why, out);
	return s;
}

/* One look, with a session that is opened if there is none, and closed when the database has gone away. */
static enum exit_code look_once(const struct call *call, struct pg_session **s, const struct out *out)
{
	enum exit_code code = EXIT_OK;

	if (*s == NULL)
		*s = begin(call, out, &code);
	if (*s != NULL && code == EXIT_OK)
		code = look_and_print(call, *s, out);
	if (code == EXIT_UNREACHABLE) {
		pg_session_close(*s);
		*s = NULL;
	}
	return code;
}

/* Until it is interrupted, or nobody reads: a database that goes away is waited for. */
static enum exit_code watch(const struct call *call, struct pg_session **s, const struct out *out)
{
	enum exit_code code = EXIT_OK;

	for (bool written = true; written; written = out_flush(out) && sleep(1) == 0) {
		struct out frame = *out;
		char *text = NULL;
		size_t bytes = 0;

		frame.file = open_memstream(&text, &bytes);
		if (frame.file == NULL)
			break;
		code = look_once(call, s, &frame);
		fclose(frame.file);
		if (bytes > 0)
			out_redraw(out, text);
		free(text);
	}
	return code;
}

enum exit_code command_status(const struct call *call)
{
	struct out out = out_open(stdout);
	struct pg_session *s = NULL;
	enum exit_code code;

	if (call->config == NULL)
		return call->given[OPTION_WATCH] ? line_wrong("status: --watch is for one relay: say its NAME")
						 : status_all(call);
	code = call->given[OPTION_WATCH] ? watch(call, &s, &out) : look_once(call, &s, &out);

	pg_session_close(s);
	return out_flush(&out) || code != EXIT_OK ? code : EXIT_FAILED;
}
