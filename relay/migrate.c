/* `boxhaul migrate`: numbered, idempotent files, applied in one transaction under a lock. Two at the same time: the
 * second waits, and finds nothing to do. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "edge/pg.h"
#include "log.h"
#include "sql_files.h"

static const char lock[] = "BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '10s';"
			   " SELECT pg_catalog.pg_advisory_xact_lock(1651472488, 2)";
static const char present[] = "SELECT pg_catalog.to_regclass('boxhaul.schema_version') IS NOT NULL";
static const char version[] = "SELECT coalesce(max(version), 0) FROM boxhaul.schema_version";

static enum exit_code failed(const char *what, const struct pg_result *r)
{
	fprintf(stderr, "boxhaul: %s: %s\n", what, pg_error(r));
	if (strcmp(pg_sqlstate(r), "42501") == 0)
		fprintf(stderr,
			"boxhaul: migrate needs a user that may create schemas and roles: set postgres.migrate_conninfo\n");
	else if (strcmp(pg_sqlstate(r), "55P03") == 0)
		fprintf(stderr,
			"boxhaul: another session holds a lock on the outbox; nothing was changed, try again\n");
	return EXIT_FAILED;
}

static int newest(void)
{
	int n = 0;

	for (size_t i = 0; i < sql_file_count; i++)
		if (sql_files[i].version > n)
			n = sql_files[i].version;
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

static enum exit_code apply_files(struct pg_session *s, int have, int *applied)
{
	for (size_t i = 0; i < sql_file_count; i++) {
		const struct pg_result *r;

		if (sql_files[i].version <= have)
			continue;
		r = pg_session_run(s, sql_files[i].text, 0, NULL);
		if (pg_error(r) != NULL) {
			fprintf(stderr, "boxhaul: in sql/%03d_%s.sql:\n", sql_files[i].version, sql_files[i].name);
			return failed("migrate", r);
		}
		printf("applied %03d_%s\n", sql_files[i].version, sql_files[i].name);
		++*applied;
	}
	return EXIT_OK;
}

static enum exit_code fit_to_configuration(struct pg_session *s, const struct config *c, int *applied)
{
	char retention[32], size[24];
	const char *p[] = { retention, size };
	const struct pg_result *r;

	snprintf(retention, sizeof retention, "%" PRIu64 " milliseconds", c->retention_ms);
	snprintf(size, sizeof size, "%" PRIu32, c->max_message_bytes);
	r = pg_session_run(s, "SELECT pg_catalog.unnest(boxhaul.configure($1, $2))", 2, p);
	if (pg_error(r) != NULL)
		return failed("fitting the schema to the configuration", r);
	for (int i = 0; i < pg_rows(r); i++, ++*applied)
		printf("%s\n", pg_text(r, i, 0));
	return EXIT_OK;
}

static enum exit_code migrate(struct pg_session *s, const struct config *c)
{
	const struct pg_result *r = pg_session_run(s, lock, 0, NULL);
	enum exit_code code;
	int have, applied = 0;

	if (pg_error(r) != NULL)
		return failed("cannot begin", r);
	if (!installed_version(s, &have, &r))
		return failed("cannot read the schema's version", r);
	if (have > newest()) {
		fprintf(stderr,
			"boxhaul: the schema has version %d, this boxhaul knows %d: it does not go back; install the newer boxhaul\n",
			have, newest());
		return EXIT_FAILED;
	}
	code = apply_files(s, have, &applied);
	if (code == EXIT_OK)
		code = fit_to_configuration(s, c, &applied);
	if (code != EXIT_OK)
		return code;
	r = pg_session_run(s, "COMMIT", 0, NULL);
	if (pg_error(r) != NULL)
		return failed("cannot commit", r);
	printf(applied > 0 ? "schema boxhaul is at version %d\n" : "nothing to do: schema boxhaul is at version %d\n",
	       newest());
	return EXIT_OK;
}

enum exit_code command_migrate(const struct config *config)
{
	struct pg_options o = { .conninfo = config->postgres.migrate_conninfo != NULL
						    ? config->postgres.migrate_conninfo
						    : config->postgres.conninfo,
				.password_file = config->postgres.password_file,
				.application_name = "boxhaul migrate" };
	char error[512], clean[512];
	struct pg_session *s = pg_session_open(&o, error, sizeof error);
	enum exit_code code;

	if (s == NULL) {
		log_scrub(error, clean, sizeof clean);
		fprintf(stderr, "boxhaul: cannot connect to PostgreSQL: %s\n", clean);
		return EXIT_UNREACHABLE;
	}
	code = migrate(s, config);
	pg_session_close(s); /* what was not committed is rolled back */
	return code;
}
