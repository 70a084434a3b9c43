#include "format/rfc3339.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { NS_DIGITS = 9 };
static const int64_t NS = 1000000000;

/* The digits behind the point, filled up to nine. NULL: more than that, or none. */
static const char *read_fraction(const char *p, int64_t *ns)
{
	int digits = 0;

	*ns = 0;
	for (; *p >= '0' && *p <= '9' && digits < NS_DIGITS; p++, digits++)
		*ns = *ns * 10 + (*p - '0');
	if (digits == 0)
		return NULL;
	for (; digits < NS_DIGITS; digits++)
		*ns *= 10;
	return p;
}

bool rfc3339_read(const char *text, int64_t *ns)
{
	struct tm t = { .tm_isdst = 0 };
	const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &t) : NULL;
	int64_t seconds, fraction = 0;

	*ns = 0;
	if (rest != NULL && *rest == '.')
		rest = read_fraction(rest + 1, &fraction);
	if (rest == NULL || strcmp(rest, "Z") != 0)
		return false;
	seconds = (int64_t)timegm(&t);
	if (seconds < 0 || seconds >= INT64_MAX / NS)
		return false;
	*ns = seconds * NS + fraction;
	return true;
}

const char *rfc3339_write(int64_t ns, char to[static RFC3339_BYTES])
{
	time_t seconds = (time_t)(ns / NS);
	struct tm t;
	size_t n;

	gmtime_r(&seconds, &t);
	n = strftime(to, RFC3339_BYTES, "%Y-%m-%dT%H:%M:%S", &t);
	if (ns % NS != 0) {
		n += (size_t)snprintf(to + n, RFC3339_BYTES - n, ".%09" PRId64, ns % NS);
		while (to[n - 1] == '0')
			n--;
	}
	memcpy(to + n, "Z", 2);
	return to;
}
