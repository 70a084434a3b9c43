/* Figures that the database does not count to their end, for they are asked for every few seconds: dead letters, rows of a sink that differ. At this
 * number there are so many, or more, and whoever tells of them says so. (A command that asks once may have counted further; then that is the number.) (The manual names the number; so do the statements of books/ and sql/.) */
#ifndef BOXHAUL_WATCH_COUNTED_H
#define BOXHAUL_WATCH_COUNTED_H

#include <stdint.h>

enum { COUNTED_MOST = 10000 };

/* What stands before the number. */
static inline const char *counted(uint64_t n)
{
	return n == COUNTED_MOST ? "at least " : "";
}

#endif
