/* `boxhaul inbox dead-letters`, `redrive`, `discard`. Each letter is decided in a transaction of its own, by ascending id: so those of a
 * key keep their order. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "base/utf8.h"
#include "command/ask.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/line.h"
#include "command/look.h"
#include "command/session.h"

enum { PAGE = 500, LINE_BYTES = 512, SUBSCRIPTION_WIDTH = 16 };

static const char page_query[] =
	"SELECT d.id, pg_catalog.to_jsonb(d) FROM boxhaul.inbox_dead_letters($1, $2, $3, $4, $5, $6, $7) d";

static void begin(struct letter_pages *pages, const struct call *call)
{
	letter_pages_begin(pages, call, "cannot list the dead letters of the inbox", page_query);
	pages->p[pages->count++] = pages->above;
	pages->p[pages->count++] = LETTER_NEWEST;
	pages->p[pages->count++] = call->count > 0 ? call->arguments[0] : NULL;
	pages->p[pages->count++] = call->text[OPTION_KEY];
	pages->p[pages->count++] = call->text[OPTION_REASON];
	pages->p[pages->count++] = call->given[OPTION_OLDER] ? pages->older : NULL;
	pages->p[pages->count++] = pages->most;
}

/* --- list, show --- */

static enum exit_code list(struct pg_session *s, const struct call *call)
{
	struct letter_pages pages;

	begin(&pages, call);
	return letter_list(&pages, s, call, "subscription", SUBSCRIPTION_WIDTH);
}

static void print_letter(const struct out *out, const json_t *o)
{
	letter_text(out, "subscription", o, "subscription");
	letter_line(out, "sequence", "%lld", inbox_number(o, "seq"));
	letter_text(out, "message id", o, "message_id");
	letter_text(out, "subject", o, "subject");
	letter_text(out, "key", o, "key");
	letter_text(out, "stored", o, "stored_at");
	letter_text(out, "died", o, "died_at");
	letter_text(out, "reason", o, "reason");
	letter_line(out, "attempts", "%lld", inbox_number(o, "attempts"));
}

static const char show_query[] =
	"SELECT pg_catalog.to_jsonb(d) FROM boxhaul.inbox_dead_letters($2::pg_catalog.int8 - 1, $2, $1) d";

static const char content_query[] = LETTER_CONTENT " FROM boxhaul.inbox_dead d WHERE d.subscription = $1 AND d.id = $2";

static enum exit_code show(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0], call->arguments[1] };
	const struct pg_result *r = pg_session_run(s, show_query, 2, p);
	char target[CONFIG_TARGET_BYTES];

	if (pg_error(r) == NULL && pg_rows(r) == 0) {
		fprintf(stderr,
			"boxhaul: subscription %s has no dead letter %s: `boxhaul inbox dead-letters %s %s` says which there are\n",
			p[0], p[1], config_target(call->config, target), p[0]);
		return EXIT_FAILED;
	}
	return letter_show(s, call, r, print_letter, content_query, 2, p);
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
	struct letter_pages pages;
	enum exit_code code;

	for (int i = 1; i < call->count; i++)
		if (!add(ids, strtoll(call->arguments[i], NULL, 10)))
			return EXIT_FAILED;
	if (call->count > 1) {
		letter_sort(ids->id, ids->count);
		return EXIT_OK;
	}
	begin(&pages, call);
	while ((r = letter_pages_next(&pages, s, call, &code)) != NULL)
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
		code = ask(call, "Discard %zu dead letter%s of the inbox for good?", ids.count,
			   plural((int64_t)ids.count));
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
