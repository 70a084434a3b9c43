/* A message as an event: which headers it has, byte for byte, and what they take on the wire. */
#include "format/envelope.h"

#include "tap.h"

#define ID "0b0e9d39-1f6c-4a8b-9a4e-9f4f3c1b2a10"

/* 2026-11-22 16:40:00.25 UTC */
static const int64_t inserted = INT64_C(848680800) * 1000000 + 250000;

struct seen {
	char text[4096];
	size_t n, wire;
};

static void note(void *arg, const char *name, const char *value, bool attribute)
{
	struct seen *seen = arg;
	char encoded[1024];

	if (attribute)
		envelope_encode(value, encoded);
	seen->n += (size_t)snprintf(seen->text + seen->n, sizeof seen->text - seen->n, "%s: %s\n", name,
				    attribute ? encoded : value);
	seen->wire += strlen(name) + strlen(attribute ? encoded : value) + 4;
}

static struct envelope around(const char *headers)
{
	return (struct envelope){ .source = "/boxhaul/shop",
				  .message_id = ID,
				  .subject = "orders.paid",
				  .key = "order-42",
				  .created_us = inserted,
				  .headers = headers,
				  .headers_bytes = headers != NULL ? strlen(headers) : 0 };
}

/* Exactly these headers, in any order of the row's own; and as many bytes as it is measured with. */
static void is_sent_as(struct envelope e, const char *expected, const char *what)
{
	struct seen seen = { .n = 0 };
	size_t measured = 0;

	is_number(envelope_each(&e, note, &seen), REASON_NONE, what);
	is_text(seen.text, expected, what);
	is_number(envelope_measure(&e, &measured), REASON_NONE, what);
	is_number((long)measured, (long)seen.wire, what);
}

static void is_refused(const char *headers, enum reason reason)
{
	struct envelope e = around(headers);
	size_t measured;

	is_number(envelope_measure(&e, &measured), reason, headers);
}

#define SPEC "ce-specversion: 1.0\nce-id: " ID "\n"
#define SOURCE "ce-source: /boxhaul/shop\n"
#define TYPE "ce-type: orders.paid\n"
#define TIME "ce-time: 2026-11-22T16:40:00.250000Z\n"
#define KEY "ce-partitionkey: order-42\n"

static void attributes(void)
{
	struct envelope e = around(NULL);

	is_sent_as(e, SPEC SOURCE TYPE TIME KEY, "a row without headers");
	e.key = NULL;
	is_sent_as(e, SPEC SOURCE TYPE TIME, "nor a key");
	e.key = "";
	is_sent_as(e, SPEC SOURCE TYPE TIME, "an empty key is no partition key");
	e.key = "a\tb\x7f";
	is_sent_as(e, SPEC SOURCE TYPE TIME "ce-partitionkey: a%09b%7F\n", "control characters in a key");
	e = around(NULL);
	e.source = "/a%20b";
	is_sent_as(e, SPEC "ce-source: /a%2520b\n" TYPE TIME KEY, "what is encoded already is a text like any other");
}

static void the_rows_own(void)
{
	is_sent_as(around("{\"traceparent\": \"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}"),
		   "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n" SPEC SOURCE TYPE TIME KEY,
		   "another header passes through");
	is_sent_as(around("{\"x\": \"100 % \\\"\xc3\xa4\\\"\"}"), "x: 100 % \"\xc3\xa4\"\n" SPEC SOURCE TYPE TIME KEY,
		   "and is not encoded");
	is_sent_as(around("{\"ce-type\": \"com.shop.paid\"}"), "ce-type: com.shop.paid\n" SPEC SOURCE TIME KEY,
		   "its type");
	is_sent_as(around("{\"ce-source\": \"urn:x\"}"), "ce-source: urn:x\n" SPEC TYPE TIME KEY, "its source");
	is_sent_as(around("{\"ce-time\": \"1999-12-31T23:59:59Z\"}"),
		   "ce-time: 1999-12-31T23:59:59Z\n" SPEC SOURCE TYPE KEY, "its time");
	is_sent_as(around("{\"ce-partitionkey\": \"p\"}"), "ce-partitionkey: p\n" SPEC SOURCE TYPE TIME,
		   "its partition key");
	is_sent_as(around("{\"ce-subject\": \"Euro \xe2\x82\xac \xf0\x9f\x98\x80\"}"),
		   "ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\n" SPEC SOURCE TYPE TIME KEY,
		   "another attribute, encoded as in the binding's example");
	is_sent_as(around("{\"ce-a1\": \"\\\"\"}"), "ce-a1: %22\n" SPEC SOURCE TYPE TIME KEY, "an extension");
}

static void content_type(void)
{
	is_sent_as(
		around("{\"Content-Type\": \"text/plain; charset=utf-8\"}"),
		"ce-datacontenttype: text/plain;%20charset=utf-8\nContent-Type: text/plain; charset=utf-8\n" SPEC SOURCE
			TYPE TIME KEY,
		"both as it is and as an attribute");
	is_sent_as(around("{\"content-type\": \"\"}"), "content-type: \n" SPEC SOURCE TYPE TIME KEY,
		   "an empty one is no attribute");
	is_refused("{\"content-type\": \"application/cloudevents+json\"}", DEFECT_CONTENT_TYPE);
	is_refused("{\"CONTENT-TYPE\": \"Application/CloudEvents; charset=utf-8\"}", DEFECT_CONTENT_TYPE);
}

static void clashes(void)
{
	is_refused("{\"ce-id\": \"1\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"ce-specversion\": \"1.0\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"ce-datacontenttype\": \"text/plain\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"CE-ID\": \"1\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"Ce-Type\": \"x\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"ce-orderId\": \"x\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"ce-\": \"x\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"ce-a-b\": \"x\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"ce-type\": \"\"}", DEFECT_HEADER_ENVELOPE);
	is_refused("{\"nats-x\": \"x\"}", DEFECT_HEADER_RESERVED);
	is_refused("{\"a\": 1}", DEFECT_HEADERS_SHAPE);
	is_sent_as(around("{\"cement\": \"x\"}"), "cement: x\n" SPEC SOURCE TYPE TIME KEY, "without a dash it is none");
}

static void times(void)
{
	static const struct {
		int64_t us;
		const char *text; /* NULL: none */
	} times[] = {
		{ 0, "2000-01-01T00:00:00.000000Z" },
		{ -1, "1999-12-31T23:59:59.999999Z" },
		{ -1000000, "1999-12-31T23:59:59.000000Z" },
		{ INT64_C(252455616000) * 1000000 - 1, "9999-12-31T23:59:59.999999Z" },
		{ INT64_C(252455616000) * 1000000, NULL },
		{ INT64_C(-63113904000) * 1000000, "0000-01-01T00:00:00.000000Z" },
		{ INT64_C(-63113904000) * 1000000 - 1, NULL },
		{ INT64_MAX, NULL },
		{ INT64_MIN, NULL },
	};

	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct envelope e = around(NULL);
		char expected[512];

		e.created_us = times[i].us;
		snprintf(expected, sizeof expected, SPEC SOURCE TYPE "%s%s%s" KEY,
			 times[i].text != NULL ? "ce-time: " : "", times[i].text != NULL ? times[i].text : "",
			 times[i].text != NULL ? "\n" : "");
		is_sent_as(e, expected, times[i].text != NULL ? times[i].text : "a time that has no words");
	}
}

int main(void)
{
	attributes();
	the_rows_own();
	content_type();
	clashes();
	times();
	return done_testing();
}
