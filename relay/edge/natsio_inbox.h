/* Where the replies to all that one connection sends are expected. For natsio*.c only.
 *
 * Two subscriptions. What comes to the quick one waits in nats.c until the loop takes it, on its own thread: half the price of a
 * message. But nats.c keeps a 503 ("nobody listens") for itself there, and tells no more than that there was one. So it is for
 * publishes, and only while all goes well: requests, what is sent again, and whatever is sent on a new connection or after a 503
 * until so many answers have come without one, expect theirs at the careful one. A message whose 503 was lost counts as not
 * answered. */
#ifndef BOXHAUL_EDGE_NATSIO_INBOX_H
#define BOXHAUL_EDGE_NATSIO_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include <nats/nats.h>

#include "edge/natsio_message.h"
#include "edge/natsio_options.h"

enum { NATSIO_INBOX_BYTES = NATSIO_INBOX_PREFIX_BYTES + 64, NATSIO_INBOX_REPLY_BYTES = NATSIO_INBOX_BYTES + 96 };

/* All zero: not open. */
struct natsio_inbox {
	char prefix
		[NATSIO_INBOX_BYTES]; /* "_INBOX.<32 hex digits>." (or nats.inbox_prefix in place of _INBOX), in front of "q." and "c." */
	size_t prefix_bytes;
	natsSubscription *quick, *careful;
	uint32_t answers; /* since a 503, or since it is open */
};

/* Subscribes under a random name behind `under` and a dot. on_message(arg) gets what comes to the careful one, on a thread of nats.c's; once the careful
 * subscription is there, on_end(arg) is called when it has delivered its last message (or never, if it is closed already).
 * *begun: it is there, whatever is returned. */
bool natsio_inbox_open(struct natsio_inbox *b, natsConnection *nc, const char *under, natsMsgHandler on_message,
		       natsOnCompleteCB on_end, void *arg, bool *begun);

/* After the connection was destroyed. Blocks. */
void natsio_inbox_close(struct natsio_inbox *b);

/* Writes the subject on which the reply to this message is expected: NATSIO_INBOX_REPLY_BYTES. */
void natsio_inbox_write(const struct natsio_inbox *b, const struct natsio_message *m, char *out);

/* The token in a subject that natsio_inbox_write() made; false where it made none like it. */
bool natsio_inbox_token(const struct natsio_inbox *b, const char *subject, uint64_t *token);

/* Whether this complaint of the server (-ERR) is about a subscription of the inbox: then the server has none of it (any more). */
bool natsio_inbox_is_denied(const struct natsio_inbox *b, const char *complaint);

/* Reads a message that came in; false: it is no reply to anything that was sent. The reply borrows from the message. */
bool natsio_inbox_read(struct natsio_inbox *b, natsMsg *msg, struct natsio_reply *reply);

/* How many wait at the quick subscription. */
uint64_t natsio_inbox_waiting(const struct natsio_inbox *b);

/* Takes the next of those; false: there is none. *msg is NULL where it was a 503. */
bool natsio_inbox_next(struct natsio_inbox *b, natsMsg **msg);

#endif
