/* Any bytes as JetStream's answer about a message or a stream, and as JSON with integers of any length. A message is taken for ours only where the server says so. */
#include "format/stored.h"

#include "format/stream_info.h"
#include "fuzz.h"

/* The shortest block of headers, in base64, that holds "Nats-Msg-Id:" and a uuid. */
enum { SHORTEST_HDRS = (12 + 36) / 3 * 4 };

static void check_message(const char *data, size_t size, const json_t *answer)
{
	const json_t *stored = json_object_get(answer, "message");
	struct stored_message m;
	enum answer_verdict verdict = stored_message_read(data, size, &m);

	struct stored_key key;

	promise(stored_key_read(data, size, &key) == json_is_string(json_object_get(stored, "subject")),
		"a subject out of nowhere");
	promise(!key.has_key || json_is_string(json_object_get(stored, "hdrs")), "a key out of nowhere");
	promise((verdict == ANSWER_OK) == (json_is_object(stored) && json_object_get(answer, "error") == NULL),
		"verdict %d", (int)verdict);
	promise(verdict != ANSWER_NOTHING || m.error.err_code == 10037, "nothing there, says error %u",
		m.error.err_code);
	promise(verdict == ANSWER_OK || (!m.has_id && m.sequence == 0), "no message, and something of it");
	if (verdict != ANSWER_OK)
		return;
	promise(m.sequence == answer_count(stored, "seq"), "another sequence");
	promise(!m.has_id || json_string_length(json_object_get(stored, "hdrs")) >= SHORTEST_HDRS,
		"an id out of nowhere");
}

static void check_stream(const char *data, size_t size, const json_t *answer)
{
	const json_t *state = json_object_get(answer, "state");
	struct stream_info s;
	enum answer_verdict verdict = stream_info_read(data, size, &s);

	promise((verdict == ANSWER_OK) == (json_is_object(state) && json_object_get(answer, "error") == NULL),
		"verdict %d", (int)verdict);
	promise(memchr(s.created, '\0', sizeof s.created) != NULL, "created has no end");
	promise(memchr(s.leader, '\0', sizeof s.leader) != NULL, "the leader has no end");
	promise(s.last == answer_count(state, "last_seq") || verdict != ANSWER_OK, "another sequence");
	promise(verdict == ANSWER_OK || (s.last == 0 && s.subject_count == 0), "no stream, and something of it");
	for (size_t i = 0; i < s.subject_count; i++)
		promise(stream_info_takes(&s, s.subjects[i]), "it does not take %s", s.subjects[i]);
	stream_info_free(&s);
}

/* What jansson takes is read as jansson reads it; what it does not take is read only for its long integers. */
static void check_numbers(const char *data, size_t size, const json_t *answer)
{
	json_error_t why;
	json_t *plain = json_loadb(data, size, 0, &why);
	uint64_t value;

	promise(plain == NULL || json_equal(plain, answer), "another answer");
	promise(plain != NULL || answer == NULL || json_error_code(&why) == json_error_numeric_overflow,
		"no JSON is read");
	if (json_is_integer(json_object_get(plain, "seq")))
		promise(answer_number(answer, "seq", &value) ==
				(json_integer_value(json_object_get(plain, "seq")) >= 0),
			"seq");
	json_decref(plain);
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
	json_t *answer = answer_read((const char *)data, size);

	check_message((const char *)data, size, answer);
	check_stream((const char *)data, size, answer);
	check_numbers((const char *)data, size, answer);
	check_id((const char *)data, size);
	json_decref(answer);
	return 0;
}
