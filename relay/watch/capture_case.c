#include "watch/capture_case.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/duration.h"
#include "watch/counted.h"

enum { WAITS_LONG_US = 10 * 1000000, WARN_SHARE = 4 };

static bool advise_check(struct wrong *w, const char *target)
{
	return wrong_advise(
		w, "`boxhaul check %s` says what is wrong; boxhaul-runbook(7) says what to do: capture-stopped",
		target);
}

/* "for 3 min" */
static const char *age(int64_t us, char to[static 32])
{
	return duration_text((double)us / 1e6, to, 32);
}

/* --- of one capture: nothing is read --- */

static const char *gap_words(const char *reason)
{
	static const struct {
		const char *reason, *words;
	} known[] = {
		{ "gone", "its replication slot is gone" },
		{ "lost", "the server has taken its replication slot away" },
		{ "foreign", "its replication slot is not the one it had" },
		{ "timeline", "the server has gone back to an older history" },
		{ "system", "this is another server" },
		{ "let_go", "its replication slot was let go, for it kept more of the log than wal_budget" },
		{ "truncated", "its stream lost its end, or was made anew" },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(reason, known[i].reason) == 0)
			return known[i].words;
	return reason;
}

static bool has_gap(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return strcmp(c->state, "gap") == 0 &&
	       wrong_say(w, true, "Capture %s reads nothing, for %s%s%s", c->name, gap_words(c->reason),
			 c->detail[0] != '\0' ? ": " : "", c->detail) &&
	       wrong_advise(
		       w,
		       "changes since then are not in the stream: `boxhaul capture resync %s %s` makes a new slot and reads every table again; boxhaul-runbook(7) says what that means: capture-gap",
		       target, c->name);
}

/* Seen from outside. */
static bool is_not_read(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	char kept[32];

	return c->nobody_leads && (strcmp(c->state, "live") == 0 || strcmp(c->state, "creating") == 0) &&
	       wrong_say(w, true, "Capture %s is %s, and no daemon reads it; the server keeps %s of its log for it",
			 c->name, c->state, bytes_text(c->retained_bytes, kept, sizeof kept)) &&
	       wrong_advise(w, "start a daemon: `boxhaul run %s`, or its service", target);
}

static bool is_not_led(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return c->trouble[0] != '\0' && wrong_say(w, true, "Capture %s reads nothing: %s", c->name, c->trouble) &&
	       advise_check(w, target);
}

static bool cannot_mark(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return c->failed[0] != '\0' &&
	       wrong_say(w, true, "Capture %s: its position cannot be stored: %s", c->name, c->failed) &&
	       advise_check(w, target);
}

static bool is_broken(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return !c->streams && c->broken[0] != '\0' &&
	       wrong_say(w, true, "Capture %s: the log is not read: %s", c->name, c->broken) && advise_check(w, target);
}

/* It sends; but nobody may rely on what is made of it. */
static bool is_diverged(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return c->diverged[0] != '\0' &&
	       wrong_say(w, true, "Capture %s: copies of its tables may differ: %s", c->name, c->diverged) &&
	       wrong_advise(
		       w,
		       "`boxhaul verify --repair --to FILE %s` compares a copy and mends it, or `boxhaul capture resync %s %s TABLE` sends its rows anew; boxhaul-runbook(7) says what that means: capture-diverged",
		       target, target, c->name);
}

static bool is_blocked(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	char since[32];

	return c->blocked &&
	       wrong_say(w, true, "Capture %s stands still for %s: stream %s takes no messages: %s", c->name,
			 age(c->blocked_us, since), c->stream, c->blocked_why) &&
	       advise_check(w, target);
}

/* --- something needs somebody --- */

static bool is_not_started(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return strcmp(c->state, "none") == 0 &&
	       wrong_say(w, false, "Capture %s is configured, and has not been started", c->name) &&
	       wrong_advise(w,
			    "`boxhaul capture plan %s %s` says what it would do; `boxhaul capture start %s %s` does it",
			    target, c->name, target, c->name);
}

static bool is_paused(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return c->paused &&
	       wrong_say(w, false, "Capture %s is paused%s%s: the log is kept, and not read", c->name,
			 c->paused_by[0] != '\0' ? " " : "", c->paused_by) &&
	       wrong_advise(w, "`boxhaul capture resume %s %s` goes on", target, c->name);
}

/* The slot waits for whoever had an xid when it was asked for; a chunk for a commit that nobody can see yet. */
static bool waits(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	char since[32];

	(void)target;
	return c->waits_for[0] != '\0' && c->waits_us >= WAITS_LONG_US &&
	       wrong_say(w, false, "Capture %s: %s waits for %s, for %s", c->name, c->waits_what, c->waits_for,
			 age(c->waits_us, since)) &&
	       wrong_advise(w, "end that transaction, if it is forgotten; boxhaul-runbook(7) says how: capture-waits");
}

static bool is_over_budget(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	char kept[32], budget[32];

	return c->wal_known && c->budget_bytes > 0 && c->retained_bytes > c->budget_bytes &&
	       wrong_say(w, false, "Capture %s makes the server keep %s of its log; wal_budget is %s%s", c->name,
			 bytes_text(c->retained_bytes, kept, sizeof kept),
			 bytes_text(c->budget_bytes, budget, sizeof budget),
			 c->lets_go ? ", and the slot is let go" : "") &&
	       wrong_advise(
		       w,
		       "`boxhaul capture status %s %s` says what holds it up; boxhaul-runbook(7) says what to do: capture-wal",
		       target, c->name);
}

/* max_slot_wal_keep_size: what is behind it cannot be mended. */
static bool is_nearly_lost(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	char left[32];

	return c->wal_known && c->safe_bytes > 0 && c->safe_bytes < c->retained_bytes / WARN_SHARE &&
	       wrong_say(w, false, "Capture %s: after %s more of its log the server takes the replication slot away",
			 c->name, bytes_text(c->safe_bytes, left, sizeof left)) &&
	       wrong_advise(
		       w,
		       "raise max_slot_wal_keep_size on the server, and see with `boxhaul capture status %s %s` what holds the capture up",
		       target, c->name);
}

static const struct capture_table_facts *ailing_table(const struct capture_one_facts *c)
{
	for (size_t i = 0; i < c->table_count; i++)
		if (c->table[i].reason[0] != '\0')
			return &c->table[i];
	return NULL;
}

static bool is_state(const struct capture_table_facts *t, const char *one, const char *other)
{
	return strcmp(t->state, one) == 0 || strcmp(t->state, other) == 0;
}

static bool has_ailing_table(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	const struct capture_table_facts *t = ailing_table(c);

	if (t == NULL)
		return false;
	if (is_state(t, "waiting", "reading"))
		return wrong_say(w, false, "Capture %s: table %s is not read: %s", c->name, t->name, t->reason) &&
		       wrong_advise(w, "mend the cause: it is tried again within a minute");
	if (is_state(t, "verifying", "verifying"))
		return wrong_say(w, false, "Capture %s: the verify pass over table %s does not go on: %s", c->name,
				 t->name, t->reason) &&
		       wrong_advise(w, "mend the cause: it is tried again within a minute");
	if (is_state(t, "unproved", "refused"))
		return wrong_say(w, false, "Capture %s: table %s is %s: %s", c->name, t->name, t->state, t->reason) &&
		       wrong_advise(w, "mend the cause; then `boxhaul capture resync %s %s %s` reads it again", target,
				    c->name, t->name);
	return wrong_say(w, false, "Capture %s: table %s is not as it should be: %s", c->name, t->name, t->reason) &&
	       wrong_advise(
		       w,
		       "`boxhaul capture plan %s %s` says what mends it; then `boxhaul capture resync %s %s %s` brings what was missed",
		       target, c->name, target, c->name, t->name);
}

/* As the outbox' are told of (verdict.c). */
static bool has_held_letters(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	uint64_t n = c->held;

	return n > 0 &&
	       wrong_say(w, false, "Capture %s: %s%" PRIu64 " dead letter%s back what follows with the same key",
			 c->name, counted(n), n, n == 1 ? " holds" : "s hold") &&
	       wrong_advise(w, "`boxhaul capture dead-letters %s %s` shows %s; then capture redrive or capture discard",
			    target, c->name, n == 1 ? "it" : "them");
}

static bool has_dead_letters(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	uint64_t n = c->dead_letters > c->held ? c->dead_letters - c->held : 0;

	return n > 0 &&
	       wrong_say(w, false, "Capture %s: %s%" PRIu64 " change%s given up and stand%s as dead letter%s", c->name,
			 counted(c->dead_letters), n, n == 1 ? " was" : "s were", n == 1 ? "s" : "",
			 n == 1 ? "" : "s") &&
	       wrong_advise(w, "`boxhaul capture dead-letters %s %s` shows %s, and why", target, c->name,
			    n == 1 ? "it" : "them");
}

/* Its stream takes others, and not these: a limit for each subject, or a right that is missing. */
static bool carries(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	uint64_t n = c->held == 0 ? c->carried : 0; /* else it is said already who keeps them waiting */

	return n > 0 &&
	       wrong_say(w, false, "Capture %s: %" PRIu64 " change%s for %s key, kept with its books", c->name, n,
			 n == 1 ? " waits" : "s wait", n == 1 ? "its" : "their") &&
	       wrong_advise(
		       w,
		       "`boxhaul capture status %s %s` shows the oldest, and what the stream said; boxhaul-runbook(7) says what to do: capture-carried",
		       target, c->name);
}

static bool carries_all_it_may(const struct capture_one_facts *c, const char *target, struct wrong *w)
{
	return c->carried_full &&
	       wrong_say(
		       w, true,
		       "Capture %s: %" PRIu64
		       " changes wait for their key, as many as may be: the log is not read on when memory is full, too",
		       c->name, c->carried) &&
	       wrong_advise(
		       w,
		       "`boxhaul capture status %s %s` shows the oldest, and what the stream said; boxhaul-runbook(7) says what to do: capture-carried",
		       target, c->name);
}

/* --- of all --- */

static bool no_session(const struct capture_facts *f, const char *target, struct wrong *w)
{
	return !f->postgres_up && f->postgres_why[0] != '\0' &&
	       wrong_say(w, true, "PostgreSQL is not connected for the captures: %s", f->postgres_why) &&
	       advise_check(w, target);
}

static bool no_connection(const struct capture_facts *f, const char *target, struct wrong *w)
{
	return !f->nats_up && f->nats_why[0] != '\0' &&
	       wrong_say(w, true, "NATS is not connected for the captures: %s", f->nats_why) && advise_check(w, target);
}

/* --- the list --- */

typedef bool check(const struct capture_one_facts *c, const char *target, struct wrong *w);

static check *const checks[] = { has_gap,          is_not_read,    is_not_led,         cannot_mark,      is_broken,
				 is_diverged,      is_blocked,     carries_all_it_may, is_not_started,   is_paused,
				 is_nearly_lost,   is_over_budget, has_ailing_table,   has_held_letters, carries,
				 has_dead_letters, waits };

enum { OF_ALL = 2, CHECKS = sizeof checks / sizeof checks[0] };

size_t capture_case_count(const struct capture_facts *f)
{
	return f != NULL && f->count > 0 ? OF_ALL + CHECKS * f->count : 0;
}

/* Check by check, and in each capture by capture: so what stalls one comes before what only needs somebody in another. */
bool capture_case_is(const struct capture_facts *f, const char *target, bool others, size_t n, struct wrong *out)
{
	if (n == 0)
		return others && no_session(f, target, out);
	if (n == 1)
		return others && no_connection(f, target, out);
	n -= OF_ALL;
	return checks[n / f->count](&f->capture[n % f->count], target, out);
}
