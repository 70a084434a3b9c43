#include "stored.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

#include "hex.h"

enum { NO_MESSAGE_FOUND = 10037 };

/* --- small readings --- */

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* STORED_OK where the answer holds `what`, an object. */
static enum stored_verdict look(const json_t *answer, const char *what, uint32_t *code)
{
	const json_t *error = json_object_get(answer, "error");
	uint64_t err_code = number(error, "err_code");

	*code = err_code < 100000 ? (uint32_t)err_code : 0;
	if (error != NULL)
		return err_code == NO_MESSAGE_FOUND ? STORED_NOTHING : STORED_ERROR;
	return json_is_object(json_object_get(answer, what)) ? STORED_OK : STORED_ERROR;
}

bool stored_id_read(const char *text, size_t length, struct stored_id *id)
{
	size_t n = 0;

	if (length != UUID_CHARACTERS)
		return false;
	for (size_t i = 0; i < length; i += 2) {
		int high, low;

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i++] != '-')
				return false;
		}
		high = hex_digit(text[i]);
		low = hex_digit(text[i + 1]);
		if (high < 0 || low < 0)
			return false;
		id->byte[n++] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
	}
	return true;
}

/* "2026-11-22T16:59:10.446123Z", to the second; 0 = it is no such time. */
static int64_t read_time(const char *text)
{
	struct tm t = { .tm_isdst = 0 };
	const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &t) : NULL;

	return rest != NULL && (*rest == '.' || *rest == 'Z') ? (int64_t)timegm(&t) : 0;
}

/* --- the headers, in base64 --- */

static int sextet(char c)
{
	return c >= 'A' && c <= 'Z'   ? c - 'A'
	       : c >= 'a' && c <= 'z' ? c - 'a' + 26
	       : c >= '0' && c <= '9' ? c - '0' + 52
	       : c == '+'             ? 62
	       : c == '/'             ? 63
				      : -1;
}

/* Reads base64 as it goes, so that no header block, however long, needs memory. */
struct base64 {
	const char *at, *end;
	uint32_t bits;
	int count;
};

/* The next byte, or -1 at the end, which is also where the text is no base64. */
static int next_byte(struct base64 *b)
{
	while (b->count < 8) {
		int six = b->at < b->end ? sextet(*b->at++) : -1;

		if (six < 0) {
			b->at = b->end;
			return -1;
		}
		b->bits = b->bits << 6 | (uint32_t)six;
		b->count += 6;
	}
	b->count -= 8;
	return (int)(b->bits >> b->count & 0xff);
}

/* The next line without its end; false where there is none. What does not fit is cut off. */
static bool next_line(struct base64 *b, char *line, size_t size)
{
	size_t n = 0;
	int c = next_byte(b);

	if (c < 0)
		return false;
	for (; c >= 0 && c != '\n'; c = next_byte(b))
		if (c != '\r' && n + 1 < size)
			line[n++] = c != '\0' ? (char)c : '?';
	line[n] = '\0';
	return true;
}

static bool find_id(const char *hdrs, size_t length, struct stored_id *id)
{
	static const char name[] = "Nats-Msg-Id:";
	struct base64 b = { .at = hdrs, .end = hdrs + length };
	char line[sizeof name + UUID_CHARACTERS + 8];
	const char *value;

	while (next_line(&b, line, sizeof line)) {
		if (strncmp(line, name, sizeof name - 1) != 0)
			continue;
		value = line + sizeof name - 1;
		value += strspn(value, " ");
		return stored_id_read(value, strlen(value), id);
	}
	return false;
}

/* --- the two answers --- */

enum stored_verdict stored_stream_read(const char *data, size_t bytes, struct stored_stream *stream)
{
	json_t *answer = json_loadb(data != NULL ? data : "", bytes, 0, NULL);
	const json_t *state = json_object_get(answer, "state"), *config = json_object_get(answer, "config");
	const char *created = json_string_value(json_object_get(answer, "created"));
	enum stored_verdict verdict;

	memset(stream, 0, sizeof *stream);
	verdict = look(answer, "state", &stream->error);
	if (verdict == STORED_OK) {
		stream->first = number(state, "first_seq");
		stream->last = number(state, "last_seq");
		stream->messages = number(state, "messages");
		stream->bytes = number(state, "bytes");
		stream->deleted = number(state, "num_deleted");
		stream->window_ms = (int64_t)(number(config, "duplicate_window") / 1000000);
		if (created != NULL && strlen(created) < sizeof stream->created)
			memcpy(stream->created, created, strlen(created) + 1);
	}
	json_decref(answer);
	return verdict;
}

enum stored_verdict stored_message_read(const char *data, size_t bytes, struct stored_message *message)
{
	json_t *answer = json_loadb(data != NULL ? data : "", bytes, 0, NULL);
	const json_t *stored = json_object_get(answer, "message"), *hdrs = json_object_get(stored, "hdrs");
	enum stored_verdict verdict;

	memset(message, 0, sizeof *message);
	verdict = look(answer, "message", &message->error);
	if (verdict == STORED_OK) {
		message->sequence = number(stored, "seq");
		message->time_s = read_time(json_string_value(json_object_get(stored, "time")));
		message->has_id = json_is_string(hdrs) &&
				  find_id(json_string_value(hdrs), json_string_length(hdrs), &message->id);
	}
	json_decref(answer);
	return verdict;
}
