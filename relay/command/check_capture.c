#include "command/check_capture.h"

#include <stdio.h>
#include <string.h>

#include "command/capture_plan.h"
#include "command/capture_show.h"
#include "command/look.h"
#include "command/look_capture.h"
#include "command/port.h"

struct telling {
	struct check *c;
	const char *capture;
	bool started; /* what is to do then is missing */
	int fine, todo;
};

/* A line of the plan as one of the check. What is well is summed up. */
static void tell(void *arg, const struct capture_plan_line *l)
{
	struct telling *t = arg;
	struct check *c = t->c;
	const char *colon = l->mend[0] != '\0' ? ": " : "";

	if (strcmp(l->verdict, "FAIL") == 0)
		fail(c, "capture %s: %s: %s%s%s", t->capture, l->about, l->what, colon, l->mend);
	else if (strcmp(l->verdict, "warn") == 0)
		warn(c, "capture %s: %s: %s%s%s", t->capture, l->about, l->what, colon, l->mend);
	t->todo += strcmp(l->verdict, "todo") == 0;
	t->fine += strcmp(l->verdict, "ok") == 0;
}

static void check_plan(struct check *c, struct pg_session *s, const struct config_capture *capture,
		       const struct capture_plan_login *login, const json_t *known)
{
	struct telling t = { .c = c, .capture = capture->name };

	if (capture_plan_ask(s, c->config, capture, login, tell, &t) != EXIT_OK) {
		c->failed = true;
		return;
	}
	if (t.todo > 0 && known != NULL && strcmp(look_text(known, "state"), "none") != 0)
		fail(c,
		     "capture %s: %d thing%s not as the configuration has it: `boxhaul capture plan %s %s` says what, and what mends it",
		     capture->name, t.todo, t.todo == 1 ? " is" : "s are", c->target, capture->name);
	ok(c, "capture %s: %d things looked at are as they should be", capture->name, t.fine);
}

static const json_t *find(const json_t *all, const char *name)
{
	const json_t *o;
	size_t i;

	json_array_foreach (all, i, o)
		if (strcmp(look_text(o, "name"), name) == 0)
			return o;
	return NULL;
}

static void check_state(struct check *c, const json_t *o)
{
	struct wrong w;
	enum ink ink = capture_show_judge(o, c->config, &w);

	if (ink == INK_BAD)
		fail(c, "now: %s: %s", w.what, w.mend);
	else if (w.mend[0] != '\0')
		warn(c, "now: %s: %s", w.what, w.mend);
	else
		ok(c, "now: %s", w.what);
}

void check_capture(struct check *c, const struct call *call, struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, "SELECT boxhaul.capture_look()", 0, NULL);
	struct capture_plan_login login;
	char why[CAPTURE_PLAN_WHY_BYTES];
	json_t *all, *relay;
	const json_t *o;
	size_t i;

	if (pg_error(r) != NULL) {
		if (c->config->capture_count > 0)
			fail(c, "captures: %s: the schema is not whole: apply all of sql/*.sql again", pg_error(r));
		return;
	}
	if (look_answer(c->config, "cannot see the captures", r, &all) != EXIT_OK) {
		c->failed = true;
		return;
	}
	if (c->config->capture_count > 0)
		capture_plan_look_login(call, &login);
	for (i = 0; i < c->config->capture_count; i++)
		check_plan(c, s, &c->config->captures[i], &login, find(all, c->config->captures[i].name));
	relay = json_array_size(all) > 0 ? port_ask(c->config, why, sizeof why) : NULL;
	look_capture_add_told(all, relay);
	json_decref(relay);
	json_array_foreach (all, i, o)
		check_state(c, o);
	json_decref(all);
}
