#include "flow/capture_upkeep_steps.h"

#include <stdio.h>
#include <string.h>

const struct config_capture *capture_upkeep_capture(const struct capture_upkeep *u)
{
	return &u->config->captures[u->index];
}

/* What could not be asked has no answer to wait for: begin again. */
void capture_upkeep_sent(struct capture_upkeep *u, bool asked)
{
	if (!asked)
		pg_break(u->pg, "a statement could not be sent");
}

void capture_upkeep_ask(struct capture_upkeep *u, bool asked)
{
	u->asking = true;
	capture_upkeep_sent(u, asked);
}

/* The next look, in a while. */
void capture_upkeep_again(struct capture_upkeep *u, int64_t wait_ms)
{
	u->asking = false;
	loop_timer_at(u->timer, loop_now_ms() + wait_ms);
}

void capture_upkeep_trouble(struct capture_upkeep *u, const char *what, const char *why, const char *mend)
{
	char now[CAPTURE_UPKEEP_WORDS];

	snprintf(now, sizeof now, "%.300s%s%.200s", why, mend[0] != '\0' ? ": " : "", mend);
	if (strcmp(now, u->trouble) != 0)
		log_error(u->log, what, KS("capture", capture_upkeep_capture(u)->name), KS("why", why),
			  KS("do", mend[0] != '\0' ? mend : "see the server's log"));
	snprintf(u->trouble, sizeof u->trouble, "%s", now);
}

void capture_upkeep_stop_being_live(struct capture_upkeep *u, const char *why)
{
	bool was = u->live;

	u->live = false;
	if (was)
		u->handlers.not_live(u->handlers.arg, why);
}

void capture_upkeep_forget(struct capture_upkeep *u)
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

void capture_upkeep_over(struct capture_upkeep *u)
{
	capture_upkeep_forget(u);
	u->handlers.over(u->handlers.arg);
}

/* A statement under our epoch was refused: another epoch is current, for an operator has changed the books. */
void capture_upkeep_begin_anew(struct capture_upkeep *u, const struct pg_result *result)
{
	char why[CAPTURE_UPKEEP_WORDS];

	if (pg_wants_session(result) || strcmp(pg_sqlstate(result), "55000") != 0) {
		pg_break(u->pg, pg_error(result));
		return;
	}
	snprintf(why, sizeof why, "%s", pg_error(result));
	capture_upkeep_stop_being_live(u, why);
	capture_upkeep_over(u);
}
