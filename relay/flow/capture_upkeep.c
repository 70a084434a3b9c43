#include "flow/capture_upkeep.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/capture_gap.h"
#include "flow/capture_slot.h"

enum {
	RETRY_MS = 2000,
	STEP_MS = 200,      /* a slot that is being let go of is looked at again */
	LOOK_MS = 5000,     /* the slot */
	COMPARE_MS = 60000, /* publications, and files of tables */
	WAITS_MS = 2000,    /* whom a slot that is made waits for */
};

struct capture_upkeep {
	struct pg *pg;
	const struct config *config;
	size_t index;
	struct log *log;
	struct capture_upkeep_handlers handlers;
	struct loop_timer *timer;
	struct capture_slot *slot;
	bool on, asking; /* on: we lead; asking: the step under way has its answer to come */
	int64_t epoch;
	struct served_place place;
	uint64_t confirmed; /* the slot stands no higher, for nobody but us moves it; 0: not known yet */
	bool alone; /* no earlier leader can be sending: it resigned, it was ourselves, or the slot was made in this lead */
	bool live, known, over_budget, in_gap; /* in_gap: it was told */
	uint64_t pass;                         /* the highest number of a verify pass that was taken up in this lead */
	uint64_t made_lsn;                     /* the slot was made, and that is not on record yet; 0: it was not */
	struct capture_ledger_books books;
	struct capture_ledger_look look;
	int64_t asked_ms, compare_ms, waits_ms, waits_since_ms;
	char trouble[CAPTURE_UPKEEP_WORDS], differs[CAPTURE_UPKEEP_WORDS], waits_for[CAPTURE_UPKEEP_WORDS];
	struct capture_gap gap; /* to be put on record */
};

static const struct config_capture *capture(const struct capture_upkeep *u)
{
	return &u->config->captures[u->index];
}

/* What could not be asked has no answer to wait for: begin again. */
static void sent(struct capture_upkeep *u, bool asked)
{
	if (!asked)
		pg_break(u->pg, "a statement could not be sent");
}

static void ask(struct capture_upkeep *u, bool asked)
{
	u->asking = true;
	sent(u, asked);
}

/* The next look, in a while. */
static void again(struct capture_upkeep *u, int64_t wait_ms)
{
	u->asking = false;
	loop_timer_at(u->timer, loop_now_ms() + wait_ms);
}

static void set_trouble(struct capture_upkeep *u, const char *what, const char *why, const char *mend)
{
	char now[CAPTURE_UPKEEP_WORDS];

	snprintf(now, sizeof now, "%.300s%s%.200s", why, mend[0] != '\0' ? ": " : "", mend);
	if (strcmp(now, u->trouble) != 0)
		log_error(u->log, what, KS("capture", capture(u)->name), KS("why", why),
			  KS("do", mend[0] != '\0' ? mend : "see the server's log"));
	snprintf(u->trouble, sizeof u->trouble, "%s", now);
}

static void stop_being_live(struct capture_upkeep *u, const char *why)
{
	bool was = u->live;

	u->live = false;
	if (was)
		u->handlers.not_live(u->handlers.arg, why);
}

static void over(struct capture_upkeep *u)
{
	capture_upkeep_end(u);
	u->handlers.over(u->handlers.arg);
}

/* A statement under our epoch was refused: another epoch is current, for an operator has changed the books. */
static void begin_anew(struct capture_upkeep *u, const struct pg_result *result)
{
	char why[CAPTURE_UPKEEP_WORDS];

	if (pg_wants_session(result) || strcmp(pg_sqlstate(result), "55000") != 0) {
		pg_break(u->pg, pg_error(result));
		return;
	}
	snprintf(why, sizeof why, "%s", pg_error(result));
	stop_being_live(u, why);
	over(u);
}

/* --- live: the books are read, and given --- */

static void on_books(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	struct capture_ledger_books books;
	bool whole;

	if (pg_error(result) != NULL || !capture_ledger_read_books(result, &books)) {
		pg_break(u->pg,
			 pg_error(result) != NULL ? pg_error(result) : "the books were changed: beginning again");
		return;
	}
	books.tables = u->books.tables;
	books.table_count = u->books.table_count;
	books.carried = u->books.carried;
	books.carried_count = u->books.carried_count;
	books.alone = u->alone;
	u->books = books;
	whole = books.state == CAPTURE_LEDGER_LIVE && books.tables != NULL;
	if (whole) {
		u->live = true;
		u->trouble[0] = '\0';
		log_info(u->log, "the capture goes on", KS("capture", capture(u)->name), KS("slot", books.slot),
			 KI("ordinal", books.ordinal));
		u->handlers.live(u->handlers.arg, &u->books, u->asked_ms);
	}
	capture_ledger_books_free(&u->books);
	again(u, whole ? LOOK_MS : STEP_MS);
}

static void on_carried(void *arg, const struct pg_result *result);

static void on_tables(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL || !capture_ledger_read_tables(result, capture(u), &u->books)) {
		capture_ledger_books_free(&u->books);
		pg_break(u->pg, pg_error(result) != NULL ? pg_error(result) : "the books of the tables make no sense");
		return;
	}
	ask(u, capture_ledger_ask_carried(u->pg, capture(u)->name, on_carried, u));
}

static void on_carried(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL || !capture_ledger_read_carried(result, &u->books)) {
		capture_ledger_books_free(&u->books);
		pg_break(u->pg, pg_error(result) != NULL ? pg_error(result) : "more is carried than fits into memory");
		return;
	}
	/* Behind the tables: who led before is streamed nothing above the position that comes with them, for its walsender has ended. */
	u->asked_ms = loop_now_ms();
	ask(u, capture_ledger_ask_books(u->pg, capture(u)->name, u->epoch, on_books, u));
}

/* --- creating: publication before slot --- */

/* A gap or the slot that was made is on record, or the books have gone on meanwhile: the next look tells. */
static void on_recorded(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL)
		begin_anew(u, result);
	else
		again(u, 0);
}

static void on_slot_made(void *arg, uint64_t lsn)
{
	struct capture_upkeep *u = arg;

	u->waits_since_ms = 0;
	u->waits_for[0] = '\0';
	u->made_lsn = lsn;
	log_info(u->log, "the replication slot is made", KS("capture", capture(u)->name), KS("slot", u->look.slot));
	capture_upkeep_look_now(u);
}

static void on_slot_failed(void *arg, const char *why, const char *sqlstate)
{
	struct capture_upkeep *u = arg;

	u->waits_since_ms = 0;
	u->waits_for[0] = '\0';
	set_trouble(u, "the replication slot cannot be made", why, capture_slot_mend(sqlstate));
	if (u->on && !u->asking)
		again(u, RETRY_MS);
}

static void on_waits(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	const char *words = capture_ledger_read_words(result);

	if (words[0] != '\0' && u->waits_for[0] == '\0')
		log_info(u->log, "the replication slot waits for transactions to end", KS("capture", capture(u)->name),
			 KS("for", words));
	snprintf(u->waits_for, sizeof u->waits_for, "%s", words);
}

static void make_slot(struct capture_upkeep *u)
{
	again(u, WAITS_MS);
	u->waits_since_ms = loop_now_ms();
	if (!capture_slot_begin(u->slot, u->look.slot, capture(u)->failover, &u->place))
		on_slot_failed(u, "out of memory", "");
}

/* --- publications --- */

static void keep_differences(struct capture_upkeep *u, const struct pg_result *result)
{
	char words[CAPTURE_UPKEEP_WORDS];

	capture_ledger_read_differences(result, words, sizeof words);
	if (words[0] != '\0' && strcmp(words, u->differs) != 0)
		log_error(u->log, "publications are not as the configuration has them", KS("capture", capture(u)->name),
			  KS("differences", words), KS("do", "boxhaul capture plan"));
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
		begin_anew(u, result);
		return;
	}
	keep_differences(u, result);
	if (u->differs[0] != '\0')
		again(u, RETRY_MS);
	else
		make_slot(u);
}

static void on_watched(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	const char *tables = capture_ledger_read_words(result);

	if (tables[0] != '\0')
		log_warn(u->log, "tables are unproved: they have other files or partitions, and that is not in the log",
			 KS("capture", capture(u)->name), KS("tables", tables), KS("do", "boxhaul capture resync"));
}

/* --- the slot, now and then --- */

static void on_freed(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL && strcmp(pg_sqlstate(result), "55000") == 0) {
		begin_anew(u, result);
		return;
	}
	if (pg_error(result) != NULL)
		set_trouble(u, "a replication slot of ours is in use, or cannot be dropped", pg_error(result),
			    "end the session that uses it");
	else if (capture_ledger_read_words(result)[0] != '\0')
		log_info(u->log, "replication slots of the capture", KS("capture", capture(u)->name),
			 KS("done", capture_ledger_read_words(result)));
	again(u, pg_error(result) != NULL ? RETRY_MS : STEP_MS);
}

static void on_resync(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL) {
		begin_anew(u, result);
		return;
	}
	log_warn(u->log, "the gap of the capture is repaired, as configured: all is read again",
		 KS("capture", capture(u)->name), KS("reason", u->look.reason),
		 KS("done", capture_ledger_read_words(result)));
	over(u);
}

/* Over its budget the slot is only told of, or let go of before it fills the disk: the gap is on record before the slot is dropped. */
static bool let_go(struct capture_upkeep *u)
{
	const struct config_capture *c = capture(u);
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
	const struct config_capture *c = capture(u);

	if (!u->in_gap)
		log_error(u->log, "the capture has a gap: nothing is sent", KS("capture", c->name),
			  KS("reason", u->look.reason), KS("detail", u->look.detail),
			  KS("do", "boxhaul capture resync, which reads all tables again"));
	stop_being_live(u, u->look.detail);
	u->in_gap = true;
	if (u->look.superseded)
		ask(u, capture_ledger_free_slot(u->pg, c->name, u->epoch, true, on_freed, u));
	else if (c->gap == CONFIG_GAP_RESYNC)
		ask(u, capture_ledger_resync(u->pg, c->name, on_resync, u));
	else
		again(u, LOOK_MS);
}

static void go_on_creating(struct capture_upkeep *u)
{
	uint64_t made = u->made_lsn;

	u->in_gap = false;
	u->made_lsn = 0;
	u->alone |= made != 0;
	/* Before anything else is done about a slot of this name: it would be dropped as one that an earlier attempt has left. */
	if (made != 0)
		ask(u,
		    capture_ledger_live(u->pg, capture(u)->name, u->epoch, u->look.incarnation, made, on_recorded, u));
	else if (capture_slot_is_busy(u->slot))
		again(u, WAITS_MS);
	else if (u->look.superseded)
		ask(u, capture_ledger_free_slot(u->pg, capture(u)->name, u->epoch, true, on_freed, u));
	else
		ask(u, capture_ledger_differs(u->pg, capture(u)->name, on_differs_first, u));
}

/* --- live: a verify pass was asked for --- */

static void on_passes(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	struct capture_ledger_books books = { .state = CAPTURE_LEDGER_LIVE };
	bool read = pg_error(result) == NULL && capture_ledger_read_tables(result, capture(u), &books);

	/* What cannot begin yet is tried again with the next look. */
	if (read && u->live && u->handlers.verify(u->handlers.arg, &books))
		u->pass = u->look.pass;
	capture_ledger_books_free(&books);
	if (read)
		again(u, LOOK_MS);
	else
		pg_break(u->pg, pg_error(result) != NULL ? pg_error(result) : "the books of the tables make no sense");
}

static void go_on_live(struct capture_upkeep *u)
{
	if (u->live && u->look.pass > u->pass) {
		ask(u, capture_ledger_ask_tables(u->pg, capture(u)->name, on_passes, u));
		return;
	}
	if (u->live) {
		again(u, capture_gap_moved(&u->gap, &u->look, u->confirmed) || let_go(u) ? 0 : LOOK_MS);
		return;
	}
	if (u->look.active_pid != 0 || u->look.superseded) {
		ask(u, capture_ledger_free_slot(u->pg, capture(u)->name, u->epoch, true, on_freed, u));
		return;
	}
	/* From now on nobody but us moves it. */
	if (u->look.confirmed > u->confirmed)
		u->confirmed = u->look.confirmed;
	ask(u, capture_ledger_ask_tables(u->pg, capture(u)->name, on_tables, u));
}

static void on_look(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	uint64_t pause = u->look.pause;

	if (pg_error(result) != NULL) {
		begin_anew(u, result);
		return;
	}
	capture_ledger_read_look(result, &u->look);
	u->known = true;
	if (u->live && u->look.state == CAPTURE_LEDGER_LIVE && u->look.pause != pause)
		u->handlers.paused(u->handlers.arg, u->look.pause);
	switch (u->look.state) {
	case CAPTURE_LEDGER_NONE: again(u, RETRY_MS); break;
	case CAPTURE_LEDGER_CREATING: go_on_creating(u); break;
	case CAPTURE_LEDGER_LIVE: go_on_live(u); break;
	case CAPTURE_LEDGER_GAP: enter_gap(u); break;
	}
}

/* --- a promotion --- */

static void on_forked(void *arg, const struct pg_result *result)
{
	enum { TAKEN, TABLES };
	struct capture_upkeep *u = arg;
	const char *tables;
	size_t bytes;

	if (pg_error(result) != NULL) {
		begin_anew(u, result);
		return;
	}
	tables = pg_is_null(result, 0, TABLES) ? "" : pg_bytes(result, 0, TABLES, &bytes);
	if (pg_int8(result, 0, TAKEN) == 0)
		return; /* our epoch is over: the next look tells */
	if (tables[0] == '\0')
		return;
	log_error(u->log, "copies of these tables are to be compared", KS("capture", capture(u)->name),
		  KS("tables", tables), KS("do", "boxhaul verify --repair, or boxhaul capture resync for each"));
	stop_being_live(u, "a promotion took changes back that were sent");
	/* What is asked for already was asked for behind this, under an epoch that is over: its answer says so, and leads again. To lead twice would make
	 * ourselves the predecessor whom we wait for. */
	if (!u->asking)
		over(u);
}

void capture_upkeep_forked(struct capture_upkeep *u, uint64_t fork, const char *phantom)
{
	char position[32];

	snprintf(position, sizeof position, "%" PRIX32 "/%" PRIX32, (uint32_t)(fork >> 32), (uint32_t)fork);
	if (phantom != NULL)
		log_error(u->log, "a promotion took changes back that were sent", KS("capture", capture(u)->name),
			  KS("fork", position), KS("first", phantom));
	else
		log_info(u->log, "a promotion took nothing back that was sent", KS("capture", capture(u)->name),
			 KS("fork", position));
	sent(u, capture_ledger_forked(u->pg, capture(u)->name, u->epoch, fork, phantom, on_forked, u));
}

/* --- by the clock --- */

static void compare(struct capture_upkeep *u)
{
	int64_t now = loop_now_ms();

	if (u->live && now >= u->compare_ms) {
		u->compare_ms = now + COMPARE_MS;
		/* Neither is a step: the answers change nothing that is under way. */
		sent(u, capture_ledger_differs(u->pg, capture(u)->name, on_differs, u));
		sent(u, capture_ledger_watch(u->pg, capture(u)->name, u->epoch, on_watched, u));
	}
	if (capture_slot_pid(u->slot) != 0 && now >= u->waits_ms) {
		u->waits_ms = now + WAITS_MS;
		sent(u, capture_ledger_waits(u->pg, capture_slot_pid(u->slot), on_waits, u));
	}
}

static void on_timer(void *arg)
{
	struct capture_upkeep *u = arg;

	if (!u->on || u->asking)
		return;
	compare(u);
	if (u->gap.reason[0] != '\0')
		ask(u, capture_ledger_gap(u->pg, capture(u)->name, u->epoch, u->gap.reason, u->gap.detail, on_recorded,
					  u));
	else
		ask(u,
		    capture_ledger_examine(u->pg, capture(u)->name, u->epoch, u->live ? 0 : u->confirmed, on_look, u));
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
	again(u, 0);
}

void capture_upkeep_end(struct capture_upkeep *u)
{
	capture_slot_end(u->slot);
	capture_ledger_books_free(&u->books);
	u->books = (struct capture_ledger_books){ .state = CAPTURE_LEDGER_NONE };
	u->look = (struct capture_ledger_look){ .state = CAPTURE_LEDGER_NONE };
	u->on = u->asking = u->live = u->known = u->over_budget = u->in_gap = false;
	u->made_lsn = u->pass = 0;
	u->waits_since_ms = 0;
	u->trouble[0] = u->differs[0] = u->waits_for[0] = u->gap.reason[0] = '\0';
	loop_timer_at(u->timer, INT64_MAX);
}

void capture_upkeep_look_now(struct capture_upkeep *u)
{
	if (u->on && !u->asking)
		again(u, 0);
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
