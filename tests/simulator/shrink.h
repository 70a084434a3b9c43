/* A failing seed made small: the same violation with fewer faults, and less of everything else. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include "player.h"

/* The seed that was run last has just failed with *o; *o becomes the smallest that was found to fail in the same way. */
void shrink(const struct player *p, struct overrides *o, int flaw);

/* Prints the options that replay it: "--seed 7 --only kill,pause --faults-until 3". */
void shrink_tell(const struct player *p, const struct overrides *o);

#endif
