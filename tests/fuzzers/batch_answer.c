/* Any bytes as JetStream's answer to a batch. Nothing counts as stored unless the answer says all that it must say, and names this batch. */
#include "format/batch_answer.h"

#include <string.h>

#include "core/refusal.h"
#include "fuzz.h"

static bool says(const json_t *answer, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(answer, key));

	return value != NULL && strcmp(value, text) == 0;
}

static void check_stored(const struct event *ev, const json_t *answer)
{
	const char *key = ev->batch.what == BATCH_END ? "count" : "seq";

	promise(ev->batch.number == answer_count(answer, key), "another number");
	if (ev->batch.what == BATCH_END)
		promise(says(answer, "stream", "ORDERS") && says(answer, "batch", "cafe") &&
				json_object_get(answer, "type") == NULL && json_object_get(answer, "error") == NULL,
			"the end of something else");
	else
		promise(says(answer, "type", ev->batch.what == BATCH_ACK ? "ack" : "gap"), "another type");
}

static void check_refused(const struct event *ev, const struct answer_error *error, const json_t *answer)
{
	uint32_t reason = ev->batch.reason;

	promise(reason >= 10000 || (reason > REASON_NO_REPLY && reason < REASON_NOT_PERMITTED),
		"reason %u is not the server's to give", reason);
	promise(memchr(error->words, '\0', ANSWER_WORDS_BYTES) != NULL, "words without an end");
	promise(refusal_verdict(reason, ev->batch.status) != VERDICT_POISON ||
			json_is_object(json_object_get(answer, "error")),
		"poison, and the server never said so");
}

static void check(const struct event *ev, const struct answer_error *error, const json_t *answer)
{
	switch (ev->batch.what) {
	case BATCH_ACK:
	case BATCH_GAP:
	case BATCH_END: check_stored(ev, answer); break;
	case BATCH_ERROR:
	case BATCH_REFUSED: check_refused(ev, error, answer); break;
	case BATCH_ALONE:
		promise(says(answer, "stream", "ORDERS") && json_object_get(answer, "batch") == NULL,
			"not a single one");
		break;
	case BATCH_NO_RESPONDERS: promise(false, "no body says that"); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *answer = answer_read((const char *)data, size);
	struct answer_error error;
	struct event ev;

	memset(&ev, 0xa5, sizeof ev);
	memset(&error, 0xa5, sizeof error);
	if (batch_answer_read((const char *)data, size, "ORDERS", "cafe", &ev, &error))
		check(&ev, &error, answer);
	json_decref(answer);
	return 0;
}
