/* `boxhaul sagas list`, `sagas definitions`. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "command/commands.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/look.h"
#include "command/out.h"
#include "command/session.h"

enum { LIST_MOST = 1000, LINE_BYTES = 512 };

/* --- list --- */

static void print_line(const struct out *out, const json_t *o)
{
	char key[64], waits[LINE_BYTES], age[32];
	/* Of one that is not on record only its id is known. */
	bool known = look_at(o, "name") != NULL;
	bool stuck = look_at(o, "stuck") != NULL, open = look_at(o, "ended_at") == NULL;

	out_print(out, INK_BOLD, "%s", look_text(o, "id"));
	out_print(out, INK_PLAIN, " %-16s %-20s started %-8s ago ", known ? look_text(o, "name") : "-",
		  known ? utf8_line(look_text(o, "key"), key, sizeof key) : "-",
		  duration_text(look_number(o, "started_seconds"), age, sizeof age));
	out_print(out, stuck ? INK_BAD : open ? INK_WARN : INK_GOOD, "%-9s", look_text(o, "state"));
	if (stuck)
		out_print(out, INK_BAD, " stuck for %s (%s)",
			  duration_text(look_number(o, "stuck_seconds"), age, sizeof age), look_text(o, "stuck"));
	if (look_at(o, "waiting_for") != NULL)
		out_print(out, INK_PLAIN, " waits for %s", utf8_line(look_text(o, "waiting_for"), waits, sizeof waits));
	if (look_at(o, "waiting_since") != NULL)
		out_print(out, INK_PLAIN, ", for %s",
			  duration_text(look_number(o, "waiting_seconds"), age, sizeof age));
	putchar('\n');
}

static bool print_row(const struct out *out, const char *text)
{
	json_t *o = json_loads(text, 0, NULL);

	if (o == NULL)
		return false;
	print_line(out, o);
	json_decref(o);
	return true;
}

static enum exit_code list(struct pg_session *s, const struct call *call)
{
	struct out out = out_open(stdout);
	char older[LETTER_OLDER_BYTES], most[24];
	bool json = call->given[OPTION_JSON], all = call->given[OPTION_ALL], ok = true;
	const char *p[] = { call->given[OPTION_OPEN] ? "true" : "false", call->given[OPTION_STUCK] ? "true" : "false",
			    call->text[OPTION_NAME], letter_older(call, older), all ? NULL : most };
	const struct pg_result *r;
	int rows;

	snprintf(most, sizeof most, "%d", LIST_MOST + 1);
	r = pg_session_run(s, "SELECT boxhaul.saga_list($1, $2, $3, $4, $5)", 5, p);
	if (pg_error(r) != NULL)
		return session_failed(call->config, "cannot list the sagas", r);
	rows = !all && pg_rows(r) > LIST_MOST ? LIST_MOST : pg_rows(r);
	for (int i = 0; i < rows; i++)
		if (json)
			out_element(&out, i == 0, pg_text(r, i, 0));
		else
			ok &= print_row(&out, pg_text(r, i, 0));
	if (json)
		out_end(&out, rows == 0);
	else if (rows == 0)
		puts("no sagas");
	if (pg_rows(r) > rows)
		fprintf(stderr,
			"boxhaul: these are the newest %d; choose by --open, --stuck, --name, --older, or say --all\n",
			rows);
	return ok ? EXIT_OK : EXIT_FAILED;
}

enum exit_code command_sagas_list(const struct call *call)
{
	return inbox_with_session(call, list);
}

/* --- definitions --- */

/* clang-format off */
static const char definitions_query[] =
	"SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(d) ORDER BY d.name, d.version), '[]')"
	" FROM boxhaul.saga_definitions d WHERE $1::pg_catalog.text IS NULL OR d.name = $1";
/* clang-format on */

static void print_step(const struct out *out, const json_t *step)
{
	const char *call = look_text(step, "call"), *undo = look_text(step, "undo");

	out_print(out, INK_PLAIN, "  %-20s %-9s %s %s", look_text(step, "name"), look_text(step, "kind"),
		  call[0] != '\0' ? "calls" : "sends", call[0] != '\0' ? call : look_text(step, "command"));
	if (undo[0] != '\0')
		out_print(out, INK_PLAIN, ", undo %s", undo);
	else if (strcmp(look_text(step, "kind"), "undoable") == 0)
		out_print(out, INK_DIM, ", nothing to undo");
	if (call[0] == '\0')
		out_print(out, INK_DIM, "; answers in %s, else again, %lld times", look_text(step, "deadline"),
			  inbox_number(step, "retries"));
	putchar('\n');
}

static void print_definition(const struct out *out, const json_t *d)
{
	const json_t *step;
	size_t i;

	out_print(out, INK_BOLD, "%s version %lld", look_text(d, "name"), inbox_number(d, "version"));
	out_print(out, INK_PLAIN, "%s: %lld open, %lld ended, defined %.19s\n",
		  look_is(d, "current") ? "" : " (new ones begin with another)", inbox_number(d, "open"),
		  inbox_number(d, "ended"), look_text(d, "defined_at"));
	json_array_foreach (look_at(d, "steps"), i, step)
		print_step(out, step);
}

static enum exit_code definitions(struct pg_session *s, const struct call *call)
{
	const struct pg_result *r =
		pg_session_run(s, definitions_query, 1, (const char *[]){ call->text[OPTION_NAME] });
	struct out out = out_open(stdout);
	json_t *all;
	enum exit_code code = look_answer(call->config, "cannot list the definitions", r, &all);
	size_t i;

	if (code != EXIT_OK)
		return code;
	if (call->given[OPTION_JSON]) {
		out_json(&out, all);
	} else {
		for (i = 0; i < json_array_size(all); i++)
			print_definition(&out, json_array_get(all, i));
		if (i == 0)
			puts("no definitions");
	}
	json_decref(all);
	return EXIT_OK;
}

enum exit_code command_sagas_definitions(const struct call *call)
{
	return inbox_with_session(call, definitions);
}
