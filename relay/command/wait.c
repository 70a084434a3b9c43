#include "command/wait.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/utf8.h"
#include "command/session.h"
#include "edge/loop.h"

enum { LOOK_AGAIN_US = 100000, NOBODY_MS = 3000, TELL_MS = 10000 };

enum exit_code wait_look(struct wait *w, int64_t up_to, struct wait_state *state)
{
	static const char query[] = "SELECT paused, told, quiet, led, waiting, lease_ms FROM boxhaul.pause_state($1)";
	char text[24], target[CONFIG_TARGET_BYTES];
	const char *p[] = { text };
	const struct pg_result *r;

	*state = (struct wait_state){ .paused = false };
	snprintf(text, sizeof text, "%" PRId64, up_to);
	r = pg_session_run(w->session, query, 1, p);
	if (pg_error(r) != NULL)
		return session_failed(w->call->config, "cannot see how far it is", r);
	if (pg_rows(r) == 0) {
		fprintf(stderr, "boxhaul: boxhaul.position is empty: run `boxhaul check %s`\n",
			config_target(w->call->config, target));
		return EXIT_FAILED;
	}
	state->paused = pg_text(r, 0, 0)[0] == 't';
	utf8_line(pg_text(r, 0, 1), state->who, sizeof state->who);
	state->quiet = pg_text(r, 0, 2)[0] == 't';
	state->leading = pg_text(r, 0, 3)[0] == 't';
	state->waiting = strtoll(pg_text(r, 0, 4), NULL, 10);
	state->lease_ms = strtoll(pg_text(r, 0, 5), NULL, 10);
	return EXIT_OK;
}

struct wait wait_begin(struct pg_session *s, const struct call *call)
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

void wait_end(struct wait *w)
{
	if (w->drawn)
		fputs("\r\033[K", stderr);
	w->drawn = false;
}

bool wait_more(struct wait *w, const struct wait_state *state, const char *what)
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

/* A relay that has just gone may have a successor in a moment. */
bool wait_nobody_leads(const struct wait *w, const struct wait_state *state)
{
	int64_t gone_ms = loop_now_ms() - w->led_ms;

	return !state->leading && gone_ms >= NOBODY_MS && gone_ms >= state->lease_ms;
}
