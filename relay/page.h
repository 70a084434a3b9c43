/* The page for people: the state in words, figures, and the last minutes drawn. All of it is made here; the script only
 * fetches it again. */
#ifndef BOXHAUL_PAGE_H
#define BOXHAUL_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "health.h"

/* Ten minutes, a sample every four seconds. */
enum { HISTORY_SAMPLES = 150, HISTORY_STEP_MS = 4000 };

struct history {
	struct {
		int64_t at_ms;
		uint64_t acked;
		int64_t lag_us; /* negative = not known */
	} sample[HISTORY_SAMPLES];
	size_t next, count;
};

void history_add(struct history *h, const struct health_facts *f);

/* One sentence: is all well, and if not, why? `why` is health_ready()'s. */
void page_words(const struct health_facts *f, bool ready, const char *why, char *out, size_t size);

void page_write(FILE *out, const struct health_facts *f, bool ready, const char *why, const struct history *h);

/* Style and script as they are. */
void page_file(FILE *out, const char *name);

#endif
