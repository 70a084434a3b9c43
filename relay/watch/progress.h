/* Does it move, and if not, why? Ready means progress, stream by stream: messages that wait and no acknowledgement for a
 * while is a stall, whatever moves beside it, and has a cause. For a standby it means that somebody else makes progress. */
#ifndef BOXHAUL_WATCH_PROGRESS_H
#define BOXHAUL_WATCH_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "books/reasons.h"
#include "config/config.h"
#include "core/delivery.h"
#include "flow/stream_setup.h"
#include "watch/backlog.h"

struct progress;

/* All of them outlive it. NULL = out of memory. */
struct progress *progress_create(const struct config *config, const struct reasons *reasons,
				 const struct stream_setup *setup, struct backlog *backlog);

/* Takes NULL. */
void progress_free(struct progress *p);

/* The outbox could be read, or could not and why (copied). */
void progress_fetched(struct progress *p);
void progress_fetch_failed(struct progress *p, const char *why, int64_t now_ms);

/* Once a second: remembers since when each stream has acknowledged nothing. */
void progress_tick(struct progress *p, const struct delivery_stats *s, int64_t now_ms);

/* Writes why there is no progress; "" = there is, or nothing to do. */
void progress_stall(const struct progress *p, const struct delivery_stats *s, int64_t now_ms, char *out, size_t size);

#endif
