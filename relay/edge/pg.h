/* PostgreSQL: one session, asynchronous, in pipeline mode, with its own reconnect loop. Knows libpq and nothing of
 * messages. */
#ifndef BOXHAUL_EDGE_PG_H
#define BOXHAUL_EDGE_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/loop.h"
#include "edge/pg_options.h"
#include "edge/pg_result.h"

struct pg;

struct pg_handlers {
	void (*up)(void *arg);                    /* a fresh session: nothing prepared, nothing locked */
	void (*down)(void *arg, const char *why); /* it is gone, or could not be had; a new one is tried by itself */
	void (*notified)(void *arg, const char *payload);
	void *arg;
};

enum { PG_STATEMENTS = 32, PG_PARAMETERS = 32 };

/* A statement to be prepared on first use. `number` is unique among those of one session. */
struct pg_statement {
	unsigned number; /* < PG_STATEMENTS */
	const char *sql;
};

/* Called exactly once per pg_send(), unless the session goes down first: then never (down() tells). */
typedef void pg_answer(void *arg, const struct pg_result *result);

/* Connects from the loop, and calls nobody before it runs. NULL when out of memory. */
struct pg *pg_open(struct loop *l, const struct pg_options *options, const struct pg_handlers *handlers);
/* No handler is called any more. NULL is allowed. */
void pg_close(struct pg *pg);

/* Other options from the next session on. With `why` that is now: down() is called, if there is one. A session that is just
 * being made may read the old ones until loop_is_busy() is false. */
void pg_use(struct pg *pg, const struct pg_options *options, const char *why);
/* While it rests there is no session, and none is tried; a session that is there ends, and down() is called. May be said before the loop
 * runs. */
void pg_rest(struct pg *pg, bool rests);
/* Of several hosts in the connection string the next session tries another one first: this server is one that we cannot use. */
void pg_turn(struct pg *pg);

/* Sends a statement as a transaction of its own; parameters are text (NULL = SQL NULL), results are binary. Returns false when the
 * session is down. */
bool pg_send(struct pg *pg, const struct pg_statement *statement, const char *const *parameters, int count,
	     pg_answer *answer, void *arg);

/* The same; a parameter of bytes[i] > 0 is binary, in PostgreSQL's format, and has so many. */
bool pg_send_binary(struct pg *pg, const struct pg_statement *statement, const char *const *parameters,
		    const int *bytes, int count, pg_answer *answer, void *arg);

/* The same for a text that may be another one each time: it is not kept. Its result comes in text (pg_text()). */
bool pg_send_once(struct pg *pg, const char *sql, const char *const *parameters, int count, pg_answer *answer,
		  void *arg);

/* How many of each number were sent, in all sessions; PG_STATEMENTS of them. */
const uint64_t *pg_sent(const struct pg *pg);

/* Ends the session on purpose; down() is called with `why`, from the loop. */
void pg_break(struct pg *pg, const char *why);

#endif
