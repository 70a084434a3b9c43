/* Any text as a complaint of the server, behind a subject on a line of its own. A complaint about a publish to the subject is
 * recognised, also where nats.c had no room for its end; one about another subject is not. */
#include "flow/publisher.h"
#include "format/message.h"
#include "fuzz.h"

static const char words[] = "Permissions Violation for Publish to \"";

/* As the server quotes a subject. */
static size_t quote(const char *subject, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "%s", words);

	for (; *subject != '\0'; subject++) {
		if (*subject == '"' || *subject == '\\')
			out[n++] = '\\';
		out[n++] = *subject;
	}
	out[n++] = '"';
	out[n] = '\0';
	return n;
}

/* Does the quoted text begin as the subject does, as far as both go? */
static bool may_be(const char *complaint, const char *subject)
{
	const char *quoted = strstr(complaint, words);

	return quoted != NULL && (quoted[sizeof words - 1] == '\\' || quoted[sizeof words - 1] == subject[0] ||
				  quoted[sizeof words - 1] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned cut = take_byte(&in);
	size_t n;
	char *subject = take_text(&in, '\n', &n), *complaint = take_rest(&in);
	char own[sizeof words + 2 * MESSAGE_SUBJECT_MAX_BYTES + 2];
	struct parcel parcel = { .subject = subject }, longer = { .subject = own };

	if (message_check_subject(subject, n) == REASON_NONE) {
		size_t end = quote(subject, own, sizeof own);

		promise(!publisher_denied(&parcel, complaint) || may_be(complaint, subject), "%s is not about %s",
			complaint, subject);
		promise(publisher_denied(&parcel, own), "%s is about %s", own, subject);
		if (cut < end - sizeof words)
			own[end - cut] = '\0';
		promise(publisher_denied(&parcel, own), "%s, cut off, is about %s", own, subject);
		quote(subject, own, sizeof own);
		complaint = realloc(complaint, end + 1);
		memcpy(complaint, own, end + 1);
		snprintf(own, sizeof own, "%.*s.x", (int)n, subject);
		promise(!publisher_denied(&longer, complaint), "%s is not about %s", complaint, own);
	}
	free(subject);
	free(complaint);
	return 0;
}
