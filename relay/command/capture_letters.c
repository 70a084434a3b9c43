/* `boxhaul capture dead-letters`, `capture discard`: changes that could not be sent. They cannot be sent again, for the order of their stream has
 * gone on; what their rows are now, a resync of the table brings. */
#include <inttypes.h>
#include <stdio.h>

#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/session.h"

enum { PAGE = 500, TABLE_WIDTH = 24 };

static const char page_query[] =
	"SELECT l.id, pg_catalog.to_char(l.died_at, 'YYYY-MM-DD HH24:MI:SS'), l.attempts, coalesce(l.tab, '-'), coalesce(l.key, '-'),"
	" coalesce(l.subject, '-'), l.reason, pg_catalog.to_jsonb(l) FROM boxhaul.capture_letters($1, $2, $3, $4) l";

static enum exit_code list(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	bool json = call->given[OPTION_JSON];
	char above[24] = "-1", most[24];
	const char *p[] = { call->count > 0 ? call->arguments[0] : NULL, call->text[OPTION_REASON], above, most };
	const struct pg_result *r;
	int shown = 0;

	snprintf(most, sizeof most, "%d", PAGE);
	if (json)
		fputc('[', stdout);
	while (pg_error(r = pg_session_run(s, page_query, 4, p)) == NULL && pg_rows(r) > 0) {
		for (int i = 0; i < pg_rows(r); i++, shown++)
			if (json)
				printf("%s%s", shown > 0 ? ",\n " : "", pg_text(r, i, 7));
			else
				letter_row(&out, r, i, TABLE_WIDTH);
		snprintf(above, sizeof above, "%s", pg_text(r, pg_rows(r) - 1, 0));
	}
	if (json)
		fputs("]\n", stdout);
	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot list the dead letters of captures", r);
	if (!json && shown == 0)
		puts("no dead letters");
	return EXIT_OK;
}

enum exit_code command_capture_letters(const struct call *call)
{
	return inbox_with_session(call, list);
}

static enum exit_code discard(struct pg_session *s, const struct call *call)
{
	enum exit_code code = EXIT_OK;

	for (int i = 0; i < call->count; i++) {
		const char *was = session_value(s, call, "SELECT boxhaul.capture_discard($1)", 1,
						(const char *[]){ call->arguments[i] }, &code);

		if (was == NULL)
			return code;
		printf(was[0] == 't' ? "letter %s is given up\n" : "there is no letter %s\n", call->arguments[i]);
	}
	return EXIT_OK;
}

enum exit_code command_capture_discard(const struct call *call)
{
	return inbox_with_session(call, discard);
}
