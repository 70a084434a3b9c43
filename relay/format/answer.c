#include "format/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "base/utf8.h"

enum {
	NO_MESSAGE_FOUND = 10037,
	LONG_DIGITS = 19, /* 2^63 - 1 has as many: with fewer, jansson takes it */
};

/* What a long integer is written as in the tree: a string with this before the digits. */
static const char mark = '#';

/* --- integers above 2^63 - 1 --- */

static bool is_part_of_number(char c)
{
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static size_t string_length(const char *at, const char *end)
{
	const char *p = at + 1;

	while (p < end && *p != '"')
		p += *p == '\\' && p + 1 < end ? 2 : 1;
	return (size_t)(p - at) + (p < end);
}

static bool is_long(const char *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] < '0' || at[i] > '9')
			return false;
	return n >= LONG_DIGITS;
}

/* Copies a number; one of many digits and nothing else becomes a string with a mark. */
static char *copy_number(char *out, const char *at, size_t n)
{
	if (!is_long(at, n))
		return mempcpy(out, at, n);
	out = mempcpy(out, (char[]){ '"', mark }, 2);
	out = mempcpy(out, at, n);
	*out++ = '"';
	return out;
}

/* jansson refuses a whole answer for one integer above 2^63 - 1, and a sequence of a stream goes up to 2^64 - 1. So the answer
 * is read once more, with each long integer as a string. */
static json_t *read_with_strings(const char *data, size_t bytes)
{
	char *copy = malloc(bytes + bytes / LONG_DIGITS * 3 + 1), *out = copy;
	json_t *answer = NULL;

	for (const char *at = data, *end = data + bytes; copy != NULL && at < end;) {
		size_t n = 1;

		if (*at == '"') {
			n = string_length(at, end);
			out = mempcpy(out, at, n);
		} else if (is_part_of_number(*at)) {
			while (at + n < end && is_part_of_number(at[n]))
				n++;
			out = copy_number(out, at, n);
		} else {
			*out++ = *at;
		}
		at += n;
	}
	if (copy != NULL)
		answer = json_loadb(copy, (size_t)(out - copy), 0, NULL);
	free(copy);
	return answer;
}

json_t *answer_read(const char *data, size_t bytes)
{
	json_error_t why;
	json_t *answer;

	if (data == NULL)
		return NULL;
	answer = json_loadb(data, bytes, 0, &why);
	if (answer == NULL && json_error_code(&why) == json_error_numeric_overflow)
		answer = read_with_strings(data, bytes);
	return answer;
}

bool answer_number(const json_t *o, const char *key, uint64_t *value)
{
	const json_t *v = json_object_get(o, key);
	const char *text = json_string_value(v);
	char *end = NULL;

	*value = 0;
	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		*value = (uint64_t)json_integer_value(v);
		return true;
	}
	if (text == NULL || text[0] != mark || strlen(text) <= LONG_DIGITS || text[1] < '0' || text[1] > '9')
		return false;
	errno = 0;
	*value = strtoull(text + 1, &end, 10);
	if (errno == 0 && *end == '\0')
		return true;
	*value = 0;
	return false;
}

uint64_t answer_count(const json_t *o, const char *key)
{
	uint64_t value;

	answer_number(o, key, &value);
	return value;
}

/* --- errors --- */

static uint32_t small(const json_t *o, const char *key)
{
	uint64_t v = answer_count(o, key);

	return v < 100000 ? (uint32_t)v : 0;
}

/* What is no ASCII becomes a ?, one for a character. */
void answer_say(struct answer_error *error, const char *words)
{
	char clean[2 * ANSWER_WORDS_BYTES], line[2 * ANSWER_WORDS_BYTES];
	size_t n = 0;

	if (words == NULL)
		return;
	scrub(words, clean, sizeof clean);
	utf8_line(clean, line, sizeof line);
	for (const char *p = line; *p != '\0' && n + 1 < sizeof error->words; p++)
		if ((*p & 0xc0) != 0x80) /* the first byte of a character */
			error->words[n++] = (*p & 0x80) != 0 ? '?' : *p;
	error->words[n] = '\0';
}

bool answer_error(const json_t *answer, struct answer_error *error)
{
	const json_t *e = json_object_get(answer, "error");

	*error = (struct answer_error){ .code = small(e, "code"), .err_code = small(e, "err_code") };
	answer_say(error, json_string_value(json_object_get(e, "description")));
	return e != NULL;
}

uint32_t answer_err_code(const struct answer_error *error)
{
	return error->err_code >= 10000 ? error->err_code : 0;
}

enum answer_verdict answer_verdict(const json_t *answer, const char *what, struct answer_error *error)
{
	if (answer_error(answer, error))
		return error->err_code == NO_MESSAGE_FOUND ? ANSWER_NOTHING : ANSWER_ERROR;
	return json_is_object(json_object_get(answer, what)) ? ANSWER_OK : ANSWER_ERROR;
}
