/* Each piece of work is one statement, short and bounded, and a transaction of its own:
 *
 *     slot 0 .. slot 7      empties a slot of the ring, if all of it may go
 *     ledger, wake-ups      so many rows at a time; as many again behind the next fetch where there are more
 *
 * So one that fails is that one's failure: the others are done, and nothing that leads, reads or sends depends on any. What fails
 * several times in a row is told. */
#include "run/housekeeping.h"

#include <stdio.h>

#include "base/failpoint.h"
#include "books/ledger.h"

enum { PAUSE_MAX_MS = 60000, PAUSE_MIN_MS = 1000, ROWS_AT_A_TIME = 2000, FAILURES_TO_TELL = 3 };

static int64_t pause_ms(const struct relay *r)
{
	int64_t pause = (int64_t)r->config->retention_ms / 8;

	return pause > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause < PAUSE_MIN_MS ? PAUSE_MIN_MS : pause;
}

/* True: it went well. Remembers the oldest piece that fails; another success of that piece ends it. */
static bool take_answer(struct housekeeping *h, struct log *log, const char *what, unsigned piece,
			const struct pg_result *result)
{
	if (pg_error(result) == NULL) {
		h->failures[piece] = 0;
		if (h->failing == piece)
			h->trouble[0] = '\0';
		return true;
	}
	if (h->failures[piece] < FAILURES_TO_TELL)
		h->failures[piece]++;
	log_warn(log, "cleaning up failed", KS("what", what), KS("why", pg_error(result)));
	if (h->failures[piece] == FAILURES_TO_TELL && h->trouble[0] == '\0') {
		h->failing = piece;
		snprintf(h->trouble, sizeof h->trouble, "%s: %s", what, pg_error(result));
	}
	return false;
}

/* Answers come in the order of the questions: which slot it is need not be remembered beside its number. */
static void on_slot(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct housekeeping *h = &r->housekeeping;
	unsigned slot = h->answered++;
	char what[32];

	snprintf(what, sizeof what, "slot %u of the outbox", slot);
	if (take_answer(h, r->log, what, slot, result))
		r->truncations += (uint64_t)pg_int8(result, 0, 0);
	if (r->truncations > 0 && FAILPOINT(slot_emptied))
		pg_break(r->pg, "failpoint");
}

static void on_rows_gone(struct relay *r, const char *what, unsigned piece, const struct pg_result *result)
{
	if (take_answer(&r->housekeeping, r->log, what, piece, result) && pg_int8(result, 0, 0) >= ROWS_AT_A_TIME)
		r->housekeeping.more = true;
}

static void on_sent(void *arg, const struct pg_result *result)
{
	on_rows_gone(arg, "boxhaul.sent", HOUSEKEEPING_SENT, result);
}

static void on_wake(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	on_rows_gone(r, "boxhaul.wake", HOUSEKEEPING_WAKE, result);
	r->housekeeping.under_way = false; /* it is the last of a round */
}

static bool clean(struct relay *r)
{
	int64_t epoch = leader_epoch(r->leader);
	uint64_t retention = r->config->retention_ms;
	bool ok = true;

	r->housekeeping.answered = 0;
	r->housekeeping.more = false;
	for (int slot = 0; slot < HOUSEKEEPING_SLOTS && ok; slot++)
		ok = ledger_clean_slot(r->pg, epoch, retention, slot, on_slot, r);
	r->housekeeping.under_way = true;
	return ok && ledger_clean_sent(r->pg, epoch, retention, ROWS_AT_A_TIME, on_sent, r) &&
	       ledger_clean_wake(r->pg, ROWS_AT_A_TIME, on_wake, r);
}

bool housekeeping_behind_fetch(struct relay *r)
{
	struct housekeeping *h = &r->housekeeping;
	int64_t now = loop_now_ms();

	if (h->under_way || (!h->more && now - h->done_ms < pause_ms(r)))
		return false;
	h->done_ms = now;
	if (!clean(r) || FAILPOINT(clean_sent))
		pg_break(r->pg, "cleaning up could not be asked for");
	return true;
}

void housekeeping_forget(struct relay *r)
{
	r->housekeeping = (struct housekeeping){ .done_ms = r->housekeeping.done_ms };
}

const char *housekeeping_trouble(const struct relay *r)
{
	return r->housekeeping.trouble;
}
