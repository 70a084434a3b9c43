#include "flow/row_check.h"

#include <assert.h>

#include "format/envelope.h"
#include "format/message.h"

/* Our own limit is for what the row brings; an envelope around it must still be within the server's. */
static bool server_takes(const struct row_limits *s, int64_t wire_bytes)
{
	return s->max_payload <= 0 || wire_bytes <= s->max_payload - OVERSIZE_MARGIN_BYTES;
}

/* Payload and headers together; what we add to every message is in the margin. */
int64_t row_largest(const struct row_limits *s)
{
	int64_t most = s->config->max_message_bytes;

	if (s->max_payload > 0 && s->max_payload < most)
		most = s->max_payload;
	return most - OVERSIZE_MARGIN_BYTES;
}

static const char *text_or_null(const struct pg_result *r, int i, int column, size_t *bytes)
{
	const char *text = pg_bytes(r, i, column, bytes);

	return pg_is_null(r, i, column) ? NULL : text;
}

/* wire: how many bytes they are when they are sent, at most. (JSON is never shorter.) */
static enum reason check_headers(const struct pg_result *r, int i, size_t *bytes, size_t *wire)
{
	const char *text = text_or_null(r, i, COL_HEADERS, bytes);

	*wire = *bytes;
	return message_each_header(text, *bytes, NULL, NULL);
}

static enum reason check_event(const struct row_limits *s, const struct pg_result *r, int i, size_t *bytes,
			       size_t *wire)
{
	size_t n;
	struct envelope e = { .source = s->config->event_source,
			      .message_id = "00000000-0000-0000-0000-000000000000", /* any: they are all as long */
			      .subject = pg_bytes(r, i, COL_SUBJECT, &n),
			      .key = text_or_null(r, i, COL_KEY, &n),
			      .created_us = pg_int8(r, i, COL_CREATED),
			      .headers = text_or_null(r, i, COL_HEADERS, bytes) };
	enum reason defect;

	e.headers_bytes = *bytes;
	defect = envelope_measure(&e, wire);
	if (defect == REASON_NONE && *wire + OVERSIZE_MARGIN_BYTES > MESSAGE_WIRE_HEADERS_MAX_BYTES)
		defect = DEFECT_ENVELOPE_LONG;
	return defect;
}

static enum reason check_subject(const struct row_limits *s, const struct pg_result *r, int i, int64_t fits,
				 uint16_t *stream)
{
	enum reason defect;
	const char *subject;
	size_t n, to;

	if (fits == UNREADABLE)
		return DEFECT_UNREADABLE;
	if (fits == SUBJECT_TOO_LONG)
		return DEFECT_SUBJECT_LONG;
	if (pg_is_null(r, i, COL_SUBJECT))
		return DEFECT_SUBJECT_NULL;
	subject = pg_bytes(r, i, COL_SUBJECT, &n);
	defect = message_check_subject(subject, n);
	if (defect == REASON_NONE && (to = config_stream_of(s->config, subject)) == s->config->stream_count)
		to = STREAM_UNROUTED;
	if (defect == REASON_NONE)
		*stream = (uint16_t)to;
	return defect;
}

static enum reason check_lengths(int64_t fits)
{
	switch (fits) {
	case HEADERS_TOO_LONG: return DEFECT_HEADERS_LONG;
	case PAYLOAD_TOO_LONG: return DEFECT_MESSAGE_LONG;
	case KEY_TOO_LONG: return DEFECT_ENVELOPE_LONG;
	default: return REASON_NONE;
	}
}

/* KEY_STAYS: there is no key, or no room for it. There is for every row that the CHECKs let pass (outbox_size and outbox_key count the
 * text; the rest of its header is in the margin). An older one goes without. */
static uint32_t check_key(const struct row_limits *s, const struct pg_result *r, int i, size_t body, size_t wire,
			  size_t headers)
{
	size_t n;
	const char *key = text_or_null(r, i, COL_KEY, &n);

	if (key == NULL)
		return KEY_STAYS;
	n = envelope_encode(key, NULL);
	if ((int64_t)(body + n) > row_largest(s) || !server_takes(s, (int64_t)(wire + n)) ||
	    headers + n + OVERSIZE_MARGIN_BYTES > MESSAGE_WIRE_HEADERS_MAX_BYTES)
		return KEY_STAYS;
	return (uint32_t)n;
}

enum reason row_check(const struct row_limits *s, const struct pg_result *r, int i, struct row *row,
		      uint32_t *key_header)
{
	size_t payload_bytes, headers_bytes = 0, wire = 0;
	int64_t fits = pg_int8(r, i, COL_FITS);
	enum reason defect = check_subject(s, r, i, fits, &row->stream);

	*key_header = KEY_STAYS;
	row->bytes = ROW_OVERHEAD_BYTES;
	if (row->stream == STREAM_UNROUTED) /* no verdict: the configuration that takes it may take more of it, too */
		return REASON_NONE;
	pg_bytes(r, i, COL_PAYLOAD, &payload_bytes);
	if (defect == REASON_NONE)
		defect = check_lengths(fits);
	if (defect == REASON_NONE && pg_is_null(r, i, COL_MESSAGE_ID))
		defect = DEFECT_MESSAGE_ID_NULL;
	if (defect == REASON_NONE && pg_is_null(r, i, COL_PAYLOAD))
		defect = DEFECT_PAYLOAD_NULL;
	if (defect == REASON_NONE)
		defect = s->config->envelope == ENVELOPE_RAW ? check_headers(r, i, &headers_bytes, &wire)
							     : check_event(s, r, i, &headers_bytes, &wire);
	/* The server may take larger ones by now; but what was too large when it was asked for has stayed behind. */
	if (defect == REASON_NONE && ((int64_t)(payload_bytes + headers_bytes) > row_largest(s) ||
				      !server_takes(s, (int64_t)(payload_bytes + wire))))
		defect = DEFECT_MESSAGE_LONG;
	assert(defect <= DEFECT_LAST || defect == REASON_NO_MEMORY);
	if (defect != REASON_NONE)
		return defect;
	row->bytes += (uint32_t)(payload_bytes + wire);
	*key_header = check_key(s, r, i, payload_bytes + headers_bytes, payload_bytes + wire, wire);
	if (*key_header != KEY_STAYS)
		row->bytes += (uint32_t)envelope_key_bytes(*key_header);
	return REASON_NONE;
}
