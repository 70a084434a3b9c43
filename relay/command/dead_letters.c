/* `boxhaul dead-letters ...`. What is done to a letter is done by the SQL; here it is chosen, asked about and told.
 *
 * A relay writes letters into the same table when it marks: transactions on it are short, so many are decided in pieces. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "base/utf8.h"
#include "command/ask.h"
#include "command/commands.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/look.h"
#include "command/out.h"
#include "command/redriven.h"
#include "command/session.h"

enum { PAGE = 500, NAMED_MAX = 100, LINE_BYTES = 512, STATE_WIDTH = 8 };

/* $1 to $5: after which id, up to which; key, part of the reason, died so long ago; NULL: any. */
#define CHOSEN "boxhaul.dead_letters($1, $2, $3, $4, $5"

static const char page_query[] = "SELECT d.id, pg_catalog.to_jsonb(d) FROM " CHOSEN ", $6) d";
static const char count_query[] = "SELECT count(*), coalesce(max(d.id), 0) FROM " CHOSEN ") d";

struct choice {
	const struct config *config;
	const char *key, *reason, *older;
	char interval[LETTER_OLDER_BYTES];
};

static void choose(const struct call *call, struct choice *c)
{
	*c = (struct choice){ .config = call->config,
			      .key = call->text[OPTION_KEY],
			      .reason = call->text[OPTION_REASON] };
	c->older = letter_older(call, c->interval);
}

/* --- list --- */

enum exit_code command_letters_list(const struct call *call)
{
	struct pg_session *s = session_open(call, LOGIN_RELAY);
	struct letter_pages pages;
	enum exit_code code;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	letter_pages_begin(&pages, call, "cannot list the dead letters", page_query);
	pages.p[pages.count++] = pages.above;
	pages.p[pages.count++] = LETTER_NEWEST;
	pages.p[pages.count++] = call->text[OPTION_KEY];
	pages.p[pages.count++] = call->text[OPTION_REASON];
	pages.p[pages.count++] = call->given[OPTION_OLDER] ? pages.older : NULL;
	pages.p[pages.count++] = pages.most;
	code = letter_list(&pages, s, call, "state", STATE_WIDTH);
	pg_session_close(s);
	return code;
}

/* --- show --- */

static const char content_query[] = LETTER_CONTENT " FROM boxhaul.dead_letter d WHERE d.id = $1";

/* What redrive would do. */
static const char *prospect(const json_t *o)
{
	if (look_at(o, "decision") != NULL)
		return "is decided: the relay carries it out when it leads and is not paused";
	if (look_is(o, "held"))
		return "holds its key: redrive sends it in its old place, discard lets the others go on";
	return "its key has gone on: redrive sends it behind everything that is in the outbox by then";
}

static void print_letter(const struct out *out, const json_t *o)
{
	letter_text(out, "message id", o, "message_id");
	letter_text(out, "subject", o, "subject");
	letter_text(out, "key", o, "key");
	letter_text(out, "inserted", o, "created_at");
	letter_text(out, "died", o, "died_at");
	letter_text(out, "reason", o, "reason");
	letter_line(out, "attempts", "%.0f", look_number(o, "attempts"));
	letter_text(out, "state", o, "state");
	letter_field(out, "", prospect(o));
	letter_field(out, "its row",
		     look_is(o, "row_kept") ? "is still in the outbox"
					    : "is not in the outbox any more; the letter has a copy of all of it");
}

static enum exit_code show(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0] };
	char target[CONFIG_TARGET_BYTES];
	const struct pg_result *r =
		pg_session_run(s, "SELECT d FROM boxhaul.dead_letter_show($1) d WHERE d IS NOT NULL", 1, p);

	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot show the dead letter", r);
	if (pg_rows(r) == 0) {
		fprintf(stderr,
			"boxhaul: there is no dead letter %s: `boxhaul dead-letters list %s` says which there are\n",
			p[0], config_target(call->config, target));
		return EXIT_FAILED;
	}
	return letter_show(s, call, r, print_letter, content_query, 1, p);
}

enum exit_code command_letters_show(const struct call *call)
{
	struct pg_session *s = session_open(call, LOGIN_RELAY);
	enum exit_code code;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	code = show(s, call);
	pg_session_close(s);
	return code;
}

/* --- redrive, discard --- */

struct deciding {
	struct pg_session *session;
	const char *what; /* "redrive", "discard" */
	struct choice choice;
	struct redriven redriven;
	long long decided, failed;
	char why[LINE_BYTES]; /* of one that failed */
};

/* Those above `above` and up to `up_to`. */
static enum exit_code decide(struct deciding *d, const char *above, const char *up_to)
{
	static const char call[] = "SELECT last, decided, failed, coalesce(why, ''), coalesce(sent_as, '{}')"
				   " FROM boxhaul.decide_many($1, $2, $3, $4, $5, $6, $7)";
	char last[24], most[24];
	const char *p[] = { d->what, last, up_to, d->choice.key, d->choice.reason, d->choice.older, most };
	const struct pg_result *r;

	snprintf(last, sizeof last, "%s", above);
	snprintf(most, sizeof most, "%d", PAGE);
	for (;;) {
		r = pg_session_run(d->session, call, 7, p);
		if (pg_error(r) != NULL)
			return session_failed(d->choice.config, d->what, r);
		d->decided += strtoll(pg_text(r, 0, 1), NULL, 10);
		d->failed += strtoll(pg_text(r, 0, 2), NULL, 10);
		redriven_add(&d->redriven, pg_text(r, 0, 4));
		if (pg_text(r, 0, 3)[0] != '\0')
			utf8_line(pg_text(r, 0, 3), d->why, sizeof d->why);
		if (pg_text(r, 0, 0)[0] == '\0')
			return EXIT_OK;
		snprintf(last, sizeof last, "%s", pg_text(r, 0, 0));
	}
}

/* By ascending id, whatever order they were named in: so they keep their order. */
static enum exit_code decide_named(struct deciding *d, const struct call *call)
{
	enum exit_code code = EXIT_OK;
	int64_t ids[NAMED_MAX] = { 0 }; /* the row in main.c allows no more */

	for (int i = 0; i < call->count; i++)
		ids[i] = strtoll(call->arguments[i], NULL, 10);
	letter_sort(ids, (size_t)call->count);
	for (int i = 0; i < call->count && code != EXIT_UNREACHABLE; i++) {
		long long before = d->decided + d->failed;
		char above[24], id[24];

		if (i > 0 && ids[i] == ids[i - 1])
			continue;
		snprintf(above, sizeof above, "%" PRId64, ids[i] - 1);
		snprintf(id, sizeof id, "%" PRId64, ids[i]);
		code = decide(d, above, id);
		if (code == EXIT_OK && d->decided + d->failed == before) {
			fprintf(stderr, "boxhaul: there is no dead letter %s\n", id);
			d->failed++;
		}
	}
	return code;
}

/* Those that are there now: what dies again behind them is not caught in a circle. */
static enum exit_code decide_chosen(struct deciding *d, const struct call *call, bool asks)
{
	const char *p[] = { "-1", LETTER_NEWEST, d->choice.key, d->choice.reason, d->choice.older };
	const struct pg_result *r = pg_session_run(d->session, count_query, 5, p);
	enum exit_code code = EXIT_OK;
	char top[24];

	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot count the dead letters", r);
	snprintf(top, sizeof top, "%s", pg_text(r, 0, 1));
	if (asks && strcmp(pg_text(r, 0, 0), "0") != 0)
		code = ask(call, "Discard %s dead letter%s for good?", pg_text(r, 0, 0),
			   plural(strtoll(pg_text(r, 0, 0), NULL, 10)));
	return code == EXIT_OK ? decide(d, "-1", top) : code;
}

static enum exit_code run_deciding(struct deciding *d, const struct call *call, bool asks)
{
	enum exit_code code = session_schema(d->session, call->config);

	if (code != EXIT_OK)
		return code;
	if (call->count == 0)
		code = decide_chosen(d, call, asks);
	else if (!asks ||
		 (code = ask(call, "Discard %d dead letter%s for good?", call->count, plural(call->count))) == EXIT_OK)
		code = decide_named(d, call);
	if (code != EXIT_OK)
		return code;
	printf("%s: %lld%s\n", d->what, d->decided,
	       d->decided > 0 && strcmp(d->what, "redrive") == 0 ? " (the relay sends them)" : "");
	if (d->failed > 0)
		fprintf(stderr, "boxhaul: %lld could not be decided%s%s\n", d->failed, d->why[0] != '\0' ? ": " : "",
			d->why);
	if (call->given[OPTION_WAIT])
		code = redriven_wait(d->session, call, &d->redriven);
	return code == EXIT_OK && d->failed > 0 ? EXIT_FAILED : code;
}

static enum exit_code decide_all(const struct call *call, const char *what, bool asks)
{
	struct deciding d = { .what = what };
	enum exit_code code = letter_check_choice(call, call->count);

	if (code != EXIT_OK)
		return code;
	if (call->given[OPTION_TIMEOUT] && !call->given[OPTION_WAIT])
		return line_wrong("%s: --timeout is how long to --wait", call->command->words);
	d.session = session_open(call, LOGIN_RELAY);
	if (d.session == NULL)
		return EXIT_UNREACHABLE;
	choose(call, &d.choice);
	code = run_deciding(&d, call, asks);
	redriven_free(&d.redriven);
	pg_session_close(d.session);
	return code;
}

enum exit_code command_letters_redrive(const struct call *call)
{
	return decide_all(call, "redrive", false);
}

enum exit_code command_letters_discard(const struct call *call)
{
	return decide_all(call, "discard", true);
}
