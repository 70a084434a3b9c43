/* A process may stand still between any two instructions, and a socket may take nothing for long. What was right to send when it was
 * decided is not when it leaves: another relay may lead by then, or the stream may have forgotten what it would drop as a repeat. */
#include "edge/natsio_held.h"

#include <stddef.h>

#include "edge/loop.h"
#include "edge/natsio_link.h"

enum { WRITE_BYTES = 32 * 1024 };

void natsio_held_begin(struct natsio_held *h)
{
	h->deadline_ms = INT64_MAX;
	natsio_held_nothing(h);
}

void natsio_held_message(struct natsio_held *h, int64_t by_ms)
{
	h->any = true;
	if (by_ms < h->by_ms)
		h->by_ms = by_ms;
}

void natsio_held_nothing(struct natsio_held *h)
{
	h->any = false;
	h->by_ms = INT64_MAX;
}

const char *natsio_held_why_not(const struct natsio_held *h, int64_t now_ms)
{
	if (!h->any || (now_ms < h->deadline_ms && now_ms < h->by_ms))
		return NULL;
	return now_ms >= h->deadline_ms
		       ? "no sign of life of the database: what was to be sent may be somebody else's by now"
		       : "a message waited so long to be written that it might be stored twice: asking first";
}

/* A turn of the loop may make a whole window. If all of it were written when the turn ends, the server would have nothing to do meanwhile: between
 * two batches as long as it takes to make one. What may not be written is left to the end of the turn, where the connection is dropped. */
void natsio_held_write(struct natsio_held *h, struct natsio_link *k, int bytes)
{
	if (bytes < WRITE_BYTES || natsio_held_why_not(h, loop_now_ms()) != NULL)
		return;
	natsio_link_write(k);
	if (natsConnection_Buffered(k->nc) <= 0)
		natsio_held_nothing(h);
}
