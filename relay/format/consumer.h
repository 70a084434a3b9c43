/* A consumer that remembers nothing: how one is asked for, and what JetStream answers. */
#ifndef BOXHAUL_FORMAT_CONSUMER_H
#define BOXHAUL_FORMAT_CONSUMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/answer.h"

enum { CONSUMER_FILTER_BYTES = 256 };

/* Pull, without acknowledgements, ephemeral, in memory, one replica. */
struct consumer_wish {
	const char *stream, *name;
	uint64_t start; /* sequence */
	/* What is to come: one filter, or several (nats-server 2.10), or with 0 of them all of the stream. */
	char *const *filters;
	size_t filter_count;
};

/* What a consumer of a subscription is called; `behind` tells it from others. With a dot, which the subscription of sagas has, it would be
 * two tokens of a subject. Returns `to`. */
enum { CONSUMER_NAME_BYTES = 128 };
const char *consumer_name(char to[static CONSUMER_NAME_BYTES], const char *subscription, const char *behind);

/* The request's body, malloc'ed; NULL when out of memory. */
char *consumer_wish_write(const struct consumer_wish *w);

enum consumer_verdict {
	CONSUMER_MADE,       /* with the very configuration that was asked for */
	CONSUMER_OTHER,      /* made, but not as it was asked for: servers drop in silence what they do not know */
	CONSUMER_UNFILTERED, /* the same, and what is missing are the several filters */
	CONSUMER_REFUSED,    /* error */
	CONSUMER_HOPELESS,   /* error, and asking again changes nothing */
};

/* Reads the answer. */
enum consumer_verdict consumer_answer_read(const char *data, size_t bytes, const struct consumer_wish *w,
					   struct answer_error *error);

/* The narrowest single filter that takes all that these take; "" = all of the stream. False: it has no room. */
bool consumer_common_filter(char *const *filters, size_t count, char to[static CONSUMER_FILTER_BYTES]);

/* A request for messages: its body. Returns the length. */
enum { CONSUMER_PULL_BYTES = 160 };
int consumer_pull_write(char to[static CONSUMER_PULL_BYTES], uint32_t messages, uint32_t bytes, uint32_t expires_ms,
			uint32_t heartbeat_ms);

#endif
