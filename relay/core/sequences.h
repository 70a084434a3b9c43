/* Sequences of a stream that are known, not necessarily all below one of them: a few ranges. Where there is no
 * room for one more, the shortest of those that were there is forgotten. */
#ifndef BOXHAUL_CORE_SEQUENCES_H
#define BOXHAUL_CORE_SEQUENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEQUENCES_RANGES = 32 };

/* All zero: none. Ascending; between two ranges there is always a sequence that is not known. */
struct sequences {
	struct sequence_range {
		uint64_t lo, hi;
	} range[SEQUENCES_RANGES];
	size_t count;
};

/* Returns whether it is news. */
bool sequences_add(struct sequences *s, uint64_t sequence);

/* Forgets all up to this one, itself included. */
void sequences_forget(struct sequences *s, uint64_t read_up_to);

/* The first that is not known, from this one on. */
uint64_t sequences_skip(const struct sequences *s, uint64_t from);

/* How many are known from `from` to `to`. */
uint64_t sequences_between(const struct sequences *s, uint64_t from, uint64_t to);

#endif
