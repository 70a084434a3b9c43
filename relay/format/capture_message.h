/* What a capture sends: made here, kept by whoever keeps it (flow/capture_parcel.h). */
#ifndef BOXHAUL_FORMAT_CAPTURE_MESSAGE_H
#define BOXHAUL_FORMAT_CAPTURE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hex.h"
#include "core/refusal.h"
#include "format/capture_identity.h"
#include "format/capture_text.h"
#include "format/message.h"

/* Headers of ours:
 *
 *     Boxhaul-Position  0/3B001260.849253375684112.3   of a change, a logical message
 *     Boxhaul-Tx        0/3B001260.849253375684112     the same of its transaction
 *     Boxhaul-Index     3                              its index in there
 *     Boxhaul-Last      1                              of the last one of its transaction
 *     Boxhaul-Chunk     8d3c....-1                     of a row of a snapshot: the snapshot's id and the reading
 *     Boxhaul-Key       public.orders/42               the ordering key, encoded as an attribute is (format/envelope.h) */
#define CAPTURE_HEADER_POSITION "Boxhaul-Position"
#define CAPTURE_HEADER_TX "Boxhaul-Tx"
#define CAPTURE_HEADER_INDEX "Boxhaul-Index"
#define CAPTURE_HEADER_LAST "Boxhaul-Last"
#define CAPTURE_HEADER_CHUNK "Boxhaul-Chunk"
#define CAPTURE_HEADER_TOKEN "Boxhaul-Token"

/* Everything but the id points into the writer, and lives until it is used again. */
struct capture_message {
	char id[UUID_CHARACTERS + 1];
	const char *subject; /* terminated; "" where there is none, because of a defect */
	const char *key;     /* the ordering key, terminated; NULL: there is none */
	const char *headers; /* header_count times name and value, each terminated */
	size_t headers_bytes, header_count;
	const void *payload;
	size_t payload_bytes;
	size_t wire_bytes; /* of payload and headers when they are sent, without the message id, Boxhaul-Last included */
	const char *
		why; /* of a defect that has more to say than its reason (the column's name), a line of text; else NULL */
};

/* Where messages are made, one after the other. { 0 } at first. */
struct capture_writer {
	struct capture_identity identity;
	struct capture_text payload, headers, key, encoded, piece;
	size_t header_count, wire_bytes;
	/* Where no other format is wanted: what of the payload others may stand beside in one message. Of a READ its row; of a change all that it says of its row, from the comma
	 * behind the table on. 0: nothing. */
	size_t part_at, part_bytes;
	char subject[MESSAGE_SUBJECT_MAX_BYTES + 1];
	char why[256];
};

void capture_message_free(struct capture_writer *w);

/* Empties it for the next one. */
void capture_message_begin(struct capture_writer *w);

/* One more header; its value is valid. Or any text, encoded as an attribute is. */
void capture_message_header(struct capture_writer *w, const char *name, const char *value);
void capture_message_encoded(struct capture_writer *w, const char *name, const char *value);

/* All headers of a message that comes with its own: its place, its key (in w->key), and those in `headers`, the text of a JSON object of strings (NULL: none). With a
 * `source` it is a CloudEvent (format/envelope.h). What begins with Boxhaul- is ours, and none of theirs. The defect of its headers, or REASON_NONE. */
enum reason capture_message_given(struct capture_writer *w, const char *source, const char *id,
				  const struct capture_place *place, bool keyed, const char *headers, size_t bytes);

/* The headers of a place in the log. */
void capture_message_place(struct capture_writer *w, const struct capture_place *place);

/* What was made; the key, terminated, is in w->key, if `keyed`. REASON_NO_MEMORY: something is missing in it. */
enum reason capture_message_end(struct capture_writer *w, bool keyed, struct capture_message *m);

/* The headers as the text of a JSON object, as a dead letter keeps them; at the end of `out`. */
void capture_message_headers_json(const struct capture_message *m, struct capture_text *out);

#endif
