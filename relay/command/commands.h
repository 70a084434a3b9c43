/* The commands that are not the daemon. Each connects for itself, blocks, and writes for people to stdout. */
#ifndef BOXHAUL_COMMAND_COMMANDS_H
#define BOXHAUL_COMMAND_COMMANDS_H

#include "command/command.h"

/* Applies what is missing of the schema, in one transaction, under a lock. */
enum exit_code command_migrate(const struct call *call);

/* Looks at everything `run` needs; each line ok, warn or FAIL with what mends it. */
enum exit_code command_check(const struct call *call);

/* Does it move, and if not, why? */
enum exit_code command_status(const struct call *call);

/* Where one message is, and what will happen to it. */
enum exit_code command_explain(const struct call *call);

/* Every setting, what it is and who says so. */
enum exit_code command_config_show(const struct call *call);

#endif
