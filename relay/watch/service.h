/* What the supervisor is told (systemd, with Type=notify): when we are ready, reloading and stopping, that the loop
 * turns, and in one line how it goes. Without one it does nothing. */
#ifndef BOXHAUL_WATCH_SERVICE_H
#define BOXHAUL_WATCH_SERVICE_H

#include <stdint.h>

#include "base/log.h"
#include "edge/loop.h"
#include "watch/facts.h"
#include "watch/verdict.h"

struct service;

/* Before there are threads: it takes the supervisor's words out of the environment. NULL when out of memory. */
struct service *service_create(struct loop *l, struct log *log);

/* Takes NULL. */
void service_free(struct service *s);

/* The configuration is read and the relay works. Not: it leads. One that waits for its database has started. */
void service_ready(struct service *s);

/* The configuration is read again; service_ready() follows. */
void service_reloading(struct service *s);

/* For good. It may take so long. */
void service_stopping(struct service *s, int64_t drain_ms);

/* Once a second: the line, if it is another one. */
void service_tick(struct service *s, const struct facts *f, const struct verdict *v);

#endif
