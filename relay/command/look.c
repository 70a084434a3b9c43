/* boxhaul.status() answers, which no lock holds up; and the relay on this machine, of itself. */
#include "command/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/codec.h"
#include "command/port.h"
#include "command/session.h"

static const char settings_[] =
	"SET search_path = pg_catalog, pg_temp; SET statement_timeout = '8s'; SET default_transaction_read_only = on";

const json_t *look_at(const json_t *o, const char *path)
{
	while (o != NULL && path != NULL) {
		const char *dot = strchr(path, '.');
		char name[64];

		snprintf(name, sizeof name, "%.*s", dot != NULL ? (int)(dot - path) : (int)strlen(path), path);
		o = json_object_get(o, name);
		path = dot != NULL ? dot + 1 : NULL;
	}
	return json_is_null(o) ? NULL : o;
}

const char *look_text(const json_t *o, const char *path)
{
	const char *text = json_string_value(look_at(o, path));

	return text != NULL ? text : "";
}

double look_number(const json_t *o, const char *path)
{
	return json_number_value(look_at(o, path));
}

bool look_is(const json_t *o, const char *path)
{
	return json_is_true(look_at(o, path));
}

enum exit_code look_begin(struct pg_session *s, const struct config *config)
{
	const struct pg_result *r = pg_session_run(s, settings_, 0, NULL);

	if (pg_error(r) != NULL)
		return session_failed(config, "cannot prepare the session", r);
	session_schema_tell(s, config); /* whichever it is, what can be seen is shown */
	return EXIT_OK;
}

enum exit_code look_answer(const struct config *config, const char *what, const struct pg_result *r, json_t **out)
{
	*out = NULL;
	if (pg_error(r) != NULL)
		return session_failed(config, what, r);
	*out = json_loads(pg_text(r, 0, 0), 0, NULL);
	if (*out != NULL)
		return EXIT_OK;
	/* A database without an encoding lets any bytes through. */
	fprintf(stderr, "boxhaul: %s: what the database says is not UTF-8\n", what);
	return EXIT_FAILED;
}

char *look_streams(const struct config *config)
{
	const char *names[LIMIT_STREAMS];

	for (size_t i = 0; i < config->stream_count; i++)
		names[i] = config->streams[i].name;
	return codec_streams(names, config->stream_count);
}

/* It does not answer in time: who is at work there, it can say all the same. */
static enum exit_code ask_briefly(struct pg_session *s, const struct config *config, json_t **all)
{
	enum exit_code code = look_answer(config, "cannot see who is at work",
					  pg_session_run(s, "SELECT boxhaul.activity()", 0, NULL), all);

	if (code == EXIT_OK)
		json_object_set_new(*all, "unread", json_pack("[{s:s, s:b}]", "what", "the books", "locked", 0));
	return code;
}

static enum exit_code ask_all(struct pg_session *s, const struct config *config, json_t **all)
{
	char *streams = look_streams(config);
	const char *parameters[] = { streams };
	const struct pg_result *r = pg_session_run(s, "SELECT boxhaul.status($1)", 1, parameters);

	free(streams);
	return strcmp(pg_sqlstate(r), "57014") == 0 ? ask_briefly(s, config, all)
						    : look_answer(config, "cannot see how it stands", r, all);
}

static json_t *relay_here(const struct config *config)
{
	char why[256];
	json_t *o = port_ask(config, why, sizeof why);

	if (o == NULL)
		return json_pack("{s:b, s:s}", "reachable", 0, "why_not", why);
	json_object_set_new(o, "reachable", json_true());
	return o;
}

/* An older schema has none, and a lock that is in the way is told of by its tables. */
static enum exit_code ask_more(struct pg_session *s, const struct config *config, json_t *all, const char *name,
			       const char *query, const char *what)
{
	const struct pg_result *r = pg_session_run(s, query, 0, NULL);
	const char *state = pg_sqlstate(r);
	enum exit_code code;
	json_t *more;

	if (strcmp(state, "42883") == 0 || strcmp(state, "55P03") == 0 || strcmp(state, "57014") == 0)
		return EXIT_OK;
	code = look_answer(config, what, r, &more);
	if (code == EXIT_OK)
		json_object_set_new(all, name, more);
	return code;
}

enum exit_code look_take(struct pg_session *s, const struct config *config, json_t **out)
{
	enum exit_code code = ask_all(s, config, out);

	if (code != EXIT_OK)
		return code;
	json_object_set_new(*out, "instance", json_string(config->name));
	json_object_set_new(*out, "relay", relay_here(config));
	code = ask_more(s, config, *out, "inbox", "SELECT boxhaul.inbox_look()", "cannot see the subscriptions");
	if (code == EXIT_OK)
		code = ask_more(s, config, *out, "sagas", "SELECT boxhaul.saga_look()", "cannot see the sagas");
	if (code == EXIT_OK)
		code = ask_more(s, config, *out, "captures", "SELECT boxhaul.capture_look()",
				"cannot see the captures");
	return code;
}

json_t *look_without_database(const struct config *config, const char *why)
{
	return json_pack("{s:s, s:{s:b, s:s}, s:o}", "instance", config->name, "database", "connected", 0, "why", why,
			 "relay", relay_here(config));
}
