/* Leading and standing by: from a fresh session to the lead, and what the lead allows. */
#ifndef BOXHAUL_FLOW_LEADER_H
#define BOXHAUL_FLOW_LEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "books/codec.h"
#include "config/config.h"
#include "core/delivery.h"
#include "edge/loop.h"
#include "edge/pg.h"
#include "flow/role.h"
#include "flow/served.h"

struct leader;

struct leader_handlers {
	/* We lead: an EVENT_LEADING without its time. The exceptions die with the call. */
	void (*leading)(void *arg, const struct event *event);
	void *arg;
};

/* Everything is borrowed. NULL when out of memory. */
struct leader *leader_create(struct loop *l, struct pg *pg, const struct config *config, struct log *log,
			     struct served *served, const struct leader_handlers *handlers);
void leader_free(struct leader *r);

/* A fresh session is there: begins the way to the lead. It is gone: so is the lead, or the way to it. */
void leader_session_up(struct leader *r);
void leader_session_down(struct leader *r);

/* Once a second: ends the session if its server was replaced by another one, which somebody else in this process has seen. */
void leader_tick(struct leader *r);

/* The history that rows belong to which are sent in this lead (witness_check()): of this server since its last promotion, to these
 * streams. */
uint64_t leader_history(const struct leader *r);

/* Which server it is, by PostgreSQL's own number for it (system_identifier), which its standbys share. Of the last one that told; 0 =
 * none has yet. */
uint64_t leader_server(const struct leader *r);

/* The version of the schema, as it was seen last; 0 = it has not been, or was refused. A migration under us is noticed now and then. */
int64_t leader_schema(const struct leader *r);

/* How far it is; the epoch of the lead that we have, or had last. */
enum role leader_role(const struct leader *r);
int64_t leader_epoch(const struct leader *r);

/* So long from now may an earlier leader still publish; 0 = nobody else does. */
int64_t leader_others_ms(const struct leader *r);

/* Why it does not lead and does not stand by properly; "" if it does. */
const char *leader_trouble(const struct leader *r);

/* While we lead: a mark with this position is sent; an id was seen. */
void leader_marking(struct leader *r, int64_t position);
void leader_seen(struct leader *r, int64_t id);

/* What a fetch is to hold the books against; and the snapshot that the lead was taken in, as text: for the first fetch. */
const struct codec_books *leader_books(const struct leader *r);
const char *leader_since(const struct leader *r);

/* The books are not those that were read, says a fetch: restored, truncated or renumbered under us, rows would be lost below what was
 * read, where nobody reads. The session ends, and with it the lead. Whoever leads next is told by lead() what to do. */
void leader_books_differ(struct leader *r, const char *why);

/* Now and then: would lead() still lead over these books, and does the schema still serve us? A fetch looks at the last ids of what was read; rows far below them, and
 * what makes the numbers of tomorrow wrong (a CACHE, a subscription), are seen by this. False: it could not be sent. */
bool leader_check_ids(struct leader *r);

#endif
