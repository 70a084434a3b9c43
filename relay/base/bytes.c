#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

const char *bytes_text(uint64_t bytes, char *to, size_t size)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB", "PB" };
	double n = (double)bytes / 1000;
	size_t unit = 0;

	if (bytes < 1000) {
		snprintf(to, size, "%" PRIu64 " B", bytes);
		return to;
	}
	while (n >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
		n /= 1000;
		unit++;
	}
	snprintf(to, size, "%.*f %s", n < 9.95, n, units[unit]);
	return to;
}
