/* What the commands of captures share. */
#ifndef BOXHAUL_COMMAND_CAPTURE_SHOW_H
#define BOXHAUL_COMMAND_CAPTURE_SHOW_H

#include <jansson.h>

#include "command/command.h"
#include "command/out.h"
#include "edge/pg_session.h"
#include "watch/wrong.h"

/* The capture of the configuration that the first argument names; NULL after saying which there are. */
const struct config_capture *capture_show_configured(const struct call *call);

/* One object as boxhaul.capture_look() has it, to be freed. EXIT_OK, or it has said why there is none. */
enum exit_code capture_show_look(struct pg_session *s, const struct call *call, const char *capture, json_t **out);

/* How it stands, in the words of the verdict; w->mend is "" where there is nothing to do. */
enum ink capture_show_judge(const json_t *o, const struct config *config, struct wrong *w);

enum { CAPTURE_PASS_BYTES = 512 };

/* Of what the relay tells of a capture: a table over which a verify pass is under way, how far that is, and how long it takes. NULL: there is none. */
const char *capture_show_pass(const json_t *told, char to[static CAPTURE_PASS_BYTES]);

/* One that no configuration here has, and that no daemon reads, so that the server keeps its log for nothing. */
bool capture_show_is_left(const json_t *o, const struct config *config, struct wrong *w);

#endif
