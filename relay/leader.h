/* Leading and standing by: from a fresh session to the lead, and what the lead allows. */
#ifndef BOXHAUL_LEADER_H
#define BOXHAUL_LEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "core/delivery.h"
#include "edge/loop.h"
#include "edge/pg.h"
#include "log.h"

enum role { ROLE_DISCONNECTED, ROLE_STARTING, ROLE_STANDBY, ROLE_LEADER };

struct leader;

struct leader_handlers {
	/* We lead: an EVENT_LEADING without its time. The exceptions die with the call. */
	void (*leading)(void *arg, const struct event *event);
	void *arg;
};

/* Everything is borrowed. NULL when out of memory. */
struct leader *leader_create(struct loop *l, struct pg *const *pg, const struct config *config, struct log *log,
			     const struct leader_handlers *handlers);
void leader_free(struct leader *r);

void leader_session_up(struct leader *r);
void leader_session_down(struct leader *r);

enum role leader_role(const struct leader *r);
const char *leader_role_text(const struct leader *r);
int64_t leader_epoch(const struct leader *r);

/* So long from now may an earlier leader still publish; 0 = nobody else does. */
int64_t leader_others_ms(const struct leader *r);

/* Why it does not lead and does not stand by properly; "" if it does. */
const char *leader_trouble(const struct leader *r);

#endif
