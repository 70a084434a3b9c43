/* The rules for subjects and headers. The CHECKs in sql/002_outbox.sql say the same in SQL: what they accept is
 * accepted here. tests/unit/message_vectors.txt holds the examples both are tried against.
 *
 *     orders.eu.created      a subject: tokens between dots
 *     orders.*.created       a pattern: '*' is any one token,
 *     orders.>               '>' is one token or more, at the end
 */
#include "format/message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "base/utf8.h"

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

bool message_patterns_overlap(const char *a, const char *b)
{
	for (;;) {
		size_t n = strcspn(a, "."), m = strcspn(b, ".");
		bool wild = (n == 1 && *a == '*') || (m == 1 && *b == '*');

		if ((n == 1 && *a == '>') || (m == 1 && *b == '>'))
			return true;
		if (!wild && (n != m || memcmp(a, b, n) != 0))
			return false;
		if (a[n] == '\0' || b[m] == '\0')
			return a[n] == b[m];
		a += n + 1;
		b += m + 1;
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

/* --- is it JSON at all? --- */

static const char *skip_space(const char *s, const char *end)
{
	while (s < end && strchr(" \t\r\n", *s) != NULL && *s != '\0')
		s++;
	return s;
}

static unsigned hex4(const char *s, const char *end)
{
	char digits[5] = "";

	if (end - s < 4)
		return 0;
	memcpy(digits, s, 4);
	return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (unsigned)strtoul(digits, NULL, 16) : 0;
}

/* Behind an escape that begins with a backslash; NULL: it is none. No NUL, no half of a pair. */
static const char *skip_escape(const char *s, const char *end)
{
	unsigned code;

	if (end - s < 2 || s[1] == '\0' || strchr("\"\\/bfnrtu", s[1]) == NULL)
		return NULL;
	if (s[1] != 'u')
		return s + 2;
	code = hex4(s + 2, end);
	if (code == 0 || (code >= 0xdc00 && code < 0xe000))
		return NULL;
	if (code < 0xd800 || code >= 0xe000)
		return s + 6;
	if (end - s < 12 || s[6] != '\\' || s[7] != 'u')
		return NULL;
	code = hex4(s + 8, end);
	return code >= 0xdc00 && code < 0xe000 ? s + 12 : NULL;
}

/* Behind a string; NULL: there is none. */
static const char *skip_string(const char *s, const char *end)
{
	if (s == end || *s++ != '"')
		return NULL;
	while (s != NULL && s < end && *s != '"') {
		if ((unsigned char)*s < 0x20)
			return NULL;
		s = *s == '\\' ? skip_escape(s, end) : s + 1;
	}
	return s != NULL && s < end ? s + 1 : NULL;
}

static const char *skip_member(const char *s, const char *end)
{
	s = skip_string(skip_space(s, end), end);
	if (s == NULL || (s = skip_space(s, end)) == end || *s != ':')
		return NULL;
	s = skip_string(skip_space(s + 1, end), end);
	return s != NULL ? skip_space(s, end) : NULL;
}

/* By syntax alone, and without any memory. */
static bool is_object_of_strings(const char *json, size_t n)
{
	const char *end = json + n, *s = skip_space(json, end);

	if (s == end || *s != '{')
		return false;
	if ((s = skip_space(s + 1, end)) != end && *s == '}')
		return skip_space(s + 1, end) == end;
	while ((s = skip_member(s, end)) != NULL && s != end && *s == ',')
		s++;
	return s != NULL && s != end && *s == '}' && skip_space(s + 1, end) == end;
}

/* For want of memory a good message would become a dead letter; and jansson, when it has none, blames the syntax. It names these
 * only where they are so; anything else is believed if the text is really none that it takes. */
static enum reason why_unread(const char *json, size_t n, const json_error_t *error)
{
	switch (json_error_code(error)) {
	case json_error_invalid_utf8:
	case json_error_null_character:
	case json_error_duplicate_key:
	case json_error_stack_overflow:
	case json_error_numeric_overflow: return DEFECT_HEADERS_SHAPE;
	default: return is_object_of_strings(json, n) ? REASON_NO_MEMORY : DEFECT_HEADERS_SHAPE;
	}
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
	if (headers == NULL)
		return why_unread(json, n, &error);
	defect = check_headers(headers);
	if (defect == REASON_NONE && each != NULL)
		json_object_foreach (headers, name, value)
			if (!each(arg, name, json_string_value(value)))
				break;
	json_decref(headers);
	return defect;
}
