#include "command/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "log.h"
#include "servers.h"

struct pg_session *session_try(const struct call *call, enum session_login login, char *error, size_t size)
{
	char name[64], why[512];
	struct pg_options o;
	struct pg_session *s;

	snprintf(name, sizeof name, "boxhaul %s", call->command->words);
	o = login == LOGIN_OWNER ? servers_postgres_owner(call->config, name) : servers_postgres(call->config, name);
	s = pg_session_open(&o, why, sizeof why);
	if (s == NULL)
		log_scrub(why, error, size);
	return s;
}

struct pg_session *session_open(const struct call *call, enum session_login login)
{
	char error[512];
	struct pg_session *s = session_try(call, login, error, sizeof error);

	if (s == NULL)
		fprintf(stderr, "boxhaul: cannot connect to PostgreSQL: %s\n", error);
	return s;
}

struct natsio_session *session_try_nats(const struct call *call, char *error, size_t size)
{
	char name[64], why[512] = "";
	struct natsio_options o;
	struct natsio_session *s;

	snprintf(name, sizeof name, "boxhaul %s", call->command->words);
	o = servers_nats(call->config, name);
	s = natsio_session_open(&o, why, sizeof why);
	if (s == NULL)
		log_scrub(why, error, size);
	return s;
}

enum exit_code session_schema(struct pg_session *s)
{
	const struct pg_result *r =
		pg_session_run(s, "SELECT coalesce(max(version), 0) FROM boxhaul.schema_version", 0, NULL);
	long version;

	if (pg_error(r) != NULL)
		return session_failed("cannot read the schema's version", r);
	version = strtol(pg_text(r, 0, 0), NULL, 10);
	if (version < SCHEMA_VERSION)
		fprintf(stderr, "boxhaul: the schema has version %ld, this boxhaul needs %d: run `boxhaul migrate`\n",
			version, SCHEMA_VERSION);
	else if (version > SCHEMA_VERSION)
		fprintf(stderr,
			"boxhaul: the schema has version %ld, this boxhaul knows %d: install the newer boxhaul\n",
			version, SCHEMA_VERSION);
	return version == SCHEMA_VERSION ? EXIT_OK : EXIT_FAILED;
}

/* What mends it, by SQLSTATE. */
static const char *advice(const char *state)
{
	static const struct {
		const char *state, *text;
	} known[] = {
		{ "42501", "grant this login a role: boxhaul_monitor to look, boxhaul_relay to act" },
		{ "3F000", "run `boxhaul migrate`" },
		{ "42P01", "run `boxhaul migrate`" },
		{ "42883", "run `boxhaul migrate`" },
		{ "42703",
		  "run `boxhaul migrate`; is the schema up to date it was changed by hand: `boxhaul check` says more" },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(known[i].state, state) == 0)
			return known[i].text;
	return NULL;
}

enum exit_code session_failed(const char *what, const struct pg_result *r)
{
	const char *state = pg_sqlstate(r), *mend = advice(state);
	char error[512];

	log_scrub(pg_error(r), error, sizeof error);
	fprintf(stderr, "boxhaul: %s: %s%s%s\n", what, error, mend != NULL ? ": " : "", mend != NULL ? mend : "");
	/* No SQLSTATE: no server said it. 57P01 to 57P03: it goes, or is not there yet. */
	return state[0] == '\0' || strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0 ? EXIT_UNREACHABLE
												 : EXIT_FAILED;
}
