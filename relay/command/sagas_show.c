/* `boxhaul sagas show`: boxhaul.sagas and boxhaul.saga_timeline, for a person. */
#include "command/sagas_show.h"

#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/look.h"
#include "command/out.h"
#include "command/session.h"
#include "format/stored.h"

enum { LINE_BYTES = 1024, EVENT_WIDTH = 34 };

const char *sagas_show_id(const struct call *call)
{
	const char *id = call->arguments[0];
	struct stored_id uuid;

	if (stored_id_read(id, strlen(id), &uuid))
		return id;
	line_wrong("%s: a saga's id is a uuid", id);
	return NULL;
}

enum exit_code sagas_show_look(struct pg_session *s, const struct call *call, const char *id, json_t **out)
{
	const struct pg_result *r = pg_session_run(s, "SELECT s FROM boxhaul.saga_show($1) s WHERE s IS NOT NULL", 1,
						   (const char *[]){ id });
	char target[CONFIG_TARGET_BYTES];

	*out = NULL;
	if (pg_error(r) != NULL || pg_rows(r) > 0)
		return look_answer(call->config, "cannot see the saga", r, out);
	fprintf(stderr, "boxhaul: there is no saga %s: `boxhaul sagas list %s` says which there are\n", id,
		config_target(call->config, target));
	return EXIT_FAILED;
}

/* --- the head --- */

static const char *age(const json_t *o, const char *path, char *to, size_t size)
{
	return duration_text(look_number(o, path), to, size);
}

static void print_state(const struct out *out, const json_t *o)
{
	char ago[32];

	if (look_at(o, "ended_at") != NULL)
		letter_line(out, "state", "%s, %s ago", look_text(o, "state"),
			    age(o, "ended_seconds", ago, sizeof ago));
	else if (look_at(o, "kind") != NULL)
		letter_line(out, "state", "%s; at step %s (%s): %s, attempt %lld", look_text(o, "state"),
			    look_text(o, "step"), look_text(o, "kind"), look_text(o, "dir"),
			    inbox_number(o, "attempt"));
	else
		letter_line(out, "state", "%s", look_text(o, "state"));
}

/* "the answer to do pay, attempt 2, for 40 s; its deadline is in 20 s" */
static void print_waiting(const struct out *out, const json_t *o)
{
	char words[LINE_BYTES], since[32], due[32], for_[64] = "", then[64] = "";
	double in = look_number(o, "due_seconds");

	if (look_at(o, "waiting_for") == NULL)
		return;
	if (look_at(o, "waiting_since") != NULL)
		snprintf(for_, sizeof for_, ", for %s", age(o, "waiting_seconds", since, sizeof since));
	if (look_at(o, "due_seconds") != NULL)
		snprintf(then, sizeof then, in >= 0 ? "; the clock comes in %s" : "; the clock should have come %s ago",
			 duration_text(in >= 0 ? in : -in, due, sizeof due));
	letter_line(out, "waits for", "%s%s%s", utf8_line(look_text(o, "waiting_for"), words, sizeof words), for_,
		    then);
}

static void print_stuck(const struct out *out, const json_t *o, const struct config *config)
{
	char ago[32], target[CONFIG_TARGET_BYTES];
	const char *id = look_text(o, "id");

	if (look_at(o, "stuck") == NULL)
		return;
	letter_line(out, "stuck", "%s, for %s", look_text(o, "stuck"), age(o, "stuck_seconds", ago, sizeof ago));
	config_target(config, target);
	if (strcmp(look_text(o, "stuck"), "orphan") == 0)
		letter_line(
			out, "do",
			"look at the participant; then `boxhaul sagas resolve %s %s --step done|undone|refused --reason ...`",
			target, id);
	else
		letter_line(out, "do",
			    "mend the cause; then `boxhaul sagas retry %s %s`, or it is asked again by the clock",
			    target, id);
}

static void print_locks(const struct out *out, const json_t *o)
{
	char *locks = json_dumps(look_at(o, "locks"), JSON_ENCODE_ANY);

	if (json_array_size(look_at(o, "locks")) > 0 && locks != NULL)
		letter_line(out, "locks", "%s%s", locks, look_at(o, "ended_at") == NULL ? ", from other sagas" : "");
	free(locks);
}

static void print_head(const struct out *out, const json_t *o, const struct config *config)
{
	char key[128], ago[32];
	enum ink ink = look_at(o, "stuck") != NULL ? INK_BAD : look_at(o, "ended_at") != NULL ? INK_PLAIN : INK_WARN;

	out_print(out, ink, "%s %s\n", look_at(o, "name") != NULL ? look_text(o, "name") : "unknown saga",
		  look_text(o, "id"));
	if (look_at(o, "name") != NULL)
		letter_line(out, "key", "%s", utf8_line(look_text(o, "key"), key, sizeof key));
	if (look_at(o, "version") != NULL)
		letter_line(out, "version", "%lld", inbox_number(o, "version"));
	letter_line(out, "started", "%.19s, %s ago", look_text(o, "started_at"),
		    age(o, "started_seconds", ago, sizeof ago));
	print_state(out, o);
	print_waiting(out, o);
	print_stuck(out, o, config);
	if (look_at(o, "cancelled") != NULL)
		letter_line(out, "cancelled", "%s: the answer of the pivot decides", look_text(o, "cancelled"));
	if (look_at(o, "error") != NULL)
		letter_line(out, "error", "%s", look_text(o, "error"));
	if (look_at(o, "reason") != NULL)
		letter_line(out, "reason", "%s", look_text(o, "reason"));
	print_locks(out, o);
}

/* --- the timeline --- */

static bool is_event(const json_t *t, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcmp(look_text(t, "event"), *words) == 0)
			return true;
	return false;
}

static bool is_command(const json_t *t)
{
	return is_event(t, (const char *const[]){ "sent", NULL });
}

static bool is_answer(const json_t *t)
{
	return is_event(t, (const char *const[]){ "done", "refused", "error", "unsent", NULL });
}

/* "do pay #2" */
static const char *step_of(const json_t *t, char *to, size_t size)
{
	to[0] = '\0';
	if (look_at(t, "step") != NULL)
		snprintf(to, size, "%s %s #%lld", look_text(t, "dir"), look_text(t, "step"),
			 inbox_number(t, "attempt"));
	return to;
}

static const char *event_of(const json_t *t, char *to, size_t size)
{
	char step[160];

	step_of(t, step, sizeof step);
	if (is_command(t))
		snprintf(to, size, "--> %s", step);
	else if (is_answer(t))
		snprintf(to, size, "<-- %s: %s", step, look_text(t, "event"));
	else
		snprintf(to, size, " *  %s%s%s", look_text(t, "event"), step[0] != '\0' ? " of " : "", step);
	return to;
}

/* Where the command is now; or what came of the event. */
static const char *outcome_of(const json_t *t, char *to, size_t size)
{
	const char *error = look_text(t, "last_error"), *detail = look_text(t, "detail");

	if (is_command(t) && look_at(t, "message") != NULL)
		snprintf(to, size, "message %lld of the outbox: %s%s%s", inbox_number(t, "message"),
			 look_text(t, "message_state"), error[0] != '\0' ? ": " : "", error);
	else
		snprintf(to, size, "%s%s%s", look_text(t, "action"), detail[0] != '\0' ? ": " : "", detail);
	return to;
}

static enum ink ink_of(const json_t *t)
{
	if (is_command(t))
		return look_at(t, "last_error") != NULL ? INK_BAD : INK_PLAIN;
	if (is_event(t, (const char *const[]){ "done", "started", NULL }))
		return INK_GOOD;
	return is_event(t, (const char *const[]){ "refused", "error", "failed", "timeout", "unsent", NULL })
		       ? INK_WARN
		       : INK_PLAIN;
}

/* That the first command is to be sent says nothing beside the command itself. */
static bool is_silent(const json_t *t)
{
	return strcmp(look_text(t, "event"), "resend") == 0 && strcmp(look_text(t, "action"), "send") == 0;
}

static void print_timeline(const struct out *out, const json_t *o)
{
	char event[256], outcome[LINE_BYTES], shown[LINE_BYTES], waits[LINE_BYTES];
	const json_t *t;
	size_t i;

	json_array_foreach (look_at(o, "timeline"), i, t) {
		if (is_silent(t))
			continue;
		out_print(out, INK_DIM, "  %+11.3f s  ", look_number(t, "seconds"));
		out_print(out, ink_of(t), "%-*s", EVENT_WIDTH, event_of(t, event, sizeof event));
		out_print(out, INK_PLAIN, "  %s\n",
			  utf8_line(outcome_of(t, outcome, sizeof outcome), shown, sizeof shown));
	}
	if (look_at(o, "waiting_for") != NULL)
		out_print(out, INK_WARN, "  %+11.3f s  ... waits for %s\n", look_number(o, "started_seconds"),
			  utf8_line(look_text(o, "waiting_for"), waits, sizeof waits));
}

static enum exit_code show(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	json_t *o;
	enum exit_code code = sagas_show_look(s, call, call->arguments[0], &o);

	if (code != EXIT_OK)
		return code;
	if (call->given[OPTION_JSON]) {
		out_json(&out, o);
	} else {
		print_head(&out, o, call->config);
		print_timeline(&out, o);
	}
	json_decref(o);
	return EXIT_OK;
}

enum exit_code command_sagas_show(const struct call *call)
{
	return sagas_show_id(call) != NULL ? inbox_with_session(call, show) : EXIT_USAGE;
}
