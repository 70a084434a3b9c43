/* What is wrong with the sagas, in words: for the verdict, which says them everywhere. Pure, from the facts alone. */
#ifndef BOXHAUL_WATCH_SAGA_CASE_H
#define BOXHAUL_WATCH_SAGA_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "watch/saga_facts.h"
#include "watch/wrong.h"

/* The second of them holds also where no sagas may be started. */
enum { SAGA_CASE_UNCLOCKED = 1, SAGA_CASES = 3 };

/* Is the n-th of them wrong? n < SAGA_CASES. */
bool saga_case_is(const struct saga_facts *f, const char *target, size_t n, struct wrong *out);

#endif
