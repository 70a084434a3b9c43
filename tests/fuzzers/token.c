/* Any text as the subject a reply comes in on. Only what natsio_send() wrote there names a message. */
#include "edge/natsio_inbox.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct natsio_inbox b = { .prefix = "_INBOX.0123456789abcdef0123456789abcdef.",
				  .answers = QUICK_AFTER_ANSWERS };
	char *end = take_text(&in, '\0', NULL), *subject = NULL, written[NATSIO_INBOX_REPLY_BYTES];
	struct natsio_message m = { .request = size % 2 == 1 };
	uint64_t token = 0;

	b.prefix_bytes = strlen(b.prefix);
	if (asprintf(&subject, "%s%s", b.prefix, end) < 0)
		abort();
	promise(!natsio_inbox_token(&b, end, &token) || strncmp(end, b.prefix, b.prefix_bytes) == 0,
		"%s is in no inbox of ours", end);
	if (natsio_inbox_token(&b, subject, &m.token)) {
		m.request = end[0] == 'c';
		natsio_inbox_write(&b, &m, written);
		promise(strcasecmp(written, subject) == 0, "%s was taken for %s", subject, written);
	}
	if (size >= sizeof m.token) {
		memcpy(&m.token, data, sizeof m.token);
		natsio_inbox_write(&b, &m, written);
		promise(natsio_inbox_token(&b, written, &token) && token == m.token, "%s was not recognised", written);
	}
	free(subject);
	free(end);
	return 0;
}
