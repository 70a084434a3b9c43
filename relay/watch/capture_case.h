/* What is wrong with the captures, in words: for the verdict, which says them everywhere. Pure, from the facts alone. */
#ifndef BOXHAUL_WATCH_CAPTURE_CASE_H
#define BOXHAUL_WATCH_CAPTURE_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "watch/capture_facts.h"
#include "watch/wrong.h"

/* So many things may be wrong, those that stall before the others. `f` may be NULL: there are no captures. */
size_t capture_case_count(const struct capture_facts *f);

/* Is the n-th of them wrong? With `others` the session and the connection of the captures are not the relay's only ones, which are judged
 * elsewhere. */
bool capture_case_is(const struct capture_facts *f, const char *target, bool others, size_t n, struct wrong *out);

#endif
