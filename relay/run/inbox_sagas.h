/* The sagas of an instance, as far as a daemon knows of them: the subscription that takes their answers is one of the inbox's, the
 * last; and whoever takes it runs the clock. */
#ifndef BOXHAUL_RUN_INBOX_SAGAS_H
#define BOXHAUL_RUN_INBOX_SAGAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "edge/loop.h"
#include "flow/served.h"
#include "watch/saga_facts.h"

struct inbox_sagas;

/* What is known of the subscription of the answers. */
struct inbox_sagas_look {
	bool leads, pulls;  /* messages of it are taken here; are asked for */
	int64_t pulling_ms; /* since when without a break, of loop_now_ms() */
	uint64_t untaken;   /* in the stream, or on the way */
	int64_t counted_ms; /* when rows that are not handled were counted last; 0: not yet */
	uint64_t unhandled;
};

/* Everything is borrowed. `config`: with sagas. NULL when out of memory. */
struct inbox_sagas *inbox_sagas_open(struct loop *l, const struct config *config, struct log *log,
				     struct served *served);

/* In two steps, as the room has them. Both take NULL. */
void inbox_sagas_close(struct inbox_sagas *s);
void inbox_sagas_free(struct inbox_sagas *s);

/* Once a second. */
void inbox_sagas_tick(struct inbox_sagas *s, const struct inbox_sagas_look *look);

/* Does it wait until the answers that were there are handled? */
bool inbox_sagas_wants_count(const struct inbox_sagas *s);

/* Answers were taken. */
void inbox_sagas_wake(struct inbox_sagas *s);

/* The configuration has new values. With `why` the session is made anew. */
void inbox_sagas_reloaded(struct inbox_sagas *s, const char *why);

/* NULL: no sagas are started here. */
void inbox_sagas_facts(const struct inbox_sagas *s, struct saga_facts *f);

#endif
