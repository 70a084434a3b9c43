/* What each answer (or silence) of the broker means for a message: one table. */
#ifndef BOXHAUL_CORE_REFUSAL_H
#define BOXHAUL_CORE_REFUSAL_H

#include <stdint.h>

enum refusal_verdict {
	VERDICT_RETRY,   /* not stored: send the same message again, a little later */
	VERDICT_UNKNOWN, /* stored or not, nobody knows: send the same message again */
	VERDICT_POISON,  /* can never be stored as it is: dead letter */
	VERDICT_STREAM,  /* the stream takes nothing now: hold all its messages back and probe */
	VERDICT_LANE,    /* this lane cannot go on now: hold it back and probe */
	VERDICT_SUSPECT, /* a refusal we do not know: retry, then hold the lane back; never drop */
};

/* Reasons beyond JetStream's own error codes (which are 10000 and above). Values are stable: they
 * stand in the database as text only. Below 100: defects of a row, found before it is sent. */
enum reason {
	REASON_NONE = 0,
	DEFECT_SUBJECT_NULL,
	DEFECT_SUBJECT_EMPTY,
	DEFECT_SUBJECT_CHARACTER, /* space, control character */
	DEFECT_SUBJECT_WILDCARD,  /* '*' or '>' */
	DEFECT_SUBJECT_TOKEN,     /* empty token: leading, trailing or double dot */
	DEFECT_SUBJECT_UTF8,
	DEFECT_SUBJECT_LONG,
	DEFECT_SUBJECT_RESERVED, /* $..., _INBOX */
	DEFECT_SUBJECT_UNROUTED, /* no configured stream takes it: never refused nor given up, but held (STREAM_UNROUTED) */
	DEFECT_HEADERS_SHAPE, /* not an object of strings */
	DEFECT_HEADER_NAME,
	DEFECT_HEADER_VALUE,
	DEFECT_HEADER_RESERVED, /* Nats-* */
	DEFECT_HEADERS_LONG,
	DEFECT_HEADER_ENVELOPE, /* ce-... that the envelope cannot take */
	DEFECT_CONTENT_TYPE,    /* an event inside the envelope of an event */
	DEFECT_ENVELOPE_LONG,
	DEFECT_PAYLOAD_NULL,
	DEFECT_MESSAGE_ID_NULL,
	DEFECT_MESSAGE_LONG, /* over max_message_size or the server's max_payload */
	DEFECT_UNREADABLE,   /* the database cannot read it, or not as UTF-8 */
	DEFECT_COLUMN,       /* of a captured row: no UTF-8, or nothing that its type writes */
	DEFECT_KEY_NULL,     /* of a captured row, which has no key to stand under */
	DEFECT_TRUNCATE,     /* of a captured table, and a bucket cannot be told: the capture is paused */
	DEFECT_EMITTED,      /* not the content of boxhaul.emit() */
	DEFECT_LAST = DEFECT_EMITTED,

	REASON_NO_REPLY = 100,  /* ack timeout */
	REASON_NO_STREAM,       /* 503 without a body: no stream listens, or it elects a leader */
	REASON_WRONG_STREAM,    /* stored, but by a stream that is not the configured one */
	REASON_DUPLICATE_SEQ_0, /* "duplicate" of something that is only proposed: not stored yet */
	REASON_GARBAGE,         /* an answer that is no PubAck */
	REASON_STREAM_FULL,     /* 10077: maximum bytes or messages exceeded */
	REASON_SUBJECT_FULL,    /* 10077: maximum messages per subject exceeded */
	REASON_STORE_TOO_LARGE, /* 10077: message too large */
	REASON_STORE_FAILED,    /* 10077: anything else */
	REASON_NOT_PERMITTED,   /* -ERR Permissions Violation for this subject */
	REASON_CUT_FOR_IT, /* sent alone, and the server ends the connection: it says that what it got is no good */
	REASON_CUT,        /* sent alone, and the connection ends, again and again, without a word */
	REASON_NO_MEMORY,  /* ours, and for now: says nothing about the message */
	REASON_FOREIGN, /* an owned stream holds a message of somebody else: until an operator says that it may go on */
	REASON_LOST_END, /* an owned stream is another one, or has lost its end: the same */
	REASON_LAST = REASON_LOST_END,
};

/* `status` is the HTTP-like code beside a JetStream error code; it decides for codes not in the table. */
enum refusal_verdict refusal_verdict(uint32_t reason, uint32_t status);

/* A short text for people, never NULL. For a JetStream code not in the table: "error of the server". */
const char *refusal_text(uint32_t reason);

/* Not because of the message, but because of another copy of it. (10158) */
int refusal_means_copy(uint32_t reason);

/* Not stored because it named another sequence than the stream's last. (10071, in words or numbers; 10163) */
int refusal_means_chain(uint32_t reason);

/* Does the server ask for a smaller window? (10167) */
int refusal_means_busy(uint32_t reason);

/* Of a message of a batch (fast ingest): the stream takes none, or not in this form (10205, 10206); the batch is not under way, or
 * not any more (10208); there are too many of them (10211). */
int refusal_means_no_batches(uint32_t reason);
int refusal_means_unknown_batch(uint32_t reason);
int refusal_means_many_batches(uint32_t reason);

#endif
