/* The keys between which a chunk is read, as parameters of its statement. */
#ifndef BOXHAUL_FLOW_CAPTURE_RANGE_H
#define BOXHAUL_FLOW_CAPTURE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/capture_key.h"

/* A key in one piece (format/capture_key.h). NULL: there is none. */
struct capture_range_key {
	const void *bytes;
	size_t count;
};

/* Behind `after`, and not above `upto`; without a key there is no end. */
struct capture_range {
	struct capture_range_key after, upto;
	char *memory; /* of a copy, which owns its keys; else NULL */
};

/* A copy; false: there is no memory for it. Free it with capture_range_free(); all 0 is empty. */
bool capture_range_copy(struct capture_range *to, const struct capture_range *from);
void capture_range_free(struct capture_range *r);

enum { CAPTURE_RANGE_PARAMETERS = 2 * CAPTURE_KEY_COLUMNS };

/* What fills a statement: the columns of `after`, and then those of `upto`. */
struct capture_range_parameters {
	const char *text[CAPTURE_RANGE_PARAMETERS];
	int count;
	char *memory; /* to be freed */
};

enum capture_range_fit {
	CAPTURE_RANGE_FITS,
	CAPTURE_RANGE_OTHER_KEY, /* a key has not so many columns */
	CAPTURE_RANGE_NO_MEMORY,
};

/* Each key must have so many columns. */
enum capture_range_fit capture_range_split(const struct capture_range *r, uint16_t columns,
					   struct capture_range_parameters *p);

#endif
