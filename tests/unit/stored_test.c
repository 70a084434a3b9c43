/* What JetStream says of a stream and of what it stores. The answers are nats-server's own, shortened. */
#include "stored.h"

#include <string.h>

#include "tap.h"

static struct stored_message message;
static struct stored_stream stream;

static enum stored_verdict read_message(const char *text)
{
	return stored_message_read(text, strlen(text), &message);
}

static enum stored_verdict read_stream(const char *text)
{
	return stored_stream_read(text, strlen(text), &stream);
}

/* The headers are NATS/1.0, X-Id, Nats-Msg-Id: 01234567-89ab-cdef-0123-456789ABCDEF. */
static const char with_id[] =
	"{\"type\":\"io.nats.jetstream.api.v1.stream_msg_get_response\",\"message\":{\"subject\":\"orders.x\",\"seq\":7,"
	"\"hdrs\":\"TkFUUy8xLjANClgtSWQ6IDENCk5hdHMtTXNnLUlkOiAwMTIzNDU2Ny04OWFiLWNkZWYtMDEyMy00NTY3ODlBQkNERUYNCg0K\","
	"\"data\":\"eA==\",\"time\":\"2026-01-01T00:00:00Z\"}}";

static void messages(void)
{
	static const uint8_t id[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
					0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };

	is_number(read_message(with_id), STORED_OK, "a message");
	is_number((long long)message.sequence, 7, "its sequence");
	ok(message.has_id && memcmp(message.id.byte, id, sizeof id) == 0, "its id");
	is_number(read_message("{\"message\":{\"subject\":\"a\",\"seq\":8,\"data\":\"eA==\"}}"), STORED_OK,
		  "one without headers");
	ok(!message.has_id && message.sequence == 8, "has no id");
	/* NATS/1.0, Nats-Msg-Id: order-1 */
	is_number(
		read_message("{\"message\":{\"seq\":9,\"hdrs\":\"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiBvcmRlci0xDQoNCg==\"}}"),
		STORED_OK, "an id of somebody else");
	ok(!message.has_id, "is none of ours");
	is_number(read_message("{\"message\":{\"seq\":9,\"hdrs\":\"TkFUUy8x!!!\"}}"), STORED_OK,
		  "headers that are no base64");
	ok(!message.has_id, "hold no id");
	is_number(read_message("{\"error\":{\"code\":404,\"err_code\":10037,\"description\":\"no message found\"}}"),
		  STORED_NOTHING, "a deleted message");
	is_number(read_message("{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}"),
		  STORED_ERROR, "a deleted stream");
	is_number(message.error, 10059, "and its code");
	is_number(read_message("{\"message\":7}"), STORED_ERROR, "no object");
	is_number(read_message("nonsense"), STORED_ERROR, "no JSON");
	is_number(stored_message_read(NULL, 0, &message), STORED_ERROR, "nothing");
}

static void streams(void)
{
	is_number(
		read_stream(
			"{\"config\":{\"name\":\"S\",\"duplicate_window\":100000000},\"created\":\"2026-01-01T00:00:00Z\","
			"\"state\":{\"messages\":3,\"bytes\":120,\"first_seq\":2,\"last_seq\":5}}"),
		STORED_OK, "a stream");
	ok(stream.first == 2 && stream.last == 5 && stream.messages == 3 && stream.bytes == 120, "its state");
	is_number((long long)stream.window_ms, 100, "its window, in milliseconds");
	ok(strcmp(stream.created, "2026-01-01T00:00:00Z") == 0, "when it was created");
	is_number(read_stream("{\"state\":{\"last_seq\":-1}}"), STORED_OK, "numbers that cannot be");
	is_number((long long)stream.last, 0, "are zero");
	is_number(read_stream("{\"error\":{\"code\":503,\"err_code\":10008}}"), STORED_ERROR, "no leader");
	is_number(stream.error, 10008, "and its code");
}

static void ids(void)
{
	struct stored_id id;
	static const char good[] = "01234567-89ab-cdef-0123-456789abcdef";

	ok(stored_id_read(good, 36, &id) && id.byte[0] == 1 && id.byte[15] == 0xef, "a uuid");
	ok(!stored_id_read(good, 35, &id), "too short");
	ok(!stored_id_read("01234567089ab-cdef-0123-456789abcdef", 36, &id), "a dash is missing");
	ok(!stored_id_read("0123456g-89ab-cdef-0123-456789abcdef", 36, &id), "no hexadecimal digit");
}

int main(void)
{
	messages();
	streams();
	ids();
	return done_testing();
}
