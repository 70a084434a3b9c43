/* One look at the delivery: what the database knows, and what the relay on this machine says of itself. It changes nothing,
 * needs no more than boxhaul_monitor, and is not held up by anybody's lock. */
#ifndef BOXHAUL_COMMAND_LOOK_H
#define BOXHAUL_COMMAND_LOOK_H

#include <jansson.h>

#include "command/command.h"
#include "edge/pg_session.h"

enum { LOOK_COUNT_MAX = 100000 }; /* rows that wait are counted so far */

/* Prepares a session for looking: no statement takes long, none changes anything. EXIT_OK or it has said why not. Of another
 * schema than ours it says so, and is content: it shows what it has to show. */
enum exit_code look_begin(struct pg_session *s, const struct config *config);

/* One object. EXIT_OK, or it has said why there is none. */
enum exit_code look_take(struct pg_session *s, const struct config *config, json_t **out);

/* The same while the database is away, and why: what is known is what the relay on this machine says. NULL: out of memory. */
json_t *look_without_database(const struct config *config, const char *why);

/* What a function of the schema answered, one JSON object. EXIT_OK, or it has said why there is none, and what could not be done. */
enum exit_code look_answer(const struct config *config, const char *what, const struct pg_result *r, json_t **out);

/* The configured streams, for such a function: a JSON array, to be freed. */
char *look_streams(const struct config *config);

/* --- reading it; all of them take a missing member for nothing --- */

const json_t *look_at(const json_t *o, const char *path); /* "horizon.pid"; NULL: not there */
const char *look_text(const json_t *o, const char *path); /* "" */
double look_number(const json_t *o, const char *path);    /* 0 */
bool look_is(const json_t *o, const char *path);          /* a member that is true */

#endif
