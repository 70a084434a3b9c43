/* The end of each turn of the loop: what the core wants done is done. */
#ifndef BOXHAUL_RUN_TURN_H
#define BOXHAUL_RUN_TURN_H

#include "run/relay_state.h"

/* For loop_before_sleep(), with the relay as its argument. Takes every effect of the core, carries it out, and sets the core's
 * timer. */
void turn(void *arg);

#endif
