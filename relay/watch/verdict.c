/* The checks stand in one list, the worst first: the verdict is the first that is true. What is only a state (standing by, all
 * is well) comes behind what is a problem, but for a standby and a pause, of which nothing below them is asked. */
#include "watch/verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/duration.h"
#include "watch/capture_case.h"
#include "watch/counted.h"
#include "watch/inbox_case.h"

const char *verdict_state_text(enum verdict_state state)
{
	static const char *const texts[VERDICT_STATES] = {
		[VERDICT_OK] = "ok",           [VERDICT_STARTING] = "starting", [VERDICT_STANDBY] = "standby",
		[VERDICT_PAUSED] = "paused",   [VERDICT_STOPPING] = "stopping", [VERDICT_DEGRADED] = "degraded",
		[VERDICT_STALLED] = "stalled",
	};

	return texts[state];
}

/* Returns true, for the checks. */
__attribute__((format(printf, 3, 4))) static bool say(struct verdict *v, enum verdict_state state, const char *format,
						      ...)
{
	va_list args;

	v->state = state;
	v->ready = state != VERDICT_STARTING && state != VERDICT_STALLED;
	v->action[0] = '\0';
	va_start(args, format);
	vsnprintf(v->summary, sizeof v->summary, format, args);
	va_end(args);
	return true;
}

__attribute__((format(printf, 2, 3))) static bool advise(struct verdict *v, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(v->action, sizeof v->action, format, args);
	va_end(args);
	return true;
}

/* A cause that `boxhaul check` can find, and the section of boxhaul-runbook(7) about it. */
static bool advise_check(struct verdict *v, const struct facts *f, const char *section)
{
	return advise(v, "`boxhaul check %s` says what is wrong; boxhaul-runbook(7) says what to do: %s", f->target,
		      section);
}

/* "3 messages wait, the oldest for 4 s" */
static const char *waiting(const struct facts *f, char *to, size_t size)
{
	char age[32];

	snprintf(to, size, "%" PRIu64 " message%s, the oldest for %s", f->backlog->messages,
		 f->backlog->messages == 1 ? " waits" : "s wait",
		 duration_text((double)f->backlog->oldest_us / 1e6, age, sizeof age));
	return to;
}

/* --- stalled, or not started --- */

static bool no_postgres(const struct facts *f, struct verdict *v)
{
	if (f->postgres_up)
		return false;
	if (f->postgres_why[0] == '\0')
		return say(v, VERDICT_STARTING, "Starting: connecting to PostgreSQL");
	say(v, VERDICT_STALLED, "PostgreSQL is not connected: %s", f->postgres_why);
	return advise_check(v, f, "postgresql-down");
}

static bool no_role(const struct facts *f, struct verdict *v)
{
	if (!f->postgres_up || f->leads || f->stands_by || f->nobody_leads)
		return false;
	if (f->trouble[0] == '\0')
		return say(v, VERDICT_STARTING, "Starting: reading what the last leader left");
	say(v, VERDICT_STALLED, "The database is not ready for the relay: %s", f->trouble);
	return advise_check(v, f, "postgresql-down");
}

static bool no_nats(const struct facts *f, struct verdict *v)
{
	if (f->nats_up)
		return false;
	if (f->nats_why[0] == '\0')
		return say(v, VERDICT_STARTING, "Starting: connecting to NATS");
	say(v, VERDICT_STALLED, "NATS is not connected: %s", f->nats_why);
	return advise_check(v, f, "nats-down");
}

static bool no_progress(const struct facts *f, struct verdict *v)
{
	if (f->stall[0] == '\0')
		return false;
	say(v, VERDICT_STALLED, "Stalled: %s", f->stall);
	return advise_check(v, f, "stalled");
}

/* --- as it is meant to be --- */

static bool stands_by(const struct facts *f, struct verdict *v)
{
	return f->stands_by &&
	       say(v, VERDICT_STANDBY, "Standing by: %s leads", f->led_by[0] != '\0' ? f->led_by : "another relay");
}

static bool is_paused(const struct facts *f, struct verdict *v)
{
	char line[96];

	if (!f->paused)
		return false;
	say(v, VERDICT_PAUSED, "Paused %s: nothing is sent%s%s", f->paused_by, f->backlog->messages > 0 ? "; " : "",
	    f->backlog->messages > 0 ? waiting(f, line, sizeof line) : "");
	return advise(v, "`boxhaul resume %s` goes on", f->target);
}

static bool is_stopping(const struct facts *f, struct verdict *v)
{
	return f->stats->draining &&
	       say(v, VERDICT_STOPPING, "Stopping: %" PRIu32 " message%s in flight %s waited for", f->stats->in_flight,
		   f->stats->in_flight == 1 ? "" : "s", f->stats->in_flight == 1 ? "is" : "are");
}

/* --- seen from outside --- */

static bool nobody_leads(const struct facts *f, struct verdict *v)
{
	char line[96];

	if (!f->nobody_leads)
		return false;
	if (f->backlog->messages > 0 || f->stats->parked_ranges > 0)
		say(v, VERDICT_STALLED, "Nobody leads: %s",
		    f->backlog->messages > 0 ? waiting(f, line, sizeof line) : "messages are held back");
	else
		say(v, VERDICT_DEGRADED, "Nobody leads; nothing waits");
	return advise(v, "start a relay: `boxhaul run %s`, or its service", f->target);
}

static bool does_not_mark(const struct facts *f, struct verdict *v)
{
	char line[96], age[32];

	if (f->unmarked_ms == 0)
		return false;
	say(v, f->unmarked_too_long ? VERDICT_STALLED : VERDICT_DEGRADED,
	    "Nothing has moved for %s: %s; the leader (%s) does not mark",
	    duration_text((double)f->unmarked_ms / 1000, age, sizeof age), waiting(f, line, sizeof line), f->led_by);
	return advise(v, "look at the log of that relay; boxhaul-runbook(7) says what to do: stalled");
}

/* --- delivering, but --- */

static bool stream_is_blocked(const struct facts *f, size_t i, struct verdict *v)
{
	const struct stream_state *s = &f->stats->stream[i];
	char age[32], told[64];

	snprintf(told, sizeof told, "stream %.48s:", f->stream[i].name);
	if (!s->blocked || strstr(f->stall, told) != NULL)
		return false; /* or the stall has named it already */
	say(v, VERDICT_DEGRADED, "Stream %s takes no messages for %s: %s%s%s", f->stream[i].name,
	    duration_text((double)(f->now_ms - s->since_ms) / 1000, age, sizeof age), f->stream[i].reason,
	    f->stream[i].detail[0] != '\0' ? ": " : "", f->stream[i].detail);
	return advise_check(v, f, "stalled");
}

static bool has_lost(const struct facts *f, struct verdict *v)
{
	char age[32];
	size_t i = 0;

	while (i < f->stream_count && f->stream[i].lost_ms == 0)
		i++;
	if (i == f->stream_count)
		return false;
	say(v, VERDICT_DEGRADED,
	    "Stream %s was made anew, or has lost its end, %s ago: what was sent before may be gone from it",
	    f->stream[i].name, duration_text((double)(f->now_ms - f->stream[i].lost_ms) / 1000, age, sizeof age));
	return advise(v, "`boxhaul reconcile %s` lists what is missing; `boxhaul replay --missing %s` sends it again",
		      f->target, f->target);
}

static bool has_unrouted(const struct facts *f, struct verdict *v)
{
	uint64_t n = f->stats->unrouted;

	if (n == 0)
		return false;
	say(v, VERDICT_DEGRADED, "%" PRIu64 " message%s held: no stream of the configuration takes %s", n,
	    n == 1 ? " is" : "s are", n == 1 ? "its subject" : "their subjects");
	return advise(
		v, "`boxhaul status %s` says which; add their subjects to a stream of the configuration, then restart",
		f->target);
}

static bool has_held_letters(const struct facts *f, struct verdict *v)
{
	int64_t n = f->backlog->held_letters;

	if (n == 0)
		return false;
	say(v, VERDICT_DEGRADED, "%s%" PRId64 " dead letter%s back what follows with the same key",
	    counted((uint64_t)n), n, n == 1 ? " holds" : "s hold");
	return advise(v, "`boxhaul dead-letters list %s` shows %s; then redrive or discard", f->target,
		      n == 1 ? "it" : "them");
}

static bool has_dead_letters(const struct facts *f, struct verdict *v)
{
	int64_t n = f->backlog->dead_letters - f->backlog->held_letters;

	if (n <= 0)
		return false;
	say(v, VERDICT_DEGRADED, "%s%" PRId64 " message%s given up and %s as dead letter%s",
	    counted((uint64_t)f->backlog->dead_letters), n, n == 1 ? " was" : "s were", n == 1 ? "stands" : "stand",
	    n == 1 ? "" : "s");
	return advise(v, "`boxhaul dead-letters list %s` shows %s; then redrive or discard", f->target,
		      n == 1 ? "it" : "them");
}

static bool holds_back(const struct facts *f, struct verdict *v)
{
	uint32_t keys = f->stats->blocked_lanes;
	char age[32], who[48] = "Messages are held back";

	if (f->stats->parked_ranges == 0 || (f->stats->unrouted > 0 && keys == 0))
		return false;
	for (size_t i = 0; i < f->stream_count; i++)
		if (f->stats->stream[i].blocked)
			return false; /* told already */
	if (keys > 0)
		snprintf(who, sizeof who, "Messages of %" PRIu32 " key%s are held back", keys, keys == 1 ? "" : "s");
	say(v, VERDICT_DEGRADED, "%s, the oldest for %s%s%s", who,
	    duration_text((double)f->backlog->oldest_any_us / 1e6, age, sizeof age),
	    f->refused[0] != '\0' ? "; refused last: " : "", f->refused);
	return advise(v, "`boxhaul status %s` says which, and why", f->target);
}

static bool runs_an_old_file(const struct facts *f, struct verdict *v)
{
	if (f->reload_ok)
		return false;
	say(v, VERDICT_DEGRADED, "The last reload of the configuration was refused: the one before it still counts");
	return advise(v, "mend the file as the log says, then reload again");
}

static bool cannot_clean(const struct facts *f, struct verdict *v)
{
	if (f->cleaning[0] == '\0')
		return false;
	say(v, VERDICT_DEGRADED, "Cleaning up fails again and again: %s", f->cleaning);
	return advise_check(v, f, "stalled");
}

/* It stalls, or does not, as is asked: in the verdict's words. */
static bool pass_on(const struct wrong *w, bool stalled, struct verdict *v)
{
	return w->stalled == stalled && say(v, stalled ? VERDICT_STALLED : VERDICT_DEGRADED, "%s", w->what) &&
	       advise(v, "%s", w->mend);
}

/* The n-th thing that may be wrong with the inbox, if it is. */
static bool inbox_is_wrong(const struct facts *f, size_t n, bool stalled, struct verdict *v)
{
	struct wrong w;

	return inbox_case_is(f->inbox, f->target, f->stream_count > 0, n, &w) && pass_on(&w, stalled, v);
}

/* The same of the captures. */
static bool capture_is_wrong(const struct facts *f, size_t n, bool stalled, struct verdict *v)
{
	struct wrong w;
	bool others = f->stream_count > 0 || (f->inbox != NULL && f->inbox->count > 0);

	return capture_case_is(f->capture, f->target, others, n, &w) && pass_on(&w, stalled, v);
}

/* Nothing is handled there: what is taken is applied in the same transaction, and what waits stands in the stream. */
static bool sinks_are_well(const struct facts *f, struct verdict *v)
{
	uint64_t waiting = 0, incomplete = 0;

	for (size_t i = 0; i < f->inbox->count; i++) {
		const struct inbox_subscription_facts *s = &f->inbox->subscription[i];

		waiting += s->lag_known ? s->lag_messages : 0;
		incomplete += s->backlog->incomplete;
	}
	if (incomplete > 0)
		return say(v, VERDICT_OK, "Applying; of %" PRIu64 " table%s not all rows have come yet", incomplete,
			   incomplete == 1 ? "" : "s");
	if (waiting > 0)
		return say(v, VERDICT_OK, "Applying; %" PRIu64 " change%s in the stream to be applied", waiting,
			   waiting == 1 ? " waits" : "s wait");
	return say(v, VERDICT_OK, "All that was taken is applied");
}

static bool inbox_is_well(const struct facts *f, struct verdict *v)
{
	uint64_t waiting = 0;
	int64_t oldest_us = 0;
	bool sinks = true;
	char age[32];

	for (size_t i = 0; i < f->inbox->count; i++) {
		const struct inbox_backlog *b = f->inbox->subscription[i].backlog;

		sinks = sinks && b->sink;
		waiting += b->waiting;
		oldest_us = b->oldest_us > oldest_us ? b->oldest_us : oldest_us;
	}
	if (sinks)
		return sinks_are_well(f, v);
	if (waiting == 0)
		return say(v, VERDICT_OK, "All that was taken is handled");
	return say(v, VERDICT_OK, "Taking; %" PRIu64 " message%s to be handled, the oldest for %s", waiting,
		   waiting == 1 ? " waits" : "s wait", duration_text((double)oldest_us / 1e6, age, sizeof age));
}

/* One that is not live yet, or else the one that is most behind, tells of all. */
static bool captures_are_well(const struct facts *f, struct verdict *v)
{
	const struct capture_one_facts *worst = &f->capture->capture[0];
	char lag[32], behind[32];

	for (size_t i = 1; i < f->capture->count; i++)
		if (strcmp(f->capture->capture[i].state, "live") != 0 || f->capture->capture[i].lag_us > worst->lag_us)
			worst = &f->capture->capture[i];
	if (strcmp(worst->state, "live") != 0)
		return say(v, VERDICT_OK, "Capture %s: its replication slot is being made", worst->name);
	if (worst->unfinished > 0)
		return say(v, VERDICT_OK, "Capturing; the rows that were there before are being read");
	if (worst->lag_us < 0)
		return say(v, VERDICT_OK, "Capturing; %s of the log are not confirmed yet",
			   bytes_text(worst->lag_bytes, behind, sizeof behind));
	if (worst->lag_us < 1000000)
		return say(v, VERDICT_OK, "Capturing: no commit waits for as long as a second");
	return say(v, VERDICT_OK, "Capturing: %s is %s behind, %s of the log", worst->name,
		   duration_text((double)worst->lag_us / 1e6, lag, sizeof lag),
		   bytes_text(worst->lag_bytes, behind, sizeof behind));
}

static bool is_well(const struct facts *f, struct verdict *v)
{
	char line[96];

	if (f->stream_count == 0 && (f->inbox == NULL || f->inbox->count == 0) && f->capture != NULL &&
	    f->capture->count > 0)
		return captures_are_well(f, v);

	if (f->stream_count == 0 && f->inbox != NULL && f->inbox->count > 0)
		return inbox_is_well(f, v);
	if (f->backlog->messages == 0)
		return say(v, VERDICT_OK, "All is delivered");
	if (f->backlog->oldest_us < 1000000)
		return say(v, VERDICT_OK, "Delivering: nothing waits for as long as a second");
	return say(v, VERDICT_OK, "Delivering: %s%s%s%s", waiting(f, line, sizeof line),
		   f->backlog->hot[0] != '\0' ? "; most have the key " : "", f->backlog->hot,
		   f->backlog->hot[0] != '\0' ? " and go one after the other" : "");
}

/* --- the list --- */

/* True: it is so, and written. */
typedef bool check(const struct facts *f, struct verdict *v);

static check *const before_inbox[] = { no_postgres, no_role, no_nats, no_progress };
static check *const before_streams[] = { stands_by, is_paused, is_stopping, nobody_leads, does_not_mark };
static check *const behind_streams[] = { has_lost,   has_unrouted,     has_held_letters, has_dead_letters,
					 holds_back, runs_an_old_file, cannot_clean };

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Is n below `count`? If not, it goes on behind it. */
static bool within(size_t *n, size_t count)
{
	if (*n < count)
		return true;
	*n -= count;
	return false;
}

/* The n-th of the list. What stalls the inbox, or a capture, comes before what is meant to be, what does not behind all else. */
static bool is_true(const struct facts *f, size_t n, struct verdict *v)
{
	size_t inbox = inbox_case_count(f->inbox), captures = capture_case_count(f->capture);

	if (within(&n, COUNT(before_inbox)))
		return before_inbox[n](f, v);
	if (within(&n, inbox))
		return inbox_is_wrong(f, n, true, v);
	if (within(&n, captures))
		return capture_is_wrong(f, n, true, v);
	if (within(&n, COUNT(before_streams)))
		return before_streams[n](f, v);
	if (within(&n, f->stream_count))
		return stream_is_blocked(f, n, v);
	if (within(&n, COUNT(behind_streams)))
		return behind_streams[n](f, v);
	if (within(&n, inbox))
		return inbox_is_wrong(f, n, false, v);
	if (within(&n, captures))
		return capture_is_wrong(f, n, false, v);
	return is_well(f, v);
}

/* Moves *at behind the next check that is true. */
static bool next(const struct facts *f, size_t *at, struct verdict *v)
{
	size_t end = COUNT(before_inbox) + COUNT(before_streams) + f->stream_count + COUNT(behind_streams) +
		     2 * inbox_case_count(f->inbox) + 2 * capture_case_count(f->capture) + 1;

	while (*at < end)
		if (is_true(f, (*at)++, v))
			return true;
	return false;
}

void verdict_of(const struct facts *f, struct verdict *v)
{
	size_t at = 0;

	next(f, &at, v); /* the last one is always true */
}

bool verdict_next_problem(const struct facts *f, size_t *at, struct verdict *v)
{
	while (next(f, at, v))
		if (v->state == VERDICT_STALLED || v->state == VERDICT_DEGRADED || v->state == VERDICT_PAUSED)
			return true;
	return false;
}
