/* The rules for subjects and headers. The CHECKs in sql/002_outbox.sql say the same in SQL: what they accept is
 * accepted here. tests/unit/message_vectors.txt holds the examples both are tried against.
 *
 *     orders.eu.created      a subject: tokens between dots
 *     orders.*.created       a pattern: '*' is any one token,
 *     orders.>               '>' is one token or more, at the end
 */
#include "message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "utf8.h"

static bool utf8_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t length = utf8_length(s + i, n - i);

		if (length == 0)
			return false;
		i += length;
	}
	return true;
}

static bool control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* '$...' belongs to the server (a row with $JS.API.STREAM.DELETE.X would be a command), _INBOX to replies. */
static bool reserved(const char *subject, size_t n)
{
	static const char inbox[] = "_INBOX";
	size_t m = sizeof inbox - 1;

	return subject[0] == '$' || (n >= m && memcmp(subject, inbox, m) == 0 && (n == m || subject[m] == '.'));
}

enum reason message_check_subject(const char *subject, size_t n)
{
	if (subject == NULL)
		return DEFECT_SUBJECT_NULL;
	if (n == 0)
		return DEFECT_SUBJECT_EMPTY;
	if (n > MESSAGE_SUBJECT_MAX_BYTES)
		return DEFECT_SUBJECT_LONG;
	if (!utf8_valid(subject, n))
		return DEFECT_SUBJECT_UTF8;
	for (size_t i = 0; i < n; i++) {
		if (control((unsigned char)subject[i]) || subject[i] == ' ')
			return DEFECT_SUBJECT_CHARACTER;
		if (subject[i] == '*' || subject[i] == '>')
			return DEFECT_SUBJECT_WILDCARD;
		if (subject[i] == '.' && (i == 0 || i == n - 1 || subject[i - 1] == '.'))
			return DEFECT_SUBJECT_TOKEN;
	}
	return reserved(subject, n) ? DEFECT_SUBJECT_RESERVED : REASON_NONE;
}

/* The end of the token that starts at s: its dot or the end of the text. */
static const char *token_end(const char *s)
{
	return s + strcspn(s, ".");
}

bool message_subject_matches(const char *pattern, const char *subject)
{
	for (;;) {
		const char *p = token_end(pattern), *s = token_end(subject);
		size_t length = (size_t)(p - pattern);

		if (length == 1 && *pattern == '>')
			return s > subject;
		if (!(length == 1 && *pattern == '*') &&
		    (length != (size_t)(s - subject) || memcmp(pattern, subject, length) != 0))
			return false;
		if (*p == '\0' || *s == '\0')
			return *p == *s;
		pattern = p + 1;
		subject = s + 1;
	}
}

/* Wildcards stand alone in their token. NATS takes "a*" for a literal, but no subject of ours holds a '*'. */
static bool pattern_token_valid(const char *token, size_t n, bool last)
{
	if (n == 1 && (token[0] == '*' || (token[0] == '>' && last)))
		return true;
	for (size_t i = 0; i < n; i++)
		if (control((unsigned char)token[i]) || strchr(" *>", token[i]) != NULL)
			return false;
	return n > 0;
}

bool message_pattern_valid(const char *pattern)
{
	size_t n = strlen(pattern);

	if (n == 0 || n > MESSAGE_SUBJECT_MAX_BYTES || !utf8_valid(pattern, n))
		return false;
	for (;;) {
		const char *end = token_end(pattern);

		if (!pattern_token_valid(pattern, (size_t)(end - pattern), *end == '\0'))
			return false;
		if (*end == '\0')
			return true;
		pattern = end + 1;
	}
}

enum reason message_check_header(const char *name, size_t name_bytes, const char *value, size_t value_bytes)
{
	if (name_bytes == 0)
		return DEFECT_HEADER_NAME;
	for (size_t i = 0; i < name_bytes; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == ':')
			return DEFECT_HEADER_NAME;
	if (name_bytes >= 5 && strncasecmp(name, "nats-", 5) == 0)
		return DEFECT_HEADER_RESERVED;
	for (size_t i = 0; i < value_bytes; i++)
		if (control((unsigned char)value[i]) && value[i] != '\t')
			return DEFECT_HEADER_VALUE;
	return utf8_valid(value, value_bytes) ? REASON_NONE : DEFECT_HEADER_VALUE;
}

static enum reason check_headers(json_t *headers)
{
	const char *name;
	json_t *value;

	if (!json_is_object(headers))
		return DEFECT_HEADERS_SHAPE;
	json_object_foreach (headers, name, value) {
		enum reason defect = DEFECT_HEADERS_SHAPE;

		if (json_is_string(value))
			defect = message_check_header(name, strlen(name), json_string_value(value),
						      json_string_length(value));
		if (defect != REASON_NONE)
			return defect;
	}
	return REASON_NONE;
}

enum reason message_each_header(const char *json, size_t n,
				bool (*each)(void *arg, const char *name, const char *value), void *arg)
{
	json_error_t error;
	json_t *headers, *value;
	enum reason defect;
	const char *name;

	if (json == NULL)
		return REASON_NONE;
	if (n > MESSAGE_HEADERS_MAX_BYTES)
		return DEFECT_HEADERS_LONG;
	headers = json_loadb(json, n, JSON_REJECT_DUPLICATES, &error);
	/* For want of memory a good message would become a dead letter: better die and publish it later. */
	if (headers == NULL && json_error_code(&error) == json_error_out_of_memory)
		abort();
	defect = check_headers(headers);
	if (defect == REASON_NONE && each != NULL)
		json_object_foreach (headers, name, value)
			if (!each(arg, name, json_string_value(value)))
				break;
	json_decref(headers);
	return defect;
}
