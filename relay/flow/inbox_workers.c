/* Which lane is whose turn.
 *
 *     look: boxhaul.inbox_lanes() --> queue of lanes --> a session that is free --> boxhaul.handle() on that lane
 *              ^                          ^                                            |
 *              |                          '------ the lane may have more of it --------|
 *              '----------------------- all of the queue has had its turn -------------'
 *
 * Nothing to hand out: it sleeps until somebody wakes it, a row that backs off is due, or SAFETY_MS have passed.
 *
 * A call that takes too long did nothing, and does not say which row it was. So as many rows of that lane as it had are called one by
 * one, each by its id (boxhaul.inbox_next()): the one that takes too long by itself has failed. The sizes of later calls grow from one. */
#include "flow/inbox_workers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/scrub.h"
#include "edge/pg.h"
#include "flow/inbox_calls.h"
#include "flow/inbox_pace.h"
#include "flow/inbox_turns.h"
#include "flow/served_session.h"

enum { SAFETY_MS = 30000, NOBODY = INBOX_TURNS_NOBODY };

struct worker {
	struct inbox_workers *group;
	struct pg *pg;
	struct served_session session;
	bool up, busy;
	int lane;            /* in hand, or NOBODY */
	int64_t id;          /* the one row that is called for; 0: as many as there are */
	uint32_t rows;       /* asked for */
	uint32_t timeout_ms; /* of the session */
	int64_t asked_ms;
};

struct inbox_workers {
	struct loop *loop;
	struct pg_options login;
	const struct config_subscription *s;
	struct served *served;
	const char *target;
	struct log *log;
	struct loop_timer *timer;
	struct worker *workers;
	size_t count;
	bool working;
	bool looking, look; /* asked which lanes have work; to be asked */
	struct inbox_turns turns;
	uint32_t singles[INBOX_TURNS_LANES]; /* so many rows of it are called one by one */
	struct inbox_pace pace;
	int64_t due_ms;
	struct inbox_workers_figures figures;
	char trouble[512];
	bool away; /* `trouble` is why there is no session */
};

static void step(struct inbox_workers *g);

static void ask(struct worker *w, bool asked)
{
	if (!asked)
		pg_break(w->pg, "a statement could not be sent");
}

static void let_go(struct worker *w)
{
	if (w->lane != NOBODY)
		inbox_turns_give_back(&w->group->turns, w->lane);
	w->lane = NOBODY;
	w->id = 0;
	w->busy = false;
}

/* --- what came of it --- */

static void succeeded(struct inbox_workers *g)
{
	inbox_pace_succeeded(&g->pace);
	g->trouble[0] = '\0';
	g->look = true;
}

static void in_vain(struct inbox_workers *g)
{
	inbox_pace_in_vain(&g->pace, loop_now_ms());
	g->look = true;
}

static void on_trouble(struct worker *w, const struct pg_result *r)
{
	struct inbox_workers *g = w->group;

	g->figures.repeated++;
	/* Two transactions met: the next try nearly always does it. */
	if (strncmp(pg_sqlstate(r), "40", 2) != 0) {
		scrub(pg_error(r), g->trouble, sizeof g->trouble);
		g->away = false;
		log_warn(g->log, "handling failed", KS("subscription", g->s->name), KS("why", pg_error(r)),
			 KS("sqlstate", pg_sqlstate(r)));
	}
	in_vain(g);
	if (w->lane != NOBODY)
		inbox_calls_excuse(w->pg, g->s, w->lane, pg_sqlstate(r));
	let_go(w);
	if (pg_wants_session(r))
		pg_break(w->pg, pg_error(r));
	step(g);
}

static void on_failure_told(void *arg, const struct pg_result *r)
{
	struct worker *w = arg;
	struct inbox_workers *g = w->group;
	int lane = w->lane;

	if (pg_error(r) != NULL) {
		on_trouble(w, r);
		return;
	}
	g->figures.failed++;
	succeeded(g);
	let_go(w);
	inbox_turns_add(&g->turns, lane);
	step(g);
}

/* One row, alone: it failed. */
static void tell_timed_out(struct worker *w)
{
	struct inbox_workers *g = w->group;

	g->figures.timed_out++;
	log_warn(g->log, "a message took too long", KS("subscription", g->s->name), KI("row", w->id));
	ask(w, inbox_calls_timed_out(w->pg, g->s, w->lane, w->id, w->timeout_ms, on_failure_told, w));
}

static void on_too_long(struct worker *w)
{
	struct inbox_workers *g = w->group;
	int lane = w->lane;

	if (w->id != 0) {
		tell_timed_out(w);
		return;
	}
	g->singles[lane] = w->rows;
	inbox_pace_too_long(&g->pace);
	succeeded(g);
	let_go(w);
	inbox_turns_add(&g->turns, lane);
	step(g);
}

static void tell_failed(const struct inbox_workers *g, uint64_t failed)
{
	char command[CONFIG_TARGET_BYTES + 128];

	if (failed == 0)
		return;
	snprintf(command, sizeof command, "boxhaul inbox show %s %s", g->target, g->s->name);
	log_warn(g->log, "messages failed; they are tried again", KS("subscription", g->s->name),
		 KU("messages", failed), KS("do", command));
}

static void on_handled(void *arg, const struct pg_result *r)
{
	struct worker *w = arg;
	struct inbox_workers *g = w->group;
	uint64_t handled, failed;
	int lane = w->lane;
	bool alone = w->id != 0;

	if (pg_error(r) != NULL) {
		inbox_pace_is_timeout(pg_sqlstate(r), loop_now_ms() - w->asked_ms, w->timeout_ms) ? on_too_long(w)
												  : on_trouble(w, r);
		return;
	}
	if (FAILPOINT(inbox_handled))
		pg_break(w->pg, "failpoint");
	if (pg_is_null(r, 0, 0)) { /* somebody else has the lane, or the row is not the next one any more */
		in_vain(g);
		let_go(w);
		step(g);
		return;
	}
	handled = (uint64_t)pg_int8(r, 0, 1);
	failed = (uint64_t)pg_int8(r, 0, 2);
	g->figures.handled += handled;
	g->figures.failed += failed;
	tell_failed(g, failed);
	succeeded(g);
	if (alone)
		g->singles[lane]--;
	else
		inbox_pace_took(&g->pace, handled + failed, loop_now_ms() - w->asked_ms, w->timeout_ms);
	let_go(w);
	if (alone || handled + failed >= w->rows)
		inbox_turns_add(&g->turns, lane);
	step(g);
}

/* --- calling --- */

static void call(struct worker *w)
{
	struct inbox_workers *g = w->group;

	w->asked_ms = loop_now_ms();
	g->figures.calls++;
	ask(w, inbox_calls_handle(w->pg, g->s, w->lane, w->rows, w->id, on_handled, w) && !FAILPOINT(inbox_handling));
}

static void on_next(void *arg, const struct pg_result *r)
{
	struct worker *w = arg;
	struct inbox_workers *g = w->group;

	if (pg_error(r) != NULL) {
		on_trouble(w, r);
		return;
	}
	if (pg_is_null(r, 0, 0)) {
		in_vain(g);
		let_go(w);
		step(g);
		return;
	}
	w->id = pg_int8(r, 0, 0);
	call(w);
}

static void on_set(void *arg, const struct pg_result *r)
{
	struct worker *w = arg;

	if (pg_error(r) != NULL)
		pg_break(w->pg, "the session's settings could not be made");
}

static void take_lane(struct worker *w, int lane)
{
	struct inbox_workers *g = w->group;

	w->lane = lane;
	w->busy = true;
	w->rows = g->singles[lane] > 0 ? 1 : g->pace.rows;
	if (w->timeout_ms != g->s->handler_timeout_ms) {
		w->timeout_ms = g->s->handler_timeout_ms;
		ask(w, inbox_calls_limit(w->pg, w->timeout_ms, on_set, w));
	}
	if (g->singles[lane] == 0)
		call(w);
	else
		ask(w, inbox_calls_next(w->pg, g->s, lane, on_next, w));
}

static void on_lanes(void *arg, const struct pg_result *r)
{
	struct worker *w = arg;
	struct inbox_workers *g = w->group;
	int64_t due = SAFETY_MS;

	w->busy = g->looking = false;
	if (pg_error(r) != NULL) {
		on_trouble(w, r);
		return;
	}
	for (int i = 0; i < pg_rows(r); i++) {
		int64_t in = pg_int8(r, i, 1);

		if (in == 0)
			inbox_turns_add(&g->turns, (int)pg_int8(r, i, 0));
		else if (in < due)
			due = in;
	}
	g->due_ms = loop_now_ms() + due;
	step(g);
}

static void ask_lanes(struct worker *w)
{
	struct inbox_workers *g = w->group;

	g->look = false;
	g->looking = w->busy = true;
	ask(w, inbox_calls_lanes(w->pg, g->s, on_lanes, w));
}

/* Gives everybody who is free something to do, and sets the clock. */
static void step(struct inbox_workers *g)
{
	int64_t now = loop_now_ms();

	if (!g->working) {
		loop_timer_at(g->timer, INT64_MAX);
		return;
	}
	if (now >= g->due_ms)
		g->look = true;
	for (size_t i = 0; i < g->count && now >= g->pace.not_before_ms; i++) {
		struct worker *w = &g->workers[i];

		if (!w->up || w->busy || !served_session_may_go_on(&w->session))
			continue;
		if (g->turns.queued > 0)
			take_lane(w, inbox_turns_take(&g->turns));
		else if (g->look && !g->looking)
			ask_lanes(w);
	}
	if (now < g->pace.not_before_ms)
		loop_timer_at(g->timer, g->pace.not_before_ms);
	else /* whoever ends a call, or comes up, comes here again */
		loop_timer_at(g->timer, g->look || g->looking || g->turns.queued > 0 ? INT64_MAX : g->due_ms);
}

/* --- sessions --- */

static void on_up(void *arg)
{
	struct worker *w = arg;

	w->session.pg = w->pg;
	served_session_up(&w->session);
}

/* It is the database that the daemon serves, too. */
static void on_usable(void *arg)
{
	struct worker *w = arg;
	struct inbox_workers *g = w->group;

	w->timeout_ms = 0;
	w->up = g->look = true;
	g->figures.sessions++;
	if (g->away) /* there may be nothing to call a handler for, which would show the same */
		g->trouble[0] = '\0';
	g->away = false;
	step(g);
}

static void on_down(void *arg, const char *why)
{
	struct worker *w = arg;
	struct inbox_workers *g = w->group;

	if (w->up)
		g->figures.sessions--;
	else if (g->figures.sessions == 0) {
		scrub(why, g->trouble, sizeof g->trouble);
		g->away = true;
	}
	w->up = false;
	log_warn(g->log, "a worker's session is gone", KS("subscription", g->s->name), KS("why", why));
	if (w->busy && w->lane == NOBODY)
		g->looking = false;
	/* Perhaps one of its rows ends the session each time: then those before it shall not come again with it. */
	else if (w->busy && w->id == 0)
		g->singles[w->lane] = w->rows;
	let_go(w);
	g->look = true;
	step(g);
}

static void on_notified(void *arg, const char *payload)
{
	struct worker *w = arg;

	if (strcmp(payload, w->group->s->name) == 0)
		inbox_workers_wake(w->group);
}

static void on_timer(void *arg)
{
	step(arg);
}

static struct pg_options options_of(const struct inbox_workers *g, const struct pg_options *login)
{
	struct pg_options o = *login;

	o.foreign_code = true;
	o.statement_timeout_ms = g->s->handler_timeout_ms;
	return o;
}

static bool open_sessions(struct inbox_workers *g)
{
	struct pg_options o = options_of(g, &g->login);

	for (size_t i = 0; i < g->count; i++) {
		struct worker *w = &g->workers[i];

		if (w->pg == NULL)
			w->pg = pg_open(g->loop, &o,
					&(struct pg_handlers){
						.up = on_up, .down = on_down, .notified = on_notified, .arg = w });
		if (w->pg == NULL)
			return false;
	}
	return true;
}

/* --- from outside --- */

struct inbox_workers *inbox_workers_create(struct loop *l, const struct pg_options *login, struct served *served,
					   const struct config_subscription *s, const char *target, struct log *log)
{
	struct inbox_workers *g = calloc(1, sizeof *g);

	if (g == NULL)
		return NULL;
	*g = (struct inbox_workers){ .loop = l,
				     .login = *login,
				     .served = served,
				     .s = s,
				     .target = target,
				     .log = log,
				     .count = s->workers,
				     .pace = { .rows = INBOX_PACE_ROWS } };
	g->workers = calloc(g->count, sizeof *g->workers);
	g->timer = loop_timer(l, on_timer, g);
	if (g->workers == NULL || g->timer == NULL) {
		inbox_workers_free(g);
		return NULL;
	}
	for (size_t i = 0; i < g->count; i++) {
		struct worker *w = &g->workers[i];

		*w = (struct worker){ .group = g, .lane = NOBODY };
		w->session = (struct served_session){
			.served = served, .listen = &inbox_calls_listen, .up = on_usable, .arg = w
		};
	}
	return g;
}

void inbox_workers_free(struct inbox_workers *g)
{
	if (g == NULL)
		return;
	if (g->timer != NULL)
		loop_timer_at(g->timer, INT64_MAX);
	for (size_t i = 0; g->workers != NULL && i < g->count; i++)
		pg_close(g->workers[i].pg);
	free(g->workers);
	free(g);
}

void inbox_workers_begin(struct inbox_workers *g)
{
	g->working = g->look = true;
	if (!open_sessions(g))
		snprintf(g->trouble, sizeof g->trouble, "out of memory");
	step(g);
}

void inbox_workers_end(struct inbox_workers *g)
{
	g->working = false;
	inbox_turns_clear(&g->turns);
	step(g);
}

void inbox_workers_wake(struct inbox_workers *g)
{
	g->look = true;
	step(g);
}

void inbox_workers_use(struct inbox_workers *g, const struct pg_options *login, const char *why)
{
	struct pg_options o = options_of(g, login);

	g->login = *login;
	for (size_t i = 0; i < g->count; i++)
		if (g->workers[i].pg != NULL)
			pg_use(g->workers[i].pg, &o, why);
}

struct inbox_workers_figures inbox_workers_look(const struct inbox_workers *g)
{
	struct inbox_workers_figures f = g->figures;

	f.trouble = g->trouble;
	for (size_t i = 0; i < g->count; i++)
		f.busy += g->workers[i].lane != NOBODY;
	return f;
}
