/* `boxhaul pause`, `resume`, `drain`.
 *
 * pause is PgBouncer's: it returns when nothing is on its way any more. drain is NATS': what is there goes first. Both leave a
 * row in boxhaul.paused, which the relay obeys whoever leads; the leader answers there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command/commands.h"
#include "command/percent.h"
#include "command/session.h"
#include "command/wait.h"
#include "edge/loop.h"

/* *was: it was paused already. */
static enum exit_code put_pause(const struct wait *w, const char *reason, bool *was)
{
	char who[256];
	const char *p[] = { who, reason };
	const struct pg_result *r;

	session_who(who, sizeof who);
	r = pg_session_run(w->session, "SELECT boxhaul.pause($1, $2)", 2, p);
	if (pg_error(r) != NULL)
		return session_failed(w->call->config, "cannot pause", r);
	*was = pg_text(r, 0, 0)[0] != 't';
	return EXIT_OK;
}

static enum exit_code wait_quiet(struct wait *w)
{
	struct wait_state state;
	enum exit_code code;

	for (;;) {
		code = wait_look(w, 0, &state);
		if (code != EXIT_OK)
			return code;
		if (!state.paused) {
			fputs("boxhaul: somebody has resumed meanwhile\n", stderr);
			return EXIT_FAILED;
		}
		if (state.quiet) {
			wait_end(w);
			printf("paused %s; nothing is in flight\n", state.who);
			return EXIT_OK;
		}
		if (wait_nobody_leads(w, &state)) {
			wait_end(w);
			printf("paused %s; nobody leads now: whoever does next will send nothing\n", state.who);
			return EXIT_OK;
		}
		if (!wait_more(w, &state, "paused; waiting for what is in flight")) {
			wait_end(w);
			fputs("boxhaul: paused, but what was in flight is not settled yet\n", stderr);
			return EXIT_FAILED;
		}
	}
}

static enum exit_code pause_now(struct wait *w, const char *reason)
{
	bool was = false;
	enum exit_code code = put_pause(w, reason, &was);

	if (code != EXIT_OK)
		return code;
	if (was)
		fputs("boxhaul: it is paused already\n", stderr);
	if (!w->call->given[OPTION_NO_WAIT])
		return wait_quiet(w);
	puts("paused");
	return EXIT_OK;
}

static enum exit_code drain(struct wait *w)
{
	const struct pg_result *r = pg_session_run(w->session, "SELECT newest FROM boxhaul.kept()", 0, NULL);
	const char *reason = w->call->text[OPTION_REASON];
	struct percent percent = { .total = 0 };
	struct wait_state state;
	char what[256], target[CONFIG_TARGET_BYTES];
	int64_t up_to, to_go;
	enum exit_code code;

	if (pg_error(r) != NULL)
		return session_failed(w->call->config, "cannot read the outbox", r);
	up_to = strtoll(pg_text(r, 0, 0), NULL, 10);
	while ((code = wait_look(w, up_to, &state)) == EXIT_OK && state.waiting > 0) {
		to_go = up_to - state.waiting + 1;
		if (percent.total == 0)
			percent = percent_begin("draining", (uint64_t)to_go);
		percent_text(&percent, to_go < (int64_t)percent.total ? percent.total - (uint64_t)to_go : 0,
			     (double)(loop_now_ms() - percent.begun_ms) / 1000, what, sizeof what);
		if (state.paused) {
			wait_end(w);
			fprintf(stderr, "boxhaul: paused %s: nothing moves; `boxhaul resume %s` first\n", state.who,
				config_target(w->call->config, target));
			return EXIT_FAILED;
		}
		if (wait_nobody_leads(w, &state) || !wait_more(w, &state, what)) {
			wait_end(w);
			fprintf(stderr,
				"boxhaul: %s; message %" PRId64 " and perhaps more still wait: nothing was paused\n",
				wait_nobody_leads(w, &state) ? "nobody leads" : "not drained in time", state.waiting);
			return EXIT_FAILED;
		}
	}
	return code == EXIT_OK ? pause_now(w, reason != NULL ? reason : "drained") : code;
}

static enum exit_code with_session(const struct call *call, enum exit_code (*fn)(struct wait *w))
{
	struct pg_session *s = session_open(call, LOGIN_RELAY);
	enum exit_code code;
	struct wait w;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	code = session_schema(s, call->config);
	w = wait_begin(s, call);
	if (code == EXIT_OK)
		code = fn(&w);
	wait_end(&w);
	pg_session_close(s);
	return code == EXIT_OK && fflush(stdout) != 0 ? EXIT_FAILED : code;
}

static enum exit_code pause_as_told(struct wait *w)
{
	return pause_now(w, w->call->text[OPTION_REASON]);
}

static enum exit_code resume(struct wait *w)
{
	const struct pg_result *r = pg_session_run(w->session, "SELECT boxhaul.resume()", 0, NULL);

	if (pg_error(r) != NULL)
		return session_failed(w->call->config, "cannot resume", r);
	puts(pg_text(r, 0, 0)[0] == 't' ? "resumed" : "it was not paused");
	return EXIT_OK;
}

enum exit_code command_pause(const struct call *call)
{
	return with_session(call, pause_as_told);
}

enum exit_code command_resume(const struct call *call)
{
	return with_session(call, resume);
}

enum exit_code command_drain(const struct call *call)
{
	return with_session(call, drain);
}
