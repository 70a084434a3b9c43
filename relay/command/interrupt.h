/* An interruption that is held back until it is convenient: what has begun is brought to an end that is known. */
#ifndef BOXHAUL_COMMAND_INTERRUPT_H
#define BOXHAUL_COMMAND_INTERRUPT_H

#include <stdbool.h>

/* From here on SIGINT and SIGTERM are only looked for. */
void interrupt_hold(void);

bool interrupt_came(void);

#endif
