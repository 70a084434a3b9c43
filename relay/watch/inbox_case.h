/* What is wrong with the inbox, in words: for the verdict, which says them everywhere. Pure, from the facts alone. */
#ifndef BOXHAUL_WATCH_INBOX_CASE_H
#define BOXHAUL_WATCH_INBOX_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "watch/inbox_facts.h"
#include "watch/wrong.h"

/* So many things may be wrong, those that stall before the others. `f` may be NULL: there is no inbox. */
size_t inbox_case_count(const struct inbox_facts *f);

/* Is the n-th of them wrong? With `outbox` the inbox's session and connection are not the relay's only ones, which others judge. */
bool inbox_case_is(const struct inbox_facts *f, const char *target, bool outbox, size_t n, struct wrong *out);

#endif
