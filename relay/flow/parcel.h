/* A message on its way from the outbox_reader to the publisher. */
#ifndef BOXHAUL_FLOW_PARCEL_H
#define BOXHAUL_FLOW_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is needed to publish one message. One allocation; free with free(). */
struct parcel {
	int64_t id;
	uint64_t xid;        /* of the transaction that wrote it; and every one below xmin had ended before */
	uint64_t xmin;       /* the snapshot was taken in which it was read */
	uint64_t token;      /* of the last attempt, 0 = none yet */
	uint16_t stream;     /* index of the configured stream */
	const char *subject; /* validated */
	const char *headers; /* jsonb text, validated; or NULL */
	size_t headers_bytes;
	const char *pairs; /* more headers, as they are sent: so many times name and value, each terminated. Or NULL */
	size_t pair_count;
	bool last; /* nothing of its transaction comes behind it, and it says so (format/capture_message.h) */
	const void *payload;
	size_t payload_bytes;
	size_t wire_bytes;      /* of payload and headers when they are sent, at most; without the message id */
	const char *source;     /* of the event that it is sent as, or NULL: sent as it is */
	const char *key;        /* of an event; or NULL */
	const char *key_header; /* the key, encoded for its header; or NULL */
	bool keyless;           /* it has a key, and no room for that header */
	int64_t created_us;     /* of an event: since 2000-01-01 */
	char message_id[37];    /* the row's uuid */
	int64_t born_us;        /* of loop_now_us(): when the row was inserted (created_at) */
	int64_t read_ms;        /* of loop_now_ms(): in memory since */
	int64_t sent_us;        /* the last attempt; 0 = none, or answered */
};

#endif
