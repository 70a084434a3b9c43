#include "edge/natsio_lanes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

enum { SUBJECT_BYTES = 96, TOKEN_DIGITS = 16 };

static bool subscribe(natsSubscription **sub, natsConnection *nc, const char *prefix, unsigned lane)
{
	char subject[SUBJECT_BYTES];

	snprintf(subject, sizeof subject, "%sp%u.*", prefix, lane);
	return natsConnection_SubscribeSync(sub, nc, subject) == NATS_OK &&
	       natsSubscription_SetPendingLimits(*sub, -1, -1) == NATS_OK;
}

bool natsio_lanes_open(struct natsio_lanes *l, natsConnection *nc, const char *prefix, unsigned count)
{
	*l = (struct natsio_lanes){ .count = count };
	if (count == 0)
		return true;
	l->lane = calloc(count, sizeof(natsSubscription *));
	if (l->lane == NULL) {
		l->count = 0;
		return false;
	}
	for (unsigned i = 0; i < count; i++)
		if (!subscribe(&l->lane[i], nc, prefix, i + 1))
			return false;
	return true;
}

void natsio_lanes_close(struct natsio_lanes *l)
{
	for (unsigned i = 0; i < l->count; i++)
		natsSubscription_Destroy(l->lane[i]);
	free(l->lane);
	*l = (struct natsio_lanes){ .count = 0 };
}

bool natsio_lanes_next(struct natsio_lanes *l, unsigned lane, natsMsg **msg)
{
	natsStatus s = NATS_ERR;

	*msg = NULL;
	if (lane <= l->count && l->lane[lane - 1] != NULL)
		s = natsSubscription_NextMsg(msg, l->lane[lane - 1], 0);
	return s == NATS_OK || s == NATS_NO_RESPONDERS;
}

/* The token of a subject of ours, "<prefix>p<lane>.<16 digits>"; false: it is another one. */
static bool read_token(const char *prefix, const char *subject, uint64_t *token)
{
	size_t n = strlen(prefix);

	*token = 0;
	if (strncmp(subject, prefix, n) != 0 || subject[n] != 'p' || (subject = strchr(subject + n, '.')) == NULL)
		return false;
	subject++;
	for (int i = 0; i < TOKEN_DIGITS; i++, subject++) {
		int digit = hex_digit(*subject);

		if (digit < 0)
			return false;
		*token = *token << 4 | (uint64_t)digit;
	}
	return *subject == '\0';
}

/* A status comes to the subject that it was asked for; a header of that name in a message is the publisher's. */
void natsio_lanes_read(const char *prefix, unsigned lane, natsMsg *msg, struct natsio_reply *reply)
{
	*reply = (struct natsio_reply){ .no_responders = msg == NULL, .lane = lane, .message = msg };
	if (msg == NULL)
		return;
	reply->data = natsMsg_GetData(msg);
	reply->bytes = (size_t)natsMsg_GetDataLength(msg);
	reply->subject = natsMsg_GetSubject(msg);
	reply->reply = natsMsg_GetReply(msg);
	if (!read_token(prefix, reply->subject, &reply->token))
		return;
	reply->status = natsio_reply_header(reply, "Status");
	reply->description = natsio_reply_header(reply, "Description");
	if (reply->status == NULL)
		reply->status = "";
}

/* --- headers --- */

const char *natsio_reply_header(const struct natsio_reply *reply, const char *name)
{
	const char *value = NULL;

	return reply->message != NULL && natsMsgHeader_Get(reply->message, name, &value) == NATS_OK ? value : NULL;
}

/* As the library has them: what it could not read is left out. */
static char *write_block(natsMsg *msg)
{
	char *block = NULL;
	size_t bytes;
	FILE *f = open_memstream(&block, &bytes);
	const char **names = NULL, **values = NULL;
	int count = 0, n = 0;

	if (f == NULL)
		return NULL;
	fputs("NATS/1.0\r\n", f);
	if (natsMsgHeader_Keys(msg, &names, &count) != NATS_OK)
		count = 0;
	for (int i = 0; i < count && natsMsgHeader_Values(msg, names[i], &values, &n) == NATS_OK; i++) {
		for (int k = 0; k < n; k++)
			fprintf(f, "%s: %s\r\n", names[i], values[k]);
		free(values);
	}
	free(names);
	if (fclose(f) == 0)
		return block;
	free(block);
	return NULL;
}

/* libnats gives nobody the block itself. In all versions (3.4.1, 3.10.1 and 3.14 were read) it stands where the message was copied to, behind reply or
 * subject, and is followed by a zero byte and the payload. Whatever stands there otherwise does not begin as a block does. */
bool natsio_reply_block(const struct natsio_reply *reply, char **block, size_t *bytes)
{
	static const char begin[] = "NATS/1.0";
	const char *before = reply->reply != NULL ? reply->reply : reply->subject, *at = before + strlen(before) + 1;

	*block = NULL;
	*bytes = 0;
	if (at == reply->data)
		return true;
	if (at + sizeof begin < reply->data && memcmp(at, begin, sizeof begin - 1) == 0 && reply->data[-1] == '\0') {
		*bytes = (size_t)(reply->data - at) - 1;
		*block = malloc(*bytes + 1);
		return *block != NULL && memcpy(*block, at, *bytes + 1) != NULL;
	}
	*block = write_block(reply->message);
	*bytes = *block != NULL ? strlen(*block) : 0;
	return *block != NULL;
}
