/* The refusal table.
 *
 * Sources: nats-server server/errors.json (codes and texts, up to 2.15) and the publish path of
 * stream.go, jetstream_cluster.go and jetstream_batching.go. A code that our messages cannot provoke
 * (atomic batches, counters, schedules: the headers are refused before sending) is listed all the same: if it
 * comes, its verdict was thought about once, here. */
#include "core/refusal.h"

#include <stddef.h>

#include "core/mutant.h"

struct refusal {
	uint32_t reason;
	enum refusal_verdict verdict;
	const char *text;
};

static const struct refusal table[] = {
	{ DEFECT_SUBJECT_NULL, VERDICT_POISON, "subject is NULL" },
	{ DEFECT_SUBJECT_EMPTY, VERDICT_POISON, "subject is empty" },
	{ DEFECT_SUBJECT_CHARACTER, VERDICT_POISON, "subject holds a space or a control character" },
	{ DEFECT_SUBJECT_WILDCARD, VERDICT_POISON, "subject holds a wildcard (* or >)" },
	{ DEFECT_SUBJECT_TOKEN, VERDICT_POISON, "subject has an empty token (leading, trailing or double dot)" },
	{ DEFECT_SUBJECT_UTF8, VERDICT_POISON, "subject is not valid UTF-8" },
	{ DEFECT_SUBJECT_LONG, VERDICT_POISON, "subject is longer than 1024 bytes" },
	{ DEFECT_SUBJECT_RESERVED, VERDICT_POISON, "subject is reserved ($... or _INBOX)" },
	{ DEFECT_SUBJECT_UNROUTED, VERDICT_POISON, "no stream of the configuration takes this subject" },
	{ DEFECT_HEADERS_SHAPE, VERDICT_POISON, "headers are not a JSON object of strings" },
	{ DEFECT_HEADER_NAME, VERDICT_POISON,
	  "a header name is empty or holds a space, a colon or a character that is not ASCII" },
	{ DEFECT_HEADER_VALUE, VERDICT_POISON, "a header value holds a control character" },
	{ DEFECT_HEADER_RESERVED, VERDICT_POISON, "a header name starts with Nats-, which is reserved" },
	{ DEFECT_HEADERS_LONG, VERDICT_POISON, "headers are longer than 49152 bytes" },
	{ DEFECT_HEADER_ENVELOPE, VERDICT_POISON,
	  "a ce- header that the envelope cannot take: ce-id, ce-specversion and ce-datacontenttype are the relay's, and "
	  "of any other the name is small letters and digits and the value is not empty" },
	{ DEFECT_CONTENT_TYPE, VERDICT_POISON,
	  "content-type is application/cloudevents, an event already: it can be sent with envelope = \"raw\" only" },
	{ DEFECT_ENVELOPE_LONG, VERDICT_POISON, "headers with their envelope are longer than 64 KiB" },
	{ DEFECT_PAYLOAD_NULL, VERDICT_POISON, "payload is NULL" },
	{ DEFECT_MESSAGE_ID_NULL, VERDICT_POISON, "message_id is NULL" },
	{ DEFECT_MESSAGE_LONG, VERDICT_POISON, "message is larger than max_message_size or the server's max_payload" },
	{ DEFECT_UNREADABLE, VERDICT_POISON, "the database cannot read the row" },
	{ DEFECT_COLUMN, VERDICT_POISON, "a column is not valid UTF-8, or holds nothing that its type writes" },
	{ DEFECT_KEY_NULL, VERDICT_POISON, "the row has no key" },
	{ DEFECT_TRUNCATE, VERDICT_POISON, "the table was emptied by TRUNCATE, which a bucket cannot be told" },
	{ DEFECT_EMITTED, VERDICT_POISON, "the content is not that of boxhaul.emit()" },

	{ REASON_NO_REPLY, VERDICT_UNKNOWN, "no reply from the stream" },
	{ REASON_NO_STREAM, VERDICT_STREAM, "no stream answers for the subject (503)" },
	{ REASON_WRONG_STREAM, VERDICT_STREAM, "another stream than the configured one takes the subject" },
	{ REASON_DUPLICATE_SEQ_0, VERDICT_UNKNOWN, "duplicate of a message that is not stored yet (seq 0)" },
	{ REASON_GARBAGE, VERDICT_UNKNOWN, "the reply is no acknowledgement" },
	{ REASON_STREAM_FULL, VERDICT_STREAM, "the stream is full" },
	{ REASON_SUBJECT_FULL, VERDICT_LANE, "the stream holds the most messages it may for this subject" },
	{ REASON_STORE_TOO_LARGE, VERDICT_POISON, "message is larger than the stream's store accepts" },
	{ REASON_STORE_FAILED, VERDICT_STREAM, "the stream could not store the message" },
	{ REASON_NOT_PERMITTED, VERDICT_LANE, "not permitted to publish to the subject" },
	{ REASON_CUT_FOR_IT, VERDICT_POISON, "the server ends the connection when it is sent" },
	{ REASON_CUT, VERDICT_LANE, "the connection ends when it is sent" },
	{ REASON_NO_MEMORY, VERDICT_RETRY, "out of memory" },
	{ REASON_FOREIGN, VERDICT_STREAM, "somebody else has published to the stream, which is owned" },
	{ REASON_LOST_END, VERDICT_STREAM, "the stream, which is owned, was made anew or has lost its end" },

	{ 10002, VERDICT_STREAM, "account limits exceeded" },
	{ 10008, VERDICT_STREAM, "JetStream temporarily unavailable" },
	{ 10009, VERDICT_STREAM, "JetStream cluster cannot handle the request" },
	{ 10023, VERDICT_STREAM, "insufficient resources" },
	{ 10028, VERDICT_STREAM, "insufficient memory" },
	{ 10035, VERDICT_STREAM, "stream not available" },
	{ 10039, VERDICT_STREAM, "JetStream not enabled for the account" },
	{ 10047, VERDICT_STREAM, "insufficient storage" },
	{ 10054, VERDICT_POISON, "message is larger than the stream's max_msg_size" },
	{ 10059, VERDICT_STREAM, "stream not found" },
	{ 10060, VERDICT_STREAM, "another stream than the expected one" },
	{ 10063, VERDICT_RETRY, "stream sequence mismatch" },
	{ 10070, VERDICT_LANE, "wrong last message id" },
	{ 10071, VERDICT_LANE, "wrong last sequence" },
	{ 10076, VERDICT_STREAM, "JetStream not enabled" },
	{ 10077, VERDICT_STREAM, "the stream could not store the message" },
	{ 10097, VERDICT_POISON, "headers are larger than 64 KiB" },
	{ 10109, VERDICT_STREAM, "the stream is sealed" },
	{ 10111, VERDICT_POISON, "rollup refused" },
	{ 10118, VERDICT_STREAM, "the stream is offline" },
	{ 10158, VERDICT_RETRY, "the same message is in process" },
	{ 10163, VERDICT_RETRY, "expected sequence temporarily unavailable" },
	{ 10164, VERDICT_LANE, "wrong last sequence" },
	{ 10165, VERDICT_POISON, "invalid per-message TTL" },
	{ 10166, VERDICT_STREAM, "per-message TTL is disabled" },
	{ 10167, VERDICT_RETRY, "the stream's queue is full (too many requests)" },
	{ 10168, VERDICT_POISON, "message counters are disabled" },
	{ 10169, VERDICT_STREAM, "the stream takes only counters" },
	{ 10170, VERDICT_POISON, "a counter has no payload" },
	{ 10171, VERDICT_POISON, "invalid counter increment" },
	{ 10172, VERDICT_STREAM, "the counter is broken" },
	{ 10174, VERDICT_STREAM, "atomic publish is disabled" },
	{ 10175, VERDICT_POISON, "atomic publish sequence is missing" },
	{ 10176, VERDICT_RETRY, "atomic publish batch is incomplete" },
	{ 10177, VERDICT_POISON, "atomic publish does not support a header" },
	{ 10179, VERDICT_POISON, "atomic publish batch id is invalid" },
	{ 10185, VERDICT_STREAM, "the server is too old for a required API level" },
	{ 10188, VERDICT_POISON, "message schedules are disabled" },
	{ 10189, VERDICT_POISON, "invalid message schedule" },
	{ 10190, VERDICT_POISON, "invalid message schedule target" },
	{ 10191, VERDICT_POISON, "invalid message schedule TTL" },
	{ 10192, VERDICT_POISON, "invalid message schedule rollup" },
	{ 10193, VERDICT_POISON, "missing expected sequence for the subject" },
	{ 10194, VERDICT_STREAM, "the stream is offline" },
	{ 10199, VERDICT_POISON, "atomic publish batch is too large" },
	{ 10200, VERDICT_POISON, "invalid atomic publish commit" },
	{ 10201, VERDICT_LANE, "atomic publish batch holds a duplicate" },
	{ 10203, VERDICT_POISON, "invalid message schedule source" },
	{ 10205, VERDICT_STREAM, "batch publish is disabled" },
	{ 10206, VERDICT_POISON, "invalid batch publish pattern" },
	{ 10207, VERDICT_POISON, "invalid batch publish id" },
	{ 10208, VERDICT_RETRY, "unknown batch publish id" },
	{ 10210, VERDICT_RETRY, "too many atomic publishes in flight" },
	{ 10211, VERDICT_RETRY, "too many batch publishes in flight" },
	{ 10212, VERDICT_POISON, "invalid message scheduler" },
	{ 10223, VERDICT_POISON, "invalid message schedule time zone" },
	{ 10227, VERDICT_POISON, "stream source header is not allowed" },
};

static const struct refusal *find(uint32_t reason)
{
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (table[i].reason == reason)
			return &table[i];
	return NULL;
}

enum refusal_verdict refusal_verdict(uint32_t reason, uint32_t status)
{
	const struct refusal *r = find(reason);

	if ((MUTANT(full_is_poison) && reason == REASON_STREAM_FULL) ||
	    (MUTANT(limits_are_poison) && reason == 10002) ||
	    (MUTANT(failed_is_poison) && reason == REASON_STORE_FAILED))
		return VERDICT_POISON;
	if (MUTANT(too_large_waits) && reason == REASON_STORE_TOO_LARGE)
		return VERDICT_STREAM;
	if (r != NULL)
		return r->verdict;
	/* Unknown codes: what the server calls its own trouble or a conflict in time may pass. */
	if (status >= 500 || status == 408 || status == 409 || status == 412 || status == 429)
		return VERDICT_RETRY;
	return VERDICT_SUSPECT;
}

const char *refusal_text(uint32_t reason)
{
	const struct refusal *r = find(reason);

	return r != NULL ? r->text : "error of the server";
}

int refusal_means_copy(uint32_t reason)
{
	return reason == 10158;
}

int refusal_means_chain(uint32_t reason)
{
	return reason == 10071 || reason == 10164 || reason == 10163;
}

int refusal_means_busy(uint32_t reason)
{
	return reason == 10167;
}

int refusal_means_no_batches(uint32_t reason)
{
	return reason == 10205 || reason == 10206;
}

int refusal_means_unknown_batch(uint32_t reason)
{
	return reason == 10208;
}

int refusal_means_many_batches(uint32_t reason)
{
	return reason == 10211;
}
