/* What the commands of sagas share. */
#ifndef BOXHAUL_COMMAND_SAGAS_SHOW_H
#define BOXHAUL_COMMAND_SAGAS_SHOW_H

#include <jansson.h>

#include "command/command.h"
#include "edge/pg_session.h"

/* An object with everything that is known of the saga, to be freed: as boxhaul.sagas has it, with how long ago in seconds, and with its
 * timeline. EXIT_OK, or it has said why there is none. */
enum exit_code sagas_show_look(struct pg_session *s, const struct call *call, const char *id, json_t **out);

/* The first argument, if it is a uuid; else it says that it is none, and returns NULL. */
const char *sagas_show_id(const struct call *call);

#endif
