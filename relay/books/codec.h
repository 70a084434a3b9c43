/* The rows of the books: how the database has them, and how the core has them. Nobody else knows both.
 *
 * Texts for the database are JSON, to be freed; NULL when out of memory. Results are answers of the statement that is named;
 * each must have come without an error. */
#ifndef BOXHAUL_BOOKS_CODEC_H
#define BOXHAUL_BOOKS_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "books/reasons.h"
#include "core/delivery.h"
#include "edge/pg.h"

/* The names of streams. A stream's index here is what it is called in the answers to ledger_low_waters() and
 * ledger_exceptions(). */
char *codec_streams(const char *const *streams, size_t count);

/* The batch of boxhaul.mark(), sql/004_books.sql. All of it, or NULL: a mark that leaves an exception out loses a message. */
char *codec_mark(const struct mark *mark, const char *const *streams, const struct reasons *reasons);

/* Of ledger_exceptions(): *count rows, to be freed. NULL when out of memory. */
struct exception_row *codec_exceptions(const struct pg_result *r, size_t *count);

/* Of ledger_low_waters(): by stream; those that are not in the answer stay as they are. */
void codec_low_waters(const struct pg_result *r, uint64_t low_water[static LIMIT_STREAMS]);

/* What the books are held against for as long as we lead. */
struct codec_books {
	int64_t epoch, position;        /* position: marked last, or read with the lead */
	int64_t outbox, sequence, node; /* the table, the sequence of its ids, and the file of that */
	int64_t highest;                /* the highest id that was drawn with the lead, or seen since */
};

/* Of ledger_lead(). */
struct codec_lead {
	int64_t epoch, position;
	uint64_t fence;
	int64_t others_ms; /* so long from now may an earlier leader still publish */
	bool first;        /* nobody has led before */
	uint64_t pause;    /* which one stands; 0 = none */
	struct codec_books books;
	const char *since; /* a snapshot: what was committed then was looked at. It belongs to the result */
};

struct codec_lead codec_lead(const struct pg_result *r);

/* Of ledger_backlog(). */
struct codec_backlog {
	int64_t position, newest; /* newest: the highest id; 0 = there is none */
	int64_t oldest_us,
		held_us; /* since when the oldest waits, since when the oldest is held back, of loop_now_us(); INT64_MAX = none */
	int64_t dead_letters, held_letters; /* 10,000 at the most */
	int64_t holder;   /* the process of the session that has the leader's lock; 0 = not asked, or nobody */
	char leader[256]; /* the name of the last one */
	int64_t appeared,
		appeared_us; /* about so many have come into view among the missing ids; the oldest waits since */
	uint64_t unclocked;  /* sagas that are open while no daemon is their clock; 0, too: not asked */
	char hot[128];       /* the key that most have; "" = none, or not asked */
};

struct codec_backlog codec_backlog(const struct pg_result *r, int64_t asked_us);

/* A time of the server as one of loop_now_us(), so that the two machines' clocks need not agree: `now` is the column that
 * holds the server's own time then. Never later than now; now if there is none. */
int64_t codec_since_us(const struct pg_result *r, int row, int column, int now, int64_t asked_us);

#endif
