/* `boxhaul status` of all relays of a machine. */
#ifndef BOXHAUL_COMMAND_STATUS_ALL_H
#define BOXHAUL_COMMAND_STATUS_ALL_H

#include "command/command.h"

/* A table, worst first; or a list of what `status --json` says of each. */
enum exit_code status_all(const struct call *call);

#endif
