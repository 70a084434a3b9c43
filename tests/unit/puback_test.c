/* Every shape of answer JetStream gives to a publish, and some that only an enemy would. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/delivery.h"
#include "core/refusal.h"
#include "format/puback.h"
#include "tap.h"

static const struct {
	const char *answer;
	enum event_kind kind;
	uint64_t sequence; /* or the reason of the refusal */
	int duplicate;     /* or the status */
} cases[] = {
	{ "{\"stream\":\"S\", \"seq\":2}", EVENT_ACKED, 2, 0 },
	{ "{\"seq\" : 7 , \"stream\" : \"S\"}", EVENT_ACKED, 7, 0 },
	{ "{\"stream\":\"S\", \"seq\":2,\"duplicate\": true}", EVENT_ACKED, 2, 1 },
	{ "{\"stream\":\"S\",\"seq\":3,\"domain\":\"hub\",\"val\":\"1\"}", EVENT_ACKED, 3, 0 },
	{ "{\"stream\":\"S\", \"domain\":\"hub\", \"seq\":4}", EVENT_ACKED, 4, 0 },
	{ "{\"stream\":\"S\",\"domain\":\"h\\\"ub\",\"seq\":5}", EVENT_ACKED, 5, 0 },
	{ "{\"stream\":\"S\",\"domain\":\"hub", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":0,\"duplicate\":true}", EVENT_REFUSED, REASON_DUPLICATE_SEQ_0, 0 },
	{ "{\"stream\":\"OTHER\",\"seq\":2}", EVENT_REFUSED, REASON_WRONG_STREAM, 0 },
	{ "{\"error\":{\"code\":400,\"err_code\":10054,\"description\":\"too big\"},\"stream\":\"S\",\"seq\":0}",
	  EVENT_REFUSED, 10054, 400 },
	{ "{\"error\":{\"code\":429,\"err_code\":10167,\"description\":\"too many\"},\"stream\":\"S\",\"seq\":0}",
	  EVENT_REFUSED, 10167, 429 },
	{ "{\"stream\":\"S\",\"seq\":5,\"error\":{\"code\":409,\"err_code\":10158}}", EVENT_REFUSED, 10158, 409 },
	{ "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum bytes exceeded\"}}", EVENT_REFUSED,
	  REASON_STREAM_FULL, 503 },
	{ "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages exceeded\"}}", EVENT_REFUSED,
	  REASON_STREAM_FULL, 503 },
	{ "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages per subject exceeded\"}}",
	  EVENT_REFUSED, REASON_SUBJECT_FULL, 503 },
	{ "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"message too large\"}}", EVENT_REFUSED,
	  REASON_STORE_TOO_LARGE, 503 },
	{ "{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"disk on fire\"}}", EVENT_REFUSED,
	  REASON_STORE_FAILED, 503 },
	{ "{\"error\":{\"code\":503,\"err_code\":10077}}", EVENT_REFUSED, REASON_STORE_FAILED, 503 },
	{ "{\"error\":{\"code\":503}}", EVENT_REFUSED, REASON_NO_STREAM, 503 },
	/* No server may name a reason of ours. */
	{ "{\"error\":{\"code\":400,\"err_code\":1}}", EVENT_REFUSED, REASON_GARBAGE, 400 },
	{ "{\"error\":{}}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"error\":null,\"stream\":\"S\",\"seq\":1}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"error\":{\"code\":-1,\"err_code\":99999999999}}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "+ACK", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "[1]", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\"}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"seq\":1}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":\"1\"}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":-1}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":7,\"seq\":1}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	/* A sequence goes up to 2^64 - 1: first_seq of a stream may be anything. */
	{ "{\"stream\":\"S\",\"seq\":9223372036854775807}", EVENT_ACKED, INT64_MAX, 0 },
	{ "{\"stream\":\"S\",\"seq\":9223372036854775808}", EVENT_ACKED, UINT64_C(1) << 63, 0 },
	{ "{\"stream\":\"S\",\"seq\":18446744073709551615,\"duplicate\":true}", EVENT_ACKED, UINT64_MAX, 1 },
	{ "{\"domain\":\"\\\"1\\\\\",\"seq\": 18446744073709551614 ,\"stream\":\"S\"}", EVENT_ACKED, UINT64_MAX - 1,
	  0 },
	{ "{\"stream\":\"S\",\"seq\":18446744073709551616}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":-9223372036854775809}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":9223372036854775808.5}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":1e999}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":\"#7\"}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"stream\":\"S\",\"seq\":\"9223372036854775808\"}", EVENT_REFUSED, REASON_GARBAGE, 0 },
	{ "{\"seq\":9223372036854775808,\"error\":{\"code\":400,\"err_code\":10071}}", EVENT_REFUSED, 10071, 400 },
};

/* What the server says went wrong is for people: one line, without secrets, and not longer than there is room. */
static void words(void)
{
	static const char unknown[] =
		"{\"error\":{\"code\":400,\"err_code\":10999,\"description\":\"no\\nluck\\u001b at nats://u:pw@h \\u00e9\"}}";
	static const char other[] = "{\"stream\":\"T\xc3\xa9\",\"seq\":2}";
	struct answer_error error;
	struct event ev;
	char text[4096], longest[3000];

	puback_read(unknown, sizeof unknown - 1, "S", &ev, &error);
	is_number(ev.refused.reason, 10999, "an error that nobody knows");
	is_text(error.words, "no\\nluck\\u001b at nats://u:***@h ?", "and what the server says of it");
	is_number(error.code, 400, "its code");
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	snprintf(text, sizeof text, "{\"error\":{\"err_code\":10999,\"description\":\"%s\"}}", longest);
	puback_read(text, strlen(text), "S", &ev, &error);
	is_number((long long)strlen(error.words), ANSWER_WORDS_BYTES - 1, "long words are cut off");
	puback_read("{\"error\":{\"err_code\":10999,\"description\":7}}", 44, "S", &ev, &error);
	ok(ev.refused.reason == 10999 && error.words[0] == '\0', "words that are none");
	puback_read("nonsense", 8, "S", &ev, &error);
	is_text(error.words, "", "no answer, no words");
	puback_read(other, sizeof other - 1, "S", &ev, &error);
	is_text(error.words, "T?: name that one in the configuration, or take the subject out of it",
		"a stream whose name not every database could keep");
}

int main(void)
{
	struct answer_error error;
	struct event ev;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memset(&ev, 0, sizeof ev);
		puback_read(cases[i].answer, strlen(cases[i].answer), "S", &ev, &error);
		if (cases[i].kind == EVENT_ACKED)
			ok(ev.kind == EVENT_ACKED && ev.acked.sequence == cases[i].sequence &&
				   ev.acked.duplicate == cases[i].duplicate,
			   "stored: %s", cases[i].answer);
		else
			ok(ev.kind == EVENT_REFUSED && ev.refused.reason == cases[i].sequence &&
				   ev.refused.status == (uint32_t)cases[i].duplicate,
			   "not stored (%u): %s", (unsigned)cases[i].sequence, cases[i].answer);
	}
	memset(&ev, 0, sizeof ev);
	puback_read(NULL, 0, "S", &ev, &error);
	ok(ev.kind == EVENT_REFUSED && ev.refused.reason == REASON_GARBAGE, "not stored: no data at all");
	/* Not terminated: what stands behind the end must not be read. */
	puback_read("{\"stream\":\"S\",\"seq\":12}", 21, "S", &ev, &error);
	ok(ev.kind == EVENT_REFUSED, "not stored: cut off");
	words();
	return done_testing();
}
