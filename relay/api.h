/* JetStream's API: requests on our connection, told apart from publishes by their token.
 *
 * The core's tokens name a slot, an attempt (never 0) and a generation. Ours have attempt 0:
 *     bits 0..15 stream, 16..31 zero, 32..39 kind, 40..63 number */
#ifndef BOXHAUL_API_H
#define BOXHAUL_API_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/natsio.h"

/* The kinds of requests; each belongs to one port. */
enum api_kind {
	API_NONE,
	API_INFO, /* publisher.c */
	API_CREATE,
	API_TAIL, /* tail.c */
	API_STORED,
};

enum { API_NUMBERS = 1 << 24 };

/* Else it names a publish. */
static inline bool api_owns(uint64_t token)
{
	return ((token >> 16) & 0xffff) == 0;
}

static inline enum api_kind api_kind(uint64_t token)
{
	return api_owns(token) ? (enum api_kind)((token >> 32) & 0xff) : API_NONE;
}

static inline uint16_t api_stream(uint64_t token)
{
	return (uint16_t)(token & 0xffff);
}

static inline uint32_t api_number(uint64_t token)
{
	return (uint32_t)(token >> 40);
}

/* Sends `body` to $JS.API.STREAM.`verb`.`name`. False when it could not be sent. */
bool api_request(struct natsio *io, enum api_kind kind, const char *verb, const char *name, uint16_t stream,
		 uint32_t number, const char *body);

#endif
