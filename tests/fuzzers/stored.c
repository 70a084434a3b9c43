/* Any bytes as JetStream's answer to "what do you hold?". A message is taken for ours only where the server says so. */
#include "stored.h"

#include "fuzz.h"

/* The shortest block of headers, in base64, that holds "Nats-Msg-Id:" and a uuid. */
enum { SHORTEST_HDRS = (12 + 36) / 3 * 4 };

static json_int_t number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? v : 0;
}

static void check_message(const char *data, size_t size, const json_t *answer)
{
	const json_t *stored = json_object_get(answer, "message");
	struct stored_message m;
	enum stored_verdict verdict = stored_message_read(data, size, &m);

	promise((verdict == STORED_OK) == (json_is_object(stored) && json_object_get(answer, "error") == NULL),
		"verdict %d", (int)verdict);
	promise(verdict != STORED_NOTHING || m.error == 10037, "nothing there, says error %u", m.error);
	promise(verdict == STORED_OK || (!m.has_id && m.sequence == 0), "no message, and something of it");
	if (verdict != STORED_OK)
		return;
	promise((json_int_t)m.sequence == number(stored, "seq"), "another sequence");
	promise(!m.has_id || json_string_length(json_object_get(stored, "hdrs")) >= SHORTEST_HDRS,
		"an id out of nowhere");
}

static void check_stream(const char *data, size_t size, const json_t *answer)
{
	const json_t *state = json_object_get(answer, "state");
	struct stored_stream s;
	enum stored_verdict verdict = stored_stream_read(data, size, &s);

	promise((verdict == STORED_OK) == (json_is_object(state) && json_object_get(answer, "error") == NULL),
		"verdict %d", (int)verdict);
	promise(memchr(s.created, '\0', sizeof s.created) != NULL, "created has no end");
	promise(s.window_ms >= 0, "a window of %lld ms", (long long)s.window_ms);
	if (verdict == STORED_OK)
		promise((json_int_t)s.last == number(state, "last_seq") &&
				(json_int_t)s.first == number(state, "first_seq"),
			"other sequences");
}

static void check_id(const char *data, size_t size)
{
	struct stored_id id;

	if (!stored_id_read(data, size, &id))
		return;
	promise(size == 36 && data[8] == '-' && data[13] == '-' && data[18] == '-' && data[23] == '-', "no uuid");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *answer = json_loadb((const char *)data, size, 0, NULL);

	check_message((const char *)data, size, answer);
	check_stream((const char *)data, size, answer);
	check_id((const char *)data, size);
	json_decref(answer);
	return 0;
}
