/* `boxhaul replay`: kept rows become new rows at the end of the outbox, a piece at a time, each piece a short transaction. An
 * interruption comes between two of them: what was copied is whole, and the next id to go on from is known. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/ask.h"
#include "command/commands.h"
#include "command/line.h"
#include "command/out.h"
#include "command/session.h"
#include "edge/loop.h"
#include "settings.h"

enum { PIECE_ROWS = 1000, PIECE_BYTES = 16 << 20, BAR_COLUMNS = 40, TELL_MS = 10000 };

struct replay {
	const struct call *call;
	struct pg_session *session;
	struct out err;
	int64_t first, after, up_to; /* ids: from first on; done up to after */
	char since[64];              /* a time as PostgreSQL writes it; "" = any */
	long long copied, total;
	int64_t told_ms;
};

static bool interrupted(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

/* From here on they are only looked for. */
static void hold_signals(void)
{
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigprocmask(SIG_BLOCK, &held, NULL);
}

static void show_progress(struct replay *r)
{
	int64_t now = loop_now_ms();
	int full = r->total > 0 ? (int)(r->copied * BAR_COLUMNS / r->total) : BAR_COLUMNS;

	if (r->err.terminal)
		fprintf(stderr, "\r[%.*s%*s] %lld of %lld\033[K", full, "########################################",
			BAR_COLUMNS - full, "", r->copied, r->total);
	else if (now - r->told_ms >= TELL_MS)
		fprintf(stderr, "boxhaul: %lld of %lld\n", r->copied, r->total);
	if (now - r->told_ms >= TELL_MS)
		r->told_ms = now;
}

static void end_progress(const struct replay *r)
{
	if (r->err.terminal)
		fputs("\r\033[K", stderr);
}

/* One piece. *end: there is nothing any more. */
static enum exit_code take_piece(struct replay *r, bool dry, bool *end)
{
	static const char query[] =
		"SELECT last, copied FROM boxhaul.replay($1, $2, $3::pg_catalog.timestamptz, $4, $5, $6, $7, $8, $9)";
	char after[24], up_to[24], rows[24], bytes[24], most[24];
	const char *p[] = {
		after,
		up_to,
		r->since[0] != '\0' ? r->since : NULL,
		r->call->text[OPTION_SUBJECT],
		r->call->text[OPTION_KEY],
		rows,
		bytes,
		most,
		dry ? "t" : "f",
	};
	const struct pg_result *result;

	snprintf(after, sizeof after, "%" PRId64, r->after);
	snprintf(up_to, sizeof up_to, "%" PRId64, r->up_to);
	snprintf(rows, sizeof rows, "%d", PIECE_ROWS);
	snprintf(bytes, sizeof bytes, "%d", PIECE_BYTES);
	snprintf(most, sizeof most, "%" PRIu32, r->call->config->max_message_bytes);
	result = pg_session_run(r->session, query, 9, p);
	if (pg_error(result) != NULL)
		return session_failed("replay", result);
	*end = pg_text(result, 0, 0)[0] == '\0';
	if (!*end) {
		r->after = strtoll(pg_text(result, 0, 0), NULL, 10);
		r->copied += strtoll(pg_text(result, 0, 1), NULL, 10);
	}
	return EXIT_OK;
}

/* How to go on, as one would type it. */
static void tell_rest(const struct replay *r)
{
	static const enum option_number kept[] = { OPTION_SUBJECT, OPTION_KEY };

	fprintf(stderr, "boxhaul: %lld of %lld were copied, all up to id %" PRId64 "; to go on: boxhaul replay -c %s",
		r->copied, r->total, r->after, r->call->text[OPTION_CONFIG]);
	if (r->since[0] != '\0')
		fprintf(stderr, " --since '%s'", r->since);
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		if (r->call->given[kept[i]])
			fprintf(stderr, " --%s '%s'", command_options[kept[i]].name, r->call->text[kept[i]]);
	fprintf(stderr, " --from %" PRId64 " --to %" PRId64 "\n", r->after + 1, r->up_to);
}

static enum exit_code copy(struct replay *r)
{
	enum exit_code code;
	bool end = false;

	r->after = r->first - 1;
	r->copied = 0;
	hold_signals();
	do {
		code = take_piece(r, false, &end);
		if (code == EXIT_OK && !end)
			show_progress(r);
	} while (code == EXIT_OK && !end && !interrupted());
	end_progress(r);
	if (code != EXIT_OK)
		fputs("boxhaul: the piece behind that id may have been copied or not\n", stderr);
	if (code != EXIT_OK || !end) {
		tell_rest(r);
		return code != EXIT_OK ? code : EXIT_FAILED;
	}
	printf("replay: %lld messages are in the outbox again; the relay sends them\n", r->copied);
	return EXIT_OK;
}

static enum exit_code count(struct replay *r)
{
	enum exit_code code;
	bool end = false;

	r->after = r->first - 1;
	do
		code = take_piece(r, true, &end);
	while (code == EXIT_OK && !end);
	r->total = r->copied;
	return code;
}

/* "10m", or a time as PostgreSQL reads it. Said once: "yesterday" is another day at midnight. */
static enum exit_code find_time(struct replay *r)
{
	static const struct setting duration = { .type = SETTING_DURATION,
						 .width = sizeof(uint64_t),
						 .max = UINT64_MAX / 2 };
	const char *text = r->call->text[OPTION_SINCE];
	const struct pg_result *time;
	char why[256], number[24];
	uint64_t ms;

	if (text == NULL)
		return EXIT_OK;
	if (setting_set_text(&duration, &ms, text, why, sizeof why) == SETTING_OK) {
		snprintf(number, sizeof number, "%" PRIu64, ms);
		text = number;
		time = pg_session_run(r->session,
				      "SELECT pg_catalog.clock_timestamp()"
				      " - pg_catalog.make_interval(secs => $1::pg_catalog.float8 / 1000)",
				      1, &text);
	} else {
		time = pg_session_run(r->session, "SELECT $1::pg_catalog.timestamptz", 1, &text);
	}
	if (pg_error(time) != NULL)
		return session_failed("--since", time);
	snprintf(r->since, sizeof r->since, "%s", pg_text(time, 0, 0));
	return EXIT_OK;
}

/* What is there now: copies that are made meanwhile are not copied. */
static enum exit_code find_range(struct replay *r)
{
	const char *from = r->call->text[OPTION_FROM], *to = r->call->text[OPTION_TO];
	const struct pg_result *range =
		pg_session_run(r->session,
			       "SELECT coalesce((SELECT id FROM boxhaul.outbox ORDER BY id LIMIT 1), 1),"
			       " coalesce((SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1), 0)",
			       0, NULL);
	int64_t oldest;

	if (pg_error(range) != NULL)
		return session_failed("cannot read the outbox", range);
	oldest = strtoll(pg_text(range, 0, 0), NULL, 10);
	r->up_to = strtoll(pg_text(range, 0, 1), NULL, 10);
	r->first = from != NULL ? strtoll(from, NULL, 10) : oldest;
	if (to != NULL && strtoll(to, NULL, 10) < r->up_to)
		r->up_to = strtoll(to, NULL, 10);
	if (r->first < oldest || (from == NULL && oldest > 1))
		fprintf(stderr, "boxhaul: rows before id %" PRId64 " are not kept any more\n", oldest);
	return EXIT_OK;
}

static enum exit_code replay(struct replay *r)
{
	enum exit_code code = find_time(r);

	if (code == EXIT_OK)
		code = find_range(r);
	if (code == EXIT_OK)
		code = count(r);
	if (code != EXIT_OK)
		return code;
	if (r->call->given[OPTION_DRY_RUN]) {
		printf("replay: %lld messages would be sent again\n", r->total);
		return EXIT_OK;
	}
	if (r->total > 0 && (code = ask(r->call, "Send %lld messages again?", r->total)) != EXIT_OK)
		return code;
	return copy(r);
}

enum exit_code command_replay(const struct call *call)
{
	struct replay r = { .call = call, .err = out_open(stderr), .told_ms = loop_now_ms() };
	enum exit_code code;

	if (!call->given[OPTION_SINCE] && !call->given[OPTION_FROM])
		return line_wrong("replay: say from where: --since TIME, or --from ID");
	r.session = session_open(call, LOGIN_RELAY);
	if (r.session == NULL)
		return EXIT_UNREACHABLE;
	code = session_schema(r.session);
	if (code == EXIT_OK)
		code = replay(&r);
	pg_session_close(r.session);
	return code;
}
