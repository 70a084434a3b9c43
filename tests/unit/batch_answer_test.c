/* Every shape of answer that a real nats-server gave to batches (2.14, 2.15; one server and three), and some that only an enemy would. */
#include <stdint.h>
#include <string.h>

#include "core/refusal.h"
#include "format/batch_answer.h"
#include "tap.h"

enum { NONE = -1 };

static const struct {
	const char *text;
	int what;          /* enum batch_answer, or NONE */
	uint64_t number;   /* or the reason */
	uint64_t sequence; /* or the status */
} cases[] = {
	{ "{\"type\":\"ack\",\"seq\":0,\"msgs\":3}", BATCH_ACK, 0, 0 },
	{ "{\"type\":\"ack\",\"seq\":6,\"msgs\":3}", BATCH_ACK, 6, 0 },
	{ "{\"msgs\":1,\"type\":\"ack\",\"seq\":4294967295}", BATCH_ACK, UINT32_MAX, 0 },
	{ "{\"msgs\":1,\"type\":\"ack\",\"seq\":4294967296}", NONE, 0, 0 },
	{ "{\"stream\":\"S\",\"seq\":18446744073709551615,\"batch\":\"B\",\"count\":4}", BATCH_END, 4, UINT64_MAX },
	{ "{\"stream\":\"S\",\"seq\":5,\"batch\":\"B\",\"count\":4294967296}", NONE, 0, 0 },
	{ "{\"type\":\"gap\",\"last_seq\":4,\"seq\":5}", BATCH_GAP, 5, 0 },
	{ "{\"type\":\"err\",\"seq\":4,\"error\":{\"code\":400,\"err_code\":10071,\"description\":\"wrong last sequence: 3\"}}",
	  BATCH_ERROR, 10071, 400 },
	{ "{\"type\":\"err\",\"seq\":4,\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages exceeded\"}}",
	  BATCH_ERROR, REASON_STREAM_FULL, 503 },
	{ "{\"stream\":\"S\",\"seq\":12,\"batch\":\"B\",\"count\":4}", BATCH_END, 4, 12 },
	{ "{\"stream\":\"S\",\"domain\":\"hub\",\"seq\":12,\"batch\":\"B\",\"count\":4}", BATCH_END, 4, 12 },
	/* All of them were stored before. */
	{ "{\"stream\":\"S\",\"seq\":0,\"batch\":\"B\",\"count\":3}", BATCH_END, 3, 0 },
	{ "{\"stream\":\"S\",\"seq\":1,\"duplicate\": true,\"batch\":\"B\",\"count\":1}", BATCH_END, 1, 1 },
	{ "{\"error\":{\"code\":400,\"err_code\":10208,\"description\":\"batch publish ID unknown\"},\"stream\":\"S\",\"seq\":0}",
	  BATCH_REFUSED, 10208, 400 },
	{ "{\"error\":{\"code\":400,\"err_code\":10205},\"stream\":\"OTHER\",\"seq\":0}", BATCH_REFUSED, 10205, 400 },
	{ "{\"error\":{\"code\":429,\"err_code\":10167},\"stream\":\"S\",\"seq\":0}", BATCH_REFUSED, 10167, 429 },
	{ "{\"error\":{\"code\":503}}", BATCH_REFUSED, REASON_NO_STREAM, 503 },
	{ "{\"error\":{\"code\":400,\"err_code\":7}}", BATCH_REFUSED, REASON_GARBAGE, 400 },
	/* Stored, and not where it should be. */
	{ "{\"stream\":\"OTHER\",\"seq\":12,\"batch\":\"B\",\"count\":4}", BATCH_REFUSED, REASON_WRONG_STREAM, 0 },
	{ "{\"stream\":\"OTHER\",\"seq\":12}", BATCH_REFUSED, REASON_WRONG_STREAM, 0 },
	/* A server that knows no batches stores each message. */
	{ "{\"stream\":\"S\",\"seq\":12}", BATCH_ALONE, 0, 12 },
	{ "{\"stream\":\"S\",\"seq\":12,\"duplicate\":true}", BATCH_ALONE, 0, 12 },
	/* Of another batch, whatever the subject says. */
	{ "{\"stream\":\"S\",\"seq\":12,\"batch\":\"C\",\"count\":4}", NONE, 0, 0 },
	{ "{\"stream\":\"S\",\"seq\":12,\"batch\":7,\"count\":4}", NONE, 0, 0 },
	{ "{\"stream\":\"S\",\"seq\":12,\"count\":4}", NONE, 0, 0 },
	/* No number, no answer. */
	{ "{\"stream\":\"S\",\"seq\":12,\"batch\":\"B\"}", NONE, 0, 0 },
	{ "{\"stream\":\"S\",\"seq\":12,\"batch\":\"B\",\"count\":-1}", NONE, 0, 0 },
	{ "{\"stream\":\"S\",\"batch\":\"B\",\"count\":4}", NONE, 0, 0 },
	{ "{\"type\":\"ack\",\"msgs\":3}", NONE, 0, 0 },
	{ "{\"type\":\"ack\",\"seq\":\"6\",\"msgs\":3}", NONE, 0, 0 },
	{ "{\"type\":\"err\",\"seq\":4}", NONE, 0, 0 },
	{ "{\"type\":\"end\",\"seq\":4,\"stream\":\"S\",\"batch\":\"B\",\"count\":4}", NONE, 0, 0 },
	{ "{\"type\":7,\"seq\":4}", NONE, 0, 0 },
	{ "{}", NONE, 0, 0 },
	{ "[1]", NONE, 0, 0 },
	{ "{\"type\":\"ack\"", NONE, 0, 0 },
	{ "", NONE, 0, 0 },
};

static int what_of(const char *text, size_t bytes, struct event *ev, struct answer_error *error)
{
	memset(ev, 0xa5, sizeof *ev);
	return batch_answer_read(text, bytes, "S", "B", ev, error) ? (int)ev->batch.what : NONE;
}

static const char *find(const char *part)
{
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (strstr(cases[i].text, part) != NULL)
			return cases[i].text;
	return "";
}

int main(void)
{
	struct answer_error error;
	struct event ev;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int what = what_of(cases[i].text, strlen(cases[i].text), &ev, &error);
		bool refused = what == BATCH_ERROR || what == BATCH_REFUSED;

		ok(what == cases[i].what, "what it says (%d): %s", what, cases[i].text);
		if (what != NONE && refused)
			ok(ev.batch.reason == cases[i].number && ev.batch.status == cases[i].sequence, "and why");
		else if (what != NONE)
			ok(ev.batch.number == cases[i].number && ev.batch.sequence == cases[i].sequence,
			   "and of which");
	}
	ok(what_of(find("10071"), strlen(find("10071")), &ev, &error) == BATCH_ERROR && ev.batch.number == 4,
	   "which one is refused");
	is_text(error.words, "wrong last sequence: 3", "and in which words");
	what_of(find("OTHER\",\"seq\":12}"), strlen(find("OTHER\",\"seq\":12}")), &ev, &error);
	is_text(error.words, "OTHER: name that one in the configuration, or take the subject out of it",
		"where it is stored instead");
	ok(!batch_answer_read(NULL, 0, "S", "B", &ev, &error), "no data at all");
	/* Not terminated: what stands behind the end must not be read. */
	ok(what_of("{\"type\":\"ack\",\"seq\":6}9", 22, &ev, &error) == BATCH_ACK && ev.batch.number == 6,
	   "no further than the end");
	return done_testing();
}
