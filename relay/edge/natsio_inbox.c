#include "edge/natsio_inbox.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/hex.h"
#include "edge/natsio_batches.h"

enum { QUICK_AFTER_ANSWERS = 1024 };

_Static_assert(NATSIO_INBOX_REPLY_BYTES >= NATSIO_INBOX_BYTES + NATSIO_BATCHES_REPLY_BYTES,
	       "room for the subject of a reply");

static bool subscribe_quick(struct natsio_inbox *b, natsConnection *nc)
{
	char subject[NATSIO_INBOX_BYTES + 4];

	snprintf(subject, sizeof subject, "%sq.*", b->prefix);
	return natsConnection_SubscribeSync(&b->quick, nc, subject) == NATS_OK &&
	       natsSubscription_SetPendingLimits(b->quick, -1, -1) == NATS_OK;
}

static bool subscribe_careful(struct natsio_inbox *b, natsConnection *nc, natsMsgHandler on_message,
			      natsOnCompleteCB on_end, void *arg)
{
	char subject[NATSIO_INBOX_BYTES + 4];

	snprintf(subject, sizeof subject, "%sc.*", b->prefix);
	return natsConnection_Subscribe(&b->careful, nc, subject, on_message, arg) == NATS_OK &&
	       natsSubscription_SetOnCompleteCB(b->careful, on_end, arg) == NATS_OK &&
	       natsSubscription_SetPendingLimits(b->careful, -1, -1) == NATS_OK;
}

bool natsio_inbox_open(struct natsio_inbox *b, natsConnection *nc, const char *under, natsMsgHandler on_message,
		       natsOnCompleteCB on_end, void *arg, bool *begun)
{
	unsigned char r[16];
	bool ok;
	int n;

	*begun = false;
	/* Nobody must be able to guess where acknowledgements are expected. */
	if (getrandom(r, sizeof r, 0) != sizeof r)
		return false;
	n = snprintf(b->prefix, NATSIO_INBOX_PREFIX_BYTES + 1, "%s.", under);
	if (n < 0 || n > NATSIO_INBOX_PREFIX_BYTES)
		return false;
	memcpy(hex_write(b->prefix + n, r, sizeof r), ".", 2);
	b->prefix_bytes = strlen(b->prefix);
	ok = subscribe_quick(b, nc) && subscribe_careful(b, nc, on_message, on_end, arg);
	*begun = b->careful != NULL;
	return ok;
}

void natsio_inbox_close(struct natsio_inbox *b)
{
	natsSubscription_Destroy(b->quick);
	natsSubscription_Destroy(b->careful);
}

static bool is_quick(const struct natsio_inbox *b, const struct natsio_message *m)
{
	return !m->request && !m->careful && b->answers >= QUICK_AFTER_ANSWERS;
}

/* "<prefix>q.<16 hex digits>"; of a lane "<prefix>p<lane>.<16 hex digits>"; of a batch as natsio_batches.h says */
void natsio_inbox_write(const struct natsio_inbox *b, const struct natsio_message *m, char *out)
{
	out = mempcpy(out, b->prefix, b->prefix_bytes);
	if (m->batch != NULL) {
		natsio_batches_write(m->batch, out);
		return;
	}
	if (m->lane > 0)
		out += snprintf(out, NATSIO_INBOX_REPLY_BYTES - b->prefix_bytes, "p%u.", m->lane);
	else
		out = mempcpy(out, is_quick(b, m) ? "q." : "c.", 2);
	hex_write_number(out, m->token);
}

bool natsio_inbox_token(const struct natsio_inbox *b, const char *subject, uint64_t *token)
{
	*token = 0;
	if (strncmp(subject, b->prefix, b->prefix_bytes) != 0)
		return false;
	subject += b->prefix_bytes;
	if (strncmp(subject, "q.", 2) != 0 && strncmp(subject, "c.", 2) != 0)
		return false;
	subject += 2;
	for (int i = 0; i < 16; i++, subject++) {
		int digit = hex_digit(*subject);

		if (digit < 0)
			return false;
		*token = *token << 4 | (uint64_t)digit;
	}
	return *subject == '\0';
}

/* As in: Permissions Violation for Subscription to "_INBOX.0123456789abcdef0123456789abcdef.q.*" (sid "1") */
bool natsio_inbox_is_denied(const struct natsio_inbox *b, const char *complaint)
{
	static const char words[] = "Permissions Violation for Subscription to \"";
	const char *at = strcasestr(complaint, words);

	return at != NULL && strncasecmp(at + sizeof words - 1, b->prefix, b->prefix_bytes) == 0;
}

bool natsio_inbox_read(struct natsio_inbox *b, natsMsg *msg, struct natsio_reply *reply)
{
	*reply = (struct natsio_reply){ .no_responders = natsMsg_IsNoResponders(msg),
					.data = natsMsg_GetData(msg),
					.bytes = (size_t)natsMsg_GetDataLength(msg) };
	if (reply->no_responders)
		b->answers = 0;
	else if (b->answers < QUICK_AFTER_ANSWERS)
		b->answers++;
	return natsio_inbox_token(b, natsMsg_GetSubject(msg), &reply->token);
}

uint64_t natsio_inbox_waiting(const struct natsio_inbox *b)
{
	uint64_t count = 0;

	return b->quick != NULL && natsSubscription_QueuedMsgs(b->quick, &count) == NATS_OK ? count : 0;
}

bool natsio_inbox_next(struct natsio_inbox *b, natsMsg **msg)
{
	natsStatus s;

	*msg = NULL;
	s = natsSubscription_NextMsg(msg, b->quick, 0);
	if (s == NATS_NO_RESPONDERS)
		b->answers = 0;
	return s == NATS_OK || s == NATS_NO_RESPONDERS;
}
