/* When a stream has stored a message: what the mark of a capture says of where its stream ends. One question at a time. */
#ifndef BOXHAUL_FLOW_STORED_TIME_H
#define BOXHAUL_FLOW_STORED_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "edge/natsio.h"

struct stored_time;

struct stored_time_handlers {
	void (*told)(void *arg, uint64_t sequence, int64_t time_ns); /* 0: it is not there, or nobody says it */
	void *arg;
};

/* Of the first stream of the configuration. Everything is borrowed. NULL when out of memory. */
struct stored_time *stored_time_create(struct natsio *nats, const struct config *config,
				       const struct stored_time_handlers *handlers);
/* NULL is allowed. */
void stored_time_free(struct stored_time *t);

/* Asks; told() follows, unless the answer is lost, or another question comes before it. */
void stored_time_ask(struct stored_time *t, uint64_t sequence);

/* Takes a reply; false when it is none to stored_time_ask(). */
bool stored_time_reply(struct stored_time *t, const struct natsio_reply *reply);

#endif
