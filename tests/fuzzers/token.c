/* Any text as the subject a reply comes in on. Only what natsio_send() wrote there names a message. */
#include "edge/natsio.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct link k = { .inbox = "_INBOX.0123456789abcdef0123456789abcdef." };
	char *end = take_text(&in, '\0', NULL), *subject = NULL, written[sizeof k.inbox + 20];
	struct natsio_message m = { .request = size % 2 == 1 };
	uint64_t token = 0;

	k.inbox_bytes = strlen(k.inbox);
	k.answers = QUICK_AFTER_ANSWERS;
	if (asprintf(&subject, "%s%s", k.inbox, end) < 0)
		abort();
	promise(!read_token(&k, end, &token) || strncmp(end, k.inbox, k.inbox_bytes) == 0, "%s is in no inbox of ours",
		end);
	if (read_token(&k, subject, &m.token)) {
		m.request = end[0] == 'c';
		write_reply(written, &k, &m);
		promise(strcasecmp(written, subject) == 0, "%s was taken for %s", subject, written);
	}
	if (size >= sizeof m.token) {
		memcpy(&m.token, data, sizeof m.token);
		write_reply(written, &k, &m);
		promise(read_token(&k, written, &token) && token == m.token, "%s was not recognised", written);
	}
	free(subject);
	free(end);
	return 0;
}
