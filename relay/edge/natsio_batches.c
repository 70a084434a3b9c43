#include "edge/natsio_batches.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"

enum { SUBJECT_BYTES = 192, BATCH_DIGITS = 16 };

bool natsio_batches_open(struct natsio_batches *b, natsConnection *nc, const char *prefix, unsigned stream)
{
	char subject[SUBJECT_BYTES];

	if (stream >= NATSIO_BATCHES_STREAMS)
		return false;
	if (b->stream[stream] != NULL)
		return (b->open >> stream & 1) != 0;
	snprintf(subject, sizeof subject, "%sb%u.>", prefix, stream);
	if (natsConnection_SubscribeSync(&b->stream[stream], nc, subject) != NATS_OK ||
	    natsSubscription_SetPendingLimits(b->stream[stream], -1, -1) != NATS_OK)
		return false;
	b->open |= UINT32_C(1) << stream;
	return true;
}

/* As in: Permissions Violation for Subscription to "_INBOX.0123456789abcdef0123456789abcdef.b0.>" (sid "4") */
bool natsio_batches_denied(struct natsio_batches *b, const char *prefix, const char *complaint)
{
	static const char words[] = "Permissions Violation for Subscription to \"";
	const char *at = strcasestr(complaint, words);
	size_t n = strlen(prefix);
	unsigned long stream;

	if (at == NULL || strncasecmp(at + sizeof words - 1, prefix, n) != 0)
		return false;
	at += sizeof words - 1 + n;
	if (*at != 'b' || at[1] < '0' || at[1] > '9')
		return false;
	stream = strtoul(at + 1, NULL, 10);
	if (stream < NATSIO_BATCHES_STREAMS)
		b->open &= ~(UINT32_C(1) << stream);
	return true;
}

void natsio_batches_close(struct natsio_batches *b)
{
	for (unsigned i = 0; i < NATSIO_BATCHES_STREAMS; i++)
		natsSubscription_Destroy(b->stream[i]);
	*b = (struct natsio_batches){ .open = 0 };
}

/* --- subjects --- */

static char *write_number(char *out, uint32_t number)
{
	char digits[10];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

/* Every message has one: printf() would cost more than the rest. */
void natsio_batches_write(const struct natsio_batch *m, char out[static NATSIO_BATCHES_REPLY_BYTES])
{
	*out++ = 'b';
	out = write_number(out, m->stream);
	*out++ = '.';
	hex_write_number(out, m->batch);
	out = mempcpy(out + BATCH_DIGITS, ".", 1);
	out = write_number(out, m->flow);
	out = mempcpy(out, ".fail.", 6);
	out = write_number(out, m->number);
	*out++ = '.';
	out = write_number(out, m->operation);
	memcpy(out, ".$FI", sizeof ".$FI");
}

/* The number of the message, behind "<batch>.<flow>.fail."; 0: it has none. */
static uint32_t read_message_number(const char *at)
{
	uint64_t number = 0;

	for (int dots = 0; dots < 2; dots++)
		if ((at = strchr(at, '.')) == NULL)
			return 0;
		else
			at++;
	for (; *at >= '0' && *at <= '9' && number <= UINT32_MAX; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	return *at == '.' && number <= UINT32_MAX ? (uint32_t)number : 0;
}

static bool read_subject(const char *prefix, const char *subject, struct natsio_reply *reply)
{
	size_t n = strlen(prefix);

	if (strncmp(subject, prefix, n) != 0 || subject[n] != 'b' || (subject = strchr(subject + n, '.')) == NULL)
		return false;
	subject++;
	for (int i = 0; i < BATCH_DIGITS; i++, subject++) {
		int digit = hex_digit(*subject);

		if (digit < 0)
			return false;
		reply->batch = reply->batch << 4 | (uint64_t)digit;
	}
	reply->number = *subject == '.' ? read_message_number(subject + 1) : 0;
	return *subject == '.' && reply->batch != 0;
}

/* --- answers --- */

bool natsio_batches_next(struct natsio_batches *b, unsigned stream, natsMsg **msg)
{
	natsStatus s = NATS_ERR;

	*msg = NULL;
	if (b->stream[stream] != NULL)
		s = natsSubscription_NextMsg(msg, b->stream[stream], 0);
	return s == NATS_OK || s == NATS_NO_RESPONDERS;
}

bool natsio_batches_read(const char *prefix, unsigned stream, natsMsg *msg, struct natsio_reply *reply)
{
	*reply = (struct natsio_reply){ .no_responders = msg == NULL, .of_batch = true, .stream = (uint16_t)stream };
	if (msg == NULL)
		return true;
	reply->no_responders = natsMsg_IsNoResponders(msg);
	reply->data = natsMsg_GetData(msg);
	reply->bytes = (size_t)natsMsg_GetDataLength(msg);
	return read_subject(prefix, natsMsg_GetSubject(msg), reply);
}
