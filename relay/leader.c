/* From a fresh session to the lead.
 *
 *     session up -> is the database ready for us? --no--> say why, ask again
 *                        | yes
 *                   LISTEN -> try the lock --not ours--> STANDBY: try again in a moment, and ask again now and then
 *                                 | ours
 *                       is it still ready? --no--> end the session, and the lock with it
 *                                 | yes
 *                             lead(): a new epoch -> load floors and exceptions -> LEADER
 *
 * The lock is a session's advisory lock: when the leader's session ends, however it ends, the server lets go of
 * it and the next try of a standby gets it. A waiting lock request would be quicker still, but would hold a snapshot
 * all the time it waits, and with it back the vacuum of the whole database. The epoch is the second bolt: a mark
 * of a relay that lost the lead without noticing changes nothing.
 *
 * The schema may have been migrated while a standby of an older release stood by: it must not lead then. One that leads
 * goes on; a migration leaves what the release before it does working. */
#include "leader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failpoint.h"
#include "ledger.h"

enum { LOCK_RETRY_MS = 200, READY_RETRY_MS = 2000 };

struct leader {
	struct loop *loop;
	struct pg *const *pg;
	const struct config *config;
	struct log *log;
	struct leader_handlers handlers;
	enum role role;
	struct loop_timer *timer;
	void (*next)(struct leader *r);
	char name[256];
	char trouble[512];
	const char *streams[LIMIT_STREAMS];
	int64_t epoch, position, asked_ms, others_until_ms;
	int64_t checked_ms;              /* when the database was asked last whether it is ready */
	int64_t led_epoch, led_timeline; /* of the lead that was ours last */
	uint64_t fence;
	uint64_t floors[LIMIT_STREAMS];
	bool first; /* nobody has led before */
	uint64_t pause;
	int64_t system, timeline; /* of the server we served last; 0 = none yet */
};

static void check_ready(struct leader *r);
static bool is_ready(struct leader *r, const struct pg_result *result);
static void reconnect(struct leader *r);
static void try_lock(struct leader *r);

static void on_timer(void *arg)
{
	struct leader *r = arg;

	if (r->role != ROLE_DISCONNECTED)
		r->next(r);
}

static void later(struct leader *r, void (*next)(struct leader *r), int64_t wait_ms)
{
	r->next = next;
	loop_timer_at(r->timer, loop_now_ms() + wait_ms);
}

struct leader *leader_create(struct loop *l, struct pg *const *pg, const struct config *config, struct log *log,
			     const struct leader_handlers *handlers)
{
	struct leader *r = calloc(1, sizeof *r);
	char host[128] = "?";

	if (r == NULL)
		return NULL;
	r->loop = l;
	r->pg = pg;
	r->config = config;
	r->log = log;
	r->handlers = *handlers;
	r->next = check_ready;
	for (size_t i = 0; i < config->stream_count; i++)
		r->streams[i] = config->streams[i].name;
	r->timer = loop_timer(l, on_timer, r);
	gethostname(host, sizeof host - 1);
	snprintf(r->name, sizeof r->name, "%s on %s, process %ld", config->name, host, (long)getpid());
	if (r->timer == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void leader_free(struct leader *r)
{
	free(r);
}

static void stuck(struct leader *r, const char *why, const char *mend)
{
	snprintf(r->trouble, sizeof r->trouble, "%s: %s", why, mend);
	r->role = ROLE_STARTING;
	log_error(r->log, "the database is not ready for the relay", KS("why", why), KS("do", mend));
	later(r, check_ready, READY_RETRY_MS);
}

static void failed(struct leader *r, const struct pg_result *result)
{
	const char *state = pg_sqlstate(result);

	if (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0 || strcmp(state, "42883") == 0 ||
	    strcmp(state, "42703") == 0)
		stuck(r, pg_error(result), "run `boxhaul migrate`, then `boxhaul check`");
	else if (strcmp(state, "42501") == 0)
		stuck(r, pg_error(result), "GRANT boxhaul_relay TO the relay's user, then `boxhaul check`");
	else
		stuck(r, pg_error(result), "see `boxhaul check`");
}

/* --- the lead --- */

static enum exception_kind kind_of(const struct pg_result *result, int row)
{
	size_t n;

	switch (pg_bytes(result, row, 2, &n)[0]) {
	case 'p': return EXCEPTION_PARKED;
	case 'h': return EXCEPTION_HELD;
	case 'a': return EXCEPTION_ACTIVE;
	default: return EXCEPTION_MISSING;
	}
}

static void on_exceptions(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;
	struct event ev = { .kind = EVENT_LEADING };
	struct exception_row *rows;
	int n = pg_rows(result);

	if (pg_error(result) != NULL) {
		failed(r, result);
		return;
	}
	rows = FAILPOINT(exceptions_loaded) ? NULL : calloc((size_t)n + 1, sizeof *rows);
	if (rows == NULL) {
		pg_break(*r->pg, "out of memory");
		return;
	}
	for (int i = 0; i < n; i++)
		rows[i] = (struct exception_row){
			.lo = pg_int8(result, i, 0),
			.hi = pg_int8(result, i, 1),
			.kind = kind_of(result, i),
			.lane = pg_is_null(result, i, 3) ? 0 : (uint64_t)pg_int8(result, i, 3),
			.attempts = (uint32_t)pg_int8(result, i, 4),
			.floor = FLOOR_NONE,
			.decided = pg_int8(result, i, 7) != 0,
		};
	for (int i = 0; i < n; i++)
		if (!pg_is_null(result, i, 5)) { /* else never sent, or to a stream that is not configured any more */
			rows[i].stream = (uint16_t)pg_int8(result, i, 5);
			rows[i].floor = (uint64_t)pg_int8(result, i, 6);
		} else if (!pg_is_null(result, i, 6)) {
			rows[i].doubted = pg_int8(result, i, 6) == 0;
		}
	r->role = ROLE_LEADER;
	r->led_epoch = r->epoch;
	r->led_timeline = r->timeline;
	r->trouble[0] = '\0';
	log_info(r->log, "leading", KI("epoch", r->epoch), KI("position", r->position), KI("exceptions", n));
	ev.leading.position = r->position;
	ev.leading.fence = r->fence;
	ev.leading.asked_ms = r->asked_ms;
	ev.leading.exceptions = rows;
	ev.leading.exception_count = (size_t)n;
	ev.leading.floors = r->floors;
	ev.leading.others_until_ms = r->others_until_ms;
	ev.leading.pause = r->pause;
	r->handlers.leading(r->handlers.arg, &ev);
	free(rows);
}

/* Its failure is the session's: the exceptions, asked for behind it, fail as well. */
static void on_floors(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		r->floors[i] = r->first ? FLOOR_NONE : FLOOR_UNKNOWN; /* the first leader ever finds nothing of ours */
	for (int i = 0; pg_error(result) == NULL && i < pg_rows(result); i++)
		r->floors[pg_int8(result, i, 0)] = (uint64_t)pg_int8(result, i, 1);
}

static void on_lead(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL) {
		failed(r, result);
		return;
	}
	r->epoch = pg_int8(result, 0, 0);
	r->position = pg_int8(result, 0, 1);
	r->fence = (uint64_t)pg_int8(result, 0, 2);
	r->first = pg_int8(result, 0, 4) != 0;
	r->pause = (uint64_t)pg_int8(result, 0, 5);
	/* An earlier leader may live, and publish for its lease; unless it resigned, or we are it. (Whoever led before us then
	 * may live, too.) */
	if ((r->epoch != r->led_epoch + 1 || r->timeline != r->led_timeline) &&
	    loop_now_ms() + pg_int8(result, 0, 3) > r->others_until_ms)
		r->others_until_ms = loop_now_ms() + pg_int8(result, 0, 3);
	if (FAILPOINT(lead_taken))
		pg_break(*r->pg, "failpoint");
	ledger_floors(*r->pg, r->streams, r->config->stream_count, on_floors, r);
	ledger_exceptions(*r->pg, r->streams, r->config->stream_count, on_exceptions, r);
}

static void on_ready_to_lead(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL) {
		failed(r, result);
	} else if (!is_ready(r, result)) {
		pg_break(*r->pg, r->trouble);
	} else {
		r->asked_ms = loop_now_ms();
		ledger_lead(*r->pg, r->name, r->config->delivery.lease_ms, on_lead, r);
	}
}

static void on_lock(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL) {
		failed(r, result);
		return;
	}
	if (pg_int8(result, 0, 0) == 0) {
		if (r->role != ROLE_STANDBY)
			log_info(r->log, "standing by: another relay leads", KS("name", r->config->name));
		r->role = ROLE_STANDBY;
		r->trouble[0] = '\0';
		later(r, loop_now_ms() - r->checked_ms < READY_RETRY_MS ? try_lock : check_ready, LOCK_RETRY_MS);
		return;
	}
	if (FAILPOINT(lock_taken))
		pg_break(*r->pg, "failpoint");
	ledger_ready(*r->pg, on_ready_to_lead, r);
}

static void try_lock(struct leader *r)
{
	ledger_try_lock(*r->pg, on_lock, r);
}

static void on_listen(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL)
		failed(r, result);
	else
		try_lock(r);
}

/* --- is the database ready for us? --- */

/* A promotion begins a new timeline. Whoever is on an older one than we have served already, or is another server
 * altogether, may take writes, but is not the database any more: an old primary that came back. */
static bool is_the_same_history(struct leader *r, int64_t system, int64_t timeline)
{
	char text[160];

	if (r->system != 0 && (system != r->system || timeline < r->timeline)) {
		snprintf(text, sizeof text,
			 "%s: timeline %" PRId64 " of system %" PRIu64 ", but timeline %" PRId64 " of %" PRIu64
			 " was served before",
			 system != r->system ? "another server" : "an older history of this database", timeline,
			 (uint64_t)system, r->timeline, (uint64_t)r->system);
		stuck(r, text, "stop the old primary; if it is meant to be served, restart the relay");
		later(r, reconnect, READY_RETRY_MS);
		return false;
	}
	if (r->system != 0 && timeline > r->timeline)
		log_warn(r->log,
			 "another server was promoted: messages of transactions that it missed may be in the stream",
			 KI("timeline", timeline), KI("before", r->timeline));
	r->system = system;
	r->timeline = timeline;
	return true;
}

/* If not, it has been said why. */
static bool is_ready(struct leader *r, const struct pg_result *result)
{
	int64_t version = pg_int8(result, 0, 0);
	char text[160];

	if (version < SCHEMA_VERSION) {
		snprintf(text, sizeof text, "the schema has version %d, this relay needs %d", (int)version,
			 SCHEMA_VERSION);
		stuck(r, text, "run `boxhaul migrate`");
	} else if (version > SCHEMA_VERSION) {
		snprintf(text, sizeof text, "the schema has version %d, this relay knows %d", (int)version,
			 SCHEMA_VERSION);
		stuck(r, text, "install the newer boxhaul");
	} else if (pg_int8(result, 0, 1) != 0) {
		stuck(r, "the server is in recovery (a standby)",
		      "connect to the primary (target_session_attrs=read-write)");
		later(r, reconnect, READY_RETRY_MS); /* the primary may be another host of the connection string */
	} else {
		return is_the_same_history(r, pg_int8(result, 0, 3), pg_int8(result, 0, 4));
	}
	return false;
}

static void on_ready(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL)
		failed(r, result);
	else if (is_ready(r, result))
		ledger_listen(*r->pg, on_listen, r);
}

static void reconnect(struct leader *r)
{
	pg_break(*r->pg, r->trouble);
}

static void check_ready(struct leader *r)
{
	r->checked_ms = loop_now_ms();
	ledger_ready(*r->pg, on_ready, r);
}

void leader_session_up(struct leader *r)
{
	r->role = ROLE_STARTING;
	check_ready(r);
}

void leader_session_down(struct leader *r)
{
	r->role = ROLE_DISCONNECTED;
	loop_timer_at(r->timer, INT64_MAX);
}

enum role leader_role(const struct leader *r)
{
	return r->role;
}

const char *leader_role_text(const struct leader *r)
{
	static const char *const text[] = {
		[ROLE_DISCONNECTED] = "disconnected",
		[ROLE_STARTING] = "starting",
		[ROLE_STANDBY] = "standby",
		[ROLE_LEADER] = "leader",
	};

	return text[r->role];
}

int64_t leader_epoch(const struct leader *r)
{
	return r->epoch;
}

const char *leader_trouble(const struct leader *r)
{
	return r->trouble;
}

int64_t leader_others_ms(const struct leader *r)
{
	int64_t now = loop_now_ms();

	return r->others_until_ms > now ? r->others_until_ms - now : 0;
}
