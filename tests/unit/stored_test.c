/* What JetStream says of a message that it stores. The answers are nats-server's own, shortened. */
#include "format/stored.h"

#include <string.h>

#include "tap.h"

static struct stored_message message;

static enum answer_verdict read_message(const char *text)
{
	return stored_message_read(text, strlen(text), &message);
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

	is_number(read_message(with_id), ANSWER_OK, "a message");
	is_number((long long)message.sequence, 7, "its sequence");
	ok(message.has_id && memcmp(message.id.byte, id, sizeof id) == 0, "its id");
	is_number(read_message("{\"message\":{\"subject\":\"a\",\"seq\":8,\"data\":\"eA==\"}}"), ANSWER_OK,
		  "one without headers");
	ok(!message.has_id && message.sequence == 8, "has no id");
	/* NATS/1.0, Nats-Msg-Id: order-1 */
	is_number(
		read_message("{\"message\":{\"seq\":9,\"hdrs\":\"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiBvcmRlci0xDQoNCg==\"}}"),
		ANSWER_OK, "an id of somebody else");
	ok(!message.has_id, "is none of ours");
	is_number(read_message("{\"message\":{\"seq\":9,\"hdrs\":\"TkFUUy8x!!!\"}}"), ANSWER_OK,
		  "headers that are no base64");
	ok(!message.has_id, "hold no id");
	is_number(read_message("{\"error\":{\"code\":404,\"err_code\":10037,\"description\":\"no message found\"}}"),
		  ANSWER_NOTHING, "a deleted message");
	is_number(read_message("{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}"),
		  ANSWER_ERROR, "a deleted stream");
	is_number(message.error.err_code, 10059, "and its code");
	is_text(message.error.words, "stream not found", "and its words");
	is_number(read_message("{\"message\":{\"seq\":18446744073709551615,\"data\":\"123456789012345678901234\"}}"),
		  ANSWER_OK, "a message at the end of all sequences");
	ok(message.sequence == UINT64_MAX, "its sequence");
	is_number(read_message("{\"message\":7}"), ANSWER_ERROR, "no object");
	is_number(read_message("nonsense"), ANSWER_ERROR, "no JSON");
	is_number(stored_message_read(NULL, 0, &message), ANSWER_ERROR, "nothing");
}

/* Boxhaul-Snapshot: 0123456789abcdef-00000000000e6cb1; in the second a header of the row stands between it and the id. */
static void witnesses(void)
{
	char text[WITNESS_CHARACTERS + 1];
	struct witness w;

	read_message(
		"{\"message\":{\"seq\":9,\"hdrs\":\"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiAwMTIzNDU2Ny04OWFiLWNkZWYtMDEyMy00NTY3ODlhYmNkZWYNCkJveGhhdWwtU25hcHNob3Q6IDAxMjM0NTY3ODlhYmNkZWYtMDAwMDAwMDAwMDBlNmNiMQ0KDQo=\"}}");
	ok(message.has_id && message.has_witness, "it says from which snapshot it was sent");
	ok(message.witness.check == UINT64_C(0x0123456789abcdef) && message.witness.xmin == 0xe6cb1, "that");
	read_message(
		"{\"message\":{\"seq\":9,\"hdrs\":\"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiAwMTIzNDU2Ny04OWFiLWNkZWYtMDEyMy00NTY3ODlhYmNkZWYNClg6IHkNCkJveGhhdWwtU25hcHNob3Q6IDAxMjM0NTY3ODlhYmNkZWYtMDAwMDAwMDAwMDBlNmNiMQ0KDQo=\"}}");
	ok(message.has_id && message.has_witness, "wherever nats.c puts it");
	read_message(with_id);
	ok(message.has_id && !message.has_witness, "most do not say it");
	witness_write(text, (struct witness){ .check = UINT64_MAX - 1, .xmin = 7 });
	is_text(text, "fffffffffffffffe-0000000000000007", "as it is written");
	ok(witness_read(text, WITNESS_CHARACTERS, &w) && w.check == UINT64_MAX - 1 && w.xmin == 7, "and read");
	ok(!witness_read(text, WITNESS_CHARACTERS - 1, &w) &&
		   !witness_read("fffffffffffffffe 0000000000000007", 33, &w) &&
		   !witness_read("fffffffffffffffe-000000000000000x", 33, &w),
	   "nothing else is read");
	ok(witness_check(1, 2, 3) != witness_check(1, 2, 4) && witness_check(1, 2, 3) != witness_check(1, 3, 3) &&
		   witness_check(1, 2, 3) != witness_check(2, 2, 3) && witness_check(1, 2, 3) == witness_check(1, 2, 3),
	   "history, id and xid count");
}

static void keys(void)
{
	static const char keyed
		[] = "{\"message\":{\"subject\":\"a.b\",\"seq\":1,\"hdrs\":\"TkFUUy8xLjANCmE6IGINCkJveGhhdWwtS2V5OiBrJTIweA0KDQo=\"}}",
	   plain[] =
		   "{\"message\":{\"subject\":\"a.c\",\"seq\":1,\"hdrs\":\"TkFUUy8xLjANCmE6IEJveGhhdWwtS2V5OiBrDQpYLUJveGhhdWwtS2V5OiB4DQoNCg==\"}}";
	struct stored_key key;

	ok(stored_key_read(keyed, strlen(keyed), &key) && key.has_key, "it has a key");
	is_text(key.subject, "a.b", "and a subject");
	ok(stored_key_read(plain, strlen(plain), &key) && !key.has_key, "other headers are none");
	ok(stored_key_read("{\"message\":{\"subject\":\"a\"}}", 27, &key) && !key.has_key, "nor are no headers");
	ok(!stored_key_read("{\"error\":{}}", 12, &key), "no message");
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
	witnesses();
	ids();
	keys();
	return done_testing();
}
