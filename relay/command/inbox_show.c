/* `boxhaul inbox list`, `inbox show`: what boxhaul.inbox_look() says, for a person. */
#include "command/inbox_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/plural.h"
#include "base/utf8.h"
#include "command/commands.h"
#include "command/letter.h"
#include "command/look.h"
#include "command/session.h"
#include "command/look_inbox.h"
#include "watch/counted.h"
#include "watch/inbox_case.h"

enum { LINE_BYTES = 512 };

static const char look_query[] = "SELECT boxhaul.inbox_look($1)";

enum exit_code inbox_with_session(const struct call *call,
				  enum exit_code (*fn)(struct pg_session *s, const struct call *call))
{
	struct pg_session *s = session_open(call, LOGIN_RELAY);
	enum exit_code code;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	code = session_schema(s, call->config);
	if (code == EXIT_OK)
		code = fn(s, call);
	pg_session_close(s);
	return code == EXIT_OK && fflush(stdout) != 0 ? EXIT_FAILED : code;
}

static enum exit_code look(struct pg_session *s, const struct call *call, const char *subscription, json_t **out)
{
	const char *p[] = { subscription };

	return look_answer(call->config, "cannot see the subscriptions", pg_session_run(s, look_query, 1, p), out);
}

enum exit_code inbox_look_at(struct pg_session *s, const struct call *call, const char *subscription, json_t **out)
{
	char target[CONFIG_TARGET_BYTES];
	json_t *all;
	enum exit_code code = look(s, call, subscription, &all);

	*out = NULL;
	if (code != EXIT_OK)
		return code;
	*out = json_incref(json_array_get(all, 0));
	json_decref(all);
	if (*out != NULL)
		return EXIT_OK;
	fprintf(stderr, "boxhaul: there is no subscription %s: `boxhaul inbox list %s` says which there are\n",
		subscription, config_target(call->config, target));
	return EXIT_FAILED;
}

long long inbox_number(const json_t *o, const char *path)
{
	return (long long)json_integer_value(look_at(o, path));
}

/* --- judging --- */

static bool is_configured(const struct config *config, const char *subscription)
{
	for (size_t i = 0; i < config->subscription_count; i++)
		if (strcmp(config->subscriptions[i].name, subscription) == 0)
			return true;
	return false;
}

bool inbox_is_left(const json_t *o, const struct config *config, char what[static INBOX_SAID_BYTES],
		   char mend[static INBOX_SAID_BYTES])
{
	const char *name = look_text(o, "subscription");
	char target[CONFIG_TARGET_BYTES];

	if (look_is(o, "led") || is_configured(config, name))
		return false;
	snprintf(what, INBOX_SAID_BYTES,
		 "Subscription %s is not in this configuration, and no daemon takes it; %lld %s", name,
		 inbox_number(o, "waiting"), inbox_number(o, "waiting") == 1 ? "message waits" : "messages wait");
	if (strcmp(name, CONFIG_SAGAS) == 0)
		snprintf(
			mend, INBOX_SAID_BYTES,
			"it takes the answers to sagas: give a daemon the group sagas back; or, where `boxhaul sagas list %s --open` shows "
			"none, `boxhaul inbox drop %s %s` forgets it",
			config_target(config, target), target, name);
	else
		snprintf(
			mend, INBOX_SAID_BYTES,
			"if it was renamed or given up, `boxhaul inbox drop %s %s` forgets it: what waits keeps the inbox from being emptied",
			config_target(config, target), name);
	return true;
}

enum ink inbox_judge(const json_t *o, const struct config *config, char what[static INBOX_SAID_BYTES],
		     char mend[static INBOX_SAID_BYTES])
{
	char target[CONFIG_TARGET_BYTES];
	struct look_inbox look;
	struct wrong c;
	enum ink ink = INK_GOOD;
	json_t *one;

	mend[0] = '\0';
	if (inbox_is_left(o, config, what, mend))
		return INK_WARN;
	snprintf(what, INBOX_SAID_BYTES,
		 look_at(o, "sink") != NULL       ? "Subscription %s: all that was taken is applied"
		 : inbox_number(o, "waiting") > 0 ? "Subscription %s: messages wait for workers"
						  : "Subscription %s: all that was taken is handled",
		 look_text(o, "subscription"));
	one = json_pack("[O]", o);
	look_inbox_fill(one, NULL, &look);
	for (size_t n = 0; ink == INK_GOOD && n < inbox_case_count(&look.facts); n++)
		if (inbox_case_is(&look.facts, config_target(config, target), false, n, &c)) {
			ink = c.stalled ? INK_BAD : INK_WARN;
			snprintf(what, INBOX_SAID_BYTES, "%s", c.what);
			snprintf(mend, INBOX_SAID_BYTES, "%s", c.mend);
		}
	json_decref(one);
	return ink;
}

/* --- list --- */

static void print_line(const struct out *out, const json_t *o, const struct config *config)
{
	char what[INBOX_SAID_BYTES], mend[INBOX_SAID_BYTES], age[32] = "-", stream[64], standing[INBOX_STANDING_BYTES];
	enum ink ink = inbox_judge(o, config, what, mend);

	if (look_at(o, "oldest_seconds") != NULL)
		duration_text(look_number(o, "oldest_seconds"), age, sizeof age);
	out_print(out, INK_BOLD, "%-20s", look_text(o, "subscription"));
	out_print(out, INK_PLAIN, " %-16s position %-12lld ", utf8_line(look_text(o, "stream"), stream, sizeof stream),
		  inbox_number(o, "position"));
	/* The rows of a sink are applied, and none waits for a worker. */
	if (look_at(o, "sink") != NULL)
		out_print(out, INK_PLAIN, "%-48s ", inbox_standing(o, standing));
	else
		out_print(out, INK_PLAIN, "waiting %-8lld oldest %-8s parked %-5lld dead %-5lld ",
			  inbox_number(o, "waiting"), age, inbox_number(o, "parked"), inbox_number(o, "dead"));
	out_print(out, ink, "%s\n",
		  look_at(o, "stopped") != NULL                ? look_text(o, "stopped")
		  : look_at(o, "paused") != NULL               ? "paused"
		  : inbox_is_left(o, config, what, mend)       ? "left behind"
		  : json_array_size(look_at(o, "blocked")) > 0 ? "failing"
		  : inbox_number(o, "dead") > 0                ? "dead letters"
							       : "ok");
}

static enum exit_code list(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	json_t *all, *o;
	enum exit_code code = look(s, call, NULL, &all);
	size_t i;

	if (code != EXIT_OK)
		return code;
	if (call->given[OPTION_JSON]) {
		out_json(&out, all);
	} else {
		json_array_foreach (all, i, o)
			print_line(&out, o, call->config);
		if (json_array_size(all) == 0)
			puts("no subscriptions");
	}
	json_decref(all);
	return EXIT_OK;
}

enum exit_code command_inbox_list(const struct call *call)
{
	return inbox_with_session(call, list);
}

/* --- show --- */

static void print_blocked(const struct out *out, const json_t *o)
{
	const json_t *b;
	char key[64], error[LINE_BYTES], age[32], next[48] = "";
	size_t i;

	json_array_foreach (look_at(o, "blocked"), i, b) {
		next[0] = '\0';
		if (strcmp(look_text(b, "state"), "retrying") == 0 && look_number(b, "next_seconds") > 0)
			snprintf(next, sizeof next, ", again in %s",
				 duration_text(look_number(b, "next_seconds"), age, sizeof age));
		out_print(out, INK_BOLD, "  %-10lld", inbox_number(b, "id"));
		out_print(out, INK_PLAIN, " lane %-3lld %s%-20s %-8s for %s, %lld attempt%s%s, %lld behind it: ",
			  inbox_number(b, "lane"), look_at(b, "key") != NULL ? "key " : "no key",
			  utf8_line(look_text(b, "key"), key, sizeof key), look_text(b, "state"),
			  duration_text(look_number(b, "seconds"), age, sizeof age), inbox_number(b, "attempts"),
			  plural(inbox_number(b, "attempts")), next, inbox_number(b, "behind"));
		out_print(out, INK_BAD, "%s\n", utf8_line(look_text(b, "error"), error, sizeof error));
	}
}

static const char *proof_of(const json_t *o, char to[static INBOX_STANDING_BYTES])
{
	long long different = inbox_number(o, "verify.different"), unproved = inbox_number(o, "verify.unproved");
	char age[32];

	if (different > 0)
		snprintf(to, INBOX_STANDING_BYTES, "%s%lld %s, in %.100s", counted((uint64_t)different), different,
			 different == 1 ? "row differs" : "rows differ", look_text(o, "verify.different_tab"));
	else if (unproved > 0)
		snprintf(to, INBOX_STANDING_BYTES, "%lld table%s not verified", unproved, plural(unproved));
	else
		snprintf(to, INBOX_STANDING_BYTES, "equal, by verify passes that began %s ago or later",
			 duration_text(look_number(o, "verify.proved_us") / 1e6, age, sizeof age));
	return to;
}

const char *inbox_standing(const json_t *o, char to[static INBOX_STANDING_BYTES])
{
	char proof[INBOX_STANDING_BYTES], age[32] = "-";

	if (look_at(o, "sink") != NULL) {
		snprintf(to, INBOX_STANDING_BYTES, "%lld change%s applied; %.180s", inbox_number(o, "sink.applied"),
			 plural(inbox_number(o, "sink.applied")), proof_of(o, proof));
		return to;
	}
	if (look_at(o, "oldest_seconds") != NULL)
		duration_text(look_number(o, "oldest_seconds"), age, sizeof age);
	snprintf(to, INBOX_STANDING_BYTES, "%lld wait, the oldest for %s; %lld parked, %lld dead",
		 inbox_number(o, "waiting"), age, inbox_number(o, "parked"), inbox_number(o, "dead"));
	return to;
}

/* incomplete: its rows have not begun to come; reading: they come; complete. */
static void print_sink_table(const struct out *out, const json_t *t, bool first)
{
	char missing[64] = "", swept[64] = "";

	if (inbox_number(t, "missing") > 0)
		snprintf(missing, sizeof missing, "; %lld update%s found no row", inbox_number(t, "missing"),
			 plural(inbox_number(t, "missing")));
	if (inbox_number(t, "swept") > 0)
		snprintf(swept, sizeof swept, "; %lld %s from before %s taken out", inbox_number(t, "swept"),
			 inbox_number(t, "swept") == 1 ? "row" : "rows",
			 inbox_number(t, "swept") == 1 ? "was" : "were");
	letter_line(out, first ? "tables" : "", "%s to %s: %s, %lld change%s%s%s", look_text(t, "source"),
		    look_text(t, "target"), look_text(t, "state"), inbox_number(t, "rows"),
		    plural(inbox_number(t, "rows")), missing, swept);
}

/* A subscription with tables. */
static void print_sink(const struct out *out, const json_t *o)
{
	char proof[INBOX_STANDING_BYTES], age[32];
	const json_t *t;
	size_t i;

	letter_line(out, "applied", "%lld change%s, %lld transaction%s; not for these tables, or too early: %lld",
		    inbox_number(o, "sink.applied"), plural(inbox_number(o, "sink.applied")),
		    inbox_number(o, "sink.transactions"), plural(inbox_number(o, "sink.transactions")),
		    inbox_number(o, "sink.skipped"));
	if (look_text(o, "sink.lsn")[0] == '\0')
		letter_line(out, "source", "nothing of its log yet");
	else
		letter_line(out, "source", "%s of its log, committed at %.19s, %s ago", look_text(o, "sink.lsn"),
			    look_text(o, "sink.committed_at"),
			    duration_text(look_number(o, "sink.committed_seconds"), age, sizeof age));
	letter_line(out, "proof", "%s", proof_of(o, proof));
	letter_line(out, "held back", "%lld message%s of a transaction that is not whole yet",
		    inbox_number(o, "sink.held"), plural(inbox_number(o, "sink.held")));
	json_array_foreach (look_at(o, "sink.tables"), i, t)
		print_sink_table(out, t, i == 0);
	if (look_at(o, "sink.error") == NULL)
		return;
	letter_field(out, "error", look_text(o, "sink.error"));
	letter_field(out, "mend", look_text(o, "sink.error_hint"));
}

static void print_settings(const struct out *out, const json_t *o)
{
	char *subjects = json_dumps(look_at(o, "subjects"), JSON_ENCODE_ANY);

	letter_line(out, "stream", "%s, subjects %s", look_text(o, "stream"), subjects != NULL ? subjects : "");
	free(subjects);
	if (look_at(o, "sink") != NULL)
		return;
	letter_line(out, "settings",
		    "key %s, %lld lanes, dedupe %s, %s%s, poison %s, at most %lld attempts, kept for %s",
		    look_text(o, "key"), inbox_number(o, "lanes"), look_text(o, "dedupe"),
		    look_text(o, "handler")[0] != '\0' ? "handler " : "handled by workers", look_text(o, "handler"),
		    look_text(o, "poison"), inbox_number(o, "max_attempts"), look_text(o, "retention"));
}

static void print_subscription(const struct out *out, const json_t *o, const struct config *config)
{
	char what[INBOX_SAID_BYTES], mend[INBOX_SAID_BYTES], age[32] = "";
	enum ink ink = inbox_judge(o, config, what, mend);

	out_print(out, ink, "%s\n", what);
	if (mend[0] != '\0')
		letter_field(out, "do", mend);
	if (look_at(o, "paused") != NULL)
		letter_field(out, "paused", look_text(o, "paused"));
	print_settings(out, o);
	letter_line(out, "position", "%lld, stored in the stream at %.19s; history %lld of the stream",
		    inbox_number(o, "position"),
		    look_text(o, "position_stored_at")[0] != '\0' ? look_text(o, "position_stored_at") : "-",
		    inbox_number(o, "incarnation"));
	letter_line(out, "moved", "%.19s, by %s",
		    look_text(o, "moved_at")[0] != '\0' ? look_text(o, "moved_at") : "never",
		    look_text(o, "leader")[0] != '\0' ? look_text(o, "leader") : "nobody");
	letter_line(out, "taken", "%lld; left out, known by their id: %lld; lost in gaps: %lld sequences",
		    inbox_number(o, "taken"), inbox_number(o, "left_out"), inbox_number(o, "lost"));
	if (look_at(o, "sink") != NULL) {
		print_sink(out, o);
		return;
	}
	if (look_at(o, "oldest_seconds") != NULL)
		duration_text(look_number(o, "oldest_seconds"), age, sizeof age);
	letter_line(out, "waiting", "%lld%s%s", inbox_number(o, "waiting"), age[0] != '\0' ? ", the oldest for " : "",
		    age);
	letter_line(out, "handled", "%lld", inbox_number(o, "handled"));
	letter_line(out, "parked", "%lld, of these held: %lld", inbox_number(o, "parked"), inbox_number(o, "held"));
	letter_line(out, "standing", "%lld lane%s", inbox_number(o, "lanes_standing"),
		    plural(inbox_number(o, "lanes_standing")));
	letter_line(out, "dead", "%lld", inbox_number(o, "dead"));
	print_blocked(out, o);
}

static enum exit_code show(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	char what[INBOX_SAID_BYTES], mend[INBOX_SAID_BYTES];
	json_t *o;
	enum exit_code code = inbox_look_at(s, call, call->arguments[0], &o);

	if (code != EXIT_OK)
		return code;
	if (call->given[OPTION_JSON]) {
		inbox_judge(o, call->config, what, mend);
		json_object_set_new(o, "summary", json_string(what));
		json_object_set_new(o, "action", json_string(mend));
		out_json(&out, o);
	} else {
		print_subscription(&out, o, call->config);
	}
	json_decref(o);
	return EXIT_OK;
}

enum exit_code command_inbox_show(const struct call *call)
{
	return inbox_with_session(call, show);
}
