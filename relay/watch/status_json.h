/* /status and /history: what the page draws, and what programs read. */
#ifndef BOXHAUL_WATCH_STATUS_JSON_H
#define BOXHAUL_WATCH_STATUS_JSON_H

#include <stdio.h>

#include "watch/facts.h"
#include "watch/history.h"
#include "watch/verdict.h"

/* One object: the verdict and every problem, the role, the connections, the figures (figures.h), the rate of late and the streams. What
 * is not known is null. */
void status_json_write(FILE *out, const struct facts *f, const struct verdict *v, const struct history *h);

/* {"samples": [[seconds ago, acks since the start, lag in seconds or null], ...]}, the oldest first. */
void status_json_write_history(FILE *out, const struct history *h, int64_t now_ms);

#endif
