#include "edge/natsio_spent.h"

enum { SPENT_MAX_BYTES = 1024 * 1024 };

void natsio_spent_clear(struct natsio_spent *s)
{
	for (size_t i = 0; i < s->count; i++)
		natsMsg_Destroy(s->msg[i]);
	s->count = s->bytes = 0;
}

void natsio_spend(struct natsio_spent *s, natsMsg *msg)
{
	if (msg == NULL)
		return;
	s->msg[s->count++] = msg;
	s->bytes += (size_t)natsMsg_GetDataLength(msg);
	if (s->count == NATSIO_SPENT_MAX || s->bytes >= SPENT_MAX_BYTES)
		natsio_spent_clear(s);
}
