/* `boxhaul capture status`: what boxhaul.capture_look() says, and what the relay on this machine knows besides, for a person. */
#include "command/capture_show.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/duration.h"
#include "base/utf8.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/look.h"
#include "command/look_capture.h"
#include "command/port.h"
#include "command/session.h"
#include "watch/capture_case.h"

enum { LINE_BYTES = 512 };

static const char look_query[] = "SELECT boxhaul.capture_look($1)";

const struct config_capture *capture_show_configured(const struct call *call)
{
	const char *name = call->arguments[0];
	const struct config_capture *c = config_capture_of(call->config, name);
	char names[LINE_BYTES] = "";
	size_t n = 0;

	for (size_t i = 0; c == NULL && i < call->config->capture_count && n < sizeof names; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "",
				      call->config->captures[i].name);
	if (c == NULL && n == 0)
		line_wrong("%s: the configuration has no captures", name);
	else if (c == NULL)
		line_wrong("%s: the configuration has no capture of this name; it has %s", name, names);
	return c;
}

static enum exit_code look(struct pg_session *s, const struct call *call, const char *capture, json_t **out)
{
	return look_answer(call->config, "cannot see the captures", pg_session_run(s, look_query, 1, &capture), out);
}

enum exit_code capture_show_look(struct pg_session *s, const struct call *call, const char *capture, json_t **out)
{
	char target[CONFIG_TARGET_BYTES];
	json_t *all;
	enum exit_code code = look(s, call, capture, &all);

	*out = NULL;
	if (code != EXIT_OK)
		return code;
	*out = json_incref(json_array_get(all, 0));
	json_decref(all);
	if (*out != NULL)
		return EXIT_OK;
	if (config_capture_of(call->config, capture) != NULL)
		fprintf(stderr,
			"boxhaul: capture %s has not been started: `boxhaul capture plan %s %s` says what it would do\n",
			capture, config_target(call->config, target), capture);
	else
		fprintf(stderr, "boxhaul: there is no capture %s: `boxhaul capture status %s` says which there are\n",
			capture, config_target(call->config, target));
	return EXIT_FAILED;
}

/* --- judging --- */

bool capture_show_is_left(const json_t *o, const struct config *config, struct wrong *w)
{
	const char *name = look_text(o, "name");
	char target[CONFIG_TARGET_BYTES], kept[32];

	return !look_is(o, "led") && config_capture_of(config, name) == NULL &&
	       wrong_say(
		       w, false,
		       "Capture %s is not in this configuration, and no daemon reads it; the server keeps %s of its log for it",
		       name, bytes_text((uint64_t)inbox_number(o, "retained_bytes"), kept, sizeof kept)) &&
	       wrong_advise(
		       w, "if it was renamed or given up, `boxhaul capture drop %s %s` forgets it, and drops its slot",
		       config_target(config, target), name);
}

/* The first thing that is wrong with one capture. */
static bool is_wrong(const json_t *o, const struct config *config, struct wrong *w)
{
	json_t *one = json_pack("[O]", o);
	char target[CONFIG_TARGET_BYTES];
	struct look_capture l;
	bool found = false;

	look_capture_fill(one, config, &l);
	l.facts.count = 1; /* not those that are only configured */
	for (size_t n = 0; !found && n < capture_case_count(&l.facts); n++)
		found = capture_case_is(&l.facts, config_target(config, target), false, n, w);
	json_decref(one);
	return found;
}

/* Who reads it knows more of it than the database does. */
static bool is_told_wrong(const json_t *o, struct wrong *w)
{
	const json_t *p = look_at(o, "told.problem");

	return p != NULL &&
	       wrong_say(w, strcmp(look_text(p, "state"), "stalled") == 0, "%s", look_text(p, "summary")) &&
	       wrong_advise(w, "%s", look_text(p, "action"));
}

enum ink capture_show_judge(const json_t *o, const struct config *config, struct wrong *w)
{
	const json_t *told = look_at(o, "told");
	char behind[32], lag[64] = "", age[32];

	if (capture_show_is_left(o, config, w))
		return INK_WARN;
	if (told != NULL ? is_told_wrong(o, w) : is_wrong(o, config, w))
		return w->stalled ? INK_BAD : INK_WARN;
	if (look_at(told, "lag_seconds") != NULL)
		snprintf(lag, sizeof lag, "%s, ", duration_text(look_number(told, "lag_seconds"), age, sizeof age));
	if (strcmp(look_text(o, "state"), "creating") == 0) {
		wrong_say(w, false, "Capture %s: its replication slot is being made", look_text(o, "name"));
		return INK_WARN;
	}
	wrong_say(w, false, "Capture %s: %s; %s%s of the log behind", look_text(o, "name"),
		  inbox_number(o, "unfinished") > 0 ? "the rows that were there before are being read"
						    : "all changes are taken as they come",
		  lag, bytes_text((uint64_t)inbox_number(o, "lag_bytes"), behind, sizeof behind));
	return INK_GOOD;
}

/* --- one --- */

/* "2026-11-30 09:13:25" */
static const char *moment(const json_t *o, const char *path)
{
	return look_at(o, path) != NULL ? look_text(o, path) : "-";
}

static void print_state(const struct out *out, const json_t *o)
{
	char ago[32], slot[96] = "", who[LINE_BYTES];

	if (look_at(o, "slot") != NULL)
		snprintf(slot, sizeof slot, "; replication slot %s%s%s", look_text(o, "slot"),
			 look_at(o, "wal_status") != NULL ? ", " : "", look_text(o, "wal_status"));
	letter_line(out, "state", "%s%s%s, for %s%s", look_text(o, "state"), look_at(o, "reason") != NULL ? ": " : "",
		    look_text(o, "reason"), duration_text(look_number(o, "since_seconds"), ago, sizeof ago), slot);
	letter_line(out, "stream", "%s", look_text(o, "stream"));
	if (look_is(o, "led"))
		letter_line(out, "leader", "%s, backend pid %lld, epoch %lld, for %s",
			    utf8_line(look_text(o, "leader"), who, sizeof who), inbox_number(o, "leader_pid"),
			    inbox_number(o, "epoch"), duration_text(look_number(o, "led_seconds"), ago, sizeof ago));
	else
		letter_line(out, "leader", "no daemon reads it");
	if (look_at(o, "paused") != NULL)
		letter_field(out, "paused", look_text(o, "paused"));
}

static void print_position(const struct out *out, const json_t *o)
{
	const json_t *told = look_at(o, "told");
	char behind[32], age[32], more[96] = "";

	if (look_at(o, "end_lsn") == NULL)
		return;
	letter_line(out, "position", "%s, the end of what was committed at %.19s; %lld messages since the start",
		    look_text(o, "end_lsn"), moment(o, "committed_at"), inbox_number(o, "ordinal"));
	if (look_at(told, "lag_seconds") != NULL)
		snprintf(more, sizeof more, "; %s; %lld commits are received, and not stored whole",
			 duration_text(look_number(told, "lag_seconds"), age, sizeof age),
			 inbox_number(told, "lag_commits"));
	letter_line(out, "lag", "%s of the log%s",
		    bytes_text((uint64_t)inbox_number(o, "lag_bytes"), behind, sizeof behind), more);
}

/* What the server keeps moves only with what it writes of running transactions: while it is busy every 15 s, else at a checkpoint. */
static void print_kept(const struct out *out, const json_t *o, const struct config *config)
{
	const struct config_capture *w = config_capture_of(config, look_text(o, "name"));
	uint64_t retained = (uint64_t)inbox_number(o, "retained_bytes"), lag = (uint64_t)inbox_number(o, "lag_bytes");
	char kept[32], budget[32], spare[32];

	if (look_at(o, "retained_bytes") == NULL)
		return;
	letter_line(out, "log kept", "%s%s%s%s%s%s", bytes_text(retained, kept, sizeof kept),
		    w != NULL ? ", of a wal_budget of " : "",
		    w != NULL ? bytes_text(w->wal_budget, budget, sizeof budget) : "",
		    look_at(o, "spare_bytes") != NULL ? "; the server takes the slot away after " : "",
		    look_at(o, "spare_bytes") != NULL
			    ? bytes_text((uint64_t)inbox_number(o, "spare_bytes"), spare, sizeof spare)
			    : "",
		    look_at(o, "spare_bytes") != NULL ? " more" : "");
	if (retained > 10 * lag && retained > 64u << 20)
		letter_line(out, "",
			    "more than the lag: an open transaction needs it, or the next checkpoint lets it go");
}

static void print_rest(const struct out *out, const json_t *told, const json_t *t)
{
	double rate = look_number(told, "rate"), seconds = look_number(t, "seconds");
	double rows = look_number(t, "rows"), all = look_number(t, "rows_estimate");
	char left[32];

	if (rate <= 0 && seconds > 0)
		rate = rows / seconds;
	if (rate > 0)
		out_print(out, INK_PLAIN, ", %.0f /s", rate);
	if (rate > 0 && all > rows)
		out_print(out, INK_PLAIN, ", %s left", duration_text((all - rows) / rate, left, sizeof left));
}

/* What the relay says of a table. */
static const json_t *told_of(const json_t *told, const char *table)
{
	const json_t *t;
	size_t i;

	json_array_foreach (look_at(told, "tables"), i, t)
		if (strcmp(look_text(t, "name"), table) == 0)
			return t;
	return NULL;
}

static bool is_verified(const json_t *told)
{
	return strcmp(look_text(told, "state"), "verifying") == 0;
}

/* "verifying: 1200 rows of about 5000, 24 %, 3 s left" */
static const char *pass_text(const json_t *told, char to[static CAPTURE_PASS_BYTES])
{
	double rows = look_number(told, "rows"), all = look_number(told, "estimate_rows"),
	       rate = look_number(told, "rate");
	char share[96] = "", left[32], rest[64] = "";

	if (all > 0)
		snprintf(share, sizeof share, " of about %.0f, %.0f %%", all, rows < all ? 100 * rows / all : 100);
	if (rate > 0 && all > rows)
		snprintf(rest, sizeof rest, ", %s left", duration_text((all - rows) / rate, left, sizeof left));
	snprintf(to, CAPTURE_PASS_BYTES, "verifying: %.0f rows%s%s", rows, share, rest);
	return to;
}

const char *capture_show_pass(const json_t *told, char to[static CAPTURE_PASS_BYTES])
{
	char text[CAPTURE_PASS_BYTES];
	const json_t *t;
	size_t i;

	json_array_foreach (look_at(told, "tables"), i, t)
		if (is_verified(t)) {
			snprintf(to, CAPTURE_PASS_BYTES, "table %.120s: %.300s", look_text(t, "name"),
				 pass_text(t, text));
			return to;
		}
	return NULL;
}

static void print_table(const struct out *out, const json_t *t, const json_t *told)
{
	const char *state = look_text(t, "state");
	char name[128], reason[LINE_BYTES], pass[CAPTURE_PASS_BYTES];
	bool reads = strcmp(state, "reading") == 0, ails = look_at(t, "reason") != NULL;

	out_print(out, INK_PLAIN, "  %-32s ", utf8_line(look_text(t, "tab"), name, sizeof name));
	out_print(out, ails ? INK_BAD : strcmp(state, "complete") == 0 ? INK_GOOD : INK_WARN, "%-9s", state);
	if (strcmp(look_text(t, "snapshot"), "none") == 0)
		out_print(out, INK_DIM, " changes only");
	else if (look_at(t, "percent") != NULL)
		out_print(out, INK_PLAIN, " %3.0f %%", look_number(t, "percent"));
	if (inbox_number(t, "rows") > 0)
		out_print(out, INK_PLAIN, "  %lld rows", inbox_number(t, "rows"));
	if (reads && look_number(t, "rows_estimate") > 0)
		out_print(out, INK_PLAIN, " of about %lld", inbox_number(t, "rows_estimate"));
	if (reads)
		print_rest(out, told_of(told, look_text(t, "tab")), t);
	if (is_verified(told_of(told, look_text(t, "tab"))))
		out_print(out, INK_WARN, "  %s", pass_text(told_of(told, look_text(t, "tab")), pass));
	if (inbox_number(t, "repairs") > 0)
		out_print(out, INK_PLAIN, ", %lld to be read once more", inbox_number(t, "repairs"));
	if (look_is(t, "inserts_only"))
		out_print(out, INK_DIM, "  inserts only");
	if (strcmp(look_text(t, "snapshot"), "whole") == 0)
		out_print(out, INK_DIM, "  read whole");
	if (ails)
		out_print(out, INK_BAD, "  %s", utf8_line(look_text(t, "reason"), reason, sizeof reason));
	putchar('\n');
}

static void print_letters(const struct out *out, const json_t *o)
{
	const json_t *l;
	char key[128], reason[LINE_BYTES];
	size_t i;

	letter_line(out, "dead", "%lld", inbox_number(o, "letters"));
	json_array_foreach (look_at(o, "oldest"), i, l) {
		out_print(out, INK_PLAIN, "  %-8lld %s %s: ", inbox_number(l, "id"), look_text(l, "tab"),
			  utf8_line(look_text(l, "key"), key, sizeof key));
		out_print(out, INK_BAD, "%s\n", utf8_line(look_text(l, "reason"), reason, sizeof reason));
	}
}

static void print_carried(const struct out *out, const json_t *o)
{
	const json_t *l;
	char key[128], reason[LINE_BYTES];
	size_t i;

	if (inbox_number(o, "carried") == 0)
		return;
	letter_line(out, "carried", "%lld; of these %lld dead letter%s", inbox_number(o, "carried"),
		    inbox_number(o, "held"),
		    inbox_number(o, "held") == 1 ? " that holds its key" : "s that hold their key");
	json_array_foreach (look_at(o, "waiting"), i, l) {
		out_print(out, INK_PLAIN, "  %-8lld %s %s: ", inbox_number(l, "ordinal"), look_text(l, "tab"),
			  utf8_line(look_text(l, "key_shown"), key, sizeof key));
		out_print(out, INK_BAD, "%s\n", utf8_line(look_text(l, "reason"), reason, sizeof reason));
	}
}

static void print_one(const struct out *out, const json_t *o, const struct config *config)
{
	const json_t *told = look_at(o, "told"), *t;
	struct wrong w;
	enum ink ink = capture_show_judge(o, config, &w);
	char waits[LINE_BYTES];
	size_t i;

	out_print(out, ink, "%s\n", w.what);
	if (w.mend[0] != '\0')
		letter_field(out, "do", w.mend);
	print_state(out, o);
	print_position(out, o);
	print_kept(out, o, config);
	if (look_at(o, "waits") != NULL || look_at(told, "waits_for") != NULL)
		letter_line(out, "waits for", "%s",
			    utf8_line(look_at(told, "waits_for") != NULL ? look_text(told, "waits_for")
									 : look_text(o, "waits"),
				      waits, sizeof waits));
	if (look_at(o, "differs") != NULL)
		letter_field(out, "differs", look_text(o, "differs"));
	letter_line(out, "tables", "%lld, of these not complete: %lld", inbox_number(o, "tables"),
		    inbox_number(o, "unfinished"));
	json_array_foreach (look_at(o, "progress"), i, t)
		print_table(out, t, told);
	print_carried(out, o);
	print_letters(out, o);
}

/* --- all --- */

/* Those of the configuration that are not on record. */
static void print_unstarted(const struct out *out, const json_t *all, const struct config *config)
{
	char target[CONFIG_TARGET_BYTES];

	config_target(config, target);
	for (size_t i = 0; i < config->capture_count; i++) {
		const char *name = config->captures[i].name;
		const json_t *o;
		size_t k;

		json_array_foreach (all, k, o)
			if (strcmp(look_text(o, "name"), name) == 0)
				break;
		if (k == json_array_size(all)) {
			out_print(out, INK_WARN, "Capture %s is configured, and has not been started\n", name);
			letter_line(
				out, "do",
				"`boxhaul capture plan %s %s` says what it would do; `boxhaul capture start %s %s` does it",
				target, name, target, name);
		}
	}
}

static enum exit_code print(const struct call *call, json_t *all)
{
	struct out out = out_open(stdout);
	char why[LINE_BYTES];
	json_t *relay = port_ask(call->config, why, sizeof why);
	const json_t *o;
	size_t i;

	look_capture_add_told(all, relay);
	json_decref(relay);
	if (call->given[OPTION_JSON]) {
		out_json(&out, all);
		return EXIT_OK;
	}
	json_array_foreach (all, i, o)
		print_one(&out, o, call->config);
	if (call->count == 0) {
		print_unstarted(&out, all, call->config);
		if (i == 0 && call->config->capture_count == 0)
			puts("no captures");
	}
	return EXIT_OK;
}

static enum exit_code status(struct pg_session *s, const struct call *call)
{
	json_t *all, *one;
	enum exit_code code;

	if (call->count == 0) {
		code = look(s, call, NULL, &all);
	} else {
		code = capture_show_look(s, call, call->arguments[0], &one);
		all = json_pack("[o]", one);
	}
	if (code == EXIT_OK)
		code = print(call, all);
	json_decref(all);
	return code;
}

enum exit_code command_capture_status(const struct call *call)
{
	return inbox_with_session(call, status);
}
