/* PostgreSQL: one session, asynchronous, in pipeline mode, with its own reconnect loop. Knows libpq and nothing of
 * messages. */
#ifndef BOXHAUL_EDGE_PG_H
#define BOXHAUL_EDGE_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/loop.h"

struct pg;
struct pg_result;

struct pg_options {
	const char *conninfo;      /* libpq's; borrowed for the life of the pg */
	const char *password_file; /* in the format of libpq's passfile, read again at every connect; or NULL */
	const char *application_name;
};

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

struct pg_parameter {
	const void *value; /* NULL = SQL NULL */
	int bytes;         /* of a binary value; ignored for text */
	bool binary;
};

/* Called exactly once per pg_send(), unless the session goes down first: then never (down() tells). */
typedef void pg_answer(void *arg, const struct pg_result *result);

struct pg *pg_open(struct loop *l, const struct pg_options *options, const struct pg_handlers *handlers);
void pg_close(struct pg *pg);

/* Other options from the next session on. With `why` that is now: down() is called, if there is one. A session that is just
 * being made may read the old ones until loop_is_busy() is false. */
void pg_use(struct pg *pg, const struct pg_options *options, const char *why);

/* Sends a statement as a transaction of its own; results are binary. Returns false when the session is down. */
bool pg_send(struct pg *pg, const struct pg_statement *statement, const struct pg_parameter *parameters, int count,
	     pg_answer *answer, void *arg);

/* How many of each number were sent, in all sessions; PG_STATEMENTS of them. */
const uint64_t *pg_sent(const struct pg *pg);

/* Ends the session on purpose; down() is called with `why`, from the loop. */
void pg_break(struct pg *pg, const char *why);

/* --- results; everything belongs to the result and dies with the callback --- */

const char *pg_error(const struct pg_result *r);    /* NULL = no error; else one line */
const char *pg_sqlstate(const struct pg_result *r); /* "" when there is none */
int pg_rows(const struct pg_result *r);
bool pg_is_null(const struct pg_result *r, int row, int column);
int64_t pg_int8(const struct pg_result *r, int row, int column);                     /* int8, xid8, int4, int2, bool */
const char *pg_bytes(const struct pg_result *r, int row, int column, size_t *bytes); /* terminated behind the end */

/* --- blocking, for commands that are not the daemon --- */

struct pg_session;

/* NULL after writing why to `error`. */
struct pg_session *pg_session_open(const struct pg_options *options, char *error, size_t error_size);
void pg_session_close(struct pg_session *s);
/* Runs SQL (several statements allowed when there are no parameters). The result is the session's, until the next
 * call; text format. */
const struct pg_result *pg_session_run(struct pg_session *s, const char *sql, int count, const char *const *parameters);
const char *pg_text(const struct pg_result *r, int row, int column); /* "" for NULL */
/* Waits for a notification on any channel, at most so long; true if one came. */
bool pg_session_wait_notify(struct pg_session *s, int timeout_ms);
int pg_session_server_version(const struct pg_session *s);
void pg_session_on_notice(struct pg_session *s, void (*fn)(void *arg, const char *text), void *arg);

#endif
