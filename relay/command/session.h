/* The database session of a command: opened, judged and complained about in one way. */
#ifndef BOXHAUL_COMMAND_SESSION_H
#define BOXHAUL_COMMAND_SESSION_H

#include <stddef.h>

#include "command/command.h"
#include "edge/natsio_session.h"
#include "edge/pg.h"

/* As whom: the relay's login, or the one that may change the schema. */
enum session_login { LOGIN_RELAY, LOGIN_OWNER };

/* NULL after saying why on stderr: the command ends with EXIT_UNREACHABLE. */
struct pg_session *session_open(const struct call *call, enum session_login login);

/* The same without a word: why is in `error`, secrets masked. */
struct pg_session *session_try(const struct call *call, enum session_login login, char *error, size_t size);

/* The same for NATS. */
struct natsio_session *session_try_nats(const struct call *call, char *error, size_t size);

/* EXIT_OK if the schema is the one this program was written for. If not, it has said so on stderr: a command that changes
 * something ends then; one that only looks may try. */
enum exit_code session_schema(struct pg_session *s);

/* An error, with what was tried, on stderr. Returns how the command ends: EXIT_UNREACHABLE if the session is gone. */
enum exit_code session_failed(const char *what, const struct pg_result *r);

#endif
