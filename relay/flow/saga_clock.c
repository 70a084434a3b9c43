/* One statement is under way at a time; what is wanted is kept in flags, and step() sends the next.
 *
 * The payload functions and local steps behind a deadline are not ours, so a call may take too long. saga_tick() takes the cancel of the
 * statement_timeout for a failure of the saga at which it stands, and keeps what it has done for the others. */
#include "flow/saga_clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/scrub.h"
#include "edge/pg.h"
#include "flow/inbox_pace.h"

enum {
	CALL_MS = 10000, /* a call may take so long: all others wait behind it */
	LOOK_MS = 5000,  /* figures while a saga is open */
	NUMBER_BYTES = 24,
};

enum { LISTEN, CONFIGURE, TICK, LOOK };

static const struct pg_statement listen_ = { LISTEN, "LISTEN boxhaul_saga" };
static const struct pg_statement configure_ = {
	CONFIGURE, "SELECT boxhaul.saga_configure($1, pg_catalog.make_interval(secs => $2::pg_catalog.float8 / 1000))"
};
static const struct pg_statement tick_ = { TICK, "SELECT boxhaul.saga_tick()" };
static const struct pg_statement look_ = { LOOK, saga_figures_query };

struct saga_clock {
	struct loop *loop;
	struct pg_options login;
	struct served_session session;
	const struct config *config;
	struct log *log;
	struct loop_timer *timer;
	struct pg *pg;
	bool begun, runs, up, busy;
	bool configure, tick, look; /* to be asked */
	bool asleep;                /* no saga is open, and who starts one says so */
	int64_t due_ms, look_ms;    /* the next tick; the next figures */
	int64_t asked_ms;           /* the figures */
	struct inbox_pace pace;
	struct saga_figures figures;
	char trouble[512];
};

static void step(struct saga_clock *c);

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void not_sent(struct saga_clock *c)
{
	pg_break(c->pg, "a statement could not be sent");
}

/* --- what came of it --- */

static void failed(struct saga_clock *c, const char *what, const struct pg_result *r)
{
	char why[sizeof c->trouble];

	inbox_pace_in_vain(&c->pace, loop_now_ms());
	/* Two transactions met: the next try nearly always does it. */
	if (strncmp(pg_sqlstate(r), "40", 2) == 0)
		return;
	scrub(pg_error(r), why, sizeof why);
	if (strcmp(why, c->trouble) != 0)
		log_error(c->log, what, KS("why", why), KS("sqlstate", pg_sqlstate(r)));
	snprintf(c->trouble, sizeof c->trouble, "%s", why);
	if (pg_wants_session(r))
		pg_break(c->pg, why);
}

static void on_configured(void *arg, const struct pg_result *r)
{
	struct saga_clock *c = arg;

	c->busy = false;
	c->configure = pg_error(r) != NULL;
	if (c->configure)
		failed(c, "sagas cannot be started here", r);
	else
		c->trouble[0] = '\0';
	step(c);
}

static void on_looked(void *arg, const struct pg_result *r)
{
	struct saga_clock *c = arg;
	int64_t now = loop_now_ms();

	c->busy = c->look = false;
	/* However dear it is, a twentieth of the time goes into it at most. */
	c->look_ms = now + LOOK_MS + 20 * (now - c->asked_ms);
	saga_figures_read(r, &c->figures);
	if (pg_error(r) != NULL)
		log_warn(c->log, "the sagas could not be counted", KS("why", pg_error(r)));
	step(c);
}

/* In `tick` at the latest: a saga that is started meanwhile may be due before all others. */
static void set_due(struct saga_clock *c, const struct pg_result *r)
{
	bool was_asleep = c->asleep;

	c->asleep = pg_is_null(r, 0, 0);
	c->due_ms = loop_now_ms();
	if (!c->asleep)
		c->due_ms += earlier(pg_int8(r, 0, 0), c->config->sagas.tick_ms);
	/* The last word on those that have just ended. */
	c->look |= c->asleep != was_asleep;
}

static void on_ticked(void *arg, const struct pg_result *r)
{
	struct saga_clock *c = arg;

	c->busy = false;
	if (pg_error(r) != NULL) {
		failed(c, "the deadlines of sagas cannot be taken", r);
		step(c);
		return;
	}
	if (FAILPOINT(saga_ticked))
		pg_break(c->pg, "failpoint");
	c->tick = false;
	c->trouble[0] = '\0';
	inbox_pace_succeeded(&c->pace);
	set_due(c, r);
	step(c);
}

/* --- asking --- */

static void ask_configure(struct saga_clock *c)
{
	char retention[NUMBER_BYTES];
	const char *p[] = { c->config->sagas.replies, retention };

	snprintf(retention, sizeof retention, "%" PRIu64, c->config->sagas.retention_ms);
	c->busy = true;
	if (!pg_send(c->pg, &configure_, p, 2, on_configured, c))
		not_sent(c);
}

static void ask_tick(struct saga_clock *c)
{
	c->busy = true;
	if (!pg_send(c->pg, &tick_, NULL, 0, on_ticked, c) || FAILPOINT(saga_ticking))
		not_sent(c);
}

static void ask_look(struct saga_clock *c)
{
	c->busy = true;
	c->asked_ms = loop_now_ms();
	if (!pg_send(c->pg, &look_, NULL, 0, on_looked, c))
		not_sent(c);
}

static bool wants_tick(const struct saga_clock *c, int64_t now)
{
	return c->runs && !c->configure && (c->tick || (!c->asleep && now >= c->due_ms));
}

static bool wants_look(const struct saga_clock *c, int64_t now)
{
	return c->look || (!c->asleep && now >= c->look_ms);
}

/* Sends what is wanted, one after the other, and sets the timer for what is not wanted yet. */
static void step(struct saga_clock *c)
{
	int64_t now = loop_now_ms(), at = INT64_MAX;

	if (c->begun && c->up && !c->busy && served_session_may_go_on(&c->session)) {
		if (now < c->pace.not_before_ms)
			at = c->pace.not_before_ms;
		else if (c->configure)
			ask_configure(c);
		else if (wants_tick(c, now))
			ask_tick(c);
		else if (wants_look(c, now))
			ask_look(c);
		else if (!c->asleep)
			at = c->runs ? earlier(c->due_ms, c->look_ms) : c->look_ms;
	}
	loop_timer_at(c->timer, at);
}

static void on_timer(void *arg)
{
	step(arg);
}

/* --- the session --- */

static void on_up(void *arg)
{
	struct saga_clock *c = arg;

	c->session.pg = c->pg;
	served_session_up(&c->session);
}

/* It is the database that the daemon serves, too. */
static void on_usable(void *arg)
{
	struct saga_clock *c = arg;

	c->up = c->configure = c->tick = c->look = true;
	c->busy = c->asleep = false;
	step(c);
}

static void on_down(void *arg, const char *why)
{
	struct saga_clock *c = arg;

	if (!c->up)
		scrub(why, c->trouble, sizeof c->trouble);
	log_warn(c->log, "the session for the deadlines of sagas is gone", KS("why", why));
	c->up = c->busy = false;
	step(c);
}

static void on_notified(void *arg, const char *payload)
{
	(void)payload;
	saga_clock_wake(arg);
}

static struct pg_options options_of(const struct saga_clock *c)
{
	struct pg_options o = c->login;

	o.foreign_code = true;
	o.statement_timeout_ms = CALL_MS;
	return o;
}

/* --- from outside --- */

struct saga_clock *saga_clock_create(struct loop *l, const struct pg_options *login, struct served *served,
				     const struct config *config, struct log *log)
{
	struct saga_clock *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	*c = (struct saga_clock){ .loop = l, .login = *login, .config = config, .log = log };
	c->session = (struct served_session){ .served = served, .listen = &listen_, .up = on_usable, .arg = c };
	c->timer = loop_timer(l, on_timer, c);
	if (c->timer != NULL)
		return c;
	free(c);
	return NULL;
}

void saga_clock_free(struct saga_clock *c)
{
	if (c == NULL)
		return;
	loop_timer_at(c->timer, INT64_MAX);
	pg_close(c->pg);
	free(c);
}

void saga_clock_begin(struct saga_clock *c)
{
	struct pg_options o = options_of(c);

	if (c->begun)
		return;
	c->begun = true;
	if (c->pg == NULL)
		c->pg = pg_open(
			c->loop, &o,
			&(struct pg_handlers){ .up = on_up, .down = on_down, .notified = on_notified, .arg = c });
	if (c->pg == NULL)
		snprintf(c->trouble, sizeof c->trouble, "out of memory");
	c->configure = c->tick = c->look = true;
	step(c);
}

void saga_clock_end(struct saga_clock *c)
{
	c->begun = c->runs = false;
	c->figures.known = false;
	step(c);
}

void saga_clock_run(struct saga_clock *c, bool runs)
{
	if (c->runs == runs)
		return;
	c->runs = runs;
	c->tick |= runs;
	step(c);
}

void saga_clock_wake(struct saga_clock *c)
{
	if (!c->asleep)
		return;
	c->tick = c->look = true;
	step(c);
}

void saga_clock_use(struct saga_clock *c, const struct pg_options *login, const char *why)
{
	struct pg_options o;

	c->login = *login;
	o = options_of(c);
	if (c->pg != NULL)
		pg_use(c->pg, &o, why);
	c->configure = true;
	step(c);
}

/* --- looking --- */

bool saga_clock_runs(const struct saga_clock *c)
{
	return c->begun && c->runs;
}

const char *saga_clock_trouble(const struct saga_clock *c)
{
	return c->begun ? c->trouble : "";
}

const struct saga_figures *saga_clock_figures(const struct saga_clock *c)
{
	return &c->figures;
}
