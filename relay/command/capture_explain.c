/* `boxhaul capture explain`: where a change is, by its position in the log, or by the key of its row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "books/codec.h"
#include "command/capture_show.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/session.h"

enum { LINE_BYTES = 512, LSN_BYTES = 24 };

/* --- by position --- */

static const char position_query[] =
	"SELECT e.state, coalesce(e.begin_lsn::pg_catalog.text, '-'), coalesce(e.end_lsn::pg_catalog.text, '-'),"
	" coalesce(e.confirmed_lsn::pg_catalog.text, '-'), coalesce(e.written_lsn::pg_catalog.text, '-'), coalesce(e.behind, 0)"
	" FROM boxhaul.capture_explain($1, $2::pg_catalog.pg_lsn) e";

/* "0/16B3748", as the header Boxhaul-Position has it too: 0/16B3748.849253375684112.3 */
static bool read_position(const char *text, char lsn[static LSN_BYTES])
{
	static const char digits[] = "0123456789abcdefABCDEF";
	size_t high = strspn(text, digits), low, n;

	if (high == 0 || high > 8 || text[high] != '/')
		return false;
	low = strspn(text + high + 1, digits);
	n = high + 1 + low;
	if (low == 0 || low > 8 ||
	    (text[n] != '\0' && (text[n] != '.' || strspn(text + n, ".0123456789") != strlen(text + n))))
		return false;
	snprintf(lsn, LSN_BYTES, "%.*s", (int)n, text);
	return true;
}

static const char *words_of(const char *state)
{
	static const char *const words[][2] = {
		{ "none", "nothing is read yet: the capture has no replication slot" },
		{ "before", "it was there before the capture began: its rows come with the snapshot, not as a change" },
		{ "lost", "no log has it for this capture any more: its rows come when all tables are read again" },
		{ "stored", "what was committed there is in the stream, or stands as a dead letter" },
		{ "ahead", "the log has not come so far" },
		{ "under way", "it is being read, or is on its way: the server was not told yet that it is stored" },
	};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(words[i][0], state) == 0)
			return words[i][1];
	return state;
}

static enum exit_code explain_position(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	char lsn[LSN_BYTES], behind[32];
	const struct pg_result *r;
	const char *state;

	read_position(call->arguments[1], lsn);
	r = pg_session_run(s, position_query, 2, (const char *[]){ call->arguments[0], lsn });
	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot explain it", r);
	state = pg_text(r, 0, 0);
	if (call->given[OPTION_JSON]) {
		json_t *o =
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "position", lsn, "state", state, "begin",
				  pg_text(r, 0, 1), "end", pg_text(r, 0, 2), "confirmed", pg_text(r, 0, 3), "written",
				  pg_text(r, 0, 4), "behind_bytes", (json_int_t)strtoll(pg_text(r, 0, 5), NULL, 10));

		out_json(&out, o);
		json_decref(o);
		return EXIT_OK;
	}
	out_print(&out, strcmp(state, "stored") == 0 ? INK_GOOD : INK_WARN, "%s: %s\n", lsn, words_of(state));
	letter_line(&out, "begun", "%s", pg_text(r, 0, 1));
	letter_line(&out, "position", "%s in the books, %s confirmed to the server", pg_text(r, 0, 2),
		    pg_text(r, 0, 3));
	letter_line(&out, "written", "%s", pg_text(r, 0, 4));
	if (strcmp(state, "under way") == 0)
		letter_line(&out, "before it", "%s of the log",
			    bytes_text(strtoull(pg_text(r, 0, 5), NULL, 10), behind, sizeof behind));
	return EXIT_OK;
}

/* --- by key --- */

static const char key_query[] =
	"SELECT e.state, coalesce(e.reason, ''), e.passed, e.repair, coalesce(e.letter::pg_catalog.text, ''), coalesce(e.letter_reason, '')"
	" FROM boxhaul.capture_explain_key($1, $2, ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3))) e";

static void print_key(const struct out *out, const struct pg_result *r, const struct call *call)
{
	const char *state = pg_text(r, 0, 0);
	bool passed = pg_text(r, 0, 2)[0] == 't', repair = pg_text(r, 0, 3)[0] == 't';
	char target[CONFIG_TARGET_BYTES], line[LINE_BYTES];

	out_print(out, passed && !repair ? INK_GOOD : INK_WARN, "%s: %s\n", call->arguments[1],
		  repair   ? "it is read once more, for a change came without a value that it had left as it was"
		  : passed ? "its row, as it was then, is in the stream; each change since follows"
			   : "its row is still to be read; changes of it are sent as they come");
	letter_line(out, "table", "%s%s%s", state, pg_text(r, 0, 1)[0] != '\0' ? ": " : "",
		    utf8_line(pg_text(r, 0, 1), line, sizeof line));
	if (pg_text(r, 0, 4)[0] != '\0')
		letter_line(out, "dead letter", "%s: %s; `boxhaul capture dead-letters %s %s` lists it",
			    pg_text(r, 0, 4), utf8_line(pg_text(r, 0, 5), line, sizeof line),
			    config_target(call->config, target), call->arguments[0]);
}

static enum exit_code explain_key(struct pg_session *s, const struct call *call)
{
	char *key = codec_streams((const char *const *)call->arguments + 2, (size_t)call->count - 2);
	const char *p[] = { call->arguments[0], call->arguments[1], key };
	const struct pg_result *r = pg_session_run(s, key_query, 3, p);
	struct out out = out_open(stdout);
	json_t *o;

	free(key);
	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot explain it", r);
	if (!call->given[OPTION_JSON]) {
		print_key(&out, r, call);
		return EXIT_OK;
	}
	o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:s}", "table", call->arguments[1], "state", pg_text(r, 0, 0),
		      "reason", pg_text(r, 0, 1), "read", pg_text(r, 0, 2)[0] == 't', "repair",
		      pg_text(r, 0, 3)[0] == 't', "letter", pg_text(r, 0, 4), "letter_reason", pg_text(r, 0, 5));

	out_json(&out, o);
	json_decref(o);
	return EXIT_OK;
}

enum exit_code command_capture_explain(const struct call *call)
{
	char lsn[LSN_BYTES];

	if (call->count == 2 && !read_position(call->arguments[1], lsn))
		return line_wrong(
			"%s: say a position of the log, such as 0/16B3748, or what Boxhaul-Position has; or a table and the key of a row",
			call->arguments[1]);
	return inbox_with_session(call, call->count == 2 ? explain_position : explain_key);
}
