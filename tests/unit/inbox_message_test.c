/* What a consumer sends, as nats-server says it; and the consumer that is asked for. */
#include "format/inbox_message.h"

#include <stdlib.h>
#include <string.h>

#include "format/consumer.h"
#include "format/header_block.h"
#include "format/rfc3339.h"
#include "tap.h"

static void acks(void)
{
	struct inbox_ack ack;

	ok(inbox_ack_read("$JS.ACK.ORDERS.boxhaul-b-1.1.12.3.1795979451724839946.5", &ack), "nine tokens");
	ok(ack.consumer_bytes == 11 && memcmp(ack.consumer, "boxhaul-b-1", 11) == 0, "the consumer");
	ok(ack.sequence == 12 && ack.consumer_sequence == 3 && ack.pending == 5 &&
		   ack.time_ns == INT64_C(1795979451724839946),
	   "the numbers");
	ok(inbox_ack_read("$JS.ACK._.AbCd.ORDERS.c.1.12.3.1795979451724839946.5", &ack) && ack.sequence == 12 &&
		   ack.pending == 5,
	   "eleven tokens: with domain and account");
	ok(inbox_ack_read("$JS.ACK.hub.AbCd.ORDERS.c.1.12.3.1795979451724839946.5.x", &ack) &&
		   ack.consumer_sequence == 3 && ack.pending == 5,
	   "twelve: there may be more");
	ok(!inbox_ack_read("$JS.ACK.ORDERS.c.1.12.3.17.5.x", &ack), "ten are neither");
	ok(!inbox_ack_read("$JS.ACK.ORDERS.c.1.0.3.17.5", &ack), "no sequence 0");
	ok(!inbox_ack_read("$JS.ACK.ORDERS.c.1.9223372036854775808.3.17.5", &ack), "none that an int8 does not hold");
	ok(!inbox_ack_read("$JS.ACK.ORDERS.c.1.1x.3.17.5", &ack) && !inbox_ack_read("$JS.ACK.ORDERS.c.1.1..17.5", &ack),
	   "digits only");
	ok(!inbox_ack_read(NULL, &ack) && !inbox_ack_read("reply.to.me", &ack), "no reply, or another one");
}

static void notices(void)
{
	is_number(inbox_notice_read(NULL, NULL), INBOX_NOTICE_NONE, "a message");
	is_number(inbox_notice_read("100", "Idle Heartbeat"), INBOX_NOTICE_HEARTBEAT, "a heartbeat");
	is_number(inbox_notice_read("404", "No Messages"), INBOX_NOTICE_ENDED, "404");
	is_number(inbox_notice_read("408", "Request Timeout"), INBOX_NOTICE_ENDED, "408");
	is_number(inbox_notice_read("409", "Batch Completed"), INBOX_NOTICE_ENDED, "a full batch");
	is_number(inbox_notice_read("409", "Message Size Exceeds MaxBytes"), INBOX_NOTICE_SIZE, "too large");
	is_number(inbox_notice_read("409", "Exceeded MaxWaiting"), INBOX_NOTICE_BUSY, "too many");
	is_number(inbox_notice_read("409", "Consumer Deleted"), INBOX_NOTICE_GONE, "gone");
	is_number(inbox_notice_read("409", "Leadership Change"), INBOX_NOTICE_GONE, "another leader");
	is_number(inbox_notice_read("409", NULL), INBOX_NOTICE_GONE, "a conflict without a word");
	is_number(inbox_notice_read("503", ""), INBOX_NOTICE_GONE, "nobody");
	is_number(inbox_notice_read("400", "Bad Request"), INBOX_NOTICE_GONE, "not understood");
}

enum { OUT_BYTES = 256 };

/* Reads a literal, zero bytes and all: "name=value" of each, one behind the other, and the trouble behind them. */
#define READ(text, out) read_block(text, sizeof text - 1, out)

static const char *read_block(const char *text, size_t bytes, char *out)
{
	char *block = malloc(bytes + 1), *to = out;
	struct header_block h;

	memcpy(block, text, bytes + 1);
	*to = '\0';
	if (!header_block_read(&h, block, bytes))
		return NULL;
	for (size_t i = 0; i < h.count; i++)
		to += snprintf(to, OUT_BYTES, "%s=%s ", h.header[i].name, h.header[i].value);
	snprintf(to, OUT_BYTES, "%s", h.trouble != NULL ? h.trouble : ".");
	header_block_free(&h);
	free(block);
	return out;
}

static void blocks(void)
{
	char out[2 * OUT_BYTES], block[] = "NATS/1.0\r\nb: 1\r\na: 2\r\nb: 3\r\n\r\n";
	struct header_block h;

	is_text(READ("NATS/1.0\r\nb: 1\r\na:2 \r\nb:\t 3\r\n\r\n", out), "a=2 b=1 b=3 .",
		"by name, and in their order");
	is_text(READ("NATS/1.0\r\nNats-Msg-Id: \r\na: 1\r\nz:\r\n\r\n", out), "Nats-Msg-Id= a=1 z= .",
		"empty ones are empty");
	is_text(READ("NATS/1.0\0\nNats-Msg-Id\0 \r\na: 1\0\nz\0x\0\n\r\n", out), "Nats-Msg-Id= a=1 z=x .",
		"and when somebody has read it before, and taken them for others");
	is_text(READ("NATS/1.0 503 No\r\na: 1\r\n", out), "a=1 .", "a status, and no empty line");
	is_text(READ("NATS/1.0\r\na: 1\r\n  2\r\n\t3\r\nb: 4\r\n\r\nc: 5", out), "a=1 2 3 b=4 .",
		"a line that goes on");
	is_text(READ("NATS/1.0\r\n\r\n", out), ".", "none");
	is_text(READ("NATS/1.0\r\na: 1\r\nbroken\r\nb: 2\r\n", out), "a=1 a line has no colon", "no colon");
	is_text(READ("NATS/1.0\r\n a: 1\r\n", out), "the first line begins with a blank", "nothing to go on with");
	is_text(READ("NATS/1.0\r\na: 1\0"
		     "2\r\nb: 3\r\n",
		     out),
		"a=1 one holds a zero byte", "a zero byte");
	is_text(READ("HTTP/1.1\r\na: 1\r\n", out), "they do not begin with NATS/1.0", "another protocol");
	is_text(READ("", out), "they do not begin with NATS/1.0", "nothing at all");
	ok(header_block_read(&h, block, sizeof block - 1), "a block");
	is_text(header_block_value(&h, "b"), "1", "the first value of a name");
	is_number((long long)header_block_same(&h, 1), 2, "of two");
	ok(header_block_value(&h, "A") == NULL && header_block_value(&h, "c") == NULL, "others are not there");
	header_block_free(&h);
}

static void keys(void)
{
	char key[2048], large[2048];
	const char *token;

	ok(inbox_key_decode("50%25%20of%20it %C3%A9", key) == NULL && strcmp(key, "50% of it \xc3\xa9") == 0,
	   "a key is decoded");
	is_text(inbox_key_decode("a%0", key), "is not percent-encoded", "half a byte");
	is_text(inbox_key_decode("a%00", key), "holds a zero byte", "a zero byte");
	is_text(inbox_key_decode("%C3%28", key), "is not UTF-8", "no text");
	memset(large, 'k', sizeof large);
	large[INBOX_KEY_MAX_BYTES] = '\0';
	ok(inbox_key_decode(large, key) == NULL, "the longest");
	large[INBOX_KEY_MAX_BYTES] = 'k';
	large[INBOX_KEY_MAX_BYTES + 1] = '\0';
	is_text(inbox_key_decode(large, key), "is longer than 1,024 bytes", "one byte more");
	ok(inbox_key_token("orders.paid.47", 3, &token) == 2 && strcmp(token, "47") == 0, "the last token");
	ok(inbox_key_token("orders.paid.47", 1, &token) == 6, "the first");
	is_number((long long)inbox_key_token("orders.paid.47", 4, &token), 0, "there is no fourth");
}

static void headers(void)
{
	struct inbox_json j;
	char *text;

	inbox_json_begin(&j);
	text = inbox_json_end(&j);
	is_text(text, "{}", "no headers");
	free(text);
	inbox_json_begin(&j);
	inbox_json_name(&j, "a", false);
	inbox_json_value(&j, "q\"\\\t");
	inbox_json_name(&j, "b", true);
	inbox_json_value(&j, "1");
	inbox_json_value(&j, "2");
	inbox_json_name(&j, "c", true);
	text = inbox_json_end(&j);
	is_text(text, "{\"a\":\"q\\\"\\\\\\u0009\",\"b\":[\"1\",\"2\"],\"c\":[]}", "one value, two, none");
	free(text);
}

static void times(void)
{
	char text[RFC3339_BYTES];
	int64_t ns;

	ok(rfc3339_read("2026-11-29T19:10:46.44610001Z", &ns), "a time with a fraction");
	is_text(rfc3339_write(ns, text), "2026-11-29T19:10:46.44610001Z", "is written as it was");
	ok(rfc3339_read("1970-01-01T00:00:01Z", &ns) && ns == 1000000000, "one without");
	is_text(rfc3339_write(ns, text), "1970-01-01T00:00:01Z", "so, too");
	ok(!rfc3339_read("2026-11-29T19:10:46.Z", &ns) && !rfc3339_read("2026-11-29T19:10:46+01:00", &ns) &&
		   !rfc3339_read("2026-11-29T19:10:46.1234567891Z", &ns) && !rfc3339_read(NULL, &ns),
	   "others are none");
}

static enum consumer_verdict answer(const char *text, char **filters, size_t count, struct answer_error *error)
{
	struct consumer_wish w = { .stream = "S", .name = "c", .start = 7, .filters = filters, .filter_count = count };

	return consumer_answer_read(text, strlen(text), &w, error);
}

#define MADE(more)                                                                                                        \
	"{\"stream_name\":\"S\",\"name\":\"c\",\"config\":{\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":7," \
	"\"ack_policy\":\"none\"" more "}}"

static void consumers(void)
{
	char one[] = "orders.>", two[] = "sales.*", deep[] = "orders.paid.x", wide[] = "orders.sent.>",
	     same[] = "orders", *both[] = { one, two }, *near[] = { deep, wide }, *under[] = { deep, same };
	char common[CONSUMER_FILTER_BYTES];
	struct answer_error error;

	is_number(answer(MADE(",\"filter_subject\":\"orders.>\""), both, 1, &error), CONSUMER_MADE, "as asked for");
	is_number(answer(MADE(",\"filter_subjects\":[\"sales.*\",\"orders.>\"]"), both, 2, &error), CONSUMER_MADE,
		  "with several filters");
	is_number(answer(MADE(""), both, 2, &error), CONSUMER_UNFILTERED, "without them: an old server");
	is_number(answer(MADE(""), both, 1, &error), CONSUMER_OTHER, "without the one");
	is_number(answer(MADE(",\"filter_subject\":\"orders.>\""), both, 0, &error), CONSUMER_OTHER,
		  "with one too many");
	is_number(answer("{\"error\":{\"code\":400,\"err_code\":10084,\"description\":\"d\"}}", both, 1, &error),
		  CONSUMER_HOPELESS, "a work queue");
	is_number(answer("{\"error\":{\"code\":400,\"err_code\":10026,\"description\":\"d\"}}", both, 1, &error),
		  CONSUMER_REFUSED, "too many consumers: some may go");
	is_number(answer("{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"d\"}}", both, 1, &error),
		  CONSUMER_REFUSED, "no stream yet");
	is_number(answer("what?", both, 1, &error), CONSUMER_REFUSED, "no answer at all");
	ok(consumer_common_filter(near, 2, common) && strcmp(common, "orders.>") == 0, "one for two");
	ok(consumer_common_filter(both, 2, common) && common[0] == '\0', "none but all");
	ok(consumer_common_filter(both, 1, common) && strcmp(common, "orders.>") == 0, "one for itself");
	ok(consumer_common_filter(under, 2, common) && common[0] == '\0',
	   "the end of one is not the beginning of another");
}

int main(void)
{
	acks();
	notices();
	blocks();
	keys();
	headers();
	times();
	consumers();
	return done_testing();
}
