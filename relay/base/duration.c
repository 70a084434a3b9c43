#include "base/duration.h"

#include <stdio.h>

const char *duration_text(double seconds, char *to, size_t size)
{
	double minutes = seconds / 60, hours = seconds / 3600;

	if (seconds < 10)
		snprintf(to, size, "%.1f s", seconds > 0 ? seconds : 0);
	else if (seconds < 120)
		snprintf(to, size, "%.0f s", seconds);
	else if (minutes < 120)
		snprintf(to, size, "%.0f min", minutes);
	else if (hours < 48)
		snprintf(to, size, "%.0f h", hours);
	else
		snprintf(to, size, "%.0f days", hours / 24);
	return to;
}
