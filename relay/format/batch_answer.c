#include "format/batch_answer.h"

#include <string.h>

#include "core/refusal.h"
#include "format/puback.h"

static bool is_text(const json_t *o, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(o, key));

	return value != NULL && strcmp(value, text) == 0;
}

/* Numbers in a batch are never larger: what says so is no answer to anything that was sent. */
static bool read_number(const json_t *o, const char *key, struct event *event)
{
	uint64_t number;

	if (!answer_number(o, key, &number) || number > UINT32_MAX)
		return false;
	event->batch.number = (uint32_t)number;
	return true;
}

static bool refused(struct event *event, enum batch_answer what, const struct answer_error *error)
{
	event->batch.what = what;
	event->batch.reason = puback_reason(error);
	event->batch.status = error->code;
	return true;
}

/* {"type":"ack","seq":6,"msgs":3}, {"type":"gap","last_seq":4,"seq":5}, {"type":"err","seq":4,"error":{...}}: numbers in the batch, not in the
 * stream. `msgs` says when the next one comes, and nobody waits for that. */
static bool read_flow(const json_t *o, struct event *event, struct answer_error *error)
{
	if (!read_number(o, "seq", event))
		return false;
	if (is_text(o, "type", "err"))
		return answer_error(o, error) && refused(event, BATCH_ERROR, error);
	event->batch.what = is_text(o, "type", "ack") ? BATCH_ACK : BATCH_GAP;
	return is_text(o, "type", "ack") || is_text(o, "type", "gap");
}

/* {"stream":"S","seq":12,"batch":"B","count":4}; of one message alone where there is no batch in it. */
static bool read_end(const json_t *o, const char *expected_stream, const char *batch, struct event *event,
		     struct answer_error *error)
{
	bool of_batch = json_object_get(o, "batch") != NULL || json_object_get(o, "count") != NULL;
	const char *stream = json_string_value(json_object_get(o, "stream"));

	if (stream == NULL || !answer_number(o, "seq", &event->batch.sequence))
		return false;
	if (of_batch && (!is_text(o, "batch", batch) || !read_number(o, "count", event)))
		return false;
	event->batch.what = of_batch ? BATCH_END : BATCH_ALONE;
	if (strcmp(stream, expected_stream) != 0) {
		event->batch.what = BATCH_REFUSED;
		event->batch.reason = REASON_WRONG_STREAM;
		puback_name_other(stream, error);
	}
	return true;
}

/* Errors carry stream and seq too, so the error is read first; and what has a type is none of both. */
bool batch_answer_read(const char *data, size_t bytes, const char *expected_stream, const char *batch,
		       struct event *event, struct answer_error *error)
{
	json_t *o = answer_read(data, bytes);
	bool ok;

	*event = (struct event){ .kind = EVENT_BATCH };
	*error = (struct answer_error){ .code = 0 };
	if (json_object_get(o, "type") != NULL)
		ok = read_flow(o, event, error);
	else if (answer_error(o, error))
		ok = refused(event, BATCH_REFUSED, error);
	else
		ok = read_end(o, expected_stream, batch, event, error);
	json_decref(o);
	return ok;
}
