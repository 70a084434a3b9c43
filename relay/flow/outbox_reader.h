/* FETCH effects become queries on the outbox, their results become rows and parcels. */
#ifndef BOXHAUL_FLOW_OUTBOX_READER_H
#define BOXHAUL_FLOW_OUTBOX_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "books/codec.h"
#include "config/config.h"
#include "core/delivery.h"
#include "edge/pg.h"
#include "flow/parcel.h"

struct outbox_reader;

struct outbox_reader_handlers {
	/* The answer to the fetch under way, an EVENT_ROWS; outbox_reader_parcel() works during the call. */
	void (*rows)(void *arg, struct event event);
	void (*failed)(void *arg, const char *why, const char *sqlstate);
	/* Instead of either: these are not the books that were read, and no row is to be taken. */
	void (*books_differ)(void *arg, const char *why);
	/* Is this id at or below what was read known to be missing? */
	bool (*is_missing)(void *arg, int64_t id);
	/* Before rows(): why this one cannot be read, in the server's words (ASCII). */
	void (*unreadable)(void *arg, int64_t id, const char *why);
	void *arg;
};

/* Everything is borrowed. NULL when out of memory. */
struct outbox_reader *outbox_reader_create(struct pg *pg, const struct config *config,
					   const struct outbox_reader_handlers *handlers);
void outbox_reader_free(struct outbox_reader *s);

/* The server's limit, known once NATS is up; 0 = unknown. */
void outbox_reader_set_max_payload(struct outbox_reader *s, int64_t max_payload);

/* Carries out a FETCH effect. What has come at or below what was read is looked for, since the last answer; at first, since the
 * snapshot `since`. False when the session is down (its end will be told by the pg's handlers). */
bool outbox_reader_fetch(struct outbox_reader *s, const struct effect *fetch, const struct codec_books *books,
			 const char *since);

/* The session is gone: the answer will not come. */
void outbox_reader_reset(struct outbox_reader *s);

/* Only inside the rows handler: the parcel of the row with this index, or NULL when out of memory. */
struct parcel *outbox_reader_parcel(struct outbox_reader *s, size_t index);

#endif
