/* What waits: how much, and since when. What is in memory is looked at, what is not is asked for, now and again. */
#ifndef BOXHAUL_BACKLOG_H
#define BOXHAUL_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "core/delivery.h"
#include "edge/pg.h"
#include "parcel.h"

struct backlog;

struct backlog_figures {
	bool known;            /* somebody leads and was asked; else the rest is 0 */
	uint64_t messages;     /* not sent yet: in memory, and ids above the highest read; not those held back */
	int64_t oldest_us;     /* age of the oldest of these; 0 = nothing waits */
	int64_t oldest_any_us; /* the same, those held back included */
	int64_t dead_letters, held_letters;
	struct {
		uint32_t messages; /* in memory */
		int64_t since_ms;  /* of loop_now_ms(): the oldest of them is in memory since */
	} stream[LIMIT_STREAMS];
};

/* Everything is borrowed; `parcels` is the relay's array of parcels by slot. NULL = out of memory. */
struct backlog *backlog_create(struct pg *const *pg, const struct config *config, struct parcel *const *parcels);
void backlog_free(struct backlog *b);

/* The session is gone, or the lead: what was heard counts no more. */
void backlog_forget(struct backlog *b);

/* For a leader, right behind a fetch, or while messages wait: asks the database if it was not asked for a while. */
void backlog_ask(struct backlog *b, const struct delivery_stats *s);

/* For a standby, once a second: asks now and again. */
void backlog_watch(struct backlog *b, const struct delivery_stats *s);

/* Stays as it is until the next call. A look that is younger than a quarter of a second is not taken again. */
const struct backlog_figures *backlog_look(struct backlog *b, const struct delivery_stats *s);

/* Somebody holds the lead and does nothing: rows have waited and the position has stood still for too long. Writes who, and
 * what to do; "" = not so. For a standby. */
void backlog_idle_leader(const struct backlog *b, char *out, size_t size);

#endif
