#include "flow/inbox_leader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "books/inbox_ledger.h"
#include "books/ledger.h"
#include "books/schema.h"

enum { LOCK_RETRY_MS = 1000, READY_RETRY_MS = 2000, TROUBLE_BYTES = 768 };

struct lead {
	struct inbox_leader *owner;
	size_t index;
	enum role role;
	bool asking; /* a step towards the lead is under way */
	int64_t epoch, again_ms;
	char trouble[TROUBLE_BYTES];
};

struct inbox_leader {
	struct pg *pg;
	const struct config *config;
	struct log *log;
	struct inbox_leader_handlers handlers;
	struct loop_timer *timer;
	char name[ROLE_HOLDER_BYTES];
	char trouble[TROUBLE_BYTES]; /* of the database as a whole */
	bool up, ready;
	int64_t ready_again_ms;
	struct served *served;
	struct served_place place; /* of the session */
	int64_t schema;            /* inbox_leader_schema() */
	struct inbox_mark trail[LIMIT_INBOX_TRAIL];
	size_t count;
	struct lead lead[];
};

static void on_timer(void *arg);
static bool accept_database(struct inbox_leader *r, const struct pg_result *result);

struct inbox_leader *inbox_leader_create(struct loop *l, struct pg *pg, const struct config *config, struct log *log,
					 struct served *served, const struct inbox_leader_handlers *handlers)
{
	struct inbox_leader *r = calloc(1, sizeof *r + config->subscription_count * sizeof r->lead[0]);

	if (r == NULL)
		return NULL;
	r->pg = pg;
	r->config = config;
	r->log = log;
	r->served = served;
	r->handlers = *handlers;
	r->count = config->subscription_count;
	for (size_t i = 0; i < r->count; i++) {
		r->lead[i].owner = r;
		r->lead[i].index = i;
	}
	r->timer = loop_timer(l, on_timer, r);
	role_holder(config->name, r->name);
	if (r->timer == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void inbox_leader_free(struct inbox_leader *r)
{
	free(r);
}

static const struct config_subscription *subscription(const struct lead *d)
{
	return &d->owner->config->subscriptions[d->index];
}

/* What could not be asked has no answer to wait for: begin again. */
static void ask(struct inbox_leader *r, bool asked)
{
	if (!asked)
		pg_break(r->pg, "a statement could not be sent");
}

static void set_timer(struct inbox_leader *r)
{
	int64_t at = r->ready ? INT64_MAX : r->ready_again_ms;

	for (size_t i = 0; r->ready && i < r->count; i++)
		if (!r->lead[i].asking && r->lead[i].role != ROLE_LEADER && r->lead[i].again_ms < at)
			at = r->lead[i].again_ms;
	loop_timer_at(r->timer, r->up ? at : INT64_MAX);
}

/* --- the lead of one subscription --- */

static void again(struct lead *d, int64_t wait_ms)
{
	d->asking = false;
	d->again_ms = loop_now_ms() + wait_ms;
	set_timer(d->owner);
}

static void on_unlocked(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;

	if (pg_error(result) != NULL)
		pg_break(d->owner->pg, pg_error(result));
	else
		again(d, READY_RETRY_MS);
}

/* Another daemon, with other settings, may be able to. */
static void step_back(struct lead *d, const char *why)
{
	struct inbox_leader *r = d->owner;

	if (strcmp(d->trouble, why) != 0) {
		snprintf(d->trouble, sizeof d->trouble, "%s", why);
		log_error(r->log, "the subscription cannot be led", KS("subscription", subscription(d)->name),
			  KS("why", why));
	}
	d->role = ROLE_STARTING;
	ask(r, inbox_ledger_unlock(r->pg, subscription(d)->name, on_unlocked, d));
}

/* What another session may be allowed, this one will be refused for ever. */
static void refused(struct lead *d, const struct pg_result *result)
{
	if (pg_wants_session(result))
		pg_break(d->owner->pg, pg_error(result));
	else
		step_back(d, pg_error(result));
}

/* It was told when it came to be, in the log of whoever led then. */
static void tell_stop(const struct lead *d, const struct inbox_books *books)
{
	const struct inbox_leader *r = d->owner;
	char target[CONFIG_TARGET_BYTES], command[CONFIG_TARGET_BYTES + 128];

	if (books->stop == INBOX_STOP_NONE)
		return;
	snprintf(command, sizeof command, "boxhaul inbox show %s %s", config_target(r->config, target),
		 subscription(d)->name);
	log_warn(r->log, "the subscription had stopped before", KS("subscription", subscription(d)->name),
		 KS("stop", inbox_ledger_stop_word(books->stop)), KS("do", command));
}

static void on_first_books(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;
	struct inbox_leader *r = d->owner;
	struct inbox_books books;

	if (pg_error(result) != NULL || !inbox_ledger_read_books(result, &books, r->trail)) {
		step_back(d, pg_error(result) != NULL ? pg_error(result) : "its books make no sense");
		return;
	}
	d->asking = false;
	d->role = ROLE_LEADER;
	d->trouble[0] = '\0';
	log_info(r->log, "taking", KS("subscription", subscription(d)->name), KI("epoch", d->epoch),
		 KU("position", books.position), KU("incarnation", books.incarnation));
	tell_stop(d, &books);
	r->handlers.leading(r->handlers.arg, d->index, &books);
}

static void on_lead(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;
	struct inbox_leader *r = d->owner;

	if (pg_error(result) != NULL) {
		refused(d, result);
		return;
	}
	d->epoch = pg_int8(result, 0, 0);
	if (FAILPOINT(inbox_lead_taken))
		pg_break(r->pg, "failpoint");
	ask(r, inbox_ledger_books(r->pg, subscription(d)->name, d->epoch, on_first_books, d));
}

static void tell_changes(struct lead *d, const struct pg_result *result)
{
	size_t bytes;
	const char *changes = pg_is_null(result, 0, 0) ? "" : pg_bytes(result, 0, 0, &bytes);

	if (changes[0] != '\0')
		log_info(d->owner->log, "the subscription on record fits the configuration now",
			 KS("subscription", subscription(d)->name), KS("changes", changes));
}

static void on_defined(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;
	struct inbox_leader *r = d->owner;

	if (pg_error(result) != NULL) {
		refused(d, result);
		return;
	}
	tell_changes(d, result);
	ask(r, inbox_ledger_lead(r->pg, subscription(d), r->name, on_lead, d));
}

/* While it stood by the schema may have been migrated, and serve it no longer. The lock is let go with the session. */
static void on_ready_to_lead(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;
	struct inbox_leader *r = d->owner;

	if (accept_database(r, result))
		ask(r, inbox_ledger_define(r->pg, subscription(d), on_defined, d));
	else
		pg_break(r->pg, r->trouble);
}

static void on_lock(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;
	struct inbox_leader *r = d->owner;

	if (pg_error(result) != NULL) {
		pg_break(r->pg, pg_error(result));
		return;
	}
	if (pg_int8(result, 0, 0) != 0) {
		ask(r, ledger_ready(r->pg, on_ready_to_lead, d));
		return;
	}
	if (d->role != ROLE_STANDBY)
		log_info(r->log, "standing by: another daemon takes", KS("subscription", subscription(d)->name));
	d->role = ROLE_STANDBY;
	d->trouble[0] = '\0';
	again(d, LOCK_RETRY_MS);
}

static void try_lock(struct lead *d)
{
	d->asking = true;
	ask(d->owner, inbox_ledger_try_lock(d->owner->pg, subscription(d)->name, on_lock, d));
}

/* --- settings that have changed --- */

static void on_defined_again(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;

	if (pg_error(result) == NULL)
		tell_changes(d, result);
	else
		log_error(d->owner->log, "the subscription cannot be changed so",
			  KS("subscription", subscription(d)->name), KS("why", pg_error(result)));
}

void inbox_leader_define(struct inbox_leader *r, size_t index)
{
	struct lead *d = &r->lead[index];

	if (d->role == ROLE_LEADER)
		ask(r, inbox_ledger_define(r->pg, subscription(d), on_defined_again, d));
}

/* --- the books once more --- */

static void on_books(void *arg, const struct pg_result *result)
{
	struct lead *d = arg;
	struct inbox_leader *r = d->owner;
	struct inbox_books books;

	if (pg_error(result) != NULL)
		r->handlers.books(r->handlers.arg, d->index, NULL);
	else if (inbox_ledger_read_books(result, &books, r->trail))
		r->handlers.books(r->handlers.arg, d->index, &books);
	else
		pg_break(r->pg, "another daemon takes this subscription, or it was dropped: beginning again");
}

void inbox_leader_ask_books(struct inbox_leader *r, size_t index)
{
	struct lead *d = &r->lead[index];

	ask(r, inbox_ledger_books(r->pg, subscription(d)->name, d->epoch, on_books, d));
}

/* --- is the database ready for us? --- */

static void not_ready(struct inbox_leader *r, const char *why, const char *mend)
{
	char now[TROUBLE_BYTES];

	snprintf(now, sizeof now, "%.500s: %.250s", why, mend);
	if (strcmp(now, r->trouble) != 0)
		log_error(r->log, "the database is not ready for the inbox", KS("why", why), KS("do", mend));
	snprintf(r->trouble, sizeof r->trouble, "%s", now);
	r->ready_again_ms = loop_now_ms() + READY_RETRY_MS;
	set_timer(r);
}

static void on_listen(void *arg, const struct pg_result *result)
{
	struct inbox_leader *r = arg;

	if (pg_error(result) != NULL) {
		not_ready(r, pg_error(result), "see the server's log");
		return;
	}
	r->ready = true;
	r->trouble[0] = '\0';
	for (size_t i = 0; i < r->count; i++)
		try_lock(&r->lead[i]);
}

/* Whether it is. If not, it is said why, and asked again later. A standby is no place to insert, and what an old primary takes is beside
 * what is taken at the new one: the primary may be another host of the connection string. */
static bool accept_database(struct inbox_leader *r, const struct pg_result *result)
{
	char what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES];
	enum served_verdict verdict = served_judge(r->served, result, what, mend, &r->place);

	if (verdict == SERVED_READY) {
		if (what[0] != '\0' && pg_int8(result, 0, 0) != r->schema)
			log_warn(r->log, "the schema is not that of this boxhaul", KS("why", what), KS("do", mend));
		r->schema = pg_int8(result, 0, 0);
		return true;
	}
	not_ready(r, what, mend);
	if (verdict == SERVED_ELSEWHERE) {
		pg_turn(r->pg);
		pg_break(r->pg, r->trouble);
	}
	return false;
}

static void on_ready(void *arg, const struct pg_result *result)
{
	struct inbox_leader *r = arg;

	if (accept_database(r, result))
		ask(r, ledger_listen(r->pg, on_listen, r));
}

static void on_timer(void *arg)
{
	struct inbox_leader *r = arg;
	int64_t now = loop_now_ms();

	if (!r->up)
		return;
	if (!r->ready) {
		ask(r, ledger_ready(r->pg, on_ready, r));
		return;
	}
	for (size_t i = 0; i < r->count; i++)
		if (!r->lead[i].asking && r->lead[i].role != ROLE_LEADER && r->lead[i].again_ms <= now)
			try_lock(&r->lead[i]);
	set_timer(r);
}

void inbox_leader_session_up(struct inbox_leader *r)
{
	r->up = true;
	r->ready = false;
	r->place = (struct served_place){ .system = 0 };
	for (size_t i = 0; i < r->count; i++)
		r->lead[i].role = ROLE_STARTING;
	ask(r, ledger_ready(r->pg, on_ready, r));
}

void inbox_leader_session_down(struct inbox_leader *r)
{
	r->up = r->ready = false;
	for (size_t i = 0; i < r->count; i++) {
		r->lead[i].role = ROLE_DISCONNECTED;
		r->lead[i].asking = false;
	}
	loop_timer_at(r->timer, INT64_MAX);
}

void inbox_leader_tick(struct inbox_leader *r)
{
	const char *why = r->up ? served_is_past(r->served, &r->place) : NULL;

	if (why != NULL)
		pg_break(r->pg, why);
}

/* --- looking --- */

enum role inbox_leader_role(const struct inbox_leader *r, size_t index)
{
	return r->lead[index].role;
}

int64_t inbox_leader_schema(const struct inbox_leader *r)
{
	return r->schema;
}

int64_t inbox_leader_epoch(const struct inbox_leader *r, size_t index)
{
	return r->lead[index].epoch;
}

const char *inbox_leader_trouble(const struct inbox_leader *r, size_t index)
{
	return r->trouble[0] != '\0' ? r->trouble : r->lead[index].trouble;
}
