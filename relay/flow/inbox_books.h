/* Moves of one subscription's position: parcels become the rows of one statement, and its answer an outcome. Answers come in the order of
 * the moves. */
#ifndef BOXHAUL_FLOW_INBOX_BOOKS_H
#define BOXHAUL_FLOW_INBOX_BOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "core/inbox/inbox_types.h"
#include "edge/pg.h"
#include "flow/inbox_parcel.h"

struct inbox_books_flow;

struct inbox_books_handlers {
	void (*moved)(void *arg, enum inbox_moved result);
	void *arg;
};

/* What was committed by this process; these only grow, but for lag_us. */
struct inbox_books_figures {
	uint64_t moves, taken, left_out, dead, lost, bytes;
	int64_t lag_us; /* of the last message taken: from its storing in the stream, by the broker's clock, to its taking here, by
			 * the database's; 0 = nothing was taken */
};

/* `parcels`, by slot of the core, `slots` of them, are read with each move, and not kept. A sink applies them to tables. NULL when out of memory. */
struct inbox_books_flow *inbox_books_create(struct pg *pg, struct log *log, bool sink,
					    struct inbox_parcel *const *parcels, uint32_t slots,
					    const struct inbox_books_handlers *handlers);
void inbox_books_free(struct inbox_books_flow *b);

/* Sends a move. False: it was not sent, and no answer comes. */
bool inbox_books_move(struct inbox_books_flow *b, const char *subscription, int64_t epoch, const struct inbox_move *m);

/* The session is gone: no move is answered any more. */
void inbox_books_forget(struct inbox_books_flow *b);

/* By the clock, every few milliseconds while inbox_books_wants_wake(): wakes workers that sleep, once nothing more is in flight. False: it could
 * not be sent. */
bool inbox_books_wants_wake(const struct inbox_books_flow *b);
bool inbox_books_wake(struct inbox_books_flow *b, const char *subscription);

const struct inbox_books_figures *inbox_books_figures(const struct inbox_books_flow *b);

/* Why the last move failed; "" = it did not. */
const char *inbox_books_trouble(const struct inbox_books_flow *b);

#endif
