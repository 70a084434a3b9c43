/* JetStream's API: its requests, by the daemon's connection or by a command's session. (Its answers: format/.)
 *
 * A request carries a token that comes back with its answer. In the daemon requests share the connection with publishes,
 * whose tokens name a slot, an attempt (never 0) and a generation; those of requests have attempt 0:
 *     bits 0..15 stream, 16..31 zero, 32..39 kind, 40..63 number */
#ifndef BOXHAUL_EDGE_JETSTREAM_H
#define BOXHAUL_EDGE_JETSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/natsio.h"
#include "edge/natsio_session.h"

/* --- tokens --- */

/* The kinds of requests; each belongs to one module of flow/. */
enum jetstream_kind {
	JETSTREAM_NONE,
	JETSTREAM_SETUP_INFO, /* stream_setup */
	JETSTREAM_SETUP_CREATE,
	JETSTREAM_SCAN_INFO, /* stream_scan */
	JETSTREAM_SCAN_MESSAGE,
	JETSTREAM_STORED_TIME, /* stored_time */
	JETSTREAM_INBOX_MAKE,  /* inbox_consumer; for `stream` it has the index of the subscription */
	JETSTREAM_INBOX_DELETE,
	JETSTREAM_INBOX_INFO,
	JETSTREAM_INBOX_TIME,
	JETSTREAM_INBOX_PULL,
};

enum { JETSTREAM_NUMBERS = 1 << 24 };

/* The token of a request about the stream of this index; number < JETSTREAM_NUMBERS. */
static inline uint64_t jetstream_token(enum jetstream_kind kind, uint16_t stream, uint32_t number)
{
	return (uint64_t)number << 40 | (uint64_t)kind << 32 | stream;
}

/* Whether a token names a request; else it names a publish. */
static inline bool jetstream_owns(uint64_t token)
{
	return ((token >> 16) & 0xffff) == 0;
}

/* What a token was made of. The kind is JETSTREAM_NONE where it names a publish. */
static inline enum jetstream_kind jetstream_kind(uint64_t token)
{
	return jetstream_owns(token) ? (enum jetstream_kind)((token >> 32) & 0xff) : JETSTREAM_NONE;
}

static inline uint16_t jetstream_stream(uint64_t token)
{
	return (uint16_t)(token & 0xffff);
}

static inline uint32_t jetstream_number(uint64_t token)
{
	return (uint32_t)(token >> 40);
}

/* --- requests --- */

/* Who carries requests, one of the two, and where JetStream listens; borrowed. */
struct jetstream {
	const char *
		prefix; /* of its subjects: "$JS.API" in the account, "$JS.hub.API" in a domain, or whatever an account imports */
	struct natsio *io;
	struct natsio_session *session;
};

/* Each sends one request. False when it could not be sent: then no answer comes. */

/* INFO of the account: see format/account_info.h. */
bool jetstream_account(const struct jetstream *js, uint64_t token);

/* STREAM.INFO: see format/stream_info.h. */
bool jetstream_info(const struct jetstream *js, const char *stream, uint64_t token);

/* STREAM.CREATE with a configuration in JSON; answered as INFO is. */
bool jetstream_create(const struct jetstream *js, const char *stream, const char *config, uint64_t token);

/* STREAM.MSG.GET: the message of a sequence. See format/stored.h. */
bool jetstream_message(const struct jetstream *js, const char *stream, uint64_t sequence, uint64_t token);

/* The same: the first message of a subject (any bytes) at this sequence or above. */
bool jetstream_next_message(const struct jetstream *js, const char *stream, uint64_t from, const char *subject,
			    uint64_t token);

/* CONSUMER.CREATE and CONSUMER.DELETE: see format/consumer.h. */
bool jetstream_consumer_create(const struct jetstream *js, const char *stream, const char *consumer, const char *body,
			       uint64_t token);
bool jetstream_consumer_delete(const struct jetstream *js, const char *stream, const char *consumer, uint64_t token);

/* CONSUMER.MSG.NEXT: what it brings comes to this lane (natsio_message.h). By the daemon's connection only. */
bool jetstream_consumer_next(const struct jetstream *js, const char *stream, const char *consumer, const char *body,
			     unsigned lane, uint64_t token);

#endif
