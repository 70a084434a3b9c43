#include "command/session.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "base/scrub.h"
#include "base/utf8.h"
#include "books/schema.h"
#include "config/servers.h"
#include "edge/pg_peer.h"

/* Refused for who we are, over a socket of this machine: root becomes the user that is let in, which is to have fewer rights, not
 * more. Anybody else is told how. */
static struct pg_session *try_as_peer(const struct call *call, const struct pg_options *o, char *why, size_t size)
{
	char user[128], target[CONFIG_TARGET_BYTES];
	size_t n = strlen(why);

	if (!pg_peer_wanted(o, user, sizeof user))
		return NULL;
	if (process_become(user))
		return pg_session_open_newest(o, why, size);
	if (getpwnam(user) != NULL)
		snprintf(why + n, size - n, ": run it as that user: sudo -u %s boxhaul %s %s", user,
			 call->command->words, config_target(call->config, target));
	else
		snprintf(why + n, size - n, ": this machine has no user %s: make one, or give that login a password",
			 user);
	return NULL;
}

static struct pg_options options_of(const struct config *c, enum session_login login, const char *name)
{
	struct pg_options o;

	switch (login) {
	case LOGIN_OWNER: return servers_postgres_owner(c, name);
	case LOGIN_CAPTURE:
	case LOGIN_WALSENDER:
		o = servers_postgres_capture(c, name);
		o.replication = login == LOGIN_WALSENDER;
		return o;
	default: return servers_postgres(c, name);
	}
}

struct pg_session *session_try(const struct call *call, enum session_login login, char *error, size_t size)
{
	char name[64], why[512 + CONFIG_TARGET_BYTES];
	struct pg_options o;
	struct pg_session *s;

	snprintf(name, sizeof name, "boxhaul %s", call->command->words);
	o = options_of(call->config, login, name);
	s = pg_session_open_newest(&o, why, sizeof why);
	if (s == NULL)
		s = try_as_peer(call, &o, why, sizeof why);
	if (s == NULL)
		scrub(why, error, size);
	return s;
}

struct pg_session *session_open(const struct call *call, enum session_login login)
{
	char error[512 + CONFIG_TARGET_BYTES];
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
		scrub(why, error, size);
	return s;
}

/* `all`: one that is served is told of, too. */
static enum exit_code judge_schema(struct pg_session *s, const struct config *config, bool all)
{
	const struct pg_result *r = pg_session_run(s, SCHEMA_QUESTION, 0, NULL);
	struct schema_found found;
	enum schema_fit fit;
	char target[CONFIG_TARGET_BYTES], what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES];

	if (pg_error(r) != NULL)
		return session_failed(config, "cannot read the schema's version", r);
	found = schema_of_text(r);
	fit = schema_fit(&found, config_target(config, target), what, mend);
	if (fit == SCHEMA_REFUSED || (all && fit == SCHEMA_SERVED))
		fprintf(stderr, "boxhaul: %s: %s\n", what, mend);
	return fit != SCHEMA_REFUSED ? EXIT_OK : EXIT_FAILED;
}

enum exit_code session_schema(struct pg_session *s, const struct config *config)
{
	return judge_schema(s, config, false);
}

void session_schema_tell(struct pg_session *s, const struct config *config)
{
	judge_schema(s, config, true);
}

enum exit_code session_failed(const struct config *config, const char *what, const struct pg_result *r)
{
	char error[512], shown[1024], target[CONFIG_TARGET_BYTES], text[SCHEMA_TEXT_BYTES];
	const char *state = pg_sqlstate(r), *mend = schema_advice(state, config_target(config, target), text);

	scrub(pg_error(r), error, sizeof error);
	utf8_line(error, shown, sizeof shown);
	fprintf(stderr, "boxhaul: %s: %s%s%s\n", what, shown, mend != NULL ? ": " : "", mend != NULL ? mend : "");
	/* No SQLSTATE: no server said it. 57P01 to 57P03: it goes, or is not there yet. */
	return state[0] == '\0' || strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0 ? EXIT_UNREACHABLE
												 : EXIT_FAILED;
}

const char *session_value(struct pg_session *s, const struct call *call, const char *sql, int count,
			  const char *const *parameters, enum exit_code *code)
{
	const struct pg_result *r = pg_session_run(s, sql, count, parameters);
	char what[96];

	*code = EXIT_OK;
	if (pg_error(r) == NULL)
		return pg_text(r, 0, 0);
	snprintf(what, sizeof what, "cannot %s", call->command->words);
	*code = session_failed(call->config, what, r);
	return NULL;
}

const char *session_who(char *to, size_t size)
{
	const struct passwd *me = getpwuid(geteuid());
	const char *name = getenv("SUDO_USER"), *user = me != NULL ? me->pw_name : "somebody";
	char host[128] = "?";

	gethostname(host, sizeof host - 1);
	snprintf(to, size, "%s on %s", name != NULL && name[0] != '\0' ? name : user, host);
	return to;
}
