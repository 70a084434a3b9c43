/* Errors carry stream and seq too, so the error is read first. */
#include "format/puback.h"

#include <stdio.h>
#include <string.h>

#include "core/refusal.h"
#include "format/message.h"

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

uint32_t puback_reason(const struct answer_error *error)
{
	uint32_t reason = answer_err_code(error);

	if (reason == STORE_FAILED)
		return store_failure(error->words);
	if (reason == 0)
		return error->code == 503 ? REASON_NO_STREAM : REASON_GARBAGE;
	return reason;
}

/* A name that is no stream's is not the server's. */
void puback_name_other(const char *stream, struct answer_error *error)
{
	char words[2 * ANSWER_WORDS_BYTES];

	if (message_check_subject(stream, strlen(stream)) != REASON_NONE || strchr(stream, '.') != NULL)
		return;
	snprintf(words, sizeof words, "%s: name that one in the configuration, or take the subject out of it", stream);
	answer_say(error, words);
}

static void read_answer(const char *data, size_t bytes, const char *expected_stream, struct event *event,
			struct answer_error *error)
{
	json_t *ack = answer_read(data, bytes);
	const char *stream = json_string_value(json_object_get(ack, "stream"));
	uint64_t sequence;
	bool has_sequence = answer_number(ack, "seq", &sequence);

	if (answer_error(ack, error)) {
		refused(event, puback_reason(error), error->code);
	} else if (stream == NULL || !has_sequence) {
		refused(event, REASON_GARBAGE, 0);
	} else if (strcmp(stream, expected_stream) != 0) {
		refused(event, REASON_WRONG_STREAM, 0);
		puback_name_other(stream, error);
	} else if (sequence == 0) {
		refused(event, REASON_DUPLICATE_SEQ_0, 0);
	} else {
		event->kind = EVENT_ACKED;
		event->acked.sequence = sequence;
		event->acked.duplicate = json_is_true(json_object_get(ack, "duplicate"));
	}
	json_decref(ack);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What comes behind blanks and this text, or NULL. */
#define past(at, end, text) past_known((at), (end), (text), sizeof(text) - 1)
static const char *past_text(const char *at, const char *end, const char *text, size_t n)
{
	while (at != NULL && at < end && is_blank(*at))
		at++;
	return at != NULL && (size_t)(end - at) >= n && memcmp(at, text, n) == 0 ? at + n : NULL;
}

/* The same. Mostly there are no blanks, and of a text whose length the compiler knows it compares whole words. */
static inline const char *past_known(const char *at, const char *end, const char *text, size_t n)
{
	if (n > 0 && at != NULL && (size_t)(end - at) >= n && memcmp(at, text, n) == 0)
		return at + n;
	return past_text(at, end, text, n);
}

static const char *past_number(const char *at, const char *end, uint64_t *number)
{
	const char *begin = at;

	*number = 0;
	for (; at != NULL && at < end && *at >= '0' && *at <= '9' && at - begin < 18; at++)
		*number = *number * 10 + (uint64_t)(*at - '0');
	return at != begin && *begin != '0' ? at : NULL;
}

/* Behind `,"domain":"hub"`, where it stands there: in which domain of JetStream the stream is. */
static const char *past_domain(const char *at, const char *end)
{
	const char *name = past(past(past(past(at, end, ","), end, "\"domain\""), end, ":"), end, "\""), *behind = name;

	while (behind != NULL && behind < end && *behind != '"' && *behind != '\\')
		behind++;
	return behind != NULL && behind < end && *behind == '"' ? behind + 1 : at;
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
	at = past_domain(at + n + 1, end);
	at = past(past(past(past(at, end, ","), end, "\"seq\""), end, ":"), end, "");
	if (at != NULL)
		at = past_number(at, end, sequence);
	return past(past(at, end, "}"), end, "") == end;
}

void puback_read(const char *data, size_t bytes, const char *expected_stream, struct event *event,
		 struct answer_error *error)
{
	if (data != NULL && read_plain(data, bytes, expected_stream, &event->acked.sequence)) {
		event->kind = EVENT_ACKED;
		event->acked.duplicate = false;
		return;
	}
	read_answer(data, bytes, expected_stream, event, error);
}
