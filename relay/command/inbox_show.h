/* What the commands of the inbox share. */
#ifndef BOXHAUL_COMMAND_INBOX_SHOW_H
#define BOXHAUL_COMMAND_INBOX_SHOW_H

#include <jansson.h>

#include "command/command.h"
#include "command/out.h"
#include "edge/pg_session.h"

/* Runs fn in a session of its own, if the schema is ours. */
enum exit_code inbox_with_session(const struct call *call,
				  enum exit_code (*fn)(struct pg_session *s, const struct call *call));

/* What boxhaul.inbox_look() says of the subscription, an object to be freed. EXIT_OK, or it has said why there is none. */
enum exit_code inbox_look_at(struct pg_session *s, const struct call *call, const char *subscription, json_t **out);

enum { INBOX_SAID_BYTES = 2560 };

/* How the subscription goes, one sentence; and what to do: "" where there is nothing. Returns the ink for it. */
enum ink inbox_judge(const json_t *o, const struct config *config, char what[static INBOX_SAID_BYTES],
		     char mend[static INBOX_SAID_BYTES]);

enum { INBOX_STANDING_BYTES = 256 };

/* What waits; or of a sink, what it has applied, and what verify passes have found of its tables. */
const char *inbox_standing(const json_t *o, char to[static INBOX_STANDING_BYTES]);

/* Nobody takes it, and this configuration does not either: renamed, or given up. What that is, and what to do. */
bool inbox_is_left(const json_t *o, const struct config *config, char what[static INBOX_SAID_BYTES],
		   char mend[static INBOX_SAID_BYTES]);

/* Numbers as of SQL's bigint, from a member that may be missing. */
long long inbox_number(const json_t *o, const char *path);

#endif
