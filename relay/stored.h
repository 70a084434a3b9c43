/* What JetStream answers about a stream and what it stores: STREAM.INFO and STREAM.MSG.GET. (Answers to a publish:
 * puback.h.) */
#ifndef BOXHAUL_STORED_H
#define BOXHAUL_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stored_verdict {
	STORED_OK,
	STORED_NOTHING, /* no message at that sequence (any more) */
	STORED_ERROR,   /* any other error of the server, or no answer of JetStream at all */
};

struct stored_stream {
	uint64_t first, last; /* sequences */
	uint64_t messages, bytes;
	uint64_t deleted;  /* between first and last */
	int64_t window_ms; /* of duplicates */
	char created[40];  /* another time, another stream */
	uint32_t error;    /* JetStream's err_code, or 0 */
};

/* An answer to STREAM.INFO. */
enum stored_verdict stored_stream_read(const char *data, size_t bytes, struct stored_stream *stream);

struct stored_id {
	uint8_t byte[16];
};

struct stored_message {
	uint64_t sequence;
	int64_t time_s;      /* when it was stored, by the server's clock; 0 = it does not say */
	bool has_id;         /* its Nats-Msg-Id is a uuid */
	struct stored_id id; /* that */
	uint32_t error;
};

/* An answer to STREAM.MSG.GET. */
enum stored_verdict stored_message_read(const char *data, size_t bytes, struct stored_message *message);

/* The 36 characters of a uuid, in either case. */
bool stored_id_read(const char *text, size_t length, struct stored_id *id);

#endif
