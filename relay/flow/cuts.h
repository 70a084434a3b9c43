/* Which message makes the server end the connection?
 *
 * An error that comes with the connection names no message, and whatever was under way is sent again: a message that breaks it breaks
 * it again, and stops all others. So after such an end messages are sent one at a time until as many are answered as were under
 * way. The one that is under way alone when it happens again is to blame.
 *
 *     the server says that what we sent is no good ----------> one at a time; the second time alone: a dead letter
 *     it says nothing, twice with no answer between them ----> one at a time; the third time alone: its lane is held back
 *
 * Without a word it may as well be the server that ends, or something between us: nothing is given up for that. Steps are bounded: each
 * end with something under way either finds one message, or is one of three in a row that have the same one under way. */
#ifndef BOXHAUL_FLOW_CUTS_H
#define BOXHAUL_FLOW_CUTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/refusal.h"

/* All zero: nothing has happened. */
struct cuts {
	bool alone;      /* send one at a time */
	uint32_t left;   /* alone: for so many answers more */
	unsigned silent; /* ends without a word, with no answer between them */
	uint64_t token;  /* of the last message that was sent and is not answered; 0 = none */
	int64_t id;
	int64_t suspect; /* alone: the connection ended while this one was under way, */
	unsigned times;  /* so often, one behind the other */
};

/* A message is handed over for sending. */
void cuts_sent(struct cuts *c, int64_t id, uint64_t token);

/* It was answered, in whatever way. */
void cuts_answered(struct cuts *c, uint64_t token);

/* The other end has ended the connection, with so many messages under way. Why that one (c->token) is to be refused, or REASON_NONE.
 * *words: what the server said, as far as it is known to be about a message; "" = nothing. */
enum reason cuts_happened(struct cuts *c, const char *why, uint32_t in_flight, const char **words);

#endif
