/* Which deliberate bug of the core is played (core/mutant.h). Used by the simulator and by the stories of the core, where
 * they are built with -DBOXHAUL_MUTANTS; in any other build there is none. */
#ifndef SIMULATOR_MUTANT_H
#define SIMULATOR_MUTANT_H

#include <stdbool.h>

/* From now on the core has this bug. False: there is none of that name. */
bool mutant_play(const char *name);

/* Prints them all: a line each, name|finder|meaning. */
void mutant_list(void);

#endif
