/* Any bytes as JetStream's answer to a publish. An ack is believed only when it says all that an ack must say, and
 * what is no answer never condemns a message. */
#include "format/puback.h"

#include "core/refusal.h"
#include "fuzz.h"

static bool is_ack(const json_t *answer)
{
	const char *stream = json_string_value(json_object_get(answer, "stream"));

	return json_object_get(answer, "error") == NULL && stream != NULL && strcmp(stream, "ORDERS") == 0 &&
	       answer_count(answer, "seq") > 0;
}

static void check_words(const char *words)
{
	promise(memchr(words, '\0', ANSWER_WORDS_BYTES) != NULL, "words without an end");
	for (; *words != '\0'; words++)
		promise(*words >= ' ' && *words < 0x7f, "byte %d among the words", *words);
}

static void check_refusal(const struct event *ev, const struct answer_error *error, const json_t *answer)
{
	enum refusal_verdict verdict = refusal_verdict(ev->refused.reason, ev->refused.status);

	promise(ev->refused.reason >= 10000 ||
			(ev->refused.reason > REASON_NO_REPLY && ev->refused.reason < REASON_NOT_PERMITTED),
		"reason %u is not the server's to give", ev->refused.reason);
	check_words(error->words);
	promise(verdict != VERDICT_POISON || json_is_object(json_object_get(answer, "error")),
		"poison, and the server never said so");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *answer = answer_read((const char *)data, size);
	struct answer_error error;
	struct event ev;

	memset(&ev, 0xa5, sizeof ev);
	memset(&error, 0xa5, sizeof error);
	puback_read((const char *)data, size, "ORDERS", &ev, &error);
	promise(ev.kind == EVENT_ACKED || ev.kind == EVENT_REFUSED, "event %d", (int)ev.kind);
	promise((ev.kind == EVENT_ACKED) == is_ack(answer), "acked=%d", ev.kind == EVENT_ACKED);
	if (ev.kind == EVENT_ACKED) {
		promise(ev.acked.sequence == answer_count(answer, "seq"), "another sequence");
		promise(ev.acked.duplicate == json_is_true(json_object_get(answer, "duplicate")), "duplicate");
	} else {
		check_refusal(&ev, &error, answer);
	}
	json_decref(answer);
	return 0;
}
