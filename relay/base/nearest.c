#include "base/nearest.h"

#include <string.h>

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned nearest_distance(const char *a, const char *b)
{
	unsigned row[3][NEAREST_MAX_BYTES + 1] = { { 0 } };
	unsigned *above2 = row[0], *above = row[1], *here = row[2];
	size_t n = strlen(a), m = strlen(b);

	if (n > NEAREST_MAX_BYTES || m > NEAREST_MAX_BYTES)
		return NEAREST_MAX_BYTES;
	for (unsigned j = 0; j <= m; j++)
		here[j] = j;
	for (unsigned i = 1; i <= n; i++) {
		unsigned *spare = above2;

		above2 = above, above = here, here = spare;
		here[0] = i;
		for (unsigned j = 1; j <= m; j++) {
			here[j] = least(least(above[j], here[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				here[j] = least(here[j], above2[j - 2] + 1);
		}
	}
	return here[m];
}

unsigned nearest_limit(const char *word)
{
	return 2 + (unsigned)strlen(word) / 4;
}
