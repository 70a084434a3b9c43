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

static void read_answer(const char *data, size_t bytes, const char *expected_stream, struct event *event)
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

/* What comes behind blanks and this text, or NULL. */
static const char *past(const char *at, const char *end, const char *text)
{
	size_t n = strlen(text);

	while (at != NULL && at < end && strchr(" \t\r\n", *at) != NULL && *at != '\0')
		at++;
	return at != NULL && (size_t)(end - at) >= n && memcmp(at, text, n) == 0 ? at + n : NULL;
}

static const char *past_number(const char *at, const char *end, uint64_t *number)
{
	const char *begin = at;

	*number = 0;
	for (; at != NULL && at < end && *at >= '0' && *at <= '9' && at - begin < 18; at++)
		*number = *number * 10 + (uint64_t)(*at - '0');
	return at != begin && *begin != '0' ? at : NULL;
}

/* `{"stream":"ORDERS","seq":17}`, which is what nearly every answer is. A tree of it was a quarter of all that the relay did for a
 * message; so whatever is anything else, in whatever way, is left to the JSON reader. */
static bool read_plain(const char *data, size_t bytes, const char *expected_stream, uint64_t *sequence)
{
	const char *end = data + bytes,
		   *at = past(past(past(past(data, end, "{"), end, "\"stream\""), end, ":"), end, "\"");
	size_t n = strlen(expected_stream);

	if (at == NULL || (size_t)(end - at) <= n || memcmp(at, expected_stream, n) != 0 || at[n] != '"')
		return false;
	at = past(past(past(past(at + n + 1, end, ","), end, "\"seq\""), end, ":"), end, "");
	if (at != NULL)
		at = past_number(at, end, sequence);
	return past(past(at, end, "}"), end, "") == end;
}

void puback_read(const char *data, size_t bytes, const char *expected_stream, struct event *event)
{
	if (data != NULL && read_plain(data, bytes, expected_stream, &event->acked.sequence)) {
		event->kind = EVENT_ACKED;
		event->acked.duplicate = false;
		return;
	}
	read_answer(data, bytes, expected_stream, event);
}
