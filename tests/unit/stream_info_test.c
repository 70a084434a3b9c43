/* What JetStream says of a stream. The answers are nats-server's own, shortened. */
#include "format/stream_info.h"

#include <stdio.h>
#include <string.h>

#include "format/inbox_stream.h"

#include "tap.h"

static struct stream_info stream;

static enum answer_verdict read_stream(const char *text)
{
	stream_info_free(&stream);
	return stream_info_read(text, strlen(text), &stream);
}

static void state(void)
{
	is_number(read_stream(
			  "{\"config\":{\"name\":\"S\"},\"created\":\"2026-01-01T00:00:00Z\",\"state\":{\"messages\":3,"
			  "\"bytes\":120,\"first_seq\":2,\"last_seq\":5,\"num_deleted\":1},"
			  "\"cluster\":{\"name\":\"c\",\"leader\":\"n1\"}}"),
		  ANSWER_OK, "a stream");
	ok(stream.first == 2 && stream.last == 5 && stream.messages == 3 && stream.bytes == 120 && stream.deleted == 1,
	   "its state");
	is_text(stream.created, "2026-01-01T00:00:00Z", "when it was created");
	is_text(stream.leader, "n1", "who leads it");
	is_number(read_stream("{\"state\":{\"first_seq\":9223372036854775817,\"last_seq\":18446744073709551615}}"),
		  ANSWER_OK, "sequences above 2^63");
	ok(stream.first == (UINT64_C(1) << 63) + 9 && stream.last == UINT64_MAX, "are read");
	is_number(read_stream("{\"state\":{\"last_seq\":-1,\"first_seq\":18446744073709551616}}"), ANSWER_OK,
		  "numbers that cannot be");
	ok(stream.last == 0 && stream.first == 0, "are zero");
}

/* Beside what was set for the stream, the server says of itself what it is. */
static void version(void)
{
	static const struct {
		const char *text;
		uint32_t version;
	} cases[] = {
		{ "\"2.14.10\"", 2014 },    { "\"2.9\"", 2009 }, { "\"3.0.0-dev\"", 3000 },
		{ "\"2\"", 2000 },          { "\"2.x\"", 0 },    { "\"\"", 0 },
		{ "\"dev\"", 0 },           { "214", 0 },        { "\"2.1000.1\"", 0 },
		{ "\"99999999999.1\"", 0 },
	};
	char text[256];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "{\"config\":{\"metadata\":{\"_nats.ver\":%s}},\"state\":{}}",
			 cases[i].text);
		ok(read_stream(text) == ANSWER_OK && stream.server == cases[i].version, "version %s", cases[i].text);
	}
	ok(stream_info_server(2, 14) > stream_info_server(2, 9), "a later one is more");
}

static void configuration(void)
{
	is_number(
		read_stream(
			"{\"config\":{\"subjects\":[\"a.>\",7,\"b.*\"],\"retention\":\"workqueue\",\"discard\":\"new\","
			"\"storage\":\"file\",\"max_msgs\":10,\"max_bytes\":-1,\"max_msg_size\":1000,"
			"\"max_msgs_per_subject\":-1,\"max_age\":60000000000,\"duplicate_window\":100000000,"
			"\"num_replicas\":3,\"sealed\":false,\"no_ack\":true,\"allow_rollup_hdrs\":true,"
			"\"allow_msg_ttl\":true,\"sources\":[{\"name\":\"X\"}]},\"state\":{}}"),
		ANSWER_OK, "a configuration");
	ok(stream.retention == RETENTION_WORK_QUEUE && stream.discard_new && stream.file_storage, "its policies");
	ok(stream.max_messages == 10 && stream.max_bytes == 0 && stream.max_message_bytes == 1000 &&
		   stream.max_messages_per_subject == 0 && stream.max_age_ms == 60000,
	   "its limits, or none");
	is_number((long long)stream.duplicate_window_ms, 100, "its window, in milliseconds");
	is_number(stream.replicas, 3, "its replicas");
	ok(stream.no_ack && !stream.sealed && !stream.mirror && stream.sources, "what it is");
	ok(stream.allow_rollup && stream.allow_ttl && !stream.allow_counters && !stream.allow_batched,
	   "what it allows");
	is_number(stream.server, 0, "of which version its server is, it does not say");
	is_number((long long)stream.subject_count, 2, "its subjects");
	ok(stream_info_takes(&stream, "a.>") && stream_info_takes(&stream, "a.x.>") &&
		   stream_info_takes(&stream, "b.c"),
	   "what it takes");
	ok(!stream_info_takes(&stream, "b.>") && !stream_info_takes(&stream, "a"), "and what it does not");
	is_number(read_stream("{\"config\":{\"mirror\":{\"name\":\"X\"}},\"state\":{}}"), ANSWER_OK, "a mirror");
	ok(stream.mirror && stream.subject_count == 0 && stream.retention == RETENTION_LIMITS && !stream.discard_new,
	   "takes nothing of its own");
}

static void errors(void)
{
	is_number(read_stream(
			  "{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"JetStream system temporarily "
			  "unavailable\"}}"),
		  ANSWER_ERROR, "no leader");
	is_number(stream.error.err_code, 10008, "its number");
	is_text(stream.error.words, "JetStream system temporarily unavailable", "and its words");
	is_number(read_stream("{\"config\":{\"subjects\":[\"a\"]}}"), ANSWER_ERROR, "no state, no answer");
	ok(stream.error.err_code == 0 && stream.subject_count == 0, "and nothing of it");
	is_number(read_stream("{\"state\":{\"last_seq\":99999999999999999999"), ANSWER_ERROR, "cut off");
}

static void for_subscriptions(void)
{
	static const char *const unfit[][2] = {
		{ "{\"config\":{\"retention\":\"workqueue\"},\"state\":{}}", "is a work queue" },
		{ "{\"config\":{\"retention\":\"interest\"},\"state\":{}}", "has interest retention" },
		{ "{\"config\":{\"retention\":\"limits\",\"mirror\":{\"name\":\"X\"}},\"state\":{}}", "is a mirror" },
	};

	for (size_t i = 0; i < sizeof unfit / sizeof unfit[0]; i++) {
		read_stream(unfit[i][0]);
		holds(inbox_stream_unfit(&stream), unfit[i][1], "it has no position to read from");
	}
	read_stream("{\"config\":{\"retention\":\"limits\",\"subjects\":[\"a.*\",\"b.c\"]},\"state\":{}}");
	ok(inbox_stream_unfit(&stream) == NULL, "one that keeps its messages by limits has one");
	ok(inbox_stream_may_hold(&stream, "a.>") && inbox_stream_may_hold(&stream, "*.c"), "what it may hold");
	ok(!inbox_stream_may_hold(&stream, "a.b.c") && !inbox_stream_may_hold(&stream, "b.d"), "and what it cannot");
	read_stream("{\"config\":{\"subjects\":[\"a\"],\"sources\":[{\"name\":\"X\"}]},\"state\":{}}");
	ok(inbox_stream_may_hold(&stream, "z"), "of what others bring nobody knows");
}

int main(void)
{
	for_subscriptions();
	state();
	configuration();
	version();
	errors();
	stream_info_free(&stream);
	return done_testing();
}
