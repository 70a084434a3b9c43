/* `boxhaul replay`: kept rows become new rows at the end of the outbox, a piece at a time, each piece a short transaction. An
 * interruption comes between two of them: what was copied is whole, and the next id to go on from is known. What --missing has
 * copied is not missing any more: there the same command goes on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/arrays.h"
#include "command/ask.h"
#include "command/commands.h"
#include "command/interrupt.h"
#include "command/line.h"
#include "command/lost_scan.h"
#include "command/percent.h"
#include "command/session.h"
#include "config/settings.h"

enum { PIECE_ROWS = 1000, PIECE_BYTES = 16 << 20 };

struct replay {
	const struct call *call;
	struct pg_session *session;
	struct percent progress;
	int64_t first, after, up_to; /* ids: from first on; done up to after */
	char since[64];              /* a time as PostgreSQL writes it; "" = any */
	long long copied, total;
	/* --missing: these, by ascending id; those before `next` are done. */
	int64_t *ids;
	size_t count, room, next;
	bool no_memory;
};

/* One piece. *end: there is nothing any more. */
static enum exit_code take_range(struct replay *r, bool dry, bool *end)
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
		return session_failed(r->call->config, "replay", result);
	*end = pg_text(result, 0, 0)[0] == '\0';
	if (!*end) {
		r->after = strtoll(pg_text(result, 0, 0), NULL, 10);
		r->copied += strtoll(pg_text(result, 0, 1), NULL, 10);
	}
	return EXIT_OK;
}

/* The same of those that are missing. Of a piece whose rows are gone by now nothing is left to do. */
static enum exit_code take_missing(struct replay *r, bool *end)
{
	size_t left = r->count - r->next, n = left < PIECE_ROWS ? left : PIECE_ROWS;
	char *ids = n > 0 ? array_of_int8(&r->ids[r->next], n, 1) : NULL, bytes[24], most[24];
	const char *p[] = { ids, bytes, most };
	const struct pg_result *result;
	int64_t last = INT64_MAX;

	*end = n == 0;
	if (n == 0)
		return EXIT_OK;
	if (ids == NULL) {
		fputs("boxhaul: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	snprintf(bytes, sizeof bytes, "%d", PIECE_BYTES);
	snprintf(most, sizeof most, "%" PRIu32, r->call->config->max_message_bytes);
	result = pg_session_run(r->session, "SELECT last, copied FROM boxhaul.replay_lost($1, $2, $3)", 3, p);
	free(ids);
	if (pg_error(result) != NULL)
		return session_failed(r->call->config, "replay", result);
	if (pg_text(result, 0, 0)[0] != '\0')
		last = strtoll(pg_text(result, 0, 0), NULL, 10);
	r->copied += strtoll(pg_text(result, 0, 1), NULL, 10);
	for (size_t i = 0; i < n && r->ids[r->next] <= last; i++)
		r->after = r->ids[r->next++];
	return EXIT_OK;
}

static enum exit_code take_piece(struct replay *r, bool *end)
{
	return r->call->given[OPTION_MISSING] ? take_missing(r, end) : take_range(r, false, end);
}

/* How to go on, as one would type it. */
static void tell_rest(const struct replay *r)
{
	static const enum option_number kept[] = { OPTION_SUBJECT, OPTION_KEY };
	char target[CONFIG_TARGET_BYTES];

	fprintf(stderr, "boxhaul: %lld of %lld were copied, all up to id %" PRId64 "; to go on: boxhaul replay %s",
		r->copied, r->total, r->after, config_target(r->call->config, target));
	if (r->call->given[OPTION_MISSING]) {
		fputs(" --missing\n", stderr);
		return;
	}
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
	interrupt_hold();
	r->progress = percent_begin("replay", (uint64_t)r->total);
	do {
		code = take_piece(r, &end);
		percent_at(&r->progress, (uint64_t)r->copied);
	} while (code == EXIT_OK && !end && !interrupt_came());
	percent_end(&r->progress);
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
		code = take_range(r, true, &end);
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
		return session_failed(r->call->config, "--since", time);
	snprintf(r->since, sizeof r->since, "%s", pg_text(time, 0, 0));
	return EXIT_OK;
}

/* What is there now: copies that are made meanwhile are not copied. */
static enum exit_code find_range(struct replay *r)
{
	const char *from = r->call->text[OPTION_FROM], *to = r->call->text[OPTION_TO];
	const struct pg_result *range =
		pg_session_run(r->session, "SELECT oldest, newest FROM boxhaul.kept()", 0, NULL);
	int64_t oldest;

	if (pg_error(range) != NULL)
		return session_failed(r->call->config, "cannot read the outbox", range);
	oldest = strtoll(pg_text(range, 0, 0), NULL, 10);
	r->up_to = strtoll(pg_text(range, 0, 1), NULL, 10);
	r->first = from != NULL ? strtoll(from, NULL, 10) : oldest;
	if (to != NULL && strtoll(to, NULL, 10) < r->up_to)
		r->up_to = strtoll(to, NULL, 10);
	if (r->first < oldest || (from == NULL && oldest > 1))
		fprintf(stderr, "boxhaul: rows before id %" PRId64 " are not kept any more\n", oldest);
	return EXIT_OK;
}

/* --- what is missing --- */

static void on_missing(void *arg, const struct id_set_member *m)
{
	struct replay *r = arg;

	if (r->count == r->room) {
		size_t room = r->room > 0 ? 2 * r->room : PIECE_ROWS;
		int64_t *more = realloc(r->ids, room * sizeof *more);

		r->no_memory |= more == NULL;
		if (more == NULL)
			return;
		r->ids = more;
		r->room = room;
	}
	r->ids[r->count++] = m->id;
}

static enum exit_code find_missing(struct replay *r)
{
	struct lost_scan scan = { .call = r->call, .pg = r->session, .missing = on_missing, .arg = r };
	enum exit_code code = lost_scan(&scan);
	char target[CONFIG_TARGET_BYTES];

	r->total = (long long)r->count;
	if (code == EXIT_OK && r->no_memory) {
		fputs("boxhaul: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	if (code == EXIT_OK && !scan.reachable)
		return EXIT_UNREACHABLE;
	if (code == EXIT_OK && scan.unchecked > 0)
		fprintf(stderr,
			"boxhaul: %lld messages cannot be checked, and are not sent again: `boxhaul reconcile %s` says why\n",
			scan.unchecked, config_target(r->call->config, target));
	return code;
}

/* --- the whole --- */

static enum exit_code find_kept(struct replay *r)
{
	enum exit_code code = find_time(r);

	if (code == EXIT_OK)
		code = find_range(r);
	return code == EXIT_OK ? count(r) : code;
}

static enum exit_code replay(struct replay *r)
{
	enum exit_code code = r->call->given[OPTION_MISSING] ? find_missing(r) : find_kept(r);

	if (code != EXIT_OK)
		return code;
	if (r->call->given[OPTION_DRY_RUN]) {
		printf("replay: %lld messages would be sent again\n", r->total);
		return EXIT_OK;
	}
	if (r->total == 0 && r->call->given[OPTION_MISSING]) {
		puts("replay: nothing is missing");
		return EXIT_OK;
	}
	if (r->total > 0 && (code = ask(r->call, "Send %lld messages again?", r->total)) != EXIT_OK)
		return code;
	return copy(r);
}

enum exit_code command_replay(const struct call *call)
{
	struct replay r = { .call = call };
	enum exit_code code;
	bool missing = call->given[OPTION_MISSING], start = call->given[OPTION_SINCE] || call->given[OPTION_FROM];

	if (!missing && !start)
		return line_wrong("replay: say which: --since TIME; --from ID; or --missing");
	if (missing && (start || call->given[OPTION_TO] || call->given[OPTION_SUBJECT] || call->given[OPTION_KEY]))
		return line_wrong(
			"replay: --missing takes all that `reconcile` finds: no --since, --from, --to, --subject, --key");
	if (call->given[OPTION_TO] && !line_is_id(call->text[OPTION_TO]))
		return line_wrong("--to %s: an id is a number", call->text[OPTION_TO]);
	r.session = session_open(call, LOGIN_RELAY);
	if (r.session == NULL)
		return EXIT_UNREACHABLE;
	code = session_schema(r.session, call->config);
	if (code == EXIT_OK)
		code = replay(&r);
	free(r.ids);
	pg_session_close(r.session);
	if (missing)
		natsio_shutdown();
	return code;
}
