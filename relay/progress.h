/* Does it move, and if not, why? Ready means progress, stream by stream: messages that wait and no acknowledgement for a
 * while is a stall, whatever moves beside it, and has a cause. For a standby it means that somebody else makes progress. */
#ifndef BOXHAUL_PROGRESS_H
#define BOXHAUL_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "backlog.h"
#include "config.h"
#include "core/delivery.h"
#include "log.h"
#include "publisher.h"

struct progress;

/* All of them outlive it. NULL = out of memory. */
struct progress *progress_create(const struct config *config, struct log *log, const struct publisher *publisher,
				 struct backlog *backlog);
void progress_free(struct progress *p);

/* The outbox could be read, or could not and why (copied). */
void progress_fetched(struct progress *p);
void progress_fetch_failed(struct progress *p, const char *why, int64_t now_ms);

/* Once a second: logs a stall, its end, and the line of figures when it is due. */
void progress_tick(struct progress *p, const struct delivery_stats *s, const char *role, int64_t now_ms);

/* Writes why there is no progress; "" = there is, or nothing to do. */
void progress_stall(const struct progress *p, const struct delivery_stats *s, int64_t now_ms, char *out, size_t size);

#endif
