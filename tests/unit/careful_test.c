/* When rows are read with care, and for how long; and when a row is given up. */
#include "flow/careful.h"
#include "tap.h"

static void what_a_row_may_cause(void)
{
	static const char *const rows[] = { "22021", "22P05", "54000", "XX000", "XX001", "53200" };
	static const char *const others[] = { "57014", "42501", "25006", "40001", "0A000", "" };

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct careful c = { .left = 0 };

		careful_failed(&c, rows[i]);
		ok(c.left > 0, "%s may come of a row", rows[i]);
	}
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		struct careful c = { .left = 0 };

		careful_failed(&c, others[i]);
		ok(c.left == 0, "%s does not", others[i]);
	}
}

static void until_all_is_well(void)
{
	struct careful c = { .left = 0 };
	unsigned answers = 0;

	careful_failed(&c, "22P05");
	careful_answered(&c, false, false);
	ok(c.left > 0, "the bad row may be further on");
	careful_answered(&c, true, true);
	ok(c.left > 0, "where there is one there may be more");
	for (; c.left > 0 && answers < 1000; answers++)
		careful_answered(&c, false, false);
	ok(answers > 1 && answers < 100, "%u good answers are enough", answers);
	careful_failed(&c, "22P05");
	careful_answered(&c, false, true);
	ok(c.left == 0, "so is one that was all there is");
}

static void want_of_memory(void)
{
	struct careful c = { .left = 0 };

	ok(careful_gives_up(&c, 7, "22P05"), "what does not convert never will");
	for (int i = 1; i < 5; i++)
		ok(!careful_gives_up(&c, 7, "53200"), "want of memory is no verdict: time %d", i);
	ok(!careful_gives_up(&c, 8, "53200"), "another row begins anew");
	for (int i = 1; i < 5; i++)
		ok(!careful_gives_up(&c, 7, "53200"), "and so does the first one: time %d", i);
	ok(careful_gives_up(&c, 7, "53200"), "five times in a row, beside others that could be read: it is the row");
}

int main(void)
{
	what_a_row_may_cause();
	until_all_is_well();
	want_of_memory();
	return done_testing();
}
