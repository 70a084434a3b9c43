/* `boxhaul pause`, `resume`, `drain`.
 *
 * pause is PgBouncer's: it returns when nothing is on its way any more. drain is NATS': what is there goes first. Both leave a
 * row in boxhaul.paused, which the relay obeys whoever leads; the leader answers there. */
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/commands.h"
#include "command/out.h"
#include "command/session.h"
#include "edge/loop.h"
#include "utf8.h"

enum { LOOK_AGAIN_US = 100000, NOBODY_MS = 3000, TELL_MS = 10000, LINE_BYTES = 512 };

/* What is known of the pause. */
struct state {
	bool paused, quiet, leading;
	bool deaf; /* the leader led before there were pauses: it is of an earlier release */
	char who[LINE_BYTES];
	int64_t waiting;  /* drain: the first message that waits; 0 = none */
	int64_t lease_ms; /* the last leader's, if it did not resign */
};

struct wait {
	struct pg_session *session;
	const struct call *call;
	struct out out;
	int64_t begun_ms, told_ms, led_ms;
	bool drawn;
};

static enum exit_code look(struct wait *w, int64_t up_to, struct state *state)
{
	static const char query[] =
		"SELECT x.number IS NOT NULL, coalesce(x.quiet_epoch = p.epoch, false),"
		" EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = 1651472488 AND objid = 1"
		"  AND granted AND database = (SELECT oid FROM pg_catalog.pg_database"
		"   WHERE datname = pg_catalog.current_database())),"
		" coalesce('by ' || x.paused_by || ' since ' || pg_catalog.to_char(x.since, 'YYYY-MM-DD HH24:MI:SS TZ')"
		"  || coalesce(': ' || x.reason, ''), ''),"
		" CASE WHEN $1::pg_catalog.int8 > 0 THEN coalesce(boxhaul.first_waiting($1), 0) ELSE 0 END,"
		" p.lease_ms,"
		" coalesce(p.led_since < (SELECT v.applied_at FROM boxhaul.schema_version v WHERE v.name = 'operate'), false)"
		" FROM boxhaul.position p LEFT JOIN boxhaul.paused x ON true";
	char text[24];
	const char *p[] = { text };
	const struct pg_result *r;

	*state = (struct state){ .paused = false };
	snprintf(text, sizeof text, "%" PRId64, up_to);
	r = pg_session_run(w->session, query, 1, p);
	if (pg_error(r) != NULL)
		return session_failed("cannot see how far it is", r);
	if (pg_rows(r) == 0) {
		fputs("boxhaul: boxhaul.position is empty: run `boxhaul check`\n", stderr);
		return EXIT_FAILED;
	}
	state->paused = pg_text(r, 0, 0)[0] == 't';
	state->quiet = pg_text(r, 0, 1)[0] == 't';
	state->leading = pg_text(r, 0, 2)[0] == 't';
	utf8_line(pg_text(r, 0, 3), state->who, sizeof state->who);
	state->waiting = strtoll(pg_text(r, 0, 4), NULL, 10);
	state->lease_ms = strtoll(pg_text(r, 0, 5), NULL, 10);
	state->deaf = state->leading && pg_text(r, 0, 6)[0] == 't';
	return EXIT_OK;
}

static struct wait wait_begin(struct pg_session *s, const struct call *call)
{
	int64_t now = loop_now_ms();

	return (struct wait){
		.session = s, .call = call, .out = out_open(stderr), .begun_ms = now, .told_ms = now, .led_ms = now
	};
}

/* A person sees it at once, in place; a log now and then. */
static void tell(struct wait *w, const char *what)
{
	int64_t now = loop_now_ms();

	if (w->out.terminal) {
		fprintf(stderr, "\r%s, %" PRId64 " s\033[K", what, (now - w->begun_ms) / 1000);
		w->drawn = true;
	} else if (now - w->told_ms >= TELL_MS) {
		fprintf(stderr, "boxhaul: %s, %" PRId64 " s\n", what, (now - w->begun_ms) / 1000);
		w->told_ms = now;
	}
}

static void wait_end(struct wait *w)
{
	if (w->drawn)
		fputs("\r\033[K", stderr);
	w->drawn = false;
}

/* A pause in the looking; false when there was enough of it. */
static bool wait_more(struct wait *w, const struct state *state, const char *what)
{
	const struct call *call = w->call;

	if (state->leading)
		w->led_ms = loop_now_ms();
	if (call->given[OPTION_TIMEOUT] && (uint64_t)(loop_now_ms() - w->begun_ms) >= call->number[OPTION_TIMEOUT])
		return false;
	tell(w, what);
	usleep(LOOK_AGAIN_US);
	return true;
}

/* A relay that has just gone may have a successor in a moment; one that was cut off may publish until its lease ends. */
static bool nobody_leads(const struct wait *w, const struct state *state)
{
	int64_t gone_ms = loop_now_ms() - w->led_ms;

	return !state->leading && gone_ms >= NOBODY_MS && gone_ms >= state->lease_ms;
}

/* "root on shop1" */
static void who_am_i(char *to, size_t size)
{
	const struct passwd *me = getpwuid(geteuid());
	char host[128] = "?";

	gethostname(host, sizeof host - 1);
	snprintf(to, size, "%s on %s", me != NULL ? me->pw_name : "somebody", host);
}

/* *was: it was paused already. */
static enum exit_code put_pause(struct pg_session *s, const char *reason, bool *was)
{
	char who[256];
	const char *p[] = { who, reason };
	const struct pg_result *r;

	who_am_i(who, sizeof who);
	r = pg_session_run(s, "SELECT boxhaul.pause($1, $2)", 2, p);
	if (pg_error(r) != NULL)
		return session_failed("cannot pause", r);
	*was = pg_text(r, 0, 0)[0] != 't';
	return EXIT_OK;
}

static enum exit_code wait_quiet(struct wait *w)
{
	struct state state;
	enum exit_code code;
	const char *what;

	for (;;) {
		code = look(w, 0, &state);
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
		if (nobody_leads(w, &state)) {
			wait_end(w);
			printf("paused %s; nobody leads now: whoever does next will send nothing\n", state.who);
			return EXIT_OK;
		}
		what = state.deaf ? "the relay that leads is of an earlier release and obeys no pause: restart it"
				  : "paused; waiting for what is in flight";
		if (!wait_more(w, &state, what)) {
			wait_end(w);
			fprintf(stderr, "boxhaul: %s\n",
				state.deaf ? what : "paused, but what was in flight is not settled yet");
			return EXIT_FAILED;
		}
	}
}

static enum exit_code pause_now(struct wait *w, const char *reason)
{
	bool was = false;
	enum exit_code code = put_pause(w->session, reason, &was);

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
	const struct pg_result *r = pg_session_run(
		w->session, "SELECT coalesce((SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1), 0)", 0, NULL);
	const char *reason = w->call->text[OPTION_REASON];
	struct state state;
	char what[128];
	int64_t up_to;
	enum exit_code code;

	if (pg_error(r) != NULL)
		return session_failed("cannot read the outbox", r);
	up_to = strtoll(pg_text(r, 0, 0), NULL, 10);
	while ((code = look(w, up_to, &state)) == EXIT_OK && state.waiting > 0) {
		snprintf(what, sizeof what, "draining; message %" PRId64 " waits, %" PRId64 " to go", state.waiting,
			 up_to - state.waiting + 1);
		if (state.paused) {
			wait_end(w);
			fprintf(stderr, "boxhaul: paused %s: nothing moves; `boxhaul resume` first\n", state.who);
			return EXIT_FAILED;
		}
		if (nobody_leads(w, &state) || !wait_more(w, &state, what)) {
			wait_end(w);
			fprintf(stderr,
				"boxhaul: %s; message %" PRId64 " and perhaps more still wait: nothing was paused\n",
				nobody_leads(w, &state) ? "nobody leads" : "not drained in time", state.waiting);
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
	code = session_schema(s);
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
		return session_failed("cannot resume", r);
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
