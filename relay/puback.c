/* Errors carry stream and seq too, so the error is looked at first. */
#include "puback.h"

#include <jansson.h>
#include <string.h>

#include "core/refusal.h"

enum { STORE_FAILED = 10077 };

/* 10077 says what it means only in words. */
static uint32_t store_failure(const char *text)
{
	if (strstr(text, "maximum messages per subject exceeded") != NULL)
		return REASON_SUBJECT_FULL;
	if (strstr(text, "maximum bytes exceeded") != NULL || strstr(text, "maximum messages exceeded") != NULL)
		return REASON_STREAM_FULL;
	if (strstr(text, "message too large") != NULL)
		return REASON_STORE_TOO_LARGE;
	return REASON_STORE_FAILED;
}

static void refused(struct event *event, uint32_t reason, uint32_t status)
{
	event->kind = EVENT_REFUSED;
	event->refused.reason = reason;
	event->refused.status = status;
}

static uint32_t small_number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 && v < 100000 ? (uint32_t)v : 0;
}

static void read_error(const json_t *error, struct event *event)
{
	uint32_t reason = small_number(error, "err_code"), status = small_number(error, "code");
	const char *text = json_string_value(json_object_get(error, "description"));

	if (reason == STORE_FAILED)
		reason = store_failure(text != NULL ? text : "");
	/* Below 10000 stand our own reasons: no server may name those. */
	else if (reason < 10000)
		reason = status == 503 ? REASON_NO_STREAM : REASON_GARBAGE;
	refused(event, reason, status);
}

void puback_read(const char *data, size_t bytes, const char *expected_stream, struct event *event)
{
	json_t *ack = json_loadb(data != NULL ? data : "", bytes, 0, NULL);
	const char *stream = json_string_value(json_object_get(ack, "stream"));
	json_int_t sequence = json_integer_value(json_object_get(ack, "seq"));

	if (json_object_get(ack, "error") != NULL) {
		read_error(json_object_get(ack, "error"), event);
	} else if (stream == NULL || !json_is_integer(json_object_get(ack, "seq")) || sequence < 0) {
		refused(event, REASON_GARBAGE, 0);
	} else if (strcmp(stream, expected_stream) != 0) {
		refused(event, REASON_WRONG_STREAM, 0);
	} else if (sequence == 0) {
		refused(event, REASON_DUPLICATE_SEQ_0, 0);
	} else {
		event->kind = EVENT_ACKED;
		event->acked.sequence = (uint64_t)sequence;
		event->acked.duplicate = json_is_true(json_object_get(ack, "duplicate"));
	}
	json_decref(ack);
}
