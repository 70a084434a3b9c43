/* Any text as the subject a reply comes in on. Only what natsio_send() wrote there names a message. */
#include "edge/natsio.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct link k = { .inbox = "_INBOX.0123456789abcdef0123456789abcdef." };
	char *end = take_text(&in, '\0', NULL), *subject = NULL, written[17];
	uint64_t token = 0;

	k.inbox_bytes = strlen(k.inbox);
	if (asprintf(&subject, "%s%s", k.inbox, end) < 0)
		abort();
	promise(!token_of(&k, end, &token) || strncmp(end, k.inbox, k.inbox_bytes) == 0, "%s is in no inbox of ours",
		end);
	if (token_of(&k, subject, &token)) {
		snprintf(written, sizeof written, "%016llx", (unsigned long long)token);
		promise(strcasecmp(written, end) == 0, "%s was taken for %s", end, written);
	}
	if (size >= sizeof token) {
		memcpy(&token, data, sizeof token);
		free(subject);
		if (asprintf(&subject, "%s%016llx", k.inbox, (unsigned long long)token) < 0)
			abort();
		promise(token_of(&k, subject, &(uint64_t){ 0 }), "%s was not recognised", subject);
	}
	free(subject);
	free(end);
	return 0;
}
