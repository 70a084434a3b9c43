/* The database session of a command: opened, judged and complained about in one way. */
#ifndef BOXHAUL_COMMAND_SESSION_H
#define BOXHAUL_COMMAND_SESSION_H

#include <stddef.h>

#include "command/command.h"
#include "edge/natsio_session.h"
#include "edge/pg_session.h"

/* As whom: the relay's login, the one that may change the schema, or the one that reads the log; and that as it reads it, as a walsender. */
enum session_login { LOGIN_RELAY, LOGIN_OWNER, LOGIN_CAPTURE, LOGIN_WALSENDER };

/* NULL after saying why on stderr: the command ends with EXIT_UNREACHABLE. Root becomes, for good, the system's user of the login's
 * name where the server lets in nobody else (peer authentication). */
struct pg_session *session_open(const struct call *call, enum session_login login);

/* The same without a word: why is in `error`, secrets masked. */
struct pg_session *session_try(const struct call *call, enum session_login login, char *error, size_t size);

/* The same for NATS. */
struct natsio_session *session_try_nats(const struct call *call, char *error, size_t size);

/* EXIT_OK if this program works on the schema. If not, it has said so on stderr: a command that changes something ends then. */
enum exit_code session_schema(struct pg_session *s, const struct config *config);

/* The same for one that only looks, and may try; it is said of a schema that is served, too. */
void session_schema_tell(struct pg_session *s, const struct config *config);

/* An error, with what was tried, on stderr. Returns how the command ends: EXIT_UNREACHABLE if the session is gone. */
enum exit_code session_failed(const struct config *config, const char *what, const struct pg_result *r);

/* Runs one statement of the command. Its first value; NULL after saying what could not be done, and then `code` is how the command ends. */
const char *session_value(struct pg_session *s, const struct call *call, const char *sql, int count,
			  const char *const *parameters, enum exit_code *code);

/* Who types this: "root on shop1". Returns `to`. */
const char *session_who(char *to, size_t size);

#endif
