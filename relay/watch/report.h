/* What the log is told once a second of how it goes: that nothing moves and why, that it moves again, and now and then the line of
 * figures. */
#ifndef BOXHAUL_WATCH_REPORT_H
#define BOXHAUL_WATCH_REPORT_H

#include "base/log.h"
#include "config/config.h"
#include "watch/facts.h"
#include "watch/verdict.h"

struct report;

/* Both outlive it. NULL when out of memory. */
struct report *report_create(const struct config *config, struct log *log);

/* Takes NULL. */
void report_free(struct report *r);

/* Once a second. */
void report_tick(struct report *r, const struct facts *f, const struct verdict *v);

#endif
