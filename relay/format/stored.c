#include "format/stored.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "format/capture_message.h"
#include "format/envelope.h"
#include "format/rfc3339.h"

/* --- small readings --- */

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

/* The value, if the line is the header with this name (and its colon); else NULL. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	return strncmp(line, name, n) == 0 ? line + n + strspn(line + n, " ") : NULL;
}

/* "0/3B001260.849253375684112.3" */
static bool read_lsn(const char *text, uint64_t *lsn)
{
	unsigned high, low;

	if (sscanf(text, "%8X/%8X.", &high, &low) != 2)
		return false;
	*lsn = (uint64_t)high << 32 | low;
	return true;
}

static void read_headers(const char *hdrs, size_t length, struct stored_message *m)
{
	struct base64 b = { .at = hdrs, .end = hdrs + length };
	char line[sizeof WITNESS_HEADER + UUID_CHARACTERS + 16];
	const char *value;
	bool has_named_id = false;

	/* In any order: nats.c writes them by a hash of their names, and those of the row stand between ours. */
	while (!(has_named_id && (m->has_witness || m->has_position)) && next_line(&b, line, sizeof line)) {
		if (!has_named_id && (value = value_of(line, "Nats-Msg-Id:")) != NULL) {
			has_named_id = true;
			m->has_id = stored_id_read(value, strlen(value), &m->id);
		} else if ((value = value_of(line, WITNESS_HEADER ":")) != NULL) {
			m->has_witness = witness_read(value, strlen(value), &m->witness);
		} else if ((value = value_of(line, CAPTURE_HEADER_POSITION ":")) != NULL) {
			m->has_position = read_lsn(value, &m->lsn);
		}
	}
}

/* --- the answer --- */

enum answer_verdict stored_message_read(const char *data, size_t bytes, struct stored_message *message)
{
	json_t *answer = answer_read(data, bytes);
	const json_t *stored = json_object_get(answer, "message"), *hdrs = json_object_get(stored, "hdrs");
	enum answer_verdict verdict;

	*message = (struct stored_message){ .sequence = 0 };
	verdict = answer_verdict(answer, "message", &message->error);
	if (verdict == ANSWER_OK) {
		message->sequence = answer_count(stored, "seq");
		rfc3339_read(json_string_value(json_object_get(stored, "time")), &message->time_ns);
		if (json_is_string(hdrs))
			read_headers(json_string_value(hdrs), json_string_length(hdrs), message);
	}
	json_decref(answer);
	return verdict;
}

bool stored_key_read(const char *data, size_t bytes, struct stored_key *key)
{
	json_t *answer = answer_read(data, bytes);
	const json_t *stored = json_object_get(answer, "message"), *hdrs = json_object_get(stored, "hdrs");
	const char *subject = json_string_value(json_object_get(stored, "subject"));
	struct base64 b = { .at = "" };
	char line[32];

	*key = (struct stored_key){ .has_key = false };
	snprintf(key->subject, sizeof key->subject, "%s", subject != NULL ? subject : "");
	if (json_is_string(hdrs))
		b = (struct base64){ .at = json_string_value(hdrs),
				     .end = json_string_value(hdrs) + json_string_length(hdrs) };
	else
		b.end = b.at;
	while (!key->has_key && next_line(&b, line, sizeof line))
		key->has_key = value_of(line, ENVELOPE_KEY ":") != NULL;
	json_decref(answer);
	return subject != NULL;
}
