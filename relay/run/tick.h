/* Once a second: what goes by the clock. */
#ifndef BOXHAUL_RUN_TICK_H
#define BOXHAUL_RUN_TICK_H

/* A timer's function, with the relay as its argument: sets its timer anew, looks after backlog, pause and blocked streams, tells
 * the log and the supervisor how it goes, and gives memory back in a quiet moment. */
void tick(void *arg);

#endif
