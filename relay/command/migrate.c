/* `boxhaul migrate`: numbered, idempotent files, applied in one transaction under a lock. Two at the same time: the
 * second waits, and finds nothing to do. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "books/outbox_trigger.h"
#include "books/schema.h"
#include "books/sql_files.h"
#include "command/commands.h"
#include "command/instances.h"
#include "command/line.h"
#include "command/session.h"
#include "edge/pg_session.h"

enum { LOCK_TRIES = 100, LOCK_PAUSE_US = 100000 };

/* Another migrate is waited for. The outbox is not: an ALTER TABLE that waits for its lock makes every producer wait
 * behind it, so it gives up at once and the whole is tried again a little later. */
static const char lock[] =
	"BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL search_path = pg_catalog, pg_temp;"
	" SELECT pg_catalog.pg_advisory_xact_lock(1651472488, 2); SET LOCAL lock_timeout = '100ms'";
static const char present[] = "SELECT pg_catalog.to_regclass('boxhaul.schema_version') IS NOT NULL";

enum outcome { DONE, FAILED, LOCKED };

/* One try: what it did is told only when it is committed. */
struct migration {
	struct pg_session *session;
	const struct config *config;
	FILE *did;
	int applied;
	int64_t version; /* what it is at, as far as we brought it */
	bool dry;        /* only tried, and taken back */
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

/* Which version there is; 0: none. If it cannot go on from there, it has said why. One that is newer than ours and serves us is as it
 * should be: only the configuration may be new to it. */
static enum outcome read_version(struct migration *m)
{
	const struct pg_result *r = pg_session_run(m->session, present, 0, NULL);
	bool is_there = pg_error(r) == NULL && pg_text(r, 0, 0)[0] == 't';
	struct schema_found found;
	char target[CONFIG_TARGET_BYTES], what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES];

	if (is_there)
		r = pg_session_run(m->session, SCHEMA_QUESTION, 0, NULL);
	if (pg_error(r) != NULL)
		return failed("cannot read the schema's version", r);
	if (!is_there)
		return DONE;
	found = schema_of_text(r);
	m->version = found.version;
	if (schema_fit(&found, config_target(m->config, target), what, mend) != SCHEMA_REFUSED ||
	    (!found.is_unreleased && found.version < schema_version()))
		return DONE;
	fprintf(stderr, "boxhaul: %s: %s\n", what, mend);
	return FAILED;
}

static enum outcome apply_files(struct migration *m)
{
	for (const struct sql_file *f = sql_files; f->name != NULL; f++) {
		const struct pg_result *r;
		char what[128];

		if (f->version <= m->version)
			continue;
		r = pg_session_run(m->session, f->text, 0, NULL);
		snprintf(what, sizeof what, "sql/%03d_%s.sql", f->version, f->name);
		if (pg_error(r) != NULL)
			return failed(what, r);
		fprintf(m->did, "applied %03d_%s\n", f->version, f->name);
		m->applied++;
		m->version = f->version;
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

/* A table that is not in the configuration any more keeps its trigger: it may be another configuration's, or a DBA's. boxhaul.outbox_detach() takes it off. */
static enum outcome attach_table(struct migration *m, const struct config_outbox_table *t)
{
	char *mapping = outbox_trigger_mapping(t), what[256];
	const char *p[] = { t->table, mapping };
	const struct pg_result *r;

	if (mapping == NULL) {
		fprintf(stderr, "boxhaul: out of memory\n");
		return FAILED;
	}
	snprintf(what, sizeof what, "the trigger on %s", t->table);
	r = pg_session_run(m->session, OUTBOX_TRIGGER_ATTACH, 2, p);
	free(mapping);
	if (pg_error(r) != NULL)
		return failed(what, r);
	for (int i = 0; i < pg_rows(r); i++, m->applied++)
		fprintf(m->did, "%s\n", pg_text(r, i, 0));
	return DONE;
}

static enum outcome attach_tables(struct migration *m)
{
	enum outcome outcome = DONE;

	for (size_t i = 0; i < m->config->outbox_table_count && outcome == DONE; i++)
		if (m->config->outbox_tables[i].source == OUTBOX_SOURCE_TRIGGER)
			outcome = attach_table(m, &m->config->outbox_tables[i]);
	return outcome;
}

static enum outcome migrate(struct migration *m)
{
	const struct pg_result *r = pg_session_run(m->session, lock, 0, NULL);
	enum outcome outcome;

	if (pg_error(r) != NULL)
		return failed("cannot begin", r);
	outcome = read_version(m);
	if (outcome == DONE)
		outcome = apply_files(m);
	if (outcome == DONE)
		outcome = fit_to_configuration(m);
	if (outcome == DONE)
		outcome = attach_tables(m);
	if (outcome != DONE)
		return outcome;
	r = pg_session_run(m->session, m->dry ? "ROLLBACK" : "COMMIT", 0, NULL);
	return pg_error(r) != NULL ? failed("cannot commit", r) : DONE;
}

/* One try in a transaction; what was not committed is rolled back. */
static enum outcome try_once(struct pg_session *s, const struct config *c, bool dry)
{
	char *text = NULL;
	size_t bytes = 0;
	struct migration m = { .session = s, .config = c, .did = open_memstream(&text, &bytes), .dry = dry };
	enum outcome outcome = m.did != NULL ? migrate(&m) : FAILED;

	if (outcome != DONE)
		pg_session_run(s, "ROLLBACK", 0, NULL);
	if (m.did != NULL)
		fclose(m.did);
	if (outcome == DONE)
		printf("%s%s%sschema boxhaul is at version %" PRId64 "\n", text, m.applied > 0 ? "" : "nothing to do: ",
		       dry && m.applied > 0 ? "taken back (--dry-run); with that, " : "", m.version);
	free(text);
	return outcome;
}

static enum exit_code migrate_patiently(struct pg_session *s, const struct config *c, bool dry)
{
	enum outcome outcome = LOCKED;

	for (int i = 0; i < LOCK_TRIES && outcome == LOCKED; i++) {
		if (i > 0)
			usleep(LOCK_PAUSE_US);
		outcome = try_once(s, c, dry);
	}
	if (outcome == LOCKED)
		fprintf(stderr,
			"boxhaul: the outbox is locked by transactions that stay open; nothing was changed, try again when "
			"they have ended\n");
	return outcome == DONE ? EXIT_OK : EXIT_FAILED;
}

static void print_literal(const char *text)
{
	putchar('\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			putchar('\'');
		putchar(*text);
	}
	putchar('\'');
}

static void print_table(const struct config_outbox_table *t)
{
	char *mapping = outbox_trigger_mapping(t);

	fputs("SELECT boxhaul.outbox_attach(", stdout);
	print_literal(t->table);
	fputs(", ", stdout);
	print_literal(mapping != NULL ? mapping : "");
	puts(");");
	free(mapping);
}

/* For psql -1: as one transaction, with the lock that keeps two of them apart. */
static enum exit_code print_all(const struct config *c)
{
	puts("SET LOCAL client_min_messages = warning;\nSET LOCAL search_path = pg_catalog, pg_temp;");
	puts("SELECT pg_catalog.pg_advisory_xact_lock(1651472488, 2);");
	for (const struct sql_file *f = sql_files; f->name != NULL; f++)
		printf("\n%s", f->text);
	printf("\nSELECT boxhaul.configure('%" PRIu64 " milliseconds', %" PRIu32 ");\n", c->retention_ms,
	       c->max_message_bytes);
	for (size_t i = 0; i < c->outbox_table_count; i++)
		if (c->outbox_tables[i].source == OUTBOX_SOURCE_TRIGGER)
			print_table(&c->outbox_tables[i]);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

static enum exit_code migrate_one(const struct call *call)
{
	struct pg_session *s;
	enum exit_code code;

	if (call->given[OPTION_PRINT])
		return print_all(call->config);
	s = session_open(call, LOGIN_OWNER);
	if (s == NULL)
		return EXIT_UNREACHABLE;
	code = migrate_patiently(s, call->config, call->given[OPTION_DRY_RUN]);
	pg_session_close(s);
	return code;
}

/* One that fails does not stop the others; the status is that of the first that did. */
static enum exit_code migrate_each(const struct call *call, const struct instances *all)
{
	enum exit_code code = EXIT_OK, one;

	for (size_t i = 0; i < all->count; i++) {
		struct call each = *call;

		each.config = all->each[i].config;
		printf("%s: ", all->each[i].path);
		fflush(stdout);
		one = each.config != NULL ? migrate_one(&each) : EXIT_CONFIG;
		if (one != EXIT_OK)
			puts("failed");
		if (code == EXIT_OK)
			code = one;
	}
	return code;
}

enum exit_code command_migrate(const struct call *call)
{
	struct instances all;
	enum exit_code code;

	if (!call->given[OPTION_ALL])
		return call->config != NULL ? migrate_one(call)
					    : line_wrong("migrate: all relays of a directory only with --all");
	if (call->config != NULL || call->given[OPTION_PRINT])
		return line_wrong("migrate: --all is of all relays: without NAME and --print");
	code = instances_read(&all, call->text[OPTION_CONFIG]);
	if (code == EXIT_OK)
		code = migrate_each(call, &all);
	instances_free(&all);
	return code;
}
