/* What waits: how much, and since when. What is in memory is looked at, what is not is asked for, now and again. */
#ifndef BOXHAUL_WATCH_BACKLOG_H
#define BOXHAUL_WATCH_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "core/delivery.h"
#include "edge/pg.h"
#include "flow/parcel.h"
#include "watch/facts.h"

struct backlog;

/* Everything is borrowed; `parcels` is the relay's array of parcels by slot. NULL = out of memory. */
struct backlog *backlog_create(struct pg *pg, const struct config *config, struct parcel *const *parcels);

/* Takes NULL. */
void backlog_free(struct backlog *b);

/* The session is gone, or the lead: what was heard counts no more. */
void backlog_forget(struct backlog *b);

/* For a leader, right behind a fetch: asks the database if it was not asked for a while. */
void backlog_ask(struct backlog *b, const struct delivery_stats *s);

/* For a leader, once a second: the same, where no fetch comes to ask behind (memory is full, or it is paused), or where dead
 * letters may have come or gone: a mark may have recorded that. */
void backlog_tick(struct backlog *b, const struct delivery_stats *s);

/* For a standby, once a second: asks now and again. */
void backlog_watch(struct backlog *b, const struct delivery_stats *s);

/* Stays as it is until the next call. A look that is younger than a quarter of a second is not taken again. */
const struct backlog_figures *backlog_look(struct backlog *b, const struct delivery_stats *s);

/* Somebody holds the lead and does nothing: rows have waited and the position has stood still for too long. Writes who, and
 * what to do; "" = not so. For a standby. */
void backlog_idle_leader(const struct backlog *b, char *out, size_t size);

/* The leader's name, host and process, as it has written them into the database; for a standby. "" = not known. */
const char *backlog_leader(const struct backlog *b);

#endif
