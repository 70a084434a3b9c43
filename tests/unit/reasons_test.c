/* Why messages were refused: our sentence, the server's number and its words; whose words they are; and what is forgotten. */
#include "books/reasons.h"

#include <string.h>

#include "core/refusal.h"
#include "tap.h"

static char text[REASONS_TEXT_BYTES];

static void sentences(void)
{
	is_text(reasons_sentence(REASON_NO_REPLY, "", text, sizeof text), "no reply from the stream",
		"a reason of ours");
	is_text(reasons_sentence(10059, "", text, sizeof text), "stream not found (10059)", "a number that is known");
	is_text(reasons_sentence(10059, "Stream not found", text, sizeof text), "stream not found (10059)",
		"nothing is said twice");
	is_text(reasons_sentence(REASON_STREAM_FULL, "maximum bytes exceeded", text, sizeof text),
		"the stream is full: maximum bytes exceeded", "our sentence first");
	is_text(reasons_sentence(10999, "the moon is new", text, sizeof text),
		"error of the server (10999): the moon is new", "a number that nobody knows");
	is_text(reasons_sentence(10999, "the moon is new", text, 12), "error of th", "cut off");
}

static void whose(void)
{
	struct reasons *r = reasons_create();
	static const char *const streams[] = { "A", "B" };

	is_text(reasons_text(r, 7, 1, 10999, text, sizeof text), "error of the server (10999)", "nothing was said");
	is_text(reasons_last(r, streams, text, sizeof text), "", "nothing was refused");
	reasons_keep(r, 7, 1, 10999, "seven");
	reasons_keep(r, 8, 1, 10999, "eight");
	reasons_keep(r, 9, 0, 10071, "nine");
	is_text(reasons_text(r, 7, 1, 10999, text, sizeof text), "error of the server (10999): seven",
		"a message's own");
	is_text(reasons_text_of(r, 7, 10999, text, sizeof text), "error of the server (10999): seven",
		"by its id alone");
	is_text(reasons_text(r, 6, 1, 10999, text, sizeof text), "error of the server (10999): eight",
		"else its stream's last");
	is_text(reasons_text(r, REASONS_NO_MESSAGE, 0, 10999, text, sizeof text), "error of the server (10999)",
		"never another stream's");
	is_text(reasons_text_of(r, 6, 10999, text, sizeof text), "error of the server (10999): eight",
		"the last of any, where the stream is not known");
	is_text(reasons_text(r, 7, 1, 10998, text, sizeof text), "error of the server (10998)",
		"never of another reason");
	is_text(reasons_last(r, streams, text, sizeof text), "message 9 of A: wrong last sequence (10071): nine",
		"the last one");
	reasons_keep(r, 7, 1, REASON_NO_STREAM, "");
	is_text(reasons_text(r, 7, 1, 10999, text, sizeof text), "error of the server (10999): seven",
		"no words displace none");
	is_text(reasons_last(r, streams, text, sizeof text), "message 7 of B: no stream answers for the subject (503)",
		"the last one may have none");
	reasons_free(r);
}

static void room(void)
{
	struct reasons *r = reasons_create();
	char number[16];

	for (int i = 0; i < 100000; i++) {
		snprintf(number, sizeof number, "%d", i);
		reasons_keep(r, i, (uint16_t)(i % 32), 10990 + (uint32_t)i % 7, number);
	}
	is_text(reasons_text(r, 99999, 31, 10990 + 99999 % 7, text, sizeof text), "error of the server (10994): 99999",
		"the newest");
	ok(strcmp(reasons_text(r, 5, 5, 10995, text, sizeof text), "error of the server (10995): 5") != 0,
	   "the oldest is gone");
	reasons_free(r);
}

int main(void)
{
	sentences();
	whose();
	room();
	return done_testing();
}
