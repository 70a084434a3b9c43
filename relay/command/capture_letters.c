/* `boxhaul capture dead-letters`, `capture redrive`, `capture discard`, `capture give-up`: changes that could not be sent. Those that hold their key
 * can be sent again, in their place. The others cannot, for the order of their stream has gone on; what their rows are now, a resync of the table brings. */
#include <stdio.h>

#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/session.h"

enum { TABLE_WIDTH = 24 };

static const char page_query[] = "SELECT l.id, pg_catalog.to_jsonb(l) FROM boxhaul.capture_letters($1, $2, $3, $4) l";

static enum exit_code list(struct pg_session *s, const struct call *call)
{
	struct letter_pages pages;

	letter_pages_begin(&pages, call, "cannot list the dead letters of captures", page_query);
	pages.p[pages.count++] = call->count > 0 ? call->arguments[0] : NULL;
	pages.p[pages.count++] = call->text[OPTION_REASON];
	pages.p[pages.count++] = pages.above;
	pages.p[pages.count++] = pages.most;
	return letter_list(&pages, s, call, "tab", TABLE_WIDTH);
}

enum exit_code command_capture_letters(const struct call *call)
{
	return inbox_with_session(call, list);
}

/* done: what became of a letter that was there. */
static enum exit_code each_letter(struct pg_session *s, const struct call *call, const char *sql, const char *done)
{
	enum exit_code code = EXIT_OK;

	for (int i = 0; i < call->count; i++) {
		const char *id = call->arguments[i], *was = session_value(s, call, sql, 1, &id, &code);

		if (was == NULL)
			return code;
		if (was[0] == 't')
			printf("letter %s is %s\n", id, done);
		else
			printf("there is no letter %s\n", id);
	}
	return EXIT_OK;
}

static enum exit_code discard(struct pg_session *s, const struct call *call)
{
	return each_letter(s, call, "SELECT boxhaul.capture_discard($1)", "given up");
}

static enum exit_code redrive(struct pg_session *s, const struct call *call)
{
	return each_letter(s, call, "SELECT boxhaul.capture_redrive($1)", "sent again, in its old place");
}

enum exit_code command_capture_redrive(const struct call *call)
{
	return inbox_with_session(call, redrive);
}

static enum exit_code give_up(struct pg_session *s, const struct call *call)
{
	char who[256];
	enum exit_code code = EXIT_OK;

	session_who(who, sizeof who);
	for (int i = 1; i < call->count; i++) {
		const char *p[] = { call->arguments[0], call->arguments[i], who };
		const char *was = session_value(s, call, "SELECT boxhaul.capture_give_up($1, $2, $3)", 3, p, &code);

		if (was == NULL)
			return code;
		printf(was[0] == 't'
			       ? "change %s is given up, and stands as a dead letter: what waits behind it goes on\n"
			       : "change %s is not carried (any more)\n",
		       call->arguments[i]);
	}
	return EXIT_OK;
}

enum exit_code command_capture_give_up(const struct call *call)
{
	return inbox_with_session(call, give_up);
}

enum exit_code command_capture_discard(const struct call *call)
{
	return inbox_with_session(call, discard);
}
