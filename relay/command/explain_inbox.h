/* `boxhaul explain --inbox ID`: where a message is that was taken from a stream, and what happens next. */
#ifndef BOXHAUL_COMMAND_EXPLAIN_INBOX_H
#define BOXHAUL_COMMAND_EXPLAIN_INBOX_H

#include "command/command.h"

/* EXIT_FAILED where no subscription knows it. */
enum exit_code explain_inbox(const struct call *call);

#endif
