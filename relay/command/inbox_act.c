/* What an operator decides about a subscription, or about one of its rows. Done by the SQL; here it is asked about and told. */
#include <stdio.h>
#include <string.h>

#include "base/plural.h"
#include "command/ask.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/line.h"
#include "command/look.h"
#include "command/session.h"

static enum exit_code pause_(struct pg_session *s, const struct call *call)
{
	char who[256];
	const char *p[] = { call->arguments[0], session_who(who, sizeof who), call->text[OPTION_REASON] };
	enum exit_code code;
	const char *fresh = session_value(s, call, "SELECT boxhaul.inbox_pause($1, $2, $3)", 3, p, &code);

	if (fresh != NULL)
		printf("%s\n",
		       fresh[0] == 't'
			       ? "paused: nothing is taken and nothing handed out; what a worker has in hand it may finish"
			       : "it was paused already");
	return code;
}

enum exit_code command_inbox_pause(const struct call *call)
{
	return inbox_with_session(call, pause_);
}

static enum exit_code resume(struct pg_session *s, const struct call *call)
{
	enum exit_code code;
	const char *was = session_value(s, call, "SELECT boxhaul.inbox_resume($1)", 1,
					(const char *[]){ call->arguments[0] }, &code);

	if (was != NULL)
		puts(was[0] == 't' ? "resumed" : "it was not paused");
	return code;
}

enum exit_code command_inbox_resume(const struct call *call)
{
	return inbox_with_session(call, resume);
}

static enum exit_code rewind_(struct pg_session *s, const struct call *call)
{
	const char *to = call->text[OPTION_TO], *name = call->arguments[0];
	const char *p[] = { name, to };
	const char *position;
	char known[160] = "No ids are kept: all of it takes effect again.";
	json_t *o;
	enum exit_code code = inbox_look_at(s, call, name, &o);

	if (code != EXIT_OK)
		return code;
	if (strcmp(look_text(o, "dedupe"), "ids") == 0)
		snprintf(
			known, sizeof known,
			"What is known by its id is left out; ids are kept for %s, and what was taken before takes effect again.",
			look_text(o, "retention"));
	code = ask(call, "Take again what stands in stream %s behind %s? Subscription %s stands at %lld. %s",
		   look_text(o, "stream"), to, name, inbox_number(o, "position"), known);
	json_decref(o);
	if (code != EXIT_OK)
		return code;
	position = session_value(s, call, "SELECT boxhaul.inbox_rewind($1, $2)", 2, p, &code);
	if (position != NULL)
		printf("subscription %s goes on behind sequence %s\n", name, position);
	return code;
}

enum exit_code command_inbox_rewind(const struct call *call)
{
	if (!call->given[OPTION_TO])
		return line_wrong("%s: say --to: a sequence of the stream, a time, or start", call->command->words);
	return inbox_with_session(call, rewind_);
}

static enum exit_code accept_gap(struct pg_session *s, const struct call *call)
{
	const char *name = call->arguments[0], *lost;
	long long position, first;
	json_t *o;
	enum exit_code code = inbox_look_at(s, call, name, &o);

	if (code != EXIT_OK)
		return code;
	position = inbox_number(o, "position");
	first = inbox_number(o, "stop.first_seq");
	if (strcmp(look_text(o, "stopped"), "gap") == 0)
		code = ask(
			call,
			"Sequences %lld to %lld left stream %s before they were taken; not all of them need have been messages "
			"of this subscription. Give them up for good?",
			position + 1, first - 1, look_text(o, "stream"));
	json_decref(o);
	if (code != EXIT_OK)
		return code;
	lost = session_value(s, call, "SELECT boxhaul.inbox_accept_gap($1)", 1, (const char *[]){ name }, &code);
	if (lost != NULL)
		printf("subscription %s goes on; %s %s put on record as lost\n", name, lost,
		       strcmp(lost, "1") == 0 ? "sequence is" : "sequences are");
	return code;
}

enum exit_code command_inbox_accept_gap(const struct call *call)
{
	return inbox_with_session(call, accept_gap);
}

static enum exit_code drop(struct pg_session *s, const struct call *call)
{
	const char *name = call->arguments[0];
	json_t *o;
	enum exit_code code = inbox_look_at(s, call, name, &o);

	if (code != EXIT_OK)
		return code;
	code = ask(
		call,
		"Forget subscription %s of stream %s at position %lld, with %lld message%s that wait%s and %lld dead letter%s?",
		name, look_text(o, "stream"), inbox_number(o, "position"), inbox_number(o, "waiting"),
		plural(inbox_number(o, "waiting")), inbox_number(o, "waiting") == 1 ? "s" : "", inbox_number(o, "dead"),
		plural(inbox_number(o, "dead")));
	json_decref(o);
	if (code == EXIT_OK &&
	    session_value(s, call, "SELECT boxhaul.inbox_drop($1)", 1, (const char *[]){ name }, &code) != NULL)
		printf("subscription %s is gone\n", name);
	return code;
}

enum exit_code command_inbox_drop(const struct call *call)
{
	return inbox_with_session(call, drop);
}

/* --- one row --- */

static enum exit_code retry(struct pg_session *s, const struct call *call)
{
	enum exit_code code;

	if (session_value(s, call, "SELECT boxhaul.inbox_retry($1, $2)", 2,
			  (const char *[]){ call->arguments[0], call->arguments[1] }, &code) != NULL)
		printf("row %s is handed out again\n", call->arguments[1]);
	return code;
}

static enum exit_code skip(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0], call->arguments[1], call->text[OPTION_REASON] };
	char target[CONFIG_TARGET_BYTES];
	enum exit_code code;

	if (session_value(s, call, "SELECT boxhaul.inbox_skip($1, $2, $3)", 3, p, &code) != NULL)
		printf("row %s is a dead letter now, its key goes on; `boxhaul inbox dead-letters %s %s` lists it\n",
		       p[1], config_target(call->config, target), p[0]);
	return code;
}

static enum exit_code with_row(const struct call *call,
			       enum exit_code (*fn)(struct pg_session *s, const struct call *call))
{
	if (!line_is_id(call->arguments[1]))
		return line_wrong("%s: an id is a number", call->arguments[1]);
	return inbox_with_session(call, fn);
}

enum exit_code command_inbox_retry(const struct call *call)
{
	return with_row(call, retry);
}

enum exit_code command_inbox_skip(const struct call *call)
{
	return with_row(call, skip);
}
