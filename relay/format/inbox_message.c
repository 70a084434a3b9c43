#include "format/inbox_message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/utf8.h"

/* --- the subject to which a message would be acknowledged --- */

enum { ACK_TOKENS = 9, ACK_TOKENS_LONG = 11, ACK_TOKENS_MAX = 24 };

struct token {
	const char *at;
	size_t bytes;
};

/* How many tokens there are; 0: too many, or an empty one. */
static size_t split(const char *subject, struct token token[ACK_TOKENS_MAX])
{
	size_t count = 0;

	for (;;) {
		size_t n = strcspn(subject, ".");

		if (n == 0 || count == ACK_TOKENS_MAX)
			return 0;
		token[count++] = (struct token){ .at = subject, .bytes = n };
		if (subject[n] == '\0')
			return count;
		subject += n + 1;
	}
}

static bool read_digits(const char *at, size_t bytes, uint64_t *number)
{
	*number = 0;
	for (size_t i = 0; i < bytes; i++) {
		unsigned digit = (unsigned)(at[i] - '0');

		if (digit > 9 || __builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, digit, number)) {
			*number = 0;
			return false;
		}
	}
	return bytes > 0;
}

static bool number_of(const struct token *t, uint64_t *number)
{
	return read_digits(t->at, t->bytes, number);
}

static bool is_word(const struct token *t, const char *word)
{
	return t->bytes == strlen(word) && memcmp(t->at, word, t->bytes) == 0;
}

bool inbox_ack_read(const char *reply, struct inbox_ack *ack)
{
	struct token token[ACK_TOKENS_MAX], *t = token + 2;
	size_t count = reply != NULL ? split(reply, token) : 0;
	uint64_t time_ns;

	*ack = (struct inbox_ack){ .consumer = NULL };
	if (count != ACK_TOKENS && count < ACK_TOKENS_LONG)
		return false;
	if (!is_word(&token[0], "$JS") || !is_word(&token[1], "ACK"))
		return false;
	if (count >= ACK_TOKENS_LONG)
		t += 2;
	if (!number_of(&t[3], &ack->sequence) || !number_of(&t[4], &ack->consumer_sequence) ||
	    !number_of(&t[5], &time_ns) || !number_of(&t[6], &ack->pending))
		return false;
	/* Numbers begin at 1, and they go into an int8 of the database. */
	if (ack->sequence == 0 || ack->sequence > INT64_MAX || ack->consumer_sequence == 0 || time_ns > INT64_MAX)
		return false;
	ack->time_ns = (int64_t)time_ns;
	ack->consumer = t[1].at;
	ack->consumer_bytes = t[1].bytes;
	return true;
}

/* --- statuses --- */

static bool says(const char *description, const char *words)
{
	return description != NULL && strcasestr(description, words) != NULL;
}

static enum inbox_notice conflict(const char *description)
{
	if (says(description, "Batch Completed"))
		return INBOX_NOTICE_ENDED;
	if (says(description, "Message Size Exceeds MaxBytes"))
		return INBOX_NOTICE_SIZE;
	return says(description, "Exceeded MaxWaiting") ? INBOX_NOTICE_BUSY : INBOX_NOTICE_GONE;
}

enum inbox_notice inbox_notice_read(const char *status, const char *description)
{
	if (status == NULL)
		return INBOX_NOTICE_NONE;
	if (strcmp(status, "100") == 0)
		return INBOX_NOTICE_HEARTBEAT;
	if (strcmp(status, "404") == 0 || strcmp(status, "408") == 0)
		return INBOX_NOTICE_ENDED;
	return strcmp(status, "409") == 0 ? conflict(description) : INBOX_NOTICE_GONE;
}

bool inbox_number_read(const char *text, uint64_t *number)
{
	*number = 0;
	return text != NULL && read_digits(text, strlen(text), number);
}

/* --- the message for the database --- */

const char *inbox_text_trouble(const char *text)
{
	for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
		n = utf8_length(text, left);
		if (n == 0)
			return "is not UTF-8";
	}
	return NULL;
}

const char *inbox_key_decode(const char *value, char *out)
{
	char *to = out;

	while (*value != '\0') {
		int high = *value == '%' ? hex_digit(value[1]) : -1, low = high >= 0 ? hex_digit(value[2]) : -1;

		if (*value == '%' && low < 0)
			return "is not percent-encoded";
		if (high == 0 && low == 0)
			return "holds a zero byte";
		*to++ = *value == '%' ? (char)(high << 4 | low) : *value;
		value += *value == '%' ? 3 : 1;
	}
	*to = '\0';
	if (to - out > INBOX_KEY_MAX_BYTES)
		return "is longer than 1,024 bytes";
	return inbox_text_trouble(out);
}

size_t inbox_key_token(const char *subject, uint64_t number, const char **token)
{
	for (; number > 1; number--) {
		subject = strchr(subject, '.');
		if (subject == NULL)
			return 0;
		subject++;
	}
	*token = subject;
	return strcspn(subject, ".");
}

/* --- headers as JSON --- */

enum { JSON_FIRST_BYTES = 256, ESCAPE_BYTES = 6 };

static bool grow(struct inbox_json *j, size_t more)
{
	size_t capacity = j->capacity;
	char *text;

	if (j->failed)
		return false;
	while (capacity < j->bytes + more)
		capacity = capacity > 0 ? capacity * 2 : JSON_FIRST_BYTES;
	if (capacity == j->capacity)
		return true;
	text = realloc(j->text, capacity);
	if (text == NULL) {
		free(j->text);
		*j = (struct inbox_json){ .failed = true };
		return false;
	}
	j->text = text;
	j->capacity = capacity;
	return true;
}

static void put(struct inbox_json *j, const char *bytes, size_t n)
{
	if (!grow(j, n))
		return;
	memcpy(j->text + j->bytes, bytes, n);
	j->bytes += n;
}

static void put_string(struct inbox_json *j, const char *s)
{
	char *out;

	if (!grow(j, strlen(s) * ESCAPE_BYTES + 2))
		return;
	out = j->text + j->bytes;
	*out++ = '"';
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			*out++ = '\\';
		if (c >= ' ') {
			*out++ = (char)c;
			continue;
		}
		out = mempcpy(out, "\\u00", 4);
		out = hex_write(out, &c, 1);
	}
	*out++ = '"';
	j->bytes = (size_t)(out - j->text);
}

static void end_name(struct inbox_json *j)
{
	if (j->names > 0 && j->values != 1)
		put(j, "]", 1);
}

void inbox_json_begin(struct inbox_json *j)
{
	*j = (struct inbox_json){ .text = NULL };
	put(j, "{", 1);
}

void inbox_json_name(struct inbox_json *j, const char *name, bool several)
{
	if (j->names > 0) {
		end_name(j);
		put(j, ",", 1);
	}
	j->names++;
	put_string(j, name);
	put(j, several ? ":[" : ":", several ? 2 : 1);
	j->values = several ? 2 : 0;
}

void inbox_json_value(struct inbox_json *j, const char *value)
{
	/* 2: the first of several; above: a later one. */
	if (j->values > 2)
		put(j, ",", 1);
	put_string(j, value);
	j->values++;
}

char *inbox_json_end(struct inbox_json *j)
{
	char *text;

	end_name(j);
	put(j, "}", 2);
	text = j->text;
	j->text = NULL;
	return text;
}
