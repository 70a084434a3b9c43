/* Is our inbox heard?
 *
 * What the server keeps for a connection are its subscriptions: the inbox, and nothing else. A server that is told to forbid
 * them drops them; the connection lives on, and nothing makes them anew when they are allowed again. Publishes would still be
 * stored and their acknowledgements lost, so that the same message is stored again and again, beyond the duplicate window. So a
 * connection whose inbox is not heard is worth nothing, and goes as a whole. Nothing is published by the next one before the core has read what the
 * streams hold (EVENT_BUS_UP), which takes an answer at the inbox.
 *
 * Two signs tell: the server complains of our subscription (natsio.c); or questions go out, and no answer of any kind comes. The second may
 * also be a broker without a leader, so it takes long, and longer each time: a new connection costs little then, and may find a
 * better server. It takes two periods, since a process that stood still finds its timer due before it has read its socket. */
#ifndef BOXHAUL_EDGE_NATSIO_SILENCE_H
#define BOXHAUL_EDGE_NATSIO_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/loop.h"

/* Read by nobody but its functions. */
struct natsio_silence {
	struct loop_timer *timer; /* runs while an answer is awaited */
	bool armed;
	uint64_t replies, replies_then; /* of this link: now, and when the timer was set */
	unsigned periods;               /* without any reply, one behind the other */
	int64_t pause_ms;
	void (*broken)(void *arg);
	void *arg;
};

/* broken: from the loop, when questions were sent and nothing is heard. False when out of memory. */
bool natsio_silence_open(struct natsio_silence *s, struct loop *l, void (*broken)(void *arg), void *arg);

/* Something that wants an answer is sent. */
void natsio_silence_asked(struct natsio_silence *s);

/* An answer came, to whatever. */
void natsio_silence_heard(struct natsio_silence *s);

/* There is a new link, or none: nothing is awaited. */
void natsio_silence_anew(struct natsio_silence *s);

#endif
