/* "1 row", "2 rows": what stands behind the word. */
#ifndef BOXHAUL_BASE_PLURAL_H
#define BOXHAUL_BASE_PLURAL_H

#include <stdint.h>

static inline const char *plural(int64_t n)
{
	return n == 1 ? "" : "s";
}

#endif
