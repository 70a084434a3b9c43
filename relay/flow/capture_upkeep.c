#include "flow/capture_upkeep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/capture_upkeep_books.h"

enum {
	COMPARE_MS = 60000, /* publications, and files of tables */
	WAITS_MS = 2000,    /* whom a slot that is made waits for */
};

/* --- creating: publication before slot --- */

/* A gap or the slot that was made is on record, or the books have gone on meanwhile: the next look tells. */
static void on_recorded(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL)
		capture_upkeep_begin_anew(u, result);
	else
		capture_upkeep_again(u, 0);
}

static void on_slot_made(void *arg, uint64_t lsn)
{
	struct capture_upkeep *u = arg;

	u->waits_since_ms = 0;
	u->waits_for[0] = '\0';
	u->made_lsn = lsn;
	log_info(u->log, "the replication slot is made", KS("capture", capture_upkeep_capture(u)->name),
		 KS("slot", u->look.slot));
	capture_upkeep_look_now(u);
}

static void on_slot_failed(void *arg, const char *why, const char *sqlstate)
{
	struct capture_upkeep *u = arg;

	u->waits_since_ms = 0;
	u->waits_for[0] = '\0';
	capture_upkeep_trouble(u, "the replication slot cannot be made", why, capture_slot_mend(sqlstate));
	if (u->on && !u->asking)
		capture_upkeep_again(u, CAPTURE_UPKEEP_RETRY_MS);
}

static void on_waits(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	const char *words = capture_ledger_read_words(result);

	if (words[0] != '\0' && u->waits_for[0] == '\0')
		log_info(u->log, "the replication slot waits for transactions to end",
			 KS("capture", capture_upkeep_capture(u)->name), KS("for", words));
	snprintf(u->waits_for, sizeof u->waits_for, "%s", words);
}

static void make_slot(struct capture_upkeep *u)
{
	capture_upkeep_again(u, WAITS_MS);
	u->waits_since_ms = loop_now_ms();
	if (!capture_slot_begin(u->slot, u->look.slot, capture_upkeep_capture(u)->failover, &u->place))
		on_slot_failed(u, "out of memory", "");
}

/* --- publications --- */

static void keep_differences(struct capture_upkeep *u, const struct pg_result *result)
{
	char words[CAPTURE_UPKEEP_WORDS];

	capture_ledger_read_differences(result, words, sizeof words);
	if (words[0] != '\0' && strcmp(words, u->differs) != 0)
		log_error(u->log, "publications are not as the configuration has them",
			  KS("capture", capture_upkeep_capture(u)->name), KS("differences", words),
			  KS("do", "boxhaul capture plan"));
	snprintf(u->differs, sizeof u->differs, "%s", words);
}

static void on_differs(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) == NULL)
		keep_differences(u, result);
}

static void on_differs_first(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL) {
		capture_upkeep_begin_anew(u, result);
		return;
	}
	keep_differences(u, result);
	if (u->differs[0] != '\0')
		capture_upkeep_again(u, CAPTURE_UPKEEP_RETRY_MS);
	else
		make_slot(u);
}

static void on_watched(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	const char *tables = capture_ledger_read_words(result);

	if (tables[0] != '\0')
		log_warn(u->log, "tables are unproved: they have other files or partitions, and that is not in the log",
			 KS("capture", capture_upkeep_capture(u)->name), KS("tables", tables),
			 KS("do", "boxhaul capture resync"));
}

/* --- the slot, now and then --- */

static void on_freed(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL && strcmp(pg_sqlstate(result), "55000") == 0) {
		capture_upkeep_begin_anew(u, result);
		return;
	}
	if (pg_error(result) != NULL)
		capture_upkeep_trouble(u, "a replication slot of ours is in use, or cannot be dropped",
				       pg_error(result), "end the session that uses it");
	else if (capture_ledger_read_words(result)[0] != '\0')
		log_info(u->log, "replication slots of the capture", KS("capture", capture_upkeep_capture(u)->name),
			 KS("done", capture_ledger_read_words(result)));
	capture_upkeep_again(u, pg_error(result) != NULL ? CAPTURE_UPKEEP_RETRY_MS : CAPTURE_UPKEEP_STEP_MS);
}

static void on_resync(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL) {
		capture_upkeep_begin_anew(u, result);
		return;
	}
	log_warn(u->log, "the gap of the capture is repaired, as configured: all is read again",
		 KS("capture", capture_upkeep_capture(u)->name), KS("reason", u->look.reason),
		 KS("done", capture_ledger_read_words(result)));
	capture_upkeep_over(u);
}

/* Over its budget the slot is only told of, or let go of before it fills the disk: the gap is on record before the slot is dropped. */
static bool let_go(struct capture_upkeep *u)
{
	const struct config_capture *c = capture_upkeep_capture(u);
	bool over = capture_gap_is_over(&u->look, c->wal_budget);

	if (over && !u->over_budget)
		log_warn(u->log, "the replication slot holds back more of the log than its budget",
			 KS("capture", c->name), KI("bytes", u->look.retained), KU("wal_budget", c->wal_budget),
			 KS("on_budget", c->on_budget == CONFIG_BUDGET_LET_GO ? "let_go" : "warn"));
	u->over_budget = over;
	if (!over || c->on_budget != CONFIG_BUDGET_LET_GO)
		return false;
	capture_gap_let_go(&u->gap, &u->look, c->wal_budget);
	return true;
}

static void enter_gap(struct capture_upkeep *u)
{
	const struct config_capture *c = capture_upkeep_capture(u);

	if (!u->in_gap)
		log_error(u->log, "the capture has a gap: nothing is sent", KS("capture", c->name),
			  KS("reason", u->look.reason), KS("detail", u->look.detail),
			  KS("do", "boxhaul capture resync, which reads all tables again"));
	capture_upkeep_stop_being_live(u, u->look.detail);
	u->in_gap = true;
	if (u->look.superseded)
		capture_upkeep_ask(u, capture_ledger_free_slot(u->pg, c->name, u->epoch, true, on_freed, u));
	else if (c->gap == CONFIG_GAP_RESYNC)
		capture_upkeep_ask(u, capture_ledger_resync(u->pg, c->name, on_resync, u));
	else
		capture_upkeep_again(u, CAPTURE_UPKEEP_LOOK_MS);
}

static void go_on_creating(struct capture_upkeep *u)
{
	uint64_t made = u->made_lsn;

	u->in_gap = false;
	u->made_lsn = 0;
	u->alone |= made != 0;
	/* Before anything else is done about a slot of this name: it would be dropped as one that an earlier attempt has left. */
	if (made != 0)
		capture_upkeep_ask(u, capture_ledger_live(u->pg, capture_upkeep_capture(u)->name, u->epoch,
							  u->look.incarnation, made, on_recorded, u));
	else if (capture_slot_is_busy(u->slot))
		capture_upkeep_again(u, WAITS_MS);
	else if (u->look.superseded)
		capture_upkeep_ask(u, capture_ledger_free_slot(u->pg, capture_upkeep_capture(u)->name, u->epoch, true,
							       on_freed, u));
	else
		capture_upkeep_ask(u,
				   capture_ledger_differs(u->pg, capture_upkeep_capture(u)->name, on_differs_first, u));
}

static void go_on_live(struct capture_upkeep *u)
{
	if (u->live && u->look.pass > u->pass) {
		capture_upkeep_books_passes(u);
		return;
	}
	if (u->live) {
		capture_upkeep_again(u, capture_gap_moved(&u->gap, &u->look, u->confirmed) || let_go(u)
						? 0
						: CAPTURE_UPKEEP_LOOK_MS);
		return;
	}
	if (u->look.active_pid != 0 || u->look.superseded) {
		capture_upkeep_ask(u, capture_ledger_free_slot(u->pg, capture_upkeep_capture(u)->name, u->epoch, true,
							       on_freed, u));
		return;
	}
	/* From now on nobody but us moves it. */
	if (u->look.confirmed > u->confirmed)
		u->confirmed = u->look.confirmed;
	capture_upkeep_books_give(u);
}

static void on_look(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	uint64_t pause = u->look.pause;

	if (pg_error(result) != NULL) {
		capture_upkeep_begin_anew(u, result);
		return;
	}
	capture_ledger_read_look(result, &u->look);
	u->known = true;
	if (u->live && u->look.state == CAPTURE_LEDGER_LIVE && u->look.pause != pause)
		u->handlers.paused(u->handlers.arg, u->look.pause);
	switch (u->look.state) {
	case CAPTURE_LEDGER_NONE: capture_upkeep_again(u, CAPTURE_UPKEEP_RETRY_MS); break;
	case CAPTURE_LEDGER_CREATING: go_on_creating(u); break;
	case CAPTURE_LEDGER_LIVE: go_on_live(u); break;
	case CAPTURE_LEDGER_GAP: enter_gap(u); break;
	}
}

/* --- by the clock --- */

static void compare(struct capture_upkeep *u)
{
	int64_t now = loop_now_ms();

	if (u->live && now >= u->compare_ms) {
		u->compare_ms = now + COMPARE_MS;
		/* Neither is a step: the answers change nothing that is under way. */
		capture_upkeep_sent(u, capture_ledger_differs(u->pg, capture_upkeep_capture(u)->name, on_differs, u));
		capture_upkeep_sent(
			u, capture_ledger_watch(u->pg, capture_upkeep_capture(u)->name, u->epoch, on_watched, u));
	}
	if (capture_slot_pid(u->slot) != 0 && now >= u->waits_ms) {
		u->waits_ms = now + WAITS_MS;
		capture_upkeep_sent(u, capture_ledger_waits(u->pg, capture_slot_pid(u->slot), on_waits, u));
	}
}

static void on_timer(void *arg)
{
	struct capture_upkeep *u = arg;

	if (!u->on || u->asking)
		return;
	compare(u);
	if (u->gap.reason[0] != '\0')
		capture_upkeep_ask(u, capture_ledger_gap(u->pg, capture_upkeep_capture(u)->name, u->epoch,
							 u->gap.reason, u->gap.detail, on_recorded, u));
	else
		capture_upkeep_ask(u, capture_ledger_examine(u->pg, capture_upkeep_capture(u)->name, u->epoch,
							     u->live ? 0 : u->confirmed, on_look, u));
	u->gap.reason[0] = '\0';
}

/* --- the face --- */

struct capture_upkeep *capture_upkeep_create(struct loop *l, struct pg *pg, const struct pg_options *login,
					     const struct config *config, size_t index, struct log *log,
					     const struct capture_upkeep_handlers *handlers)
{
	struct capture_upkeep *u = calloc(1, sizeof *u);
	struct capture_slot_handlers of_slot = { .made = on_slot_made, .failed = on_slot_failed, .arg = u };

	if (u == NULL)
		return NULL;
	u->pg = pg;
	u->config = config;
	u->index = index;
	u->log = log;
	u->handlers = *handlers;
	u->timer = loop_timer(l, on_timer, u);
	u->slot = capture_slot_create(l, login, &of_slot);
	if (u->timer != NULL && u->slot != NULL)
		return u;
	capture_upkeep_free(u);
	return NULL;
}

void capture_upkeep_free(struct capture_upkeep *u)
{
	if (u == NULL)
		return;
	capture_slot_free(u->slot);
	capture_ledger_books_free(&u->books);
	free(u);
}

void capture_upkeep_begin(struct capture_upkeep *u, const struct capture_upkeep_lead *lead)
{
	u->on = true;
	u->epoch = lead->epoch;
	u->confirmed = lead->confirmed;
	u->alone = lead->alone;
	u->place = lead->place;
	u->compare_ms = loop_now_ms() + COMPARE_MS;
	capture_upkeep_again(u, 0);
}

void capture_upkeep_end(struct capture_upkeep *u)
{
	capture_upkeep_forget(u);
}

void capture_upkeep_forked(struct capture_upkeep *u, uint64_t fork, const char *phantom)
{
	capture_upkeep_books_forked(u, fork, phantom);
}

void capture_upkeep_look_now(struct capture_upkeep *u)
{
	if (u->on && !u->asking)
		capture_upkeep_again(u, 0);
}

void capture_upkeep_confirmed(struct capture_upkeep *u, uint64_t lsn)
{
	if (lsn > u->confirmed)
		u->confirmed = lsn;
}

void capture_upkeep_gap(struct capture_upkeep *u, const char *reason, const char *detail)
{
	snprintf(u->gap.reason, sizeof u->gap.reason, "%s", reason);
	snprintf(u->gap.detail, sizeof u->gap.detail, "%s", detail);
	capture_upkeep_look_now(u);
}

void capture_upkeep_restart(struct capture_upkeep *u)
{
	u->live = false;
	capture_upkeep_look_now(u);
}

struct capture_upkeep_state capture_upkeep_look(const struct capture_upkeep *u)
{
	return (struct capture_upkeep_state){ .known = u->known,
					      .live = u->live,
					      .over_budget = u->over_budget,
					      .confirmed = u->confirmed,
					      .waits_since_ms = u->waits_since_ms,
					      .look = &u->look,
					      .trouble = u->trouble,
					      .differs = u->differs,
					      .waits_for = u->waits_for };
}
