/* `boxhaul inbox dead-letters`, `redrive`, `discard`. Each letter is decided in a transaction of its own, by ascending id: so those of a
 * key keep their order. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "command/ask.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/look.h"
#include "command/session.h"

enum { PAGE = 500, LINE_BYTES = 512, FILTERS = 7, SUBSCRIPTION_WIDTH = 16 };

static const char page_query[] =
	"SELECT d.id, pg_catalog.to_char(d.died_at, 'YYYY-MM-DD HH24:MI:SS'), d.attempts, d.subscription, coalesce(d.key, '-'),"
	" coalesce(d.subject, '-'), d.reason, pg_catalog.to_jsonb(d)"
	" FROM boxhaul.inbox_dead_letters($1, $2, $3, $4, $5,"
	" pg_catalog.make_interval(secs => $6::pg_catalog.float8 / 1000), $7) d";

/* The parameters of page_query. */
struct choice {
	const char *p[FILTERS];
	char above[24], up_to[24], older[LETTER_OLDER_BYTES], most[24];
};

static void choose(const struct call *call, struct choice *c)
{
	*c = (struct choice){ .p = { c->above, c->up_to, call->count > 0 ? call->arguments[0] : NULL,
				     call->text[OPTION_KEY], call->text[OPTION_REASON], letter_older(call, c->older),
				     c->most } };
	snprintf(c->above, sizeof c->above, "-1");
	snprintf(c->up_to, sizeof c->up_to, LETTER_NEWEST);
	snprintf(c->most, sizeof c->most, "%d", PAGE);
}

/* The next page behind c->above, which moves. NULL after saying why there is none. */
static const struct pg_result *page(struct pg_session *s, const struct call *call, struct choice *c,
				    enum exit_code *code)
{
	const struct pg_result *r = pg_session_run(s, page_query, FILTERS, c->p);

	*code = EXIT_OK;
	if (pg_error(r) != NULL) {
		*code = session_failed(call->config, "cannot list the dead letters of the inbox", r);
		return NULL;
	}
	if (pg_rows(r) > 0)
		snprintf(c->above, sizeof c->above, "%s", pg_text(r, pg_rows(r) - 1, 0));
	return r;
}

/* --- list, show --- */

static enum exit_code list(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	bool json = call->given[OPTION_JSON];
	const struct pg_result *r;
	struct choice c;
	enum exit_code code;
	int shown = 0;

	choose(call, &c);
	if (json)
		fputc('[', stdout);
	while ((r = page(s, call, &c, &code)) != NULL && pg_rows(r) > 0)
		for (int i = 0; i < pg_rows(r); i++, shown++)
			if (json)
				printf("%s%s", shown > 0 ? ",\n " : "", pg_text(r, i, 7));
			else
				letter_row(&out, r, i, SUBSCRIPTION_WIDTH);
	if (json)
		fputs("]\n", stdout);
	else if (shown == 0 && code == EXIT_OK)
		puts("no dead letters");
	return code;
}

static void print_letter(const struct out *out, const json_t *o)
{
	char number[24];

	letter_field(out, "subscription", look_text(o, "subscription"));
	snprintf(number, sizeof number, "%lld", inbox_number(o, "seq"));
	letter_field(out, "sequence", number);
	letter_field(out, "message id", look_at(o, "message_id") != NULL ? look_text(o, "message_id") : "-");
	letter_field(out, "subject", look_at(o, "subject") != NULL ? look_text(o, "subject") : "-");
	letter_field(out, "key", look_at(o, "key") != NULL ? look_text(o, "key") : "-");
	letter_field(out, "stored", look_text(o, "stored_at"));
	letter_field(out, "died", look_text(o, "died_at"));
	letter_field(out, "reason", look_text(o, "reason"));
	snprintf(number, sizeof number, "%lld", inbox_number(o, "attempts"));
	letter_field(out, "attempts", number);
}

static const char show_query[] =
	"SELECT pg_catalog.to_jsonb(d) FROM boxhaul.inbox_dead_letters($2::pg_catalog.int8 - 1, $2, $1) d";

static const char payload_query[] =
	"SELECT coalesce(d.headers::pg_catalog.text, '{}'), pg_catalog.encode(d.payload, 'hex'),"
	" pg_catalog.translate(pg_catalog.encode(d.payload, 'base64'), E'\\n', ''), d.payload IS NULL"
	" FROM boxhaul.inbox_dead d WHERE d.subscription = $1 AND d.id = $2";

static enum exit_code add_payload(struct pg_session *s, const struct call *call, const struct out *out, json_t *o)
{
	const char *p[] = { call->arguments[0], call->arguments[1] };
	const struct pg_result *r = pg_session_run(s, payload_query, 2, p);
	bool gone;

	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot show headers and payload", r);
	gone = pg_text(r, 0, 3)[0] == 't';
	if (call->given[OPTION_JSON]) {
		json_object_set_new(o, "headers", json_loads(pg_text(r, 0, 0), 0, NULL));
		json_object_set_new(o, "payload_base64", gone ? json_null() : json_string(pg_text(r, 0, 2)));
		return EXIT_OK;
	}
	letter_field(out, "headers", pg_text(r, 0, 0));
	if (gone)
		letter_field(out, "payload", "was never stored here");
	else
		letter_payload(pg_text(r, 0, 1));
	return EXIT_OK;
}

static enum exit_code show(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0], call->arguments[1] };
	const struct pg_result *r = pg_session_run(s, show_query, 2, p);
	struct out out = out_open(stdout);
	char target[CONFIG_TARGET_BYTES];
	enum exit_code code = EXIT_OK;
	json_t *o;

	if (pg_error(r) == NULL && pg_rows(r) == 0) {
		fprintf(stderr,
			"boxhaul: subscription %s has no dead letter %s: `boxhaul inbox dead-letters %s %s` says which there are\n",
			p[0], p[1], config_target(call->config, target), p[0]);
		return EXIT_FAILED;
	}
	code = look_answer(call->config, "cannot show the dead letter", r, &o);
	if (code != EXIT_OK)
		return code;
	if (!call->given[OPTION_JSON])
		print_letter(&out, o);
	if (call->given[OPTION_PAYLOAD])
		code = add_payload(s, call, &out, o);
	if (code == EXIT_OK && call->given[OPTION_JSON]) {
		json_dumpf(o, stdout, JSON_COMPACT);
		puts("");
	}
	json_decref(o);
	return code;
}

enum exit_code command_inbox_letters(const struct call *call)
{
	if (call->count < 2)
		return call->given[OPTION_PAYLOAD]
			       ? line_wrong("%s: --payload is for one: SUBSCRIPTION ID", call->command->words)
			       : inbox_with_session(call, list);
	if (!line_is_id(call->arguments[1]))
		return line_wrong("%s: an id is a number", call->arguments[1]);
	return inbox_with_session(call, show);
}

/* --- redrive, discard --- */

struct ids {
	int64_t *id;
	size_t count;
};

static bool add(struct ids *ids, int64_t id)
{
	int64_t *more = ids->count % PAGE == 0 ? realloc(ids->id, (ids->count + PAGE) * sizeof *more) : ids->id;

	if (more == NULL)
		return false;
	ids->id = more;
	ids->id[ids->count++] = id;
	return true;
}

/* Those that are there now, before any is decided: what dies again behind them is not caught in a circle. */
static enum exit_code collect(struct pg_session *s, const struct call *call, struct ids *ids)
{
	const struct pg_result *r;
	struct choice c;
	enum exit_code code;

	for (int i = 1; i < call->count; i++)
		if (!add(ids, strtoll(call->arguments[i], NULL, 10)))
			return EXIT_FAILED;
	if (call->count > 1) {
		letter_sort(ids->id, ids->count);
		return EXIT_OK;
	}
	choose(call, &c);
	while ((r = page(s, call, &c, &code)) != NULL && pg_rows(r) > 0)
		for (int i = 0; i < pg_rows(r); i++)
			if (!add(ids, strtoll(pg_text(r, i, 0), NULL, 10)))
				return EXIT_FAILED;
	return code;
}

/* Another subscription's letter is not ours to decide: the id alone would do it. */
static enum exit_code decide(struct pg_session *s, const struct call *call, const struct ids *ids, const char *sql)
{
	size_t done = 0, failed = 0;
	char id[24], error[LINE_BYTES];
	const char *p[] = { call->arguments[0], id };

	for (size_t i = 0; i < ids->count; i++) {
		const struct pg_result *r;

		if (i > 0 && ids->id[i] == ids->id[i - 1])
			continue;
		snprintf(id, sizeof id, "%" PRId64, ids->id[i]);
		r = pg_session_run(s, sql, 2, p);
		if (pg_error(r) != NULL && pg_sqlstate(r)[0] == '\0')
			return session_failed(call->config, call->command->words, r);
		if (pg_error(r) == NULL && pg_rows(r) > 0) {
			done++;
			continue;
		}
		failed++;
		fprintf(stderr, "boxhaul: dead letter %s of subscription %s: %s\n", id, p[0],
			pg_error(r) != NULL ? utf8_line(pg_error(r), error, sizeof error) : "there is none");
	}
	printf("%s: %zu\n", call->command->words + strlen("inbox "), done);
	return failed == 0 ? EXIT_OK : EXIT_FAILED;
}

#define OF_SUBSCRIPTION " FROM boxhaul.inbox_dead_letters($2::pg_catalog.int8 - 1, $2, $1) d"

static enum exit_code redrive(struct pg_session *s, const struct call *call)
{
	struct ids ids = { .count = 0 };
	enum exit_code code = collect(s, call, &ids);

	if (code == EXIT_OK)
		code = decide(s, call, &ids, "SELECT boxhaul.inbox_dead_retry(d.id)" OF_SUBSCRIPTION);
	free(ids.id);
	return code;
}

static enum exit_code discard(struct pg_session *s, const struct call *call)
{
	struct ids ids = { .count = 0 };
	enum exit_code code = collect(s, call, &ids);

	if (code == EXIT_OK && ids.count > 0)
		code = ask(call, "Discard %zu dead letter(s) of the inbox for good?", ids.count);
	if (code == EXIT_OK)
		code = decide(s, call, &ids, "SELECT boxhaul.inbox_dead_discard(d.id)" OF_SUBSCRIPTION);
	free(ids.id);
	return code;
}

static enum exit_code chosen(const struct call *call,
			     enum exit_code (*fn)(struct pg_session *s, const struct call *call))
{
	enum exit_code code = letter_check_choice(call, call->count - 1);

	if (code != EXIT_OK)
		return code;
	for (int i = 1; i < call->count; i++)
		if (!line_is_id(call->arguments[i]))
			return line_wrong("%s: an id is a number", call->arguments[i]);
	return inbox_with_session(call, fn);
}

enum exit_code command_inbox_redrive(const struct call *call)
{
	return chosen(call, redrive);
}

enum exit_code command_inbox_discard(const struct call *call)
{
	return chosen(call, discard);
}
