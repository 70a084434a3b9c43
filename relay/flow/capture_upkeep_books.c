#include "flow/capture_upkeep_books.h"

#include <inttypes.h>
#include <stdio.h>

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
		log_info(u->log, "the capture goes on", KS("capture", capture_upkeep_capture(u)->name),
			 KS("slot", books.slot), KI("ordinal", books.ordinal));
		u->handlers.live(u->handlers.arg, &u->books, u->asked_ms);
	}
	capture_ledger_books_free(&u->books);
	capture_upkeep_again(u, whole ? CAPTURE_UPKEEP_LOOK_MS : CAPTURE_UPKEEP_STEP_MS);
}

static void on_carried(void *arg, const struct pg_result *result);

static void on_tables(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;

	if (pg_error(result) != NULL || !capture_ledger_read_tables(result, capture_upkeep_capture(u), &u->books)) {
		capture_ledger_books_free(&u->books);
		pg_break(u->pg, pg_error(result) != NULL ? pg_error(result) : "the books of the tables make no sense");
		return;
	}
	capture_upkeep_ask(u, capture_ledger_ask_carried(u->pg, capture_upkeep_capture(u)->name, on_carried, u));
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
	capture_upkeep_ask(u, capture_ledger_ask_books(u->pg, capture_upkeep_capture(u)->name, u->epoch, on_books, u));
}

void capture_upkeep_books_give(struct capture_upkeep *u)
{
	capture_upkeep_ask(u, capture_ledger_ask_tables(u->pg, capture_upkeep_capture(u)->name, on_tables, u));
}

/* --- live: a verify pass was asked for --- */

static void on_passes(void *arg, const struct pg_result *result)
{
	struct capture_upkeep *u = arg;
	struct capture_ledger_books books = { .state = CAPTURE_LEDGER_LIVE };
	bool read = pg_error(result) == NULL && capture_ledger_read_tables(result, capture_upkeep_capture(u), &books);

	/* What cannot begin yet is tried again with the next look. */
	if (read && u->live && u->handlers.verify(u->handlers.arg, &books))
		u->pass = u->look.pass;
	capture_ledger_books_free(&books);
	if (read)
		capture_upkeep_again(u, CAPTURE_UPKEEP_LOOK_MS);
	else
		pg_break(u->pg, pg_error(result) != NULL ? pg_error(result) : "the books of the tables make no sense");
}

void capture_upkeep_books_passes(struct capture_upkeep *u)
{
	capture_upkeep_ask(u, capture_ledger_ask_tables(u->pg, capture_upkeep_capture(u)->name, on_passes, u));
}

/* --- a promotion --- */

static void on_forked(void *arg, const struct pg_result *result)
{
	enum { TAKEN, TABLES };
	struct capture_upkeep *u = arg;
	const char *tables;
	size_t bytes;

	if (pg_error(result) != NULL) {
		capture_upkeep_begin_anew(u, result);
		return;
	}
	tables = pg_is_null(result, 0, TABLES) ? "" : pg_bytes(result, 0, TABLES, &bytes);
	if (pg_int8(result, 0, TAKEN) == 0)
		return; /* our epoch is over: the next look tells */
	if (tables[0] == '\0')
		return;
	log_error(u->log, "copies of these tables are to be compared", KS("capture", capture_upkeep_capture(u)->name),
		  KS("tables", tables), KS("do", "boxhaul verify --repair, or boxhaul capture resync for each"));
	capture_upkeep_stop_being_live(u, "a promotion took changes back that were sent");
	/* What is asked for already was asked for behind this, under an epoch that is over: its answer says so, and leads again. To lead twice would make
	 * ourselves the predecessor whom we wait for. */
	if (!u->asking)
		capture_upkeep_over(u);
}

void capture_upkeep_books_forked(struct capture_upkeep *u, uint64_t fork, const char *phantom)
{
	char position[32];

	snprintf(position, sizeof position, "%" PRIX32 "/%" PRIX32, (uint32_t)(fork >> 32), (uint32_t)fork);
	if (phantom != NULL)
		log_error(u->log, "a promotion took changes back that were sent",
			  KS("capture", capture_upkeep_capture(u)->name), KS("fork", position), KS("first", phantom));
	else
		log_info(u->log, "a promotion took nothing back that was sent",
			 KS("capture", capture_upkeep_capture(u)->name), KS("fork", position));
	capture_upkeep_sent(u, capture_ledger_forked(u->pg, capture_upkeep_capture(u)->name, u->epoch, fork, phantom,
						     on_forked, u));
}
