/* A relay knows more of itself than its database does. So its own verdict counts, where it answers; else its facts are filled in from
 * the look, as far as they stand there, and judged by the same function. */
#include "command/look_verdict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "command/look.h"
#include "command/look_capture.h"
#include "command/look_inbox.h"
#include "command/out.h"
#include "core/refusal.h"

enum { LINE_BYTES = 256, UNMARKED_S = 5 };

const char *look_verdict_who(const json_t *who, char *to, size_t size)
{
	const char *gid = look_text(who, "gid"), *slot = look_text(who, "slot");
	const char *application = look_text(who, "application"), *user = look_text(who, "user");
	char name[LINE_BYTES], state[LINE_BYTES] = "", age[32] = "", whole[2 * LINE_BYTES];

	utf8_line(gid[0] != '\0'           ? gid
		  : slot[0] != '\0'        ? slot
		  : application[0] != '\0' ? application
					   : user,
		  name, sizeof name);
	if (look_at(who, "seconds") != NULL)
		duration_text(look_number(who, "seconds"), age, sizeof age);
	if (look_at(who, "state") != NULL)
		snprintf(state, sizeof state, ", %s%s%s", look_text(who, "state"), age[0] != '\0' ? " for " : "", age);
	if (gid[0] != '\0')
		snprintf(whole, sizeof whole, "prepared transaction '%s' (for %s)", name, age);
	else if (slot[0] != '\0')
		snprintf(whole, sizeof whole, "replication slot %s", name);
	else if (look_at(who, "pid") != NULL)
		snprintf(whole, sizeof whole, "pid %.0f (%s%s)", look_number(who, "pid"), name, state);
	else
		snprintf(whole, sizeof whole, "somebody who is gone again");
	snprintf(to, size, "%s", whole);
	return to;
}

/* --- as the relay says --- */

static bool from_the_relay(const json_t *look, struct verdict *v)
{
	const char *state = look_text(look, "relay.state");

	for (int s = 0; s < VERDICT_STATES; s++)
		if (look_is(look, "relay.reachable") && strcmp(verdict_state_text(s), state) == 0) {
			v->state = (enum verdict_state)s;
			v->ready = look_is(look, "relay.ready");
			utf8_line(look_text(look, "relay.summary"), v->summary, sizeof v->summary);
			utf8_line(look_text(look, "relay.action"), v->action, sizeof v->action);
			return true;
		}
	return false;
}

/* --- as the database says --- */

/* Who has locked it away from us? Or is it slow? */
static void fill_unreadable(const json_t *look, struct facts *f)
{
	char who[LINE_BYTES] = "a transaction";
	const json_t *unread = look_at(look, "unread"), *lock;
	size_t i;

	if (json_array_size(unread) == 0)
		return;
	json_array_foreach (look_at(look, "locks"), i, lock)
		if (strcmp(look_text(lock, "mode"), "AccessExclusiveLock") == 0)
			look_verdict_who(look_at(lock, "who"), who, sizeof who);
	if (look_is(json_array_get(unread, 0), "locked"))
		snprintf(f->stall, sizeof f->stall, "%s has locked boxhaul's tables, nobody can read them", who);
	else
		snprintf(f->stall, sizeof f->stall, "the database did not answer in time about %s",
			 look_text(json_array_get(unread, 0), "what"));
}

static void fill_blocked(const json_t *look, struct facts *f)
{
	const json_t *b;
	char who[LINE_BYTES];
	size_t i;

	json_array_foreach (look_at(look, "blocked"), i, b)
		if (look_is(b, "leader")) {
			look_verdict_who(json_array_get(look_at(b, "by"), 0), who, sizeof who);
			snprintf(f->stall, sizeof f->stall, "the relay waits for a lock (%s on %s) that %s holds",
				 look_text(b, "wants"), look_text(b, "on"), who);
			return;
		}
}

static double since(const json_t *look, const char *path)
{
	return look_at(look, path) != NULL ? look_number(look, path) : INFINITY;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* Something waits, and the leader has marked nothing since; or since it leads. */
static void fill_unmarked(const json_t *look, const struct config *config, struct facts *f)
{
	double twice = 2 * config->delivery.mark_interval_ms / 1000.0;
	double patience = twice > UNMARKED_S ? twice : UNMARKED_S;
	double s = least(least(since(look, "marked_seconds"), since(look, "led_seconds")),
			 look_number(look, "waiting_seconds"));

	if (!f->leads || look_number(look, "waiting") == 0 || s <= patience)
		return;
	f->unmarked_ms = (int64_t)(s * 1000);
	f->unmarked_too_long = s * 1000 > (double)config->health.stall_after_ms;
}

static void fill_held_back(const json_t *look, struct delivery_stats *s, struct facts *f)
{
	const json_t *r;
	size_t i;

	json_array_foreach (look_at(look, "reasons"), i, r) {
		const char *reason = look_text(r, "reason");

		if (strcmp(look_text(r, "kind"), "parked") != 0)
			continue;
		s->parked_ranges += (uint32_t)look_number(r, "ranges");
		if (strcmp(reason, refusal_text(DEFECT_SUBJECT_UNROUTED)) == 0)
			s->unrouted += (uint64_t)look_number(r, "ids");
		if (f->refused[0] == '\0')
			utf8_line(reason, f->refused, sizeof f->refused);
	}
	s->blocked_lanes = s->parked_ranges > 0 ? (uint32_t)look_number(look, "lanes_held") : 0;
}

static void fill_backlog(const json_t *look, struct backlog_figures *b)
{
	b->known = true;
	b->hot = look_text(look, "hot.key");
	b->messages = (uint64_t)look_number(look, "waiting");
	b->oldest_us = (int64_t)(look_number(look, "waiting_seconds") * 1e6);
	b->oldest_any_us = (int64_t)(look_number(look, "lag_seconds") * 1e6);
	b->dead_letters = (int64_t)look_number(look, "dead_letters");
	b->held_letters = (int64_t)look_number(look, "held");
}

static void from_the_database(const json_t *look, const struct config *config, struct verdict *v)
{
	struct delivery_stats stats = { .paused = look_at(look, "paused") != NULL };
	struct backlog_figures backlog = { .known = false, .hot = "" };
	char target[CONFIG_TARGET_BYTES];
	struct look_capture capture;
	struct look_inbox inbox;
	struct facts f = {
		.target = config_target(config, target),
		.database = "",
		.inbox = &inbox.facts,
		.capture = &capture.facts,
		.stats = &stats,
		.backlog = &backlog,
		.leads = look_is(look, "leading"),
		.nobody_leads = !look_is(look, "leading"),
		.led_by = look_text(look, "leader"),
		.trouble = "",
		.postgres_up = look_at(look, "database") == NULL,
		.postgres_why = look_text(look, "database.why"),
		.nats_up = true, /* nobody here knows better */
		.nats_why = "",
		.paused = stats.paused,
		.paused_by = look_text(look, "paused.told"),
		.cleaning = "",
		.reload_ok = true,
	};

	look_inbox_fill(look_at(look, "inbox"), look_at(look, "sagas"), &inbox);
	look_inbox_sagas(look_at(look, "inbox"), config, &inbox);
	look_capture_fill(look_at(look, "captures"), config, &capture);
	/* Who takes messages, or reads the log, has a lock of its own for each subscription and capture, and here nobody knows better. */
	if (config->stream_count == 0) {
		f.leads = f.postgres_up;
		f.nobody_leads = false;
	}
	fill_backlog(look, &backlog);
	fill_held_back(look, &stats, &f);
	fill_blocked(look, &f);
	fill_unreadable(look, &f);
	fill_unmarked(look, config, &f);
	verdict_of(&f, v);
}

void look_verdict(const json_t *look, const struct config *config, struct verdict *v)
{
	if (!from_the_relay(look, v))
		from_the_database(look, config, v);
}

void look_verdict_add(json_t *look, const struct config *config)
{
	struct verdict v;

	look_capture_add_told(json_object_get(look, "captures"), look_at(look, "relay"));
	look_verdict(look, config, &v);
	json_object_set_new(look, "state", json_string(verdict_state_text(v.state)));
	json_object_set_new(look, "ready", json_boolean(v.ready));
	json_object_set_new(look, "summary", json_string(v.summary));
	json_object_set_new(look, "action", v.action[0] != '\0' ? json_string(v.action) : json_null());
}

/* --max-lag: a lag that cannot be read is not small. */
static enum exit_code judge_lag(const struct call *call, const json_t *look)
{
	const json_t *lag = look_at(look, "lag_seconds");

	if (!call->given[OPTION_MAX_LAG])
		return EXIT_OK;
	if (lag == NULL)
		return EXIT_FAILED;
	return json_number_value(lag) * 1000 > (double)call->number[OPTION_MAX_LAG] ? EXIT_LAGGING : EXIT_OK;
}

/* --exit-code is what /readyz would say. */
enum exit_code look_judge(const struct call *call, const json_t *look)
{
	enum exit_code code = judge_lag(call, look);

	return code == EXIT_OK && call->given[OPTION_EXIT_CODE] && !look_is(look, "ready") ? EXIT_FAILED : code;
}
