#include "core/sequences.h"

#include <string.h>

#include "core/mutant.h"

/* The first range that ends at `sequence` or behind it. Nearly always that is asked of the end. */
static size_t find(const struct sequences *s, uint64_t sequence)
{
	size_t i = s->count;

	while (i > 0 && s->range[i - 1].hi >= sequence)
		i--;
	return i;
}

static void take_out(struct sequences *s, size_t i)
{
	s->count--;
	memmove(&s->range[i], &s->range[i + 1], (s->count - i) * sizeof s->range[0]);
}

static size_t shortest(const struct sequences *s)
{
	size_t found = 0;

	for (size_t i = 1; i < s->count; i++)
		if (s->range[i].hi - s->range[i].lo < s->range[found].hi - s->range[found].lo)
			found = i;
	return found;
}

static void put_in(struct sequences *s, size_t i, uint64_t sequence)
{
	if (s->count == SEQUENCES_RANGES) {
		size_t gone = shortest(s);

		take_out(s, gone);
		i -= gone < i;
	}
	memmove(&s->range[i + 1], &s->range[i], (s->count - i) * sizeof s->range[0]);
	s->range[i] = (struct sequence_range){ sequence, sequence };
	s->count++;
}

bool sequences_add(struct sequences *s, uint64_t sequence)
{
	size_t i = find(s, sequence);

	if (i < s->count && s->range[i].lo <= sequence)
		return false;
	if (i > 0 &&
	    (s->range[i - 1].hi + 1 == sequence || (MUTANT(own_too_wide) && s->range[i - 1].hi + 4 >= sequence))) {
		s->range[i - 1].hi = sequence;
		if (i < s->count && s->range[i].lo == sequence + 1) {
			s->range[i - 1].hi = s->range[i].hi;
			take_out(s, i);
		}
	} else if (i < s->count && s->range[i].lo == sequence + 1) {
		s->range[i].lo = sequence;
	} else {
		put_in(s, i, sequence);
	}
	return true;
}

void sequences_forget(struct sequences *s, uint64_t read_up_to)
{
	while (s->count > 0 && s->range[0].hi <= read_up_to)
		take_out(s, 0);
	if (s->count > 0 && s->range[0].lo <= read_up_to)
		s->range[0].lo = read_up_to + 1;
}

uint64_t sequences_skip(const struct sequences *s, uint64_t from)
{
	size_t i = find(s, from);

	return i < s->count && s->range[i].lo <= from ? s->range[i].hi + 1 : from;
}

uint64_t sequences_between(const struct sequences *s, uint64_t from, uint64_t to)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->count; i++) {
		uint64_t lo = s->range[i].lo > from ? s->range[i].lo : from,
			 hi = s->range[i].hi < to ? s->range[i].hi : to;

		if (lo <= hi)
			sum += hi - lo + 1;
	}
	return sum;
}
