/* Which sequences are known: against a list of all of them. */
#include "core/sequences.h"

#include "tap.h"

enum { TOP = 200, STEPS = 200000 };

static struct sequences s;

static void begin(void)
{
	memset(&s, 0, sizeof s);
}

static void ranges(void)
{
	begin();
	ok(sequences_add(&s, 5) && sequences_add(&s, 7), "two that are news");
	ok(!sequences_add(&s, 5), "one that is not");
	is_number(s.count, 2, "6 is not known");
	is_number(sequences_skip(&s, 5), 6, "it is the first behind 5 that is not");
	is_number(sequences_skip(&s, 6), 6, "and the first from itself on");
	is_number(sequences_between(&s, 1, 6), 1, "one up to it");
	ok(sequences_add(&s, 6), "then it is");
	is_number(s.count, 1, "and they are one range");
	is_number(sequences_skip(&s, 5), 8, "which is skipped as a whole");
	sequences_forget(&s, 5);
	is_number(sequences_between(&s, 1, TOP), 2, "up to 5 forgotten");
	is_number(sequences_skip(&s, 5), 5, "that is not known any more");
	sequences_forget(&s, 100);
	is_number(s.count, 0, "all forgotten");
}

static void crowd(void)
{
	begin();
	for (uint64_t i = 1; i <= 100; i++)
		sequences_add(&s, 1000 + i);
	for (uint64_t i = 1; i <= 100; i++)
		sequences_add(&s, 2000 + 2 * i);
	is_number(s.count, SEQUENCES_RANGES, "no more than there is room for");
	is_number(sequences_skip(&s, 1001), 1101, "the long one is kept");
	is_number(sequences_skip(&s, 2200), 2201, "so is the last");
	is_number(sequences_skip(&s, 2002), 2002, "a short one is forgotten");
}

/* What is known was added, and not forgotten since: never more. With enough room it is all of that. */
static void any_order(uint64_t top, bool roomy)
{
	bool known[TOP + 2] = { false };
	unsigned wrong = 0, lost = 0;

	begin();
	for (int step = 0; step < STEPS; step++) {
		uint64_t n = (uint64_t)rand() % top + 1, sum = 0, first = n;

		if (rand() % 100 == 0) {
			sequences_forget(&s, n);
			memset(known, 0, (size_t)n + 1);
		} else {
			wrong += !sequences_add(&s, n) && !known[n];
			known[n] = true;
		}
		for (uint64_t i = 1; i <= top; i++) {
			bool said = sequences_skip(&s, i) != i;

			wrong += said && !known[i];
			lost += !said && known[i];
			sum += said;
		}
		wrong += sequences_between(&s, 1, top) != sum;
		while (sequences_between(&s, first, first) == 1)
			first++;
		wrong += sequences_skip(&s, n) != first;
		for (size_t i = 1; i < s.count; i++)
			wrong += s.range[i].lo <= s.range[i - 1].hi + 1;
	}
	is_number(wrong, 0, "nothing is known that was not told");
	if (roomy)
		is_number(lost, 0, "and with enough room all that was");
}

int main(void)
{
	srand(1);
	ranges();
	crowd();
	any_order(SEQUENCES_RANGES * 2, true);
	any_order(TOP, false);
	return done_testing();
}
