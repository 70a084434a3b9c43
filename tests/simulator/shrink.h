/* A failing seed made small: the same violation with fewer faults, rows, producers and relays. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include <stdbool.h>
#include <stddef.h>

#include "plan.h"

struct sim;

/* Plays the seed again, so much smaller; true: no promise was broken. */
typedef bool shrink_play(const struct overrides *o);

/* s has just failed with *o; *o becomes the smallest that was found to fail in the same way. */
void shrink(const struct sim *s, struct overrides *o, shrink_play *play);

/* The options that replay it: "--seed 7 --only kill,pause --faults-until 3". */
void shrink_tell(const struct sim *s, const struct overrides *o, char *text, size_t size);

#endif
