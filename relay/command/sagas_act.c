/* What an operator decides about a saga. Done by the SQL, as a line of the transition; here it is asked about and told. */
#include <stdio.h>
#include <string.h>

#include "command/ask.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/line.h"
#include "command/look.h"
#include "command/sagas_show.h"
#include "command/session.h"

enum { REASON_BYTES = 1024 };

static enum exit_code tell(const char *came)
{
	printf("%s\n", came);
	return EXIT_OK;
}

static enum exit_code retry(struct pg_session *s, const struct call *call)
{
	enum exit_code code;
	const char *came = session_value(s, call, "SELECT boxhaul.saga_retry($1)", 1,
					 (const char *[]){ call->arguments[0] }, &code);

	return came != NULL ? tell(came) : code;
}

enum exit_code command_sagas_retry(const struct call *call)
{
	return sagas_show_id(call) != NULL ? inbox_with_session(call, retry) : EXIT_USAGE;
}

/* Who decided stands in the timeline. Returns `to`. */
static const char *reason_of(const struct call *call, char to[static REASON_BYTES])
{
	const char *reason = call->text[OPTION_REASON];
	char who[256];

	snprintf(to, REASON_BYTES, "%s%s%s", session_who(who, sizeof who), reason != NULL ? ": " : "",
		 reason != NULL ? reason : "");
	return to;
}

/* Asks about the saga as it stands, on a terminal. */
static enum exit_code ask_about(struct pg_session *s, const struct call *call, const char *what)
{
	json_t *o;
	enum exit_code code = sagas_show_look(s, call, call->arguments[0], &o);

	if (code != EXIT_OK)
		return code;
	code = ask(call, "Saga %s %s (%s) is %s, and waits for %s. %s?", look_text(o, "name"), look_text(o, "id"),
		   look_text(o, "key"), look_text(o, "state"),
		   look_at(o, "waiting_for") != NULL ? look_text(o, "waiting_for") : "nothing", what);
	json_decref(o);
	return code;
}

static enum exit_code undo(struct pg_session *s, const struct call *call)
{
	char reason[REASON_BYTES];
	const char *p[] = { call->arguments[0], reason_of(call, reason) }, *came;
	enum exit_code code = ask_about(s, call, "Undo what it has done");

	if (code != EXIT_OK)
		return code;
	came = session_value(s, call, "SELECT boxhaul.saga_undo($1, $2)", 2, p, &code);
	return came != NULL ? tell(came) : code;
}

enum exit_code command_sagas_undo(const struct call *call)
{
	return sagas_show_id(call) != NULL ? inbox_with_session(call, undo) : EXIT_USAGE;
}

/* "done", or "pay=done"; not "=done", which a script says whose step is empty. */
struct word {
	char step[128];
	const char *outcome;
};

static bool read_step(const char *text, struct word *w)
{
	const char *equals = strrchr(text, '=');

	if (equals == text || (equals != NULL && (size_t)(equals - text) >= sizeof w->step))
		return false;
	snprintf(w->step, sizeof w->step, "%.*s", equals != NULL ? (int)(equals - text) : 0, text);
	w->outcome = equals != NULL ? equals + 1 : text;
	return strcmp(w->outcome, "done") == 0 || strcmp(w->outcome, "undone") == 0 ||
	       strcmp(w->outcome, "refused") == 0;
}

static enum exit_code resolve(struct pg_session *s, const struct call *call)
{
	char reason[REASON_BYTES], what[256];
	struct word w;
	const char *came;
	enum exit_code code;

	if (!read_step(call->text[OPTION_STEP], &w))
		return EXIT_USAGE;
	snprintf(what, sizeof what, "Take this step for %s, without asking its participant", w.outcome);
	code = ask_about(s, call, what);
	if (code != EXIT_OK)
		return code;
	came = session_value(s, call, "SELECT boxhaul.saga_resolve($1, $2, $3, $4)", 4,
			     (const char *[]){ call->arguments[0], w.outcome, reason_of(call, reason),
					       w.step[0] != '\0' ? w.step : NULL },
			     &code);
	return came != NULL ? tell(came) : code;
}

enum exit_code command_sagas_resolve(const struct call *call)
{
	struct word w;

	if (sagas_show_id(call) == NULL)
		return EXIT_USAGE;
	if (!call->given[OPTION_STEP] || !read_step(call->text[OPTION_STEP], &w))
		return line_wrong("%s: say --step done, undone or refused; or STEP=done", call->command->words);
	if (!call->given[OPTION_REASON])
		return line_wrong("%s: say --reason: how you know, for others to read", call->command->words);
	return inbox_with_session(call, resolve);
}
