#include "watch/inbox_case.h"

#include <inttypes.h>
#include <string.h>

#include "watch/counted.h"
#include "watch/inbox_note.h"
#include "watch/inbox_stop.h"
#include "watch/saga_case.h"

static bool advise_check(struct wrong *c, const char *target)
{
	return wrong_advise(
		c, "`boxhaul check %s` says what is wrong; boxhaul-runbook(7) says what to do: inbox-stopped", target);
}

/* --- of one subscription --- */

static bool has_stopped(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	c->stalled = true;
	inbox_stop_tell(&(struct inbox_stop_case){ .stop = s->stats->stop,
						   .subscription = s->name,
						   .stream = s->stream,
						   .target = target,
						   .ids = s->ids,
						   .from = s->stats->stop_from,
						   .to = s->stats->stop_to,
						   .reason = s->refused },
			c->what, c->mend);
	return s->stats->stop != INBOX_STOP_NONE;
}

static bool is_not_led(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	return s->trouble[0] != '\0' && wrong_say(c, true, "Subscription %s takes nothing: %s", s->name, s->trouble) &&
	       advise_check(c, target);
}

static bool cannot_be_handled(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	return s->has_handler && s->handler.trouble[0] != '\0' &&
	       wrong_say(c, true, "The handler of subscription %s cannot be called: %s", s->name, s->handler.trouble) &&
	       advise_check(c, target);
}

static bool cannot_be_moved(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	if (s->failed[0] == '\0')
		return false;
	if (s->backlog->sink)
		return wrong_say(c, true, "Subscription %s: a transaction cannot be applied: %s", s->name, s->failed) &&
		       wrong_advise(c, "`boxhaul inbox show %s %s` says what to do; it is tried again by itself",
				    target, s->name);
	return wrong_say(c, true, "Subscription %s: messages cannot be stored: %s", s->name, s->failed) &&
	       advise_check(c, target);
}

static bool has_missing(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	uint64_t n = s->backlog->missing;

	(void)target;
	return n > 0 &&
	       wrong_say(c, false,
			 "Subscription %s: %" PRIu64 " update%s found no row: its tables are not what the source has",
			 s->name, n, n == 1 ? "" : "s") &&
	       wrong_advise(c, "`boxhaul capture resync NAME CAPTURE` at the source sends the rows of its tables anew");
}

/* A verify pass has found them, and none since has proved that they are gone. */
static bool has_differences(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	const struct inbox_backlog *b = s->backlog;

	(void)target;
	return b->different > 0 &&
	       wrong_say(c, false, "Subscription %s: %s%" PRIu64 " row%s of its tables differ%s from the source, in %s",
			 s->name, counted(b->different), b->different, b->different == 1 ? "" : "s",
			 b->different == 1 ? "s" : "", b->different_table) &&
	       wrong_advise(
		       c,
		       "find out who has written them; `boxhaul verify --repair NAME --to FILE` sets them right (NAME: the source, FILE: this configuration); boxhaul-runbook(7) says what to do: sink-different");
}

static bool takes_in_vain(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	return s->in_vain &&
	       wrong_say(c, true, "Subscription %s takes nothing, for no consumer of stream %s works: %s", s->name,
			 s->stream, inbox_note_doubt(s->doubt, s->refused)) &&
	       advise_check(c, target);
}

static bool is_paused(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	if (!s->paused)
		return false;
	wrong_say(c, false, "Subscription %s is paused: nothing is taken or handed out", s->name);
	return s->backlog->sink
		       ? wrong_advise(
				 c,
				 "of a move, where its tables are written here, leave it so (boxhaul-move(7)); else `boxhaul inbox resume %s %s` goes on",
				 target, s->name)
		       : wrong_advise(c, "`boxhaul inbox resume %s %s` goes on", target, s->name);
}

static bool has_blocked(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	const struct inbox_backlog *b = s->backlog;
	bool held = strcmp(b->blocked_state, "held") == 0;

	if (b->blocked_id == 0)
		return false;
	wrong_say(c, false, "Subscription %s: row %" PRId64 " (%s%s) %s: %s; %" PRIu64 " wait parked", s->name,
		  b->blocked_id, b->blocked_has_key ? "key " : "no key", b->blocked_key,
		  held                                        ? "is held"
		  : strcmp(b->blocked_state, "standing") == 0 ? "is handed out again and again"
							      : "failed and is tried again",
		  b->blocked_error, b->parked);
	return held ? wrong_advise(c,
				   "mend the cause, then `boxhaul inbox retry %s %s %" PRId64
				   "`, or `boxhaul inbox skip %s %s %" PRId64 "`",
				   target, s->name, b->blocked_id, target, s->name, b->blocked_id)
		    : wrong_advise(c, "`boxhaul inbox show %s %s` shows what fails, and why", target, s->name);
}

static bool has_dead_letters(const struct inbox_subscription_facts *s, const char *target, struct wrong *c)
{
	uint64_t n = s->backlog->dead_letters;

	return n > 0 &&
	       wrong_say(c, false, "Subscription %s: %s%" PRIu64 " message%s given up and stand%s as dead letter%s",
			 s->name, counted(n), n, n == 1 ? " was" : "s were", n == 1 ? "s" : "", n == 1 ? "" : "s") &&
	       wrong_advise(c, "`boxhaul inbox dead-letters %s %s` shows %s; then redrive or discard", target, s->name,
			    n == 1 ? "it" : "them");
}

/* --- of all --- */

static bool no_session(const struct inbox_facts *f, const char *target, struct wrong *c)
{
	return !f->postgres_up && f->postgres_why[0] != '\0' &&
	       wrong_say(c, true, "PostgreSQL is not connected for the inbox: %s", f->postgres_why) &&
	       advise_check(c, target);
}

static bool no_connection(const struct inbox_facts *f, const char *target, struct wrong *c)
{
	return !f->nats_up && f->nats_why[0] != '\0' &&
	       wrong_say(c, true, "NATS is not connected for the inbox: %s", f->nats_why) && advise_check(c, target);
}

static bool cannot_clean(const struct inbox_facts *f, const char *target, struct wrong *c)
{
	return f->cleaning[0] != '\0' && wrong_say(c, false, "Cleaning up the inbox fails: %s", f->cleaning) &&
	       advise_check(c, target);
}

/* Who starts sagas has a subscription for their answers, so they are the inbox's to tell of. */
static bool is_wrong_with_sagas(const struct inbox_facts *f, const char *target, size_t n, struct wrong *c)
{
	return saga_case_is(&f->sagas, target, n, c);
}

/* --- the list --- */

typedef bool check(const struct inbox_subscription_facts *s, const char *target, struct wrong *c);

static check *const checks[] = { has_stopped, is_not_led,  cannot_be_moved,  takes_in_vain, cannot_be_handled,
				 is_paused,   has_blocked, has_dead_letters, has_missing,   has_differences };

enum { OF_ALL = 3 + SAGA_CASES, CHECKS = sizeof checks / sizeof checks[0] };

size_t inbox_case_count(const struct inbox_facts *f)
{
	return f != NULL && (f->count > 0 || f->sagas.here || f->sagas.unclocked > 0) ? OF_ALL + CHECKS * f->count : 0;
}

/* Check by check, and in each subscription by subscription: so what stalls one comes before what only needs somebody in another. */
bool inbox_case_is(const struct inbox_facts *f, const char *target, bool outbox, size_t n, struct wrong *out)
{
	if (n == 0)
		return outbox && no_session(f, target, out);
	if (n == 1)
		return outbox && no_connection(f, target, out);
	if (n == 2)
		return cannot_clean(f, target, out);
	if (n < OF_ALL)
		return is_wrong_with_sagas(f, target, n - 3, out);
	n -= OF_ALL;
	return checks[n / f->count](&f->subscription[n % f->count], target, out);
}
