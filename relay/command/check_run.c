/* No list of what may be wrong can be whole. So check does what `run` does, where nobody leads: whatever would stop a relay
 * there stops the rehearsal, in the server's words. */
#include "command/check_run.h"

#include <string.h>

#include "books/schema.h"
#include "command/look.h"
#include "command/look_verdict.h"

static bool is_state(const struct pg_result *r, const char *sqlstate)
{
	return strcmp(pg_sqlstate(r), sqlstate) == 0;
}

/* What a person can do about a statement of the relay's that failed. */
static const char *cure(const struct check *c, const struct pg_result *r, char text[static SCHEMA_TEXT_BYTES])
{
	static const struct {
		const char *sqlstate, *text;
	} known[] = {
		{ "42501",
		  "it is not the relay's user that lacks a right, but the owner of boxhaul's functions, or of a trigger's" },
		{ "25006", "the server, or this database, is set to read only" },
		{ "53100", "make room on the disk of the server" },
		{ "55P03", "somebody holds a lock on it" },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (is_state(r, known[i].sqlstate))
			return known[i].text;
	if (strstr(pg_error(r), "replica identity") != NULL)
		return "give the table a replica identity, or leave boxhaul's tables out of the publication";
	if (schema_advice(pg_sqlstate(r), c->target, text) != NULL)
		return text;
	return "take away what was added to boxhaul's tables (a trigger, a rule, a policy, a foreign key), or see the server's log";
}

static bool try_to(struct check *c, struct pg_session *s, const char *what, const char *sql)
{
	const struct pg_result *r = pg_session_run(s, sql, 0, NULL);
	char text[SCHEMA_TEXT_BYTES];

	if (pg_error(r) == NULL) {
		ok(c, "run: can %s", what);
		return true;
	}
	fail(c, "run: cannot %s: %s: %s", what, pg_error(r), cure(c, r, text));
	return false;
}

/* As the relay says it, or the database. That nobody leads is no failure: check is run before anybody does. */
static void check_verdict(struct check *c, const json_t *look)
{
	struct verdict v;

	look_verdict(look, c->config, &v);
	if (!look_is(look, "leading") && look_number(look, "dead_letters") > 0)
		warn(c, "dead letters: there are %.0f: `boxhaul dead-letters list %s` shows them",
		     look_number(look, "dead_letters"), c->target);
	if (v.state == VERDICT_STALLED && (look_is(look, "leading") || look_is(look, "relay.reachable")))
		fail(c, "now: %s: %s", v.summary, v.action);
	else if (v.action[0] != '\0' &&
		 (look_number(look, "waiting") > 0 || look_is(look, "leading") || v.state == VERDICT_PAUSED))
		warn(c, "now: %s: %s", v.summary, v.action);
	else
		ok(c, "now: %s", v.summary);
}

void check_run(struct check *c, struct pg_session *s)
{
	json_t *look = NULL;

	if (!try_to(c, s, "read",
		    "SELECT boxhaul.outbox_xmin(), (SELECT pg_catalog.count(*) FROM (SELECT o.xid, o.message_id, o.subject, o.key,"
		    " o.payload, o.headers, o.created_at FROM boxhaul.outbox o, boxhaul.position p WHERE o.id > p.position"
		    " ORDER BY o.id LIMIT 100) x), (SELECT pg_catalog.count(*) FROM boxhaul.exceptions)"))
		return;
	if (look_take(s, c->config, &look) != EXIT_OK) {
		c->failed = true;
		return;
	}
	/* Who holds the lead and cannot begin is told to ask us. */
	if (!look_is(look, "leading") || look_is(look, "not_begun")) {
		try_to(c, s, "take the lead", "SELECT boxhaul.rehearse('lead')");
		try_to(c, s, "mark what is sent", "SELECT boxhaul.rehearse('mark')");
	}
	try_to(c, s, "clean up", "SELECT boxhaul.rehearse('clean')");
	check_verdict(c, look);
	json_decref(look);
}
