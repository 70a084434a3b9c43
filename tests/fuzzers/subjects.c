/* Any text as a subject and as a pattern, on two lines. What is let through is one token of a PUB line, with no wildcard
 * in it; and a pattern takes what a simpler program says it takes. */
#include "format/message.h"
#include "fuzz.h"

static void check_subject(const char *s, size_t n)
{
	promise(n > 0 && n <= MESSAGE_SUBJECT_MAX_BYTES && is_utf8(s, n), "%zu bytes", n);
	promise(s[0] != '$' && strcmp(s, "_INBOX") != 0 && strncmp(s, "_INBOX.", 7) != 0, "%s is reserved", s);
	promise(s[0] != '.' && s[n - 1] != '.' && strstr(s, "..") == NULL, "%s has an empty token", s);
	for (size_t i = 0; i < n; i++)
		promise((unsigned char)s[i] > ' ' && s[i] != 0x7f && s[i] != '*' && s[i] != '>', "byte %d", s[i]);
}

/* Both end in a dot here. */
static bool takes(const char *pattern, const char *subject)
{
	if (*pattern == '\0' || *subject == '\0')
		return *pattern == *subject;
	if (strcmp(pattern, ">.") == 0)
		return true;
	if (strncmp(pattern, "*.", 2) == 0)
		return takes(pattern + 2, strchr(subject, '.') + 1);
	for (; *pattern == *subject && *pattern != '.'; pattern++)
		subject++;
	return *pattern == *subject && takes(pattern + 1, subject + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t n, m;
	char *subject = take_text(&in, '\n', &n), *pattern = take_text(&in, '\n', &m);
	char p[MESSAGE_SUBJECT_MAX_BYTES + 2], s[MESSAGE_SUBJECT_MAX_BYTES + 2];

	if (message_check_subject(subject, n) == REASON_NONE) {
		check_subject(subject, n);
		promise(message_pattern_valid(subject), "%s is no pattern", subject);
		if (message_pattern_valid(pattern)) {
			snprintf(p, sizeof p, "%s.", pattern);
			snprintf(s, sizeof s, "%s.", subject);
			promise(message_patterns_overlap(pattern, subject) == takes(p, s) &&
					message_patterns_overlap(subject, pattern) == takes(p, s),
				"%s and %s", subject, pattern);
			promise(message_subject_matches(pattern, subject) == takes(p, s), "%s against %s", subject,
				pattern);
		}
	}
	free(subject);
	free(pattern);
	return 0;
}
