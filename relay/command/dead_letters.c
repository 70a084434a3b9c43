/* `boxhaul dead-letters ...`. What is done to a letter is done by the SQL; here it is chosen, asked about and told.
 *
 * A relay writes letters into the same table when it marks: transactions on it are short, so many are decided in pieces. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/ask.h"
#include "command/commands.h"
#include "command/line.h"
#include "command/out.h"
#include "command/session.h"
#include "hex.h"
#include "utf8.h"

enum { PAGE = 500, NAMED_MAX = 100, LINE_BYTES = 512 };

/* Which letters: $2 key, $3 part of the reason, $4 for so many milliseconds; NULL: any. */
#define CHOSEN                                                                               \
	" ($2::pg_catalog.text IS NULL OR d.key = $2)"                                       \
	" AND ($3::pg_catalog.text IS NULL OR pg_catalog.strpos(pg_catalog.lower(d.reason)," \
	"  pg_catalog.lower($3)) > 0)"                                                       \
	" AND ($4::pg_catalog.int8 IS NULL OR d.died_at <= pg_catalog.clock_timestamp()"     \
	"  - pg_catalog.make_interval(secs => $4::pg_catalog.float8 / 1000))"

#define STATE \
	"CASE WHEN d.decision IS NOT NULL THEN 'held, ' || d.decision || ' decided' WHEN d.held THEN 'held' ELSE 'dead' END"

#define AS_JSON                                                                                                     \
	"pg_catalog.jsonb_build_object('id', d.id, 'message_id', d.message_id, 'subject', d.subject, 'key', d.key," \
	" 'created_at', d.created_at, 'died_at', d.died_at, 'reason', d.reason, 'attempts', d.attempts,"            \
	" 'held', d.held, 'decision', d.decision)"

static const char page_query[] =
	"SELECT d.id, pg_catalog.to_char(d.died_at, 'YYYY-MM-DD HH24:MI:SS'), d.attempts, " STATE
	", coalesce(d.key, '-'), coalesce(d.subject, '-'), d.reason, " AS_JSON
	" FROM boxhaul.dead_letter d WHERE d.id > $1 AND" CHOSEN " ORDER BY d.id LIMIT $5::pg_catalog.int4";

static const char count_query[] =
	"SELECT count(*), coalesce(max(d.id), 0) FROM boxhaul.dead_letter d WHERE d.id > $1 AND" CHOSEN;

struct choice {
	const char *key, *reason, *older_ms;
	char milliseconds[24];
};

static void choose(const struct call *call, struct choice *c)
{
	*c = (struct choice){ .key = call->text[OPTION_KEY], .reason = call->text[OPTION_REASON] };
	if (!call->given[OPTION_OLDER])
		return;
	snprintf(c->milliseconds, sizeof c->milliseconds, "%" PRIu64, call->number[OPTION_OLDER]);
	c->older_ms = c->milliseconds;
}

/* --- list --- */

static void print_row(const struct out *out, const struct pg_result *r, int row)
{
	char key[64], subject[128], reason[LINE_BYTES];

	out_print(out, INK_BOLD, "%-10s", pg_text(r, row, 0));
	out_print(out, INK_PLAIN, " %s  %-8s %-24s %-40s ", pg_text(r, row, 1), pg_text(r, row, 3),
		  utf8_line(pg_text(r, row, 4), key, sizeof key),
		  utf8_line(pg_text(r, row, 5), subject, sizeof subject));
	out_print(out, INK_BAD, "%s", utf8_line(pg_text(r, row, 6), reason, sizeof reason));
	out_print(out, INK_DIM, " (%s attempts)\n", pg_text(r, row, 2));
}

/* One page behind `after`, which moves. Returns how many there were, or -1 after saying why not. */
static int print_page(struct pg_session *s, const struct out *out, const struct choice *c, bool json, int64_t *after,
		      size_t shown)
{
	char above[24], most[24];
	const char *p[] = { above, c->key, c->reason, c->older_ms, most };
	const struct pg_result *r;

	snprintf(above, sizeof above, "%" PRId64, *after);
	snprintf(most, sizeof most, "%d", PAGE);
	r = pg_session_run(s, page_query, 5, p);
	if (pg_error(r) != NULL) {
		session_failed("cannot list the dead letters", r);
		return -1;
	}
	for (int i = 0; i < pg_rows(r); i++)
		if (json)
			fprintf(out->file, "%s%s", shown + (size_t)i > 0 ? ",\n " : "", pg_text(r, i, 7));
		else
			print_row(out, r, i);
	if (pg_rows(r) > 0)
		*after = strtoll(pg_text(r, pg_rows(r) - 1, 0), NULL, 10);
	return pg_rows(r);
}

enum exit_code command_letters_list(const struct call *call)
{
	bool json = call->given[OPTION_JSON], more = true;
	struct out out = out_open(stdout);
	struct pg_session *s = session_open(call, LOGIN_RELAY);
	struct choice c;
	int64_t after = -1;
	size_t shown = 0;
	int n = 0;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	choose(call, &c);
	if (json)
		fputc('[', stdout);
	while (more && (n = print_page(s, &out, &c, json, &after, shown)) >= 0) {
		shown += (size_t)n;
		more = n == PAGE;
	}
	if (json)
		fputs("]\n", stdout);
	else if (shown == 0 && n >= 0)
		puts("no dead letters");
	pg_session_close(s);
	return n >= 0 && out_flush(&out) ? EXIT_OK : EXIT_FAILED;
}

/* --- show --- */

static const char show_query[] =
	"SELECT " AS_JSON
	" || pg_catalog.jsonb_build_object('row_kept', EXISTS (SELECT FROM boxhaul.outbox o WHERE o.id = d.id)), " STATE
	", pg_catalog.to_char(d.died_at, 'YYYY-MM-DD HH24:MI:SS TZ'), pg_catalog.to_char(d.created_at, 'YYYY-MM-DD HH24:MI:SS TZ')"
	" FROM boxhaul.dead_letter d WHERE d.id = $1";

static const char payload_query[] =
	"SELECT coalesce(d.headers::pg_catalog.text, '{}'), pg_catalog.encode(d.payload, 'hex'),"
	" pg_catalog.translate(pg_catalog.encode(d.payload, 'base64'), E'\\n', '')"
	" FROM boxhaul.dead_letter d WHERE d.id = $1";

/* In place. Returns how many bytes; there is a terminator behind them. */
static size_t unhex(char *text)
{
	size_t n = strlen(text) / 2;

	for (size_t i = 0; i < n; i++)
		text[i] = (char)(16 * hex_digit(text[2 * i]) + hex_digit(text[2 * i + 1]));
	text[n] = '\0';
	return n;
}

/* May it go to a terminal as it is? */
static bool is_text(const char *bytes, size_t n)
{
	for (size_t i = 0, length; i < n; i += length) {
		unsigned char c = (unsigned char)bytes[i];

		length = utf8_length(bytes + i, n - i);
		if (length == 0 || (c < ' ' && c != '\n' && c != '\t') || c == 0x7f ||
		    (c == 0xc2 && (unsigned char)bytes[i + 1] < 0xa0))
			return false;
	}
	return true;
}

static void print_payload(const char *hex)
{
	char *bytes = strdup(hex);
	size_t n;

	if (bytes == NULL)
		return;
	n = unhex(bytes);
	printf("payload      %zu bytes%s\n", n, is_text(bytes, n) ? "" : ", in hexadecimal");
	if (is_text(bytes, n))
		printf("%s%s", bytes, n > 0 && bytes[n - 1] != '\n' ? "\n" : "");
	else
		for (const char *p = hex; *p != '\0'; p += strnlen(p, 64))
			printf("%.64s\n", p);
	free(bytes);
}

static void field(const struct out *out, const char *name, const char *value)
{
	char line[LINE_BYTES * 4];

	out_print(out, INK_DIM, "%-12s ", name);
	out_print(out, INK_PLAIN, "%s\n", utf8_line(value, line, sizeof line));
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "-";
}

/* What redrive would do. */
static const char *prospect(const json_t *o)
{
	if (json_is_string(json_object_get(o, "decision")))
		return "is decided: the relay carries it out when it leads and is not paused";
	if (json_is_true(json_object_get(o, "held")))
		return "holds its key: redrive sends it in its old place, discard lets the others go on";
	return "its key has gone on: redrive sends it behind everything that is in the outbox by then";
}

static void print_letter(const struct out *out, const struct pg_result *r)
{
	json_t *o = json_loads(pg_text(r, 0, 0), 0, NULL);
	char attempts[24];

	snprintf(attempts, sizeof attempts, "%lld", (long long)json_integer_value(json_object_get(o, "attempts")));
	field(out, "message id", text_of(o, "message_id"));
	field(out, "subject", text_of(o, "subject"));
	field(out, "key", text_of(o, "key"));
	field(out, "inserted", pg_text(r, 0, 3));
	field(out, "died", pg_text(r, 0, 2));
	field(out, "reason", text_of(o, "reason"));
	field(out, "attempts", attempts);
	field(out, "state", pg_text(r, 0, 1));
	field(out, "", prospect(o));
	field(out, "its row",
	      json_is_true(json_object_get(o, "row_kept"))
		      ? "is still in the outbox"
		      : "is not in the outbox any more; the letter has a copy of all of it");
	json_decref(o);
}

static enum exit_code show(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0] };
	bool json = call->given[OPTION_JSON], payload = call->given[OPTION_PAYLOAD];
	struct out out = out_open(stdout);
	const struct pg_result *r = pg_session_run(s, show_query, 1, p);

	if (pg_error(r) != NULL)
		return session_failed("cannot show the dead letter", r);
	if (pg_rows(r) == 0) {
		fprintf(stderr,
			"boxhaul: there is no dead letter %s: `boxhaul dead-letters list` says which there are\n",
			p[0]);
		return EXIT_FAILED;
	}
	if (json)
		printf("%.*s", (int)strlen(pg_text(r, 0, 0)) - 1, pg_text(r, 0, 0));
	else
		print_letter(&out, r);
	if (payload) {
		r = pg_session_run(s, payload_query, 1, p);
		if (pg_error(r) != NULL)
			return session_failed("cannot show headers and payload", r);
		if (json) {
			printf(", \"headers\": %s, \"payload_base64\": \"%s\"", pg_text(r, 0, 0), pg_text(r, 0, 2));
		} else {
			field(&out, "headers", pg_text(r, 0, 0));
			print_payload(pg_text(r, 0, 1));
		}
	}
	if (json)
		puts("}");
	return out_flush(&out) ? EXIT_OK : EXIT_FAILED;
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
	long long decided, failed;
	char why[LINE_BYTES]; /* of one that failed */
};

/* Those above `above` and up to `up_to`. */
static enum exit_code decide(struct deciding *d, const char *above, const char *up_to)
{
	static const char call[] =
		"SELECT last, decided, failed, coalesce(why, '') FROM boxhaul.decide_many($1, $2, $3, $4, $5,"
		" pg_catalog.make_interval(secs => $6::pg_catalog.float8 / 1000), $7)";
	char last[24], most[24];
	const char *p[] = { d->what, last, up_to, d->choice.key, d->choice.reason, d->choice.older_ms, most };
	const struct pg_result *r;

	snprintf(last, sizeof last, "%s", above);
	snprintf(most, sizeof most, "%d", PAGE);
	for (;;) {
		r = pg_session_run(d->session, call, 7, p);
		if (pg_error(r) != NULL)
			return session_failed(d->what, r);
		d->decided += strtoll(pg_text(r, 0, 1), NULL, 10);
		d->failed += strtoll(pg_text(r, 0, 2), NULL, 10);
		if (pg_text(r, 0, 3)[0] != '\0')
			utf8_line(pg_text(r, 0, 3), d->why, sizeof d->why);
		if (pg_text(r, 0, 0)[0] == '\0')
			return EXIT_OK;
		snprintf(last, sizeof last, "%s", pg_text(r, 0, 0));
	}
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* By ascending id, whatever order they were named in: so they keep their order. */
static enum exit_code decide_named(struct deciding *d, const struct call *call)
{
	enum exit_code code = EXIT_OK;
	int64_t ids[NAMED_MAX] = { 0 }; /* the row in main.c allows no more */

	for (int i = 0; i < call->count; i++)
		ids[i] = strtoll(call->arguments[i], NULL, 10);
	qsort(ids, (size_t)call->count, sizeof ids[0], compare);
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
	const char *p[] = { "-1", d->choice.key, d->choice.reason, d->choice.older_ms };
	const struct pg_result *r = pg_session_run(d->session, count_query, 4, p);
	enum exit_code code = EXIT_OK;
	char top[24];

	if (pg_error(r) != NULL)
		return session_failed("cannot count the dead letters", r);
	snprintf(top, sizeof top, "%s", pg_text(r, 0, 1));
	if (asks && strcmp(pg_text(r, 0, 0), "0") != 0)
		code = ask(call, "Discard %s dead letter(s) for good?", pg_text(r, 0, 0));
	return code == EXIT_OK ? decide(d, "-1", top) : code;
}

static enum exit_code run_deciding(struct deciding *d, const struct call *call, bool asks)
{
	enum exit_code code = session_schema(d->session);

	if (code != EXIT_OK)
		return code;
	if (call->count == 0)
		code = decide_chosen(d, call, asks);
	else if (!asks || (code = ask(call, "Discard %d dead letter(s) for good?", call->count)) == EXIT_OK)
		code = decide_named(d, call);
	if (code != EXIT_OK)
		return code;
	printf("%s: %lld%s\n", d->what, d->decided,
	       d->decided > 0 && strcmp(d->what, "redrive") == 0 ? " (the relay sends them)" : "");
	if (d->failed > 0)
		fprintf(stderr, "boxhaul: %lld could not be decided%s%s\n", d->failed, d->why[0] != '\0' ? ": " : "",
			d->why);
	return d->failed > 0 ? EXIT_FAILED : EXIT_OK;
}

static enum exit_code decide_all(const struct call *call, const char *what, bool asks)
{
	bool filter = call->given[OPTION_KEY] || call->given[OPTION_REASON] || call->given[OPTION_OLDER];
	struct deciding d = { .what = what };
	enum exit_code code;

	if ((call->count > 0) + filter + call->given[OPTION_ALL] != 1)
		return line_wrong("%s: say which: ids; or --key, --reason, --older; or --all", call->command->words);
	d.session = session_open(call, LOGIN_RELAY);
	if (d.session == NULL)
		return EXIT_UNREACHABLE;
	choose(call, &d.choice);
	code = run_deciding(&d, call, asks);
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
