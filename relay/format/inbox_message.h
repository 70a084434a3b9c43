/* What a pull consumer sends: messages and statuses. Their subjects, headers and numbers, read from the bytes of strangers. */
#ifndef BOXHAUL_FORMAT_INBOX_MESSAGE_H
#define BOXHAUL_FORMAT_INBOX_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- the subject to which a message would be acknowledged ---
 *
 *     $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time ns>.<pending>
 *     $JS.ACK.<domain>.<account hash>.<stream>.<consumer>. ... .<pending>[.<more>]       (2.14+, where it is switched on)
 *
 * No name in it holds a dot. */
struct inbox_ack {
	const char *consumer; /* not terminated */
	size_t consumer_bytes;
	uint64_t sequence, consumer_sequence, pending;
	int64_t time_ns; /* when it was stored, since 1970 by the broker's clock */
};

/* False: it is no such subject; `ack` says nothing then. `reply` may be NULL. */
bool inbox_ack_read(const char *reply, struct inbox_ack *ack);

/* --- statuses --- */

enum inbox_notice {
	INBOX_NOTICE_NONE,      /* a message */
	INBOX_NOTICE_HEARTBEAT, /* 100 Idle Heartbeat */
	INBOX_NOTICE_ENDED,     /* 404, 408, 409 Batch Completed */
	INBOX_NOTICE_SIZE,      /* 409 Message Size Exceeds MaxBytes */
	INBOX_NOTICE_BUSY,      /* 409 Exceeded MaxWaiting */
	INBOX_NOTICE_GONE,      /* all others: 503, 409 Consumer Deleted, 409 Leadership Change, 400, ... */
};

/* `status` NULL: it has none. `description` may be NULL. */
enum inbox_notice inbox_notice_read(const char *status, const char *description);

/* A number in a header of a heartbeat: digits and nothing else. False (and 0): it is none. `text` may be NULL. */
bool inbox_number_read(const char *text, uint64_t *number);

/* --- the message for the database --- */

/* Where the key stands. */
enum inbox_key_rule { INBOX_KEY_HEADER, INBOX_KEY_NONE, INBOX_KEY_SUBJECT };

enum {
	INBOX_KEY_MAX_BYTES = 1024, /* it stands in an index, whose entries have their limit */
	INBOX_JSON_SPARE_BYTES = 8, /* of a header in JSON, beside what its name and value take */
};

/* Why a message cannot be stored as it is, in words; NULL: it can. */
const char *inbox_text_trouble(const char *text);

/* The key in a Boxhaul-Key header: percent-encoded, as envelope_encode() does it. `out` has room for strlen(value) + 1 bytes. Returns why
 * it is no key, in words; NULL: it is one. */
const char *inbox_key_decode(const char *value, char *out);

/* The key in a subject: its token of this number, from 1 on. Returns its length, 0 where the subject has no such token. */
size_t inbox_key_token(const char *subject, uint64_t number, const char **token);

/* A JSON object of headers: {"name":"value","name":["value","value"]}, written as they come; those of one name one behind the other.
 *
 *     inbox_json_begin(); for each name: inbox_json_name(); for each value: inbox_json_value(); inbox_json_end()
 *
 * It grows in a malloc'ed buffer. */
struct inbox_json {
	char *text;
	size_t bytes, capacity;
	unsigned names, values; /* values: of the name that is written */
	bool failed;            /* out of memory: text is NULL */
};

void inbox_json_begin(struct inbox_json *j);
/* Both must be valid UTF-8 without a zero byte (inbox_text_trouble()). */
void inbox_json_name(struct inbox_json *j, const char *name, bool several);
void inbox_json_value(struct inbox_json *j, const char *value);
/* The text, which is the caller's to free: "{}" where there was no name; NULL when out of memory. */
char *inbox_json_end(struct inbox_json *j);

#endif
