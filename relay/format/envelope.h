/* A message as a CloudEvents 1.0 event: binary content mode of the NATS protocol binding. The payload stays as it is; each
 * attribute of the event is a header, `ce-` and its name.
 *
 *     ce-specversion      1.0
 *     ce-id               the row's uuid, which is the Nats-Msg-Id too
 *     ce-source           the row's, or the instance's
 *     ce-type             the row's, or the subject
 *     ce-time             the row's, or when the row was inserted
 *     ce-partitionkey     the row's, or its key, if it has one
 *     ce-datacontenttype  the row's content-type, if it has one
 *     ce-...              any other that the row has
 *
 * Beside it goes Boxhaul-Key, which is no attribute: the row's key, if it has one. Headers of the row that are no attributes pass through untouched. */
#ifndef BOXHAUL_FORMAT_ENVELOPE_H
#define BOXHAUL_FORMAT_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/refusal.h"

/* The header that carries a row's key, encoded as an attribute is; of every message, whether it is an event or not. */
#define ENVELOPE_KEY "Boxhaul-Key"

enum { ENVELOPE_LINE_BYTES = 4 }; /* ": " and the line end */

/* What that header is on the wire. */
static inline size_t envelope_key_bytes(size_t encoded_bytes)
{
	return encoded_bytes + sizeof ENVELOPE_KEY - 1 + ENVELOPE_LINE_BYTES;
}

/* What it is made of. */
struct envelope {
	const char *source, *message_id, *subject;
	const char *key;     /* NULL or "": none */
	int64_t created_us;  /* microseconds since 2000-01-01 in UTC, as PostgreSQL counts them */
	const char *headers; /* the row's: jsonb text, or NULL */
	size_t headers_bytes;
};

/* Calls `each` for every header of the message, those of the row included. The value of an attribute is plain text
 * that must be written with envelope_encode(). Returns the defect of the row's headers, REASON_NONE if there is none;
 * after a defect the calls count for nothing. Names and values are valid during the call only. */
enum reason envelope_each(const struct envelope *e,
			  void (*each)(void *arg, const char *name, const char *value, bool attribute), void *arg);

/* The same, and how many bytes these headers are on the wire: "name: value" and a line end each. */
enum reason envelope_measure(const struct envelope *e, size_t *bytes);

/* A time as it is in ce-time: RFC 3339 in UTC, with microseconds, of microseconds since 2000-01-01. False of one that it has no words for: infinity, years of
 * five digits, before Christ. */
enum { ENVELOPE_TIME_BYTES = 80 };
bool envelope_time(int64_t us, char out[static ENVELOPE_TIME_BYTES]);

/* Percent-encodes an attribute's value for a header. Returns its length; `out`, unless it is NULL, gets that many bytes
 * and a terminator. */
size_t envelope_encode(const char *value, char *out);

#endif
