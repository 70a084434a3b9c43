/* What JetStream answers to STREAM.MSG.GET: a message that a stream stores. */
#ifndef BOXHAUL_FORMAT_STORED_H
#define BOXHAUL_FORMAT_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/answer.h"
#include "format/witness.h"

struct stored_id {
	uint8_t byte[16];
};

struct stored_message {
	uint64_t sequence;
	int64_t time_ns;     /* when it was stored, since 1970 by the server's clock; 0 = it does not say */
	bool has_id;         /* its Nats-Msg-Id is a uuid */
	struct stored_id id; /* that */
	bool has_witness;    /* a Boxhaul-Snapshot as we write it: */
	struct witness witness;
	bool has_position; /* a Boxhaul-Position, as captures write it: its transaction committed at */
	uint64_t lsn;
	struct answer_error error;
};

/* What a stored message says of its key. */
struct stored_key {
	char subject[1025];
	bool has_key; /* the header Boxhaul-Key is there */
};

/* Reads it from the same answer; false: that holds no message. */
bool stored_key_read(const char *data, size_t bytes, struct stored_key *key);

/* Reads an answer; everything is zero but the error where the verdict is not ANSWER_OK. */
enum answer_verdict stored_message_read(const char *data, size_t bytes, struct stored_message *message);

/* Reads the 36 characters of a uuid, in either case; false where they are none. */
bool stored_id_read(const char *text, size_t length, struct stored_id *id);

#endif
