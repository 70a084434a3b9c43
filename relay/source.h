/* The source of rows: FETCH effects become queries on the outbox, their results become rows and parcels. */
#ifndef BOXHAUL_SOURCE_H
#define BOXHAUL_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "core/delivery.h"
#include "edge/pg.h"
#include "parcel.h"

struct source;

struct source_handlers {
	/* The answer to the fetch under way, an EVENT_ROWS; source_parcel() works during the call. */
	void (*rows)(void *arg, struct event event);
	void (*failed)(void *arg, const char *why, const char *sqlstate);
	void *arg;
};

struct source *source_create(const struct config *config, const struct source_handlers *handlers);
void source_free(struct source *s);

/* The server's limit, known once NATS is up; 0 = unknown. */
void source_set_max_payload(struct source *s, int64_t max_payload);

/* Carries out a FETCH effect. False when the session is down (its end will be told by the pg's handlers). */
bool source_fetch(struct source *s, struct pg *pg, const struct effect *fetch);

/* The session is gone: the answer will not come. */
void source_reset(struct source *s);

/* Only inside the rows handler: the parcel of the row with this index, or NULL when out of memory. */
struct parcel *source_parcel(struct source *s, size_t index);

#endif
