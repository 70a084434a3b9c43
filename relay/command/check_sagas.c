#include "command/check_sagas.h"

#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "watch/saga_case.h"

enum { NAME_BYTES = 96, SUBJECT_BYTES = 256 };

/* clang-format off */
static const char step_query[] =
	"SELECT d.name, d.version::pg_catalog.text, s.step ->> 'name', s.step ->> 'command', s.step ->> 'undo', s.n::pg_catalog.text"
	" FROM boxhaul.saga_definitions d,"
	" LATERAL pg_catalog.jsonb_array_elements(d.steps) WITH ORDINALITY AS s (step, n)"
	" WHERE d.current AND NOT s.step ? 'call' ORDER BY d.name, s.n";

static const char version_query[] =
	"SELECT d.name, d.version::pg_catalog.text, d.open::pg_catalog.text, c.version::pg_catalog.text"
	" FROM boxhaul.saga_definitions d JOIN boxhaul.saga_definitions c ON c.name = d.name AND c.current"
	" WHERE NOT d.current AND d.open > 0 ORDER BY d.name, d.version";

static const char slow_query[] =
	"SELECT name, step, took_seconds, answers, deadline_seconds FROM boxhaul.saga_slow_steps()";
/* clang-format on */

/* NULL after saying why there is no answer. */
static const struct pg_result *ask(struct check *c, struct pg_session *s, const char *sql)
{
	const struct pg_result *r = pg_session_run(s, sql, 0, NULL);

	if (pg_error(r) == NULL)
		return r;
	fail(c, "sagas: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
	return NULL;
}

/* --- where commands go --- */

/* Which stream takes it, or `stream_count` after saying that none does. */
static size_t check_subject(struct check *c, const struct pg_result *r, int row, const char *what, const char *subject)
{
	size_t stream = config_stream_of(c->config, subject);
	char shown[SUBJECT_BYTES];

	if (stream == c->config->stream_count)
		warn(c,
		     "saga %s: step %s: no stream of the configuration takes its %s %s: it becomes a dead letter, unless another relay of this database has one",
		     pg_text(r, row, 0), pg_text(r, row, 2), what, utf8_line(subject, shown, sizeof shown));
	return stream;
}

/* An undo that comes before the command that it undoes is right, too, for the participant remembers it. But what was sent in order comes in
 * order only in one stream. False: something was said. */
static bool check_step(struct check *c, const struct pg_result *r, int row)
{
	const char *undo = pg_text(r, row, 4);
	size_t of_do = check_subject(c, r, row, "command", pg_text(r, row, 3)), of_undo = of_do;

	if (undo[0] != '\0')
		of_undo = check_subject(c, r, row, "undo", undo);
	if (of_do == c->config->stream_count || of_undo == c->config->stream_count)
		return false;
	if (of_do != of_undo)
		warn(c,
		     "saga %s: step %s: its command goes to stream %s, and its undo to %s: nothing keeps their order, and an undo may come first; let one stream take both",
		     pg_text(r, row, 0), pg_text(r, row, 2), c->config->streams[of_do].name,
		     c->config->streams[of_undo].name);
	return of_do == of_undo;
}

static void check_steps(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = ask(c, s, step_query);
	bool whole = true;

	for (int i = 0; r != NULL && i < pg_rows(r); i++) {
		bool last = i + 1 == pg_rows(r) || strcmp(pg_text(r, i, 0), pg_text(r, i + 1, 0)) != 0;

		whole &= check_step(c, r, i);
		if (last && whole)
			ok(c, "saga %s: version %s: each of its commands has a stream, and its undo the same",
			   pg_text(r, i, 0), pg_text(r, i, 1));
		whole |= last;
	}
}

/* --- versions and deadlines --- */

static void check_versions(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = ask(c, s, version_query);

	for (int i = 0; r != NULL && i < pg_rows(r); i++)
		warn(c,
		     "saga %s: %s open of version %s, which new ones do not begin with any more (they begin with %s): keep its participants and functions until these have ended",
		     pg_text(r, i, 0), pg_text(r, i, 2), pg_text(r, i, 1), pg_text(r, i, 3));
}

static void check_deadlines(struct check *c, struct pg_session *s)
{
	const struct pg_result *r = ask(c, s, slow_query);
	char took[32], deadline[32];

	for (int i = 0; r != NULL && i < pg_rows(r); i++)
		warn(c,
		     "saga %s: step %s: its deadline is %s, and of the last %s answers one in twenty took %s or longer: it is asked again, or undone, for nothing; define it with a longer one",
		     pg_text(r, i, 0), pg_text(r, i, 1),
		     duration_text(strtod(pg_text(r, i, 4), NULL), deadline, sizeof deadline), pg_text(r, i, 3),
		     duration_text(strtod(pg_text(r, i, 2), NULL), took, sizeof took));
}

/* --- who takes the answers: another subject for them than the one on record is judged with the subscription --- */

static void check_unclocked(struct check *c, struct pg_session *s)
{
	const struct pg_result *r =
		ask(c, s, "SELECT boxhaul.saga_look() ->> 'open', boxhaul.saga_unclocked()::pg_catalog.text");
	struct saga_facts f = { .trouble = "" };
	struct wrong said;

	if (r == NULL)
		return;
	f.unclocked = strtoull(pg_text(r, 0, 1), NULL, 10);
	if (saga_case_is(&f, c->target, SAGA_CASE_UNCLOCKED, &said))
		warn(c, "sagas: %s: %s", said.what, said.mend);
	else if (strcmp(pg_text(r, 0, 0), "0") != 0)
		ok(c, "sagas: %s open; another daemon of this database takes their answers and deadlines",
		   pg_text(r, 0, 0));
}

void check_sagas(struct check *c, struct pg_session *s)
{
	if (c->config->sagas.replies == NULL) {
		check_unclocked(c, s);
		return;
	}
	check_steps(c, s);
	check_versions(c, s);
	check_deadlines(c, s);
}
