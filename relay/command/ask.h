/* Before something is changed that cannot be taken back. */
#ifndef BOXHAUL_COMMAND_ASK_H
#define BOXHAUL_COMMAND_ASK_H

#include "command/command.h"

/* Asks on the terminal; --yes is an answer. EXIT_OK: go on. EXIT_FAILED: no. EXIT_USAGE: nobody is there to be asked. */
__attribute__((format(printf, 2, 3))) enum exit_code ask(const struct call *call, const char *format, ...);

#endif
