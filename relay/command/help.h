/* What `boxhaul help` says: all of it comes from the table. */
#ifndef BOXHAUL_COMMAND_HELP_H
#define BOXHAUL_COMMAND_HELP_H

#include <stdio.h>

#include "command/command.h"

void help_print(FILE *out, const struct command *commands);

/* One command: what it takes, and what it does. */
void help_print_one(FILE *out, const struct command *c);

/* `help`, `help COMMAND`, `help dead-letters`. */
enum exit_code help_run(const struct call *call);

#endif
