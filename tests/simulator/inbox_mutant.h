/* Which mutant of the inbox's core is played: for every test program that is built with -DBOXHAUL_MUTANTS. */
#ifndef SIM_INBOX_MUTANT_H
#define SIM_INBOX_MUTANT_H

#include <stdbool.h>

/* False: there is none of that name, or none is built in. */
bool inbox_mutant_choose(const char *name);

/* Prints a line for each: name|finder|meaning. */
void inbox_mutant_list(void);

#endif
