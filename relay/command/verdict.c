/* The first cause that is found, from the nearest to the farthest: we cannot see; nobody leads; the leader waits for a lock;
 * the leader says why; nothing was marked for long; some are held back. */
#include "command/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "command/look.h"
#include "command/out.h"
#include "ledger.h"
#include "utf8.h"

enum { LINE_BYTES = 256 };

struct judge {
	const json_t *look;
	const struct config *config;
	double waiting, parked, lag_s;
	char *line;
	size_t size;
};

const char *verdict_who(const json_t *who, char *to, size_t size)
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
		out_duration(look_number(who, "seconds"), age, sizeof age);
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

__attribute__((format(printf, 2, 3))) static void say(const struct judge *j, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(j->line, j->size, format, args);
	va_end(args);
}

/* "3 messages wait, the oldest for 4 s" */
static const char *backlog(const struct judge *j, char *to, size_t size)
{
	double n = j->waiting > 0 ? j->waiting : j->parked;
	char age[32];

	snprintf(to, size, "%.0f%s message%s, the oldest for %s", n, n >= LOOK_COUNT_MAX ? " or more" : "",
		 n == 1 ? " waits" : "s wait", out_duration(j->lag_s, age, sizeof age));
	return to;
}

/* Is it of an older release? Who has locked it away from us? Or is it slow? */
static bool is_unreadable(const struct judge *j)
{
	char who[LINE_BYTES] = "a transaction";
	const json_t *unread = look_at(j->look, "unread"), *lock;
	size_t i;

	if (json_array_size(unread) == 0)
		return false;
	json_array_foreach (look_at(j->look, "locks"), i, lock)
		if (strcmp(look_text(lock, "mode"), "AccessExclusiveLock") == 0)
			verdict_who(look_at(lock, "who"), who, sizeof who);
	if (look_is(json_array_get(unread, 0), "older"))
		say(j, "cannot say: the schema has version %.0f, this boxhaul needs %d: run `boxhaul migrate`",
		    look_number(j->look, "schema_version"), SCHEMA_VERSION);
	else if (look_is(json_array_get(unread, 0), "locked"))
		say(j, "stands still: %s has locked boxhaul's tables, nobody can read them", who);
	else
		say(j, "cannot say: the database did not answer in time about %s",
		    look_text(json_array_get(unread, 0), "what"));
	return true;
}

static bool leader_is_blocked(const struct judge *j)
{
	const json_t *b;
	char who[LINE_BYTES];
	size_t i;

	json_array_foreach (look_at(j->look, "blocked"), i, b)
		if (look_is(b, "leader")) {
			verdict_who(json_array_get(look_at(b, "by"), 0), who, sizeof who);
			say(j, "stands still: the relay waits for a lock (%s on %s) that %s holds",
			    look_text(b, "wants"), look_text(b, "on"), who);
			return true;
		}
	return false;
}

static enum movement without_leader(const struct judge *j)
{
	const char *why = look_text(j->look, "relay.why");
	char line[LINE_BYTES], note[LINE_BYTES + 64] = "", own[LINE_BYTES];

	if (why[0] != '\0')
		snprintf(note, sizeof note, "; the relay on this machine says: %s", utf8_line(why, own, sizeof own));
	if (j->waiting + j->parked > 0)
		say(j, "stands still: nobody leads, %s%s", backlog(j, line, sizeof line),
		    note[0] != '\0' ? note : ": start a relay (boxhaul run)");
	else
		say(j, "nobody leads; nothing waits%s", note);
	return j->waiting + j->parked > 0 ? STANDS : LIMPS;
}

/* What most of what is held back waits for. */
static const char *reason(const struct judge *j, char *to, size_t size)
{
	const json_t *r;
	size_t i;

	snprintf(to, size, "the reason is not on record");
	json_array_foreach (look_at(j->look, "reasons"), i, r)
		if (strcmp(look_text(r, "kind"), "parked") == 0 && look_text(r, "reason")[0] != '\0')
			return utf8_line(look_text(r, "reason"), to, size);
	return to;
}

static enum movement with_some_parked(const struct judge *j)
{
	bool some_go = look_number(j->look, "rate_10s") > 0;
	char why[LINE_BYTES], age[32];

	if (look_number(j->look, "held") > 0) {
		say(j, "%s: %.0f message%s behind %.0f dead letter%s: see boxhaul dead-letters list",
		    some_go ? "moves, but not all" : "stands still", j->parked, j->parked == 1 ? " waits" : "s wait",
		    look_number(j->look, "held"), look_number(j->look, "held") == 1 ? "" : "s");
		return some_go || j->waiting == 0 ? LIMPS : STANDS;
	}
	say(j, "%s: %.0f message%s held back, the oldest for %s: %s", some_go ? "moves, but not all" : "stands still",
	    j->parked, j->parked == 1 ? " is" : "s are", out_duration(j->lag_s, age, sizeof age),
	    reason(j, why, sizeof why));
	return some_go || j->waiting == 0 ? LIMPS : STANDS;
}

static enum movement in_motion(const struct judge *j)
{
	double rate = look_number(j->look, "rate_10s"), held = look_number(j->look, "held");
	double missing = look_number(j->look, "exceptions.missing");
	char line[LINE_BYTES], who[LINE_BYTES];

	if (j->waiting > 0)
		say(j, "moves: %s; about %.0f a second", backlog(j, line, sizeof line), rate);
	else if (held > 0)
		say(j, "all is sent but what waits behind %.0f dead letter%s: redrive or discard %s", held,
		    held == 1 ? "" : "s", held == 1 ? "it" : "them");
	else if (missing > 0 && json_array_size(look_at(j->look, "writers")) > 0)
		say(j, "all that is committed is sent; %.0f id%s of a transaction that is open: %s", missing,
		    missing == 1 ? " is" : "s are",
		    verdict_who(json_array_get(look_at(j->look, "writers"), 0), who, sizeof who));
	else
		say(j, "all is sent");
	return held > 0 ? LIMPS : MOVES;
}

/* "paused", or why not yet. */
static const char *how_paused(const struct judge *j)
{
	if (!look_is(j->look, "leading"))
		return "paused, and nobody leads:";
	if (look_is(j->look, "paused.quiet"))
		return "paused";
	if (look_is(j->look, "paused.deaf"))
		return "not paused, the leader is of an earlier release: restart it; asked for";
	return "pausing, not quiet yet:";
}

/* As it is meant to be, by somebody. */
static enum movement while_paused(const struct judge *j)
{
	const char *reason = look_text(j->look, "paused.reason");
	char by[LINE_BYTES], why[LINE_BYTES], age[32], line[LINE_BYTES] = "";

	if (j->waiting + j->parked > 0)
		backlog(j, line, sizeof line);
	say(j, "%s by %s for %s%s%s%s: `boxhaul resume` goes on%s%s", how_paused(j),
	    utf8_line(look_text(j->look, "paused.by"), by, sizeof by),
	    out_duration(look_number(j->look, "paused.seconds"), age, sizeof age), reason[0] != '\0' ? " (" : "",
	    utf8_line(reason, why, sizeof why), reason[0] != '\0' ? ")" : "", line[0] != '\0' ? "; " : "", line);
	return LIMPS;
}

enum movement verdict(const json_t *look, const struct config *config, char *line, size_t size)
{
	struct judge j = {
		.look = look,
		.config = config,
		.waiting = look_number(look, "waiting"),
		.parked = look_number(look, "exceptions.parked") + look_number(look, "exceptions.active"),
		.lag_s = look_number(look, "lag_seconds"),
		.line = line,
		.size = size,
	};
	double stall_s = config->health.stall_after_ms / 1000.0;
	bool leads_here = strcmp(look_text(look, "relay.role"), "leader") == 0;
	char own[LINE_BYTES];

	if (is_unreadable(&j))
		return STANDS;
	if (look_at(look, "paused") != NULL)
		return while_paused(&j);
	if (!look_is(look, "leading"))
		return without_leader(&j);
	if (leader_is_blocked(&j))
		return STANDS;
	if (leads_here && !look_is(look, "relay.ready")) {
		bool waits = j.waiting + j.parked > 0;

		say(&j, "%s%s", waits ? "stands still: " : "nothing waits, but ",
		    utf8_line(look_text(look, "relay.why"), own, sizeof own));
		return waits ? STANDS : LIMPS;
	}
	if (j.waiting > 0 && j.lag_s > stall_s && look_number(look, "marked_seconds") > stall_s) {
		char age[32], waiting[LINE_BYTES];

		say(&j, "stands still: %s, and the relay has marked nothing for %s%s",
		    backlog(&j, waiting, sizeof waiting),
		    out_duration(look_number(look, "marked_seconds"), age, sizeof age),
		    leads_here ? "" : ": it is not on this machine, look at its log");
		return STANDS;
	}
	return j.parked > 0 ? with_some_parked(&j) : in_motion(&j);
}
