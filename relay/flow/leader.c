/* From a fresh session to the lead.
 *
 *     session up -> is the database ready for us? --no--> say why, ask again
 *                        | yes
 *                   LISTEN -> try the lock --not ours--> STANDBY: try again in a moment, and ask again now and then
 *                                 | ours
 *                       is it still ready? --no--> end the session, and the lock with it
 *                                 | yes
 *                             lead(): a new epoch -> load low waters and exceptions -> LEADER
 *
 * The lock is a session's advisory lock: when the leader's session ends, however it ends, the server lets go of
 * it and the next try of a standby gets it. A waiting lock request would be quicker still, but would hold a snapshot
 * all the time it waits, and with it back the vacuum of the whole database. The epoch is the second bolt: a mark
 * of a relay that lost the lead without noticing changes nothing.
 *
 * The schema may have been migrated while a standby of an older release stood by, and serve it no longer: it must not lead then. One
 * that leads goes on: a migration that still serves it leaves its statements working, and one that does not ends its lead, as one
 * that it finds out about by itself does (leader_check_ids()). */
#include "flow/leader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "books/codec.h"
#include "books/ledger.h"
#include "books/schema.h"
#include "format/witness.h"

enum { LOCK_RETRY_MS = 200, READY_RETRY_MS = 2000 };

struct leader {
	struct loop *loop;
	struct pg *pg;
	const struct config *config;
	struct log *log;
	struct leader_handlers handlers;
	enum role role;
	struct loop_timer *timer;
	void (*next)(struct leader *r);
	char name[ROLE_HOLDER_BYTES];
	char trouble[512];
	const char *streams[LIMIT_STREAMS];
	int64_t asked_ms, predecessor_until_ms;
	int64_t checked_ms;              /* when the database was asked last whether it is ready */
	int64_t led_epoch, led_timeline; /* of the lead that was ours last */
	struct codec_lead lead;
	struct codec_books books;
	char *since; /* the snapshot that the lead was taken in */
	uint64_t low_water[LIMIT_STREAMS];
	uint64_t history; /* leader_history() */
	struct served *served;
	struct served_place place; /* of the session */
	uint64_t server;           /* leader_server() */
	int64_t schema;            /* leader_schema() */
};

static void check_ready(struct leader *r);
static bool accept_database(struct leader *r, const struct pg_result *result);
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

struct leader *leader_create(struct loop *l, struct pg *pg, const struct config *config, struct log *log,
			     struct served *served, const struct leader_handlers *handlers)
{
	struct leader *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->loop = l;
	r->pg = pg;
	r->config = config;
	r->log = log;
	r->served = served;
	r->handlers = *handlers;
	r->next = check_ready;
	for (size_t i = 0; i < config->stream_count; i++)
		r->streams[i] = config->streams[i].name;
	r->timer = loop_timer(l, on_timer, r);
	role_holder(config->name, r->name);
	if (r->timer == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void leader_free(struct leader *r)
{
	if (r == NULL)
		return;
	free(r->since);
	free(r);
}

/* What could not be asked has no answer to wait for, and the lock may be ours already: begin again. */
static void ask(struct leader *r, bool asked)
{
	if (!asked)
		pg_break(r->pg, "a statement could not be sent");
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
	char target[CONFIG_TARGET_BYTES], mend[SCHEMA_TEXT_BYTES];

	stuck(r, pg_error(result), schema_mend(pg_sqlstate(result), config_target(r->config, target), mend));
}

/* --- the lead --- */

static uint64_t mix_text(uint64_t value, const char *text)
{
	return witness_mix(value, text, strlen(text) + 1);
}

static uint64_t history_of(const struct leader *r)
{
	uint64_t h = witness_mix(0, (int64_t[]){ r->place.system, r->place.timeline }, 2 * sizeof(int64_t));

	for (size_t i = 0; i < r->config->stream_count; i++) {
		const struct config_stream *s = &r->config->streams[i];

		h = mix_text(h, s->name);
		for (size_t j = 0; j < s->subject_count; j++)
			h = mix_text(h, s->subjects[j]);
	}
	return h;
}

static void on_exceptions(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;
	struct exception_row *rows;
	size_t count;

	if (pg_error(result) != NULL) {
		failed(r, result);
		return;
	}
	rows = FAILPOINT(exceptions_loaded) ? NULL : codec_exceptions(result, &count);
	if (rows == NULL) {
		pg_break(r->pg, "out of memory");
		return;
	}
	r->role = ROLE_LEADER;
	r->led_epoch = r->lead.epoch;
	r->led_timeline = r->place.timeline;
	r->history = history_of(r);
	r->trouble[0] = '\0';
	log_info(r->log, "leading", KI("epoch", r->lead.epoch), KI("position", r->lead.position),
		 KI("exceptions", (int64_t)count));
	r->handlers.leading(r->handlers.arg,
			    &(struct event){ .kind = EVENT_LEADING,
					     .leading = { .position = r->lead.position,
							  .fence = r->lead.fence,
							  .asked_ms = r->asked_ms,
							  .exceptions = rows,
							  .exception_count = count,
							  .low_water = r->low_water,
							  .predecessor_until_ms = r->predecessor_until_ms,
							  .operator_pause = r->lead.pause } });
	free(rows);
}

/* Its failure is the session's: the exceptions, asked for behind it, fail as well. */
static void on_low_waters(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		r->low_water[i] = r->lead.first ? LOW_WATER_NONE
						: LOW_WATER_UNKNOWN; /* the first leader ever finds nothing of ours */
	if (pg_error(result) == NULL)
		codec_low_waters(result, r->low_water);
}

static void on_lead(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;
	int64_t predecessor_until_ms;

	if (pg_error(result) != NULL) {
		failed(r, result);
		return;
	}
	r->lead = codec_lead(result);
	r->books = r->lead.books;
	free(r->since);
	r->since = strdup(r->lead.since);
	if (r->since == NULL) {
		pg_break(r->pg, "out of memory");
		return;
	}
	predecessor_until_ms = loop_now_ms() + r->lead.others_ms;
	/* An earlier leader may live, and publish for its lease; unless it resigned, or we are it. (Whoever led before us then
	 * may live, too.) */
	if ((r->lead.epoch != r->led_epoch + 1 || r->place.timeline != r->led_timeline) &&
	    predecessor_until_ms > r->predecessor_until_ms)
		r->predecessor_until_ms = predecessor_until_ms;
	if (FAILPOINT(lead_taken))
		pg_break(r->pg, "failpoint");
	ask(r, ledger_low_waters(r->pg, r->streams, r->config->stream_count, on_low_waters, r));
	ask(r, ledger_exceptions(r->pg, r->streams, r->config->stream_count, on_exceptions, r));
}

static void on_ready_to_lead(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL) {
		failed(r, result);
	} else if (!accept_database(r, result)) {
		pg_break(r->pg, r->trouble);
	} else {
		r->asked_ms = loop_now_ms();
		ask(r, ledger_lead(r->pg, r->name, r->config->delivery.lease_ms, on_lead, r));
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
		pg_break(r->pg, "failpoint");
	ask(r, ledger_ready(r->pg, on_ready_to_lead, r));
}

static void try_lock(struct leader *r)
{
	ask(r, ledger_try_lock(r->pg, on_lock, r));
}

static void on_listen(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (pg_error(result) != NULL)
		failed(r, result);
	else
		try_lock(r);
}

/* --- are these still the books that we read? --- */

void leader_marking(struct leader *r, int64_t position)
{
	r->books.position = position;
}

void leader_seen(struct leader *r, int64_t id)
{
	if (id > r->books.highest)
		r->books.highest = id;
}

const struct codec_books *leader_books(const struct leader *r)
{
	return &r->books;
}

const char *leader_since(const struct leader *r)
{
	return r->since;
}

void leader_books_differ(struct leader *r, const char *why)
{
	log_error(r->log, "these are not the books that were read: taking the lead anew", KS("why", why));
	pg_break(r->pg, why);
}

/* Of a schema that is not ours and gets along with us, it is said once. */
static void take_schema(struct leader *r, int64_t version, const char *what, const char *mend)
{
	if (version != r->schema && what[0] != '\0')
		log_warn(r->log, "the schema is not that of this boxhaul", KS("why", what), KS("do", mend));
	r->schema = version;
}

static void on_ids(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;
	struct schema_found found;
	char target[CONFIG_TARGET_BYTES], what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES];
	size_t bytes;

	if (pg_error(result) != NULL) {
		pg_break(r->pg, pg_error(result));
		return;
	}
	found = schema_of_binary(result, 1);
	if (!pg_is_null(result, 0, 0))
		leader_books_differ(r, pg_bytes(result, 0, 0, &bytes));
	else if (schema_fit(&found, config_target(r->config, target), what, mend) == SCHEMA_REFUSED)
		pg_break(r->pg, what);
	else
		take_schema(r, found.version, what, mend);
}

bool leader_check_ids(struct leader *r)
{
	return ledger_ids_differ(r->pg, on_ids, r);
}

/* --- is the database ready for us? --- */

/* The primary may be another host of the connection string. libpq takes the first one that answers, and would come to this
 * one for ever. */
static void turn_away(struct leader *r)
{
	pg_turn(r->pg);
	later(r, reconnect, READY_RETRY_MS);
}

/* Whether the database is ready for us. If not, it is said why, and asked again later. */
static bool accept_database(struct leader *r, const struct pg_result *result)
{
	char what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES];
	enum served_verdict verdict = served_judge(r->served, result, what, mend, &r->place);

	if (pg_rows(result) == 1)
		r->server = (uint64_t)pg_int8(result, 0, SCHEMA_COLUMN_COUNT + 1);
	if (verdict == SERVED_READY) {
		take_schema(r, pg_int8(result, 0, 0), what, mend);
		return true;
	}
	stuck(r, what, mend);
	if (verdict == SERVED_ELSEWHERE)
		turn_away(r);
	return false;
}

static void on_ready(void *arg, const struct pg_result *result)
{
	struct leader *r = arg;

	if (accept_database(r, result))
		ask(r, ledger_listen(r->pg, on_listen, r));
}

static void reconnect(struct leader *r)
{
	pg_break(r->pg, r->trouble);
}

static void check_ready(struct leader *r)
{
	r->checked_ms = loop_now_ms();
	ask(r, ledger_ready(r->pg, on_ready, r));
}

void leader_session_up(struct leader *r)
{
	r->role = ROLE_STARTING;
	r->place = (struct served_place){ .system = 0 };
	check_ready(r);
}

void leader_session_down(struct leader *r)
{
	r->role = ROLE_DISCONNECTED;
	loop_timer_at(r->timer, INT64_MAX);
}

void leader_tick(struct leader *r)
{
	const char *why = r->role != ROLE_DISCONNECTED ? served_is_past(r->served, &r->place) : NULL;

	if (why != NULL)
		pg_break(r->pg, why);
}

enum role leader_role(const struct leader *r)
{
	return r->role;
}

uint64_t leader_history(const struct leader *r)
{
	return r->history;
}

uint64_t leader_server(const struct leader *r)
{
	return r->server;
}

int64_t leader_schema(const struct leader *r)
{
	return r->schema;
}

int64_t leader_epoch(const struct leader *r)
{
	return r->lead.epoch;
}

const char *leader_trouble(const struct leader *r)
{
	return r->trouble;
}

int64_t leader_others_ms(const struct leader *r)
{
	int64_t now = loop_now_ms();

	return r->predecessor_until_ms > now ? r->predecessor_until_ms - now : 0;
}
