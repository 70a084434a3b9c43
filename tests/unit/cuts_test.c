/* Which message makes the other end break off the connection, and which one is not to blame. */
#include "flow/cuts.h"
#include "tap.h"

static const char said[] = "Maximum Control Line Exceeded", other[] = "Stale Connection";

static void answered(struct cuts *c, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		cuts_sent(c, 100 + i, 1000 + i);
		cuts_answered(c, 1000 + i);
	}
}

static enum reason end_with(struct cuts *c, int64_t id, const char *why, uint32_t in_flight)
{
	const char *words;

	cuts_sent(c, id, (uint64_t)id);
	return cuts_happened(c, why, in_flight, &words);
}

static void what_the_server_says(void)
{
	struct cuts c = { .alone = false };
	const char *words;

	ok(end_with(&c, 7, said, 300) == REASON_NONE && c.alone && c.left == 300, "the first time: one at a time");
	ok(end_with(&c, 7, said, 1) == REASON_NONE, "alone once: not yet");
	cuts_sent(&c, 7, 7);
	ok(cuts_happened(&c, said, 1, &words) == REASON_CUT_FOR_IT, "alone twice: it is to blame");
	is_text(words, "maximum control line exceeded", "as the server says");
	ok(end_with(&c, 8, said, 1) == REASON_NONE, "the next one begins anew");
	answered(&c, 299);
	ok(c.alone, "one answer more");
	answered(&c, 1);
	ok(!c.alone, "as many as were under way");
}

static void without_a_word(void)
{
	struct cuts c = { .alone = false };

	ok(end_with(&c, 7, other, 5) == REASON_NONE && !c.alone, "once: it may be anything");
	answered(&c, 1);
	ok(end_with(&c, 7, other, 5) == REASON_NONE && !c.alone, "with an answer between: still");
	ok(end_with(&c, 7, other, 5) == REASON_NONE && c.alone, "twice: one at a time");
	ok(end_with(&c, 7, other, 1) == REASON_NONE && end_with(&c, 8, other, 1) == REASON_NONE &&
		   end_with(&c, 7, other, 1) == REASON_NONE && end_with(&c, 7, other, 1) == REASON_NONE,
	   "not one behind the other");
	ok(end_with(&c, 7, other, 1) == REASON_CUT, "three times the same: its lane waits");
}

static void nothing_under_way(void)
{
	struct cuts c = { .alone = false };
	const char *words;

	ok(cuts_happened(&c, said, 0, &words) == REASON_NONE && !c.alone, "nothing was under way: nobody is to blame");
	cuts_sent(&c, 1, 1);
	cuts_answered(&c, 1);
	ok(cuts_happened(&c, said, 1, &words) == REASON_NONE && !c.alone, "what was sent is answered");
}

int main(void)
{
	what_the_server_says();
	without_a_word();
	nothing_under_way();
	return done_testing();
}
