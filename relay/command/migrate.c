/* `boxhaul migrate`: numbered, idempotent files, applied in one transaction under a lock. Two at the same time: the
 * second waits, and finds nothing to do. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/commands.h"
#include "command/session.h"
#include "edge/pg.h"
#include "sql_files.h"

enum { LOCK_TRIES = 100, LOCK_PAUSE_US = 100000 };

/* Another migrate is waited for. The outbox is not: an ALTER TABLE that waits for its lock makes every producer wait
 * behind it, so it gives up at once and the whole is tried again a little later. */
static const char lock[] =
	"BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL search_path = pg_catalog, pg_temp;"
	" SELECT pg_catalog.pg_advisory_xact_lock(1651472488, 2); SET LOCAL lock_timeout = '100ms'";
static const char present[] = "SELECT pg_catalog.to_regclass('boxhaul.schema_version') IS NOT NULL";
static const char version[] = "SELECT coalesce(max(version), 0) FROM boxhaul.schema_version";

enum outcome { DONE, FAILED, LOCKED };

/* One try: what it did is told only when it is committed. */
struct migration {
	struct pg_session *session;
	const struct config *config;
	FILE *did;
	int applied;
};

static enum outcome failed(const char *what, const struct pg_result *r)
{
	/* A lock not to be had, or only in a circle: what holds it ends soon. */
	if (strcmp(pg_sqlstate(r), "55P03") == 0 || strcmp(pg_sqlstate(r), "40P01") == 0)
		return LOCKED;
	fprintf(stderr, "boxhaul: %s: %s\n", what, pg_error(r));
	if (strcmp(pg_sqlstate(r), "42501") == 0)
		fprintf(stderr,
			"boxhaul: migrate needs a user that may create schemas and roles: set postgres.migrate_conninfo\n");
	return FAILED;
}

static int newest(void)
{
	int n = 0;

	for (const struct sql_file *f = sql_files; f->name != NULL; f++)
		n = f->version;
	return n;
}

static bool installed_version(struct pg_session *s, int *out, const struct pg_result **r)
{
	*out = 0;
	*r = pg_session_run(s, present, 0, NULL);
	if (pg_error(*r) != NULL)
		return false;
	if (pg_text(*r, 0, 0)[0] != 't')
		return true;
	*r = pg_session_run(s, version, 0, NULL);
	*out = (int)strtol(pg_text(*r, 0, 0), NULL, 10);
	return pg_error(*r) == NULL;
}

static enum outcome apply_files(struct migration *m, int have)
{
	for (const struct sql_file *f = sql_files; f->name != NULL; f++) {
		const struct pg_result *r;
		char what[128];

		if (f->version <= have)
			continue;
		r = pg_session_run(m->session, f->text, 0, NULL);
		snprintf(what, sizeof what, "sql/%03d_%s.sql", f->version, f->name);
		if (pg_error(r) != NULL)
			return failed(what, r);
		fprintf(m->did, "applied %03d_%s\n", f->version, f->name);
		m->applied++;
	}
	return DONE;
}

static enum outcome fit_to_configuration(struct migration *m)
{
	char retention[32], size[24];
	const char *p[] = { retention, size };
	const struct pg_result *r;

	snprintf(retention, sizeof retention, "%" PRIu64 " milliseconds", m->config->retention_ms);
	snprintf(size, sizeof size, "%" PRIu32, m->config->max_message_bytes);
	r = pg_session_run(m->session, "SELECT pg_catalog.unnest(boxhaul.configure($1, $2))", 2, p);
	if (pg_error(r) != NULL)
		return failed("fitting the schema to the configuration", r);
	for (int i = 0; i < pg_rows(r); i++, m->applied++)
		fprintf(m->did, "%s\n", pg_text(r, i, 0));
	return DONE;
}

static enum outcome migrate(struct migration *m)
{
	const struct pg_result *r = pg_session_run(m->session, lock, 0, NULL);
	enum outcome outcome;
	int have;

	if (pg_error(r) != NULL)
		return failed("cannot begin", r);
	if (!installed_version(m->session, &have, &r))
		return failed("cannot read the schema's version", r);
	if (have > newest()) {
		fprintf(stderr,
			"boxhaul: the schema has version %d, this boxhaul knows %d: it does not go back; "
			"install the newer boxhaul\n",
			have, newest());
		return FAILED;
	}
	outcome = apply_files(m, have);
	if (outcome == DONE)
		outcome = fit_to_configuration(m);
	if (outcome != DONE)
		return outcome;
	r = pg_session_run(m->session, "COMMIT", 0, NULL);
	return pg_error(r) != NULL ? failed("cannot commit", r) : DONE;
}

/* One try in a transaction; what was not committed is rolled back. */
static enum outcome try_once(struct pg_session *s, const struct config *c)
{
	char *text = NULL;
	size_t bytes = 0;
	struct migration m = { .session = s, .config = c, .did = open_memstream(&text, &bytes) };
	enum outcome outcome = m.did != NULL ? migrate(&m) : FAILED;

	if (outcome != DONE)
		pg_session_run(s, "ROLLBACK", 0, NULL);
	if (m.did != NULL)
		fclose(m.did);
	if (outcome == DONE)
		printf("%s%sschema boxhaul is at version %d\n", text, m.applied > 0 ? "" : "nothing to do: ", newest());
	free(text);
	return outcome;
}

static enum exit_code migrate_patiently(struct pg_session *s, const struct config *c)
{
	enum outcome outcome = LOCKED;

	for (int i = 0; i < LOCK_TRIES && outcome == LOCKED; i++) {
		if (i > 0)
			usleep(LOCK_PAUSE_US);
		outcome = try_once(s, c);
	}
	if (outcome == LOCKED)
		fprintf(stderr,
			"boxhaul: the outbox is locked by transactions that stay open; nothing was changed, try again when "
			"they have ended\n");
	return outcome == DONE ? EXIT_OK : EXIT_FAILED;
}

enum exit_code command_migrate(const struct call *call)
{
	struct pg_session *s = session_open(call, LOGIN_OWNER);
	enum exit_code code;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	code = migrate_patiently(s, call->config);
	pg_session_close(s);
	return code;
}
