/* Which mutant of the capture's core is played: for every test program that is built with -DBOXHAUL_MUTANTS. */
#ifndef SIM_CAPTURE_MUTANT_H
#define SIM_CAPTURE_MUTANT_H

#include <stdbool.h>

/* False: there is none of that name, or none is built in. */
bool capture_mutant_choose(const char *name);

/* Prints a line for each: name|finder|meaning. */
void capture_mutant_list(void);

#endif
