/* The handlers that stand in the database: one group of workers for each subscription that has one. */
#ifndef BOXHAUL_RUN_INBOX_ROOM_HANDLERS_H
#define BOXHAUL_RUN_INBOX_ROOM_HANDLERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "config/config.h"
#include "edge/loop.h"
#include "flow/inbox_workers.h"

struct inbox_handlers;

/* Everything is borrowed. NULL when out of memory. */
struct inbox_handlers *inbox_handlers_open(struct loop *l, const struct config *config, struct log *log,
					   struct served *served);

/* In two steps, for the loop waits for threads that stand on it: nothing is called back after the first; the second one is after
 * loop_free(). Both take NULL. */
void inbox_handlers_close(struct inbox_handlers *r);
void inbox_handlers_free(struct inbox_handlers *r);

/* By index of the subscription: do we take its messages? Only then they are handled here. */
void inbox_handlers_lead(struct inbox_handlers *r, size_t subscription, bool leads);

/* Rows of it were taken. */
void inbox_handlers_wake(struct inbox_handlers *r, size_t subscription);

/* The configuration has new values. With `why` sessions are made anew. */
void inbox_handlers_reloaded(struct inbox_handlers *r, const char *why);

/* False: the subscription has no handler. */
bool inbox_handlers_look(const struct inbox_handlers *r, size_t subscription, struct inbox_workers_figures *figures);

#endif
