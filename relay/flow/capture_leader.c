#include "flow/capture_leader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/ledger.h"
#include "books/schema.h"
#include "flow/capture_upkeep.h"

enum {
	LOCK_RETRY_MS = 1000,
	READY_RETRY_MS = 2000,
	FIRST_VERSION = 12, /* of the schema that has captures, and their verify passes */
	TROUBLE_BYTES = 768,
};

struct capture_leader {
	struct pg *pg;
	const struct config *config;
	size_t index;
	struct log *log;
	struct served *served;
	struct capture_leader_handlers handlers;
	struct loop_timer *timer;
	struct capture_upkeep *upkeep;
	char name[ROLE_HOLDER_BYTES];
	char trouble[TROUBLE_BYTES];
	enum role role;
	bool up, ready, asking; /* asking: the step under way has its answer to come */
	struct served_place place;
	int64_t schema, epoch;
	int64_t led_epoch, led_timeline; /* of the lead that was ours last */
};

static void try_lock(struct capture_leader *r);

static const struct config_capture *capture(const struct capture_leader *r)
{
	return &r->config->captures[r->index];
}

/* What could not be asked has no answer to wait for: begin again. */
static void ask(struct capture_leader *r, bool asked)
{
	r->asking = true;
	if (!asked)
		pg_break(r->pg, "a statement could not be sent");
}

/* The next step, in a while. */
static void again(struct capture_leader *r, int64_t wait_ms)
{
	r->asking = false;
	loop_timer_at(r->timer, loop_now_ms() + wait_ms);
}

static void set_trouble(struct capture_leader *r, const char *what, const char *why, const char *mend)
{
	char now[TROUBLE_BYTES];

	snprintf(now, sizeof now, "%.500s%s%.250s", why, mend[0] != '\0' ? ": " : "", mend);
	if (strcmp(now, r->trouble) != 0)
		log_error(r->log, what, KS("capture", capture(r)->name), KS("why", why),
			  KS("do", mend[0] != '\0' ? mend : "see the server's log"));
	snprintf(r->trouble, sizeof r->trouble, "%s", now);
}

/* --- the way to the lead --- */

static void on_lead(void *arg, const struct pg_result *result);

static void take_lead(struct capture_leader *r)
{
	ask(r, capture_ledger_lead(r->pg, capture(r)->name, r->name, on_lead, r));
}

static void on_unlocked(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (pg_error(result) != NULL)
		pg_break(r->pg, pg_error(result));
	else
		again(r, READY_RETRY_MS);
}

/* Another daemon, with other settings, may be able to. What another session may be allowed, this one will be refused for ever. */
static void step_back(struct capture_leader *r, const struct pg_result *result)
{
	if (pg_wants_session(result)) {
		pg_break(r->pg, pg_error(result));
		return;
	}
	set_trouble(r, "the capture cannot be led", pg_error(result), "");
	r->role = ROLE_STARTING;
	ask(r, capture_ledger_unlock(r->pg, capture(r)->name, on_unlocked, r));
}

/* Was it ourselves who led last? Every lead raises the epoch, and is on disk before anybody leads; but a promotion may have taken leads of others
 * back. What we sent ourselves went with its connection (natsio_cut()), and the chain waits for what was on its way (core/send/predecessor.c): so
 * nobody's lease is to be waited for. */
static bool was_ours(const struct capture_leader *r)
{
	return r->epoch == r->led_epoch + 1 && r->place.timeline == r->led_timeline;
}

/* This lead was ours. Where another leader may live that is so only when it is known until when he is waited for: a lead that is lost before must not make
 * the next one believe that nobody led between. */
static void remember(struct capture_leader *r)
{
	r->led_epoch = r->epoch;
	r->led_timeline = r->place.timeline;
}

static void on_lead(void *arg, const struct pg_result *result)
{
	enum { EPOCH, PROMOTED, RESIGNED };
	struct capture_leader *r = arg;
	struct capture_upkeep_lead lead = { .place = r->place };
	bool promoted;

	if (pg_error(result) != NULL) {
		step_back(r, result);
		return;
	}
	r->epoch = lead.epoch = pg_int8(result, 0, EPOCH);
	lead.confirmed = pg_is_null(result, 0, RESIGNED) ? 0 : (uint64_t)pg_int8(result, 0, RESIGNED);
	promoted = pg_int8(result, 0, PROMOTED) != 0;
	/* Who resigned before a promotion may have had a successor, of whom the new primary knows nothing. */
	lead.alone = (lead.confirmed != 0 && !promoted) || was_ours(r);
	if (lead.alone)
		remember(r);
	r->asking = false;
	r->role = ROLE_LEADER;
	r->trouble[0] = '\0';
	log_info(r->log, "the capture is led", KS("capture", capture(r)->name), KI("epoch", r->epoch));
	if (promoted)
		log_warn(r->log, "another server was promoted: changes that it missed may be in the stream",
			 KS("capture", capture(r)->name));
	capture_upkeep_begin(r->upkeep, &lead);
}

static void tell_changes(struct capture_leader *r, const struct pg_result *result)
{
	const char *changes = capture_ledger_read_words(result);

	if (changes[0] != '\0')
		log_info(r->log, "the capture on record fits the configuration now", KS("capture", capture(r)->name),
			 KS("changes", changes));
}

static void on_defined(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (pg_error(result) != NULL) {
		step_back(r, result);
		return;
	}
	tell_changes(r, result);
	take_lead(r);
}

/* --- is the database ready for us? --- */

static void not_ready(struct capture_leader *r, const char *why, const char *mend)
{
	set_trouble(r, "the database is not ready for captures", why, mend);
	again(r, READY_RETRY_MS);
}

/* Whether it is. If not, it is said why, and asked again later. A schema that this program gets along with may be too old for captures. */
static bool accept_database(struct capture_leader *r, const struct pg_result *result)
{
	char what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES];
	enum served_verdict verdict = served_judge(r->served, result, what, mend, &r->place);

	if (verdict == SERVED_READY && pg_int8(result, 0, 0) >= FIRST_VERSION) {
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

/* While it stood by the schema may have been migrated, and serve it no longer. The lock is let go with the session. */
static void on_ready_to_lead(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (accept_database(r, result))
		ask(r, capture_ledger_define(r->pg, r->config, r->index, on_defined, r));
	else
		pg_break(r->pg, r->trouble);
}

static void on_lock(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (pg_error(result) != NULL) {
		pg_break(r->pg, pg_error(result));
		return;
	}
	if (pg_int8(result, 0, 0) != 0) {
		ask(r, ledger_ready(r->pg, on_ready_to_lead, r));
		return;
	}
	if (r->role != ROLE_STANDBY)
		log_info(r->log, "standing by: another daemon leads the capture", KS("capture", capture(r)->name));
	r->role = ROLE_STANDBY;
	r->trouble[0] = '\0';
	again(r, LOCK_RETRY_MS);
}

static void on_listen(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (pg_error(result) != NULL) {
		not_ready(r, pg_error(result), "see the server's log");
		return;
	}
	r->ready = true;
	r->trouble[0] = '\0';
	try_lock(r);
}

static void on_ready(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (accept_database(r, result))
		ask(r, ledger_listen(r->pg, on_listen, r));
}

static void try_lock(struct capture_leader *r)
{
	ask(r, capture_ledger_try_lock(r->pg, capture(r)->name, on_lock, r));
}

static void on_timer(void *arg)
{
	struct capture_leader *r = arg;

	if (!r->up || r->asking || r->role == ROLE_LEADER)
		return;
	if (r->ready)
		try_lock(r);
	else
		ask(r, ledger_ready(r->pg, on_ready, r));
}

/* --- what the upkeep says --- */

static void on_live(void *arg, struct capture_ledger_books *books, int64_t asked_ms)
{
	struct capture_leader *r = arg;

	r->handlers.live(r->handlers.arg, books, asked_ms);
	remember(r);
}

static void on_not_live(void *arg, const char *why)
{
	struct capture_leader *r = arg;

	r->handlers.not_live(r->handlers.arg, why);
}

static void on_paused(void *arg, uint64_t pause)
{
	struct capture_leader *r = arg;

	r->handlers.paused(r->handlers.arg, pause);
}

static bool on_verify(void *arg, struct capture_ledger_books *books)
{
	struct capture_leader *r = arg;

	return r->handlers.verify(r->handlers.arg, books);
}

/* We have the lock, so we lead on, under a new epoch. */
static void on_over(void *arg)
{
	take_lead(arg);
}

/* --- the face --- */

struct capture_leader *capture_leader_create(struct loop *l, struct pg *pg, const struct pg_options *login,
					     const struct config *config, size_t index, struct log *log,
					     struct served *served, const struct capture_leader_handlers *handlers)
{
	struct capture_leader *r = calloc(1, sizeof *r);
	struct capture_upkeep_handlers of_upkeep = { .live = on_live,
						     .not_live = on_not_live,
						     .paused = on_paused,
						     .verify = on_verify,
						     .over = on_over,
						     .arg = r };

	if (r == NULL)
		return NULL;
	r->pg = pg;
	r->config = config;
	r->index = index;
	r->log = log;
	r->served = served;
	r->handlers = *handlers;
	role_holder(config->name, r->name);
	r->timer = loop_timer(l, on_timer, r);
	r->upkeep = capture_upkeep_create(l, pg, login, config, index, log, &of_upkeep);
	if (r->timer != NULL && r->upkeep != NULL)
		return r;
	capture_leader_free(r);
	return NULL;
}

void capture_leader_free(struct capture_leader *r)
{
	if (r == NULL)
		return;
	capture_upkeep_free(r->upkeep);
	free(r);
}

void capture_leader_session_up(struct capture_leader *r)
{
	r->up = true;
	r->ready = false;
	r->place = (struct served_place){ .system = 0 };
	r->role = ROLE_STARTING;
	ask(r, ledger_ready(r->pg, on_ready, r));
}

void capture_leader_session_down(struct capture_leader *r)
{
	r->up = r->ready = r->asking = false;
	r->role = ROLE_DISCONNECTED;
	capture_upkeep_end(r->upkeep);
	loop_timer_at(r->timer, INT64_MAX);
}

void capture_leader_notified(struct capture_leader *r, const char *payload)
{
	if (strcmp(payload, "capture") == 0)
		capture_upkeep_look_now(r->upkeep);
}

void capture_leader_tick(struct capture_leader *r)
{
	const char *why = r->up ? served_is_past(r->served, &r->place) : NULL;

	if (why != NULL)
		pg_break(r->pg, why);
}

void capture_leader_confirmed(struct capture_leader *r, uint64_t lsn)
{
	capture_upkeep_confirmed(r->upkeep, lsn);
}

void capture_leader_forked(struct capture_leader *r, uint64_t fork, const char *phantom)
{
	capture_upkeep_forked(r->upkeep, fork, phantom);
}

void capture_leader_examine(struct capture_leader *r)
{
	capture_upkeep_look_now(r->upkeep);
}

void capture_leader_gap(struct capture_leader *r, const char *reason, const char *detail)
{
	capture_upkeep_gap(r->upkeep, reason, detail);
}

void capture_leader_free_slot(struct capture_leader *r)
{
	capture_upkeep_restart(r->upkeep);
}

static void on_resigned(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (pg_error(result) != NULL)
		log_warn(r->log, "what was confirmed is not on record", KS("capture", capture(r)->name),
			 KS("why", pg_error(result)));
}

void capture_leader_resign(struct capture_leader *r)
{
	uint64_t confirmed = capture_upkeep_look(r->upkeep).confirmed;

	if (r->up && r->role == ROLE_LEADER && capture_upkeep_look(r->upkeep).live && confirmed != 0)
		capture_ledger_resign(r->pg, capture(r)->name, r->epoch, confirmed, on_resigned, r);
}

static void on_defined_again(void *arg, const struct pg_result *result)
{
	struct capture_leader *r = arg;

	if (pg_error(result) == NULL)
		tell_changes(r, result);
	else
		log_error(r->log, "the capture cannot be changed so", KS("capture", capture(r)->name),
			  KS("why", pg_error(result)));
}

void capture_leader_define(struct capture_leader *r)
{
	if (r->up && r->role == ROLE_LEADER && !capture_ledger_define(r->pg, r->config, r->index, on_defined_again, r))
		pg_break(r->pg, "a statement could not be sent");
}

struct capture_leader_state capture_leader_look(const struct capture_leader *r)
{
	return (struct capture_leader_state){ .role = r->role,
					      .epoch = r->epoch,
					      .schema = r->schema,
					      .trouble = r->trouble,
					      .of_slot = capture_upkeep_look(r->upkeep) };
}
