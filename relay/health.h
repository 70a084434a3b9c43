/* The health port's pages, rendered from facts that the shell collects. */
#ifndef BOXHAUL_HEALTH_H
#define BOXHAUL_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backlog.h"
#include "core/delivery.h"
#include "edge/loop.h"
#include "publisher.h"

struct health_facts {
	const char *instance;
	int64_t now_ms, started_ms;
	const struct delivery_stats *stats;
	const struct backlog_figures *backlog;
	const struct publisher_figures *publisher;
	const uint64_t *statements; /* sent to PostgreSQL, by number: STATEMENTS of them */
	const char *role;           /* disconnected, starting, standby, leader */
	bool leads, stands_by;
	int64_t epoch;
	const char *trouble; /* why it neither leads nor stands by; "" */
	bool postgres_up, nats_up;
	const char *postgres_why, *nats_why; /* why not */
	const char *nats_url;
	const char *paused; /* by whom, since when and why; "" = it is not paused */
	char stall[512];    /* why there is no progress; "" = there is */
	size_t stream_count;
	struct {
		const char *name, *reason, *detail;
	} stream[LIMIT_STREAMS];
	uint64_t found; /* messages found in the streams and kept in mind */
	uint64_t truncations, reconnects_postgres, reconnects_nats;
	uint64_t reloads;   /* of the configuration that were asked for and are over */
	bool reload_failed; /* the last one: the configuration before it counts */
	int64_t reload_ms;  /* when that was; 0 = never */
};

struct health;

/* `collect` fills the facts; called on the loop's thread, only for pages that need them. */
struct health *health_open(struct loop *l, const char *address, uint16_t port,
			   void (*collect)(void *arg, struct health_facts *facts), void *arg, char *error,
			   size_t error_size);
void health_close(struct health *h);

/* Is it ready? Writes why not (or how) to `text`. */
bool health_ready(const struct health_facts *f, char *text, size_t size);

#endif
