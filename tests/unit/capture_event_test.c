#include "format/capture_event.h"

#include <jansson.h>

#include "format/capture_subject.h"
#include "format/emitted.h"
#include "format/logical_message.h"
#include "format/outbox_row.h"
#include "format/sql_name.h"
#include "tap.h"

#define VALUE(s)                                                           \
	{                                                                  \
		.kind = PGOUTPUT_TEXT, .text = (s), .bytes = sizeof(s) - 1 \
	}
#define NOTHING                       \
	{                             \
		.kind = PGOUTPUT_NULL \
	}
#define UNCHANGED                          \
	{                                  \
		.kind = PGOUTPUT_UNCHANGED \
	}

static const struct capture_column columns[] = {
	{ "id", { 23, 0, 0 }, -1, "integer", 1 },
	{ "total", { 1700, 0, 0 }, 655366, "numeric(10,2)", 0 },
	{ "doc", { 3802, 0, 0 }, -1, "jsonb", 0 },
};
static const struct capture_shape orders = { "public", "orders", columns, 3, 1, NULL };

static const struct capture_column line_columns[] = {
	{ "line", { 23, 0, 0 }, -1, NULL, 2 },
	{ "a/b", { 25, 0, 0 }, -1, NULL, 1 },
};
static const struct capture_shape lines = { "sales.eu", "Order Lines", line_columns, 2, 2, NULL };

/* A constant in the sense of the language: what is initialised with it is known to the compiler. */
#define PLACE                                                             \
	{                                                                 \
		7000000000000000001, 0x3B001260, 849253375684112, 4711, 3 \
	}
static const struct capture_place place = PLACE;

static const char snapshot[] = "8d3c0f8e-0000-4000-8000-000000000001";

static const struct pgoutput_value row[] = { VALUE("42"), VALUE("9.90"), VALUE("{\"a\": 1.0}") };
static const struct pgoutput_value toast[] = { VALUE("42"), NOTHING, UNCHANGED };
static const struct pgoutput_value before[] = { VALUE("42"), VALUE("1.00"), VALUE("null") };
static const struct pgoutput_value old_key[] = { VALUE("41"), NOTHING, NOTHING };

static struct capture_writer w;
static struct capture_style style = { .capture = "shop",
				      .in_commit_order = true,
				      .database = "shopdb",
				      .event_source = "/boxhaul/shop",
				      .subject = "cdc.{capture}.{schema}.{table}",
				      .bucket = "orders",
				      .system = 7000000000000000001 };

static enum reason make(const struct capture_change *c, struct capture_message *m)
{
	return capture_event_write(&w, &style, c, m);
}

static const char *body_of(const struct capture_message *m)
{
	static char text[4096];

	snprintf(text, sizeof text, "%.*s", (int)m->payload_bytes, (const char *)m->payload);
	return text;
}

/* NULL: it is not there. */
static const char *header(const struct capture_message *m, const char *name)
{
	const char *at = m->headers;

	for (size_t i = 0; i < m->header_count; i++) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

/* Whatever is made is JSON, and its subject may be published to. */
static void is_whole(const struct capture_message *m)
{
	json_error_t error;
	json_t *body = json_loadb(m->payload, m->payload_bytes, JSON_REJECT_DUPLICATES, &error);

	ok(body != NULL, "the body is JSON");
	if (body == NULL)
		diag("%s: %s", error.text, body_of(m));
	json_decref(body);
	ok(message_check_subject(m->subject, strlen(m->subject)) == REASON_NONE, "the subject can be published to");
}

static void changes(enum capture_format format, const char *const want[], const struct capture_change *all, size_t n)
{
	struct capture_message m;

	style.format = format;
	for (size_t i = 0; i < n; i++) {
		is_number(make(&all[i], &m), REASON_NONE, "made");
		is_text(body_of(&m), want[i], "its body");
		is_whole(&m);
	}
	style.format = CAPTURE_FORMAT_ROW;
}

static const struct capture_change all[] = {
	{ .op = CAPTURE_OP_INSERT, .shape = &orders, .row = row, .place = PLACE },
	{ .op = CAPTURE_OP_UPDATE, .shape = &orders, .row = toast, .place = PLACE },
	{ .op = CAPTURE_OP_UPDATE,
	  .shape = &orders,
	  .row = toast,
	  .old = before,
	  .old_is_whole = true,
	  .place = PLACE },
	{ .op = CAPTURE_OP_UPDATE, .shape = &orders, .row = row, .old = old_key, .place = PLACE },
	{ .op = CAPTURE_OP_DELETE, .shape = &orders, .old = old_key, .place = PLACE },
	{ .op = CAPTURE_OP_READ,
	  .shape = &orders,
	  .row = row,
	  .snapshot = snapshot,
	  .reading = 1,
	  .place = { .system = 7000000000000000001 } },
	{ .op = CAPTURE_OP_TRUNCATE, .shape = &orders, .place = PLACE },
};

enum { ALL = sizeof all / sizeof all[0] };

#define AT ",\"at\":\"2026-11-29T07:42:55.684112Z\"}"

static void rows(void)
{
	static const char *const want[] = {
		"{\"op\":\"c\",\"table\":\"public.orders\",\"key\":{\"id\":42},"
		"\"row\":{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}}" AT,
		"{\"op\":\"u\",\"table\":\"public.orders\",\"key\":{\"id\":42},\"row\":{\"id\":42,\"total\":null},"
		"\"unchanged\":[\"doc\"]" AT,
		"{\"op\":\"u\",\"table\":\"public.orders\",\"key\":{\"id\":42},\"row\":{\"id\":42,\"total\":null,\"doc\":null},"
		"\"old\":{\"id\":42,\"total\":\"1.00\",\"doc\":null}" AT,
		"{\"op\":\"u\",\"table\":\"public.orders\",\"key\":{\"id\":42},"
		"\"row\":{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}},\"old\":{\"id\":41}" AT,
		"{\"op\":\"d\",\"table\":\"public.orders\",\"key\":{\"id\":41},\"old\":{\"id\":41}" AT,
		"{\"op\":\"r\",\"table\":\"public.orders\",\"key\":{\"id\":42},"
		"\"row\":{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}},\"snapshot\":\"8d3c0f8e-0000-4000-8000-000000000001\"}",
		"{\"op\":\"t\",\"table\":\"public.orders\"" AT,
	};

	changes(CAPTURE_FORMAT_ROW, want, all, ALL);
	changes(CAPTURE_FORMAT_CLOUDEVENTS, want, all, ALL);
}

/* As jsonb keeps them: what PostgreSQL reads is in its order. Other formats are for people, too. */
static void members(void)
{
	static const struct capture_column many[] = {
		{ "number", { 23, 0, 0 }, -1, NULL, 1 }, { "b", { 25, 0, 0 }, -1, NULL, 0 },
		{ "note", { 25, 0, 0 }, -1, NULL, 0 },   { "at", { 25, 0, 0 }, -1, NULL, 0 },
		{ "a", { 25, 0, 0 }, -1, NULL, 0 },      { "\303\244", { 25, 0, 0 }, -1, NULL, 0 },
	};
	static const struct pgoutput_value values[] = { VALUE("1"), VALUE("2"), VALUE("3"),
							VALUE("4"), VALUE("5"), VALUE("6") };
	struct capture_shape shape = { "public", "many", many, 6, 1, NULL };
	uint16_t *order = capture_shape_members(&shape);
	struct capture_change c = { .op = CAPTURE_OP_READ, .shape = &shape, .row = values, .snapshot = snapshot };
	struct capture_message m;

	shape.members = order;
	style.format = CAPTURE_FORMAT_TEXT;
	make(&c, &m);
	holds(body_of(&m),
	      "\"row\":{\"a\":\"5\",\"b\":\"2\",\"at\":\"4\",\"\303\244\":\"6\",\"note\":\"3\",\"number\":\"1\"}",
	      "shorter names first");
	style.format = CAPTURE_FORMAT_ROW;
	make(&c, &m);
	holds(body_of(&m), "\"row\":{\"number\":1,\"b\":\"2\",\"note\":\"3\"", "in other formats as in the table");
	free(order);
}

static void table_texts(void)
{
	static const char *const want[] = {
		"{\"op\":\"c\",\"table\":\"public.orders\",\"key\":{\"id\":\"42\"},"
		"\"row\":{\"id\":\"42\",\"total\":\"9.90\",\"doc\":\"{\\\"a\\\": 1.0}\"}" AT,
		"{\"op\":\"u\",\"table\":\"public.orders\",\"key\":{\"id\":\"42\"},\"row\":{\"id\":\"42\",\"total\":null},"
		"\"unchanged\":[\"doc\"]" AT,
		"{\"op\":\"u\",\"table\":\"public.orders\",\"key\":{\"id\":\"42\"},"
		"\"row\":{\"id\":\"42\",\"total\":null,\"doc\":\"null\"},"
		"\"old\":{\"id\":\"42\",\"total\":\"1.00\",\"doc\":\"null\"}" AT,
	};

	changes(CAPTURE_FORMAT_TEXT, want, all, sizeof want / sizeof want[0]);
}

#define SOURCE                                                                                                        \
	"\"source\":{\"version\":\"boxhaul\",\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":1795938175684," \
	"\"snapshot\":\"false\",\"db\":\"shopdb\",\"schema\":\"public\",\"table\":\"orders\",\"txId\":4711,\"lsn\":989860448}"
#define TS ",\"ts_ms\":1795938175684}"

static void debezium(void)
{
	static const char *const want[] = {
		"{\"before\":null,\"after\":{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}}," SOURCE
		",\"op\":\"c\"" TS,
		"{\"before\":null,\"after\":{\"id\":42,\"total\":null},\"unchanged\":[\"doc\"]," SOURCE
		",\"op\":\"u\"" TS,
		"{\"before\":{\"id\":42,\"total\":\"1.00\",\"doc\":null},\"after\":{\"id\":42,\"total\":null,\"doc\":null}," SOURCE
		",\"op\":\"u\"" TS,
		"{\"before\":{\"id\":41},\"after\":{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}}," SOURCE
		",\"op\":\"u\"" TS,
		"{\"before\":{\"id\":41},\"after\":null," SOURCE ",\"op\":\"d\"" TS,
		"{\"before\":null,\"after\":{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}},\"source\":{\"version\":\"boxhaul\","
		"\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":0,\"snapshot\":\"true\",\"db\":\"shopdb\",\"schema\":\"public\","
		"\"table\":\"orders\"},\"op\":\"r\",\"ts_ms\":0}",
		"{\"before\":null,\"after\":null," SOURCE ",\"op\":\"t\"" TS,
	};

	changes(CAPTURE_FORMAT_DEBEZIUM, want, all, ALL);
}

static void headers(void)
{
	struct capture_message m;
	struct capture_text json = { .bytes = NULL };
	size_t bytes = 0;

	make(&all[0], &m);
	is_text(header(&m, "Boxhaul-Position"), "0/3B001260.849253375684112.3", "the place");
	is_text(header(&m, "Boxhaul-Tx"), "0/3B001260.849253375684112", "of the transaction");
	is_text(header(&m, "Boxhaul-Index"), "3", "and in it");
	is_text(header(&m, "Boxhaul-Key"), "public.orders/42", "the key");
	ok(header(&m, "Boxhaul-Last") == NULL && header(&m, "Boxhaul-Chunk") == NULL, "and no more");
	is_text(m.key, "public.orders/42", "the key as it is");
	is_text(m.subject, "cdc.shop.public.orders", "the subject");
	for (const char *at = m.headers; at < m.headers + m.headers_bytes; at += strlen(at) + 1)
		bytes += strlen(at);
	is_number((long long)m.wire_bytes,
		  (long long)(bytes + 4 * m.header_count + strlen("Boxhaul-Last: 1\r\n") + m.payload_bytes),
		  "on the wire, with what comes when the transaction ends");
	capture_message_headers_json(&m, &json);
	capture_text_char(&json, '\0');
	is_text(json.bytes,
		"{\"Boxhaul-Position\":\"0/3B001260.849253375684112.3\",\"Boxhaul-Index\":\"3\","
		"\"Boxhaul-Tx\":\"0/3B001260.849253375684112\",\"Boxhaul-Key\":\"public.orders/42\"}",
		"for a dead letter");
	capture_text_free(&json);
	make(&all[5], &m);
	is_text(header(&m, "Boxhaul-Chunk"), "8d3c0f8e-0000-4000-8000-000000000001-1", "a row of a snapshot");
	ok(header(&m, "Boxhaul-Position") == NULL, "has no place in the log");
	make(&all[6], &m);
	ok(m.key == NULL && header(&m, "Boxhaul-Key") == NULL, "a TRUNCATE has no key");
	style.format = CAPTURE_FORMAT_CLOUDEVENTS;
	make(&all[0], &m);
	is_text(header(&m, "ce-type"), "public.orders.c", "an event's type");
	is_text(header(&m, "ce-id"), m.id, "its id");
	is_text(header(&m, "ce-source"), "/boxhaul/shop", "its source");
	is_text(header(&m, "ce-time"), "2026-11-29T07:42:55.684112Z", "its time");
	is_text(header(&m, "ce-partitionkey"), "public.orders/42", "its key");
	is_text(header(&m, "ce-datacontenttype"), "application/json", "what it is");
	is_text(header(&m, "content-type"), "application/json", "also by the usual name");
	style.format = CAPTURE_FORMAT_ROW;
}

static void keys(void)
{
	static const struct pgoutput_value one[] = { VALUE("7"), VALUE("x/y %.\303\244") };
	struct capture_change c = { .op = CAPTURE_OP_INSERT, .shape = &lines, .row = one, .place = place };
	struct capture_message m;

	is_number(make(&c, &m), REASON_NONE, "a key of two columns");
	is_text(m.key, "sales.eu.Order Lines/x%2Fy %25.\303\244/7", "in the order of the key");
	is_text(header(&m, "Boxhaul-Key"), "sales.eu.Order%20Lines/x%252Fy%20%2525.%C3%A4/7",
		"encoded once more in the header");
	is_text(m.subject, "cdc.shop.sales%2Eeu.Order%20Lines", "names with dots are tokens");
	style.subject = "cdc.{table}.{op}.{key}.{a/b}";
	is_number(make(&c, &m), REASON_NONE, "the key in the subject");
	is_text(m.subject, "cdc.Order%20Lines.c.x%252Fy%20%2525%2E%C3%A4/7.x/y%20%25%2E%C3%A4", "encoded");
	c.op = CAPTURE_OP_TRUNCATE;
	c.row = NULL;
	is_number(make(&c, &m), REASON_NONE, "a TRUNCATE");
	is_text(m.subject, "cdc.Order%20Lines.t._._", "has neither");
	style.subject = "cdc.{nothing}";
	c = all[0];
	is_number(make(&c, &m), DEFECT_SUBJECT_NULL, "a column that is not there");
	is_text(m.subject, "", "there is no subject");
	is_whole(&(struct capture_message){ .subject = "x", .payload = m.payload, .payload_bytes = m.payload_bytes });
	style.subject = "cdc.{capture}.{schema}.{table}";
}

static void identities(void)
{
	struct capture_message m, n;
	struct capture_change c = all[0];
	char first[37];

	make(&c, &m);
	is_text(m.id, "7800b518-087e-84fe-abb0-1d788af1b2a4", "the id of a change");
	ok(m.id[14] == '8' && strchr("89ab", m.id[19]) != NULL, "a uuid of version 8");
	make(&c, &n);
	is_text(n.id, m.id, "is the same again");
	snprintf(first, sizeof first, "%s", m.id);
	for (int i = 0; i < 5; i++) {
		c = all[0];
		c.place.system += i == 0;
		c.place.commit_lsn += i == 1;
		c.place.commit_us += i == 2;
		c.place.xid += i == 3;
		c.place.index += i == 4;
		make(&c, &n);
		ok(strcmp(n.id, first) != 0, "and another one for each of what it is made of");
	}
	c = all[5];
	make(&c, &m);
	snprintf(first, sizeof first, "%s", m.id);
	c.reading = 2;
	make(&c, &n);
	ok(strcmp(n.id, first) != 0, "a row that is read again is another message");
	c = all[5];
	c.shape = &lines;
	make(&c, &n);
	ok(strcmp(n.id, first) != 0, "or one of another table");
	c = all[5];
	c.row = toast;
	make(&c, &n);
	is_text(n.id, first, "but not with other values");
}

/* A shape outside of a transaction, and where a snapshot begins and ends. */
static void controls(void)
{
	struct capture_change c = { .op = CAPTURE_OP_SNAPSHOT_BEGIN,
				    .shape = &orders,
				    .snapshot = snapshot,
				    .history = "8d3c0f8e-0000-4000-8000-000000000002",
				    .place = { .system = 1 } };
	struct capture_message m, n;

	is_number(make(&c, &m), REASON_NONE, "made");
	is_text(body_of(&m),
		"{\"op\":\"snapshot-begin\",\"table\":\"public.orders\",\"columns\":["
		"{\"name\":\"id\",\"type\":23,\"typmod\":-1,\"key\":1,\"is\":\"integer\"},"
		"{\"name\":\"total\",\"type\":1700,\"typmod\":655366,\"is\":\"numeric(10,2)\"},"
		"{\"name\":\"doc\",\"type\":3802,\"typmod\":-1,\"is\":\"jsonb\"}],\"format\":\"row\",\"order\":\"commit\","
		"\"snapshot\":\"8d3c0f8e-0000-4000-8000-000000000001\",\"history\":\"8d3c0f8e-0000-4000-8000-000000000002\"}",
		"its body");
	is_whole(&m);
	c.history = NULL;
	c.op = CAPTURE_OP_SNAPSHOT_END;
	make(&c, &n);
	is_text(body_of(&n),
		"{\"op\":\"snapshot-end\",\"table\":\"public.orders\",\"snapshot\":\"8d3c0f8e-0000-4000-8000-000000000001\"}",
		"and where it ends");
	ok(strcmp(m.id, n.id) != 0, "are two messages");
	c.op = CAPTURE_OP_SHAPE;
	make(&c, &m);
	c.nth = 1;
	make(&c, &n);
	ok(strcmp(m.id, n.id) != 0, "as are two shapes");
	c = (struct capture_change){ .op = CAPTURE_OP_SHAPE, .shape = &lines, .place = place };
	is_number(make(&c, &m), REASON_NONE, "a shape in a transaction");
	is_text(body_of(&m),
		"{\"op\":\"s\",\"table\":\"sales.eu.Order Lines\",\"columns\":[{\"name\":\"line\",\"type\":23,\"typmod\":-1,\"key\":2},"
		"{\"name\":\"a/b\",\"type\":25,\"typmod\":-1,\"key\":1}],\"format\":\"row\",\"order\":\"commit\"" AT,
		"its body");
}

static void buckets(void)
{
	static const struct pgoutput_value one[] = { VALUE("7"), VALUE("x/y =.\303\244") },
					   empty[] = { VALUE("7"), VALUE("") };
	struct capture_change c = { .op = CAPTURE_OP_INSERT, .shape = &lines, .row = one, .place = place };
	struct capture_message m;

	style.target = CAPTURE_TARGET_KV;
	is_number(make(&all[0], &m), REASON_NONE, "a row in a bucket");
	is_text(m.subject, "$KV.orders.orders.42", "under its key");
	is_text(body_of(&m), "{\"id\":42,\"total\":\"9.90\",\"doc\":{\"a\": 1.0}}", "alone");
	is_number(make(&all[2], &m), REASON_NONE, "what was not sent");
	is_text(body_of(&m), "{\"id\":42,\"total\":null,\"doc\":null}", "but stands in the old row");
	is_number(make(&all[1], &m), DEFECT_COLUMN, "what was not sent, and stands nowhere");
	is_text(m.why, "the column \"doc\" was not sent, and a bucket holds whole rows", "is told");
	is_number(make(&all[4], &m), REASON_NONE, "a row that is deleted");
	is_text(m.subject, "$KV.orders.orders.41", "by its key");
	is_text(header(&m, "KV-Operation"), "DEL", "is deleted there");
	is_number((long long)m.payload_bytes, 0, "with nothing");
	is_number(make(&all[6], &m), DEFECT_TRUNCATE, "a TRUNCATE");
	is_text(m.why, "a TRUNCATE of \"orders\" cannot be told to a bucket", "is told");
	is_number(make(&c, &m), REASON_NONE, "what a key cannot hold");
	is_text(m.subject, "$KV.orders.Order=20Lines.x/y=20=3D=2E=C3=A4.7", "is encoded");
	c.row = empty;
	is_number(make(&c, &m), DEFECT_SUBJECT_TOKEN, "an empty key is none");
	ok(capture_event_is_sent(&style, CAPTURE_OP_TRUNCATE) && !capture_event_is_sent(&style, CAPTURE_OP_SHAPE) &&
		   !capture_event_is_sent(&style, CAPTURE_OP_SNAPSHOT_END),
	   "of a shape and of snapshots nothing is sent");
	style.target = CAPTURE_TARGET_STREAM;
	ok(capture_event_is_sent(&style, CAPTURE_OP_SHAPE), "to a stream it is");
	ok(capture_event_moves(&all[3]) && !capture_event_moves(&all[2]) && !capture_event_moves(&all[1]) &&
		   !capture_event_moves(&all[4]),
	   "only an update with another key moves");
}

static void defects(void)
{
	static const struct pgoutput_value bad[] = { VALUE("42"), VALUE("9.90"), VALUE("\377") },
					   no_key[] = { NOTHING, VALUE("9.90"), NOTHING },
					   bad_key[] = { VALUE("7"), VALUE("\377") };
	static const struct pgoutput_value wrong[] = { VALUE("x"), VALUE("9.90"), NOTHING };
	struct capture_change c = all[0];
	struct capture_message m;

	c.row = bad;
	is_number(make(&c, &m), DEFECT_COLUMN, "no UTF-8");
	is_text(m.why, "the column \"doc\" is not valid UTF-8", "the column is named");
	is_text(m.key, "public.orders/42", "the key is known");
	is_text(body_of(&m),
		"{\"op\":\"c\",\"table\":\"public.orders\",\"key\":{\"id\":42},\"row\":{\"id\":42,\"total\":\"9.90\","
		"\"doc\":\"\\\\xff\"}" AT,
		"and the rest is there");
	c.row = wrong;
	is_number(make(&c, &m), DEFECT_COLUMN, "no integer");
	is_text(m.why, "the column \"id\" holds nothing that its type writes", "the column is named");
	c.row = no_key;
	is_number(make(&c, &m), REASON_NONE, "no key");
	ok(m.key == NULL, "is no order");
	is_whole(&m);
	c.shape = &lines;
	c.row = bad_key;
	is_number(make(&c, &m), DEFECT_COLUMN, "a key that is no UTF-8");
	ok(m.key == NULL, "is no key for a dead letter");
}

static void shapes(void)
{
	static const struct capture_column other[] = {
		{ "doc", { 3802, 0, 0 }, -1, NULL, 0 },
		{ "total", { 1700, 0, 0 }, 655366, NULL, 0 },
		{ "id", { 23, 0, 0 }, -1, NULL, 1 },
	};
	struct capture_column mine[3];
	struct capture_shape s = { "public", "orders", other, 3, 1, NULL };
	struct capture_text said = { .bytes = NULL };

	capture_shape_write(&said, &orders);
	ok(capture_shape_same(&orders, said.bytes, said.count), "the same");
	ok(capture_shape_same(&s, said.bytes, said.count), "in another order");
	s.count = 2;
	ok(!capture_shape_same(&s, said.bytes, said.count), "one less");
	s.columns = mine;
	s.count = 3;
	for (int i = 0; i < 3; i++) {
		memcpy(mine, columns, sizeof mine);
		mine[1].name = i == 0 ? "sum" : "total";
		mine[1].type.oid = i == 1 ? 25 : 1700;
		mine[1].typmod = i == 2 ? -1 : 655366;
		ok(!capture_shape_same(&s, said.bytes, said.count), "another name, type or typmod");
	}
	ok(!capture_shape_same(&orders, NULL, 0) && !capture_shape_same(&orders, "{}", 2) &&
		   !capture_shape_same(&orders, "[", 1),
	   "nothing is known");
	capture_text_free(&said);
}

/* --- templates, names, emit() --- */

static struct capture_subject_value by_name(void *arg, const char *name, size_t n)
{
	const char *value = n == 1 && name[0] == 'e' ? "" : n == 1 && name[0] == 'n' ? NULL : arg;

	return (struct capture_subject_value){ value, value != NULL ? strlen(value) : 0 };
}

static void subjects(void)
{
	static const struct {
		const char *template, *value, *subject, *pattern;
		enum reason defect;
	} vectors[] = {
		{ "a.b", "x", "a.b", "a.b", REASON_NONE },
		{ "a.{x}", "b", "a.b", "a.*", REASON_NONE },
		{ "a.{x}-{y}.c", "b", "a.b-b.c", "a.*.c", REASON_NONE },
		{ "a.v{x}", "1", "a.v1", "a.*", REASON_NONE },
		{ "a.{x}", "b.c *>%\001\177", "a.b%2Ec%20%2A%3E%25%01%7F", "a.*", REASON_NONE },
		{ "a.{x}", "$SYS", "a.$SYS", "a.*", REASON_NONE },
		{ "a.{x>}", "b.c", "a.b.c", "a.>", REASON_NONE },
		{ "a.{x>}", "b c", "", "a.>", DEFECT_SUBJECT_CHARACTER },
		{ "a.{x>}", "b.>", "", "a.>", DEFECT_SUBJECT_WILDCARD },
		{ "a.{x>}", "b.", "", "a.>", DEFECT_SUBJECT_TOKEN },
		{ "a.{x>}", "b\377", "", "a.>", DEFECT_SUBJECT_UTF8 },
		{ "a.{e}", "", "", "a.*", DEFECT_SUBJECT_TOKEN },
		{ "a.b{e}", "", "", "a.*", DEFECT_SUBJECT_TOKEN },
		{ "a.{n}", "", "", "a.*", DEFECT_SUBJECT_NULL },
	};
	static const char *const wrong[] = { "",         "{x}",     "a.{x", "a.{",      "a.{}",   "a.x}",
					     "a.{x>}.b", "a.b{x>}", "a.*",  "a.>",      "a b",    "a..b",
					     ".a",       "a.",      "$a",   "_INBOX.a", "_INBOX", "a.{x{y}" };
	char subject[MESSAGE_SUBJECT_MAX_BYTES + 1], pattern[MESSAGE_SUBJECT_MAX_BYTES + 1], why[256], long_value[1100];

	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		char value[32];

		snprintf(value, sizeof value, "%s", vectors[i].value);
		ok(capture_subject_check(vectors[i].template, NULL, why, sizeof why), "%s", vectors[i].template);
		capture_subject_pattern(vectors[i].template, NULL, pattern);
		is_text(pattern, vectors[i].pattern, "its pattern");
		is_number(capture_subject_write(vectors[i].template, by_name, value, subject), vectors[i].defect,
			  "its verdict");
		if (vectors[i].defect != REASON_NONE)
			continue;
		is_text(subject, vectors[i].subject, "its subject");
		ok(message_subject_matches(pattern, subject), "the pattern takes it");
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		ok(!capture_subject_check(wrong[i], NULL, why, sizeof why), "no template: \"%s\": %s", wrong[i], why);
	memset(long_value, 'x', sizeof long_value);
	long_value[sizeof long_value - 1] = '\0';
	is_number(capture_subject_write("a.{x}", by_name, long_value, subject), DEFECT_SUBJECT_LONG, "a long value");
	capture_subject_pattern("a.{capture}.v{capture}.{x}{capture}", "shop", pattern);
	is_text(pattern, "a.shop.vshop.*", "the name of a capture is known");
	ok(capture_subject_names("a.{x}.{key>}", "key") && !capture_subject_names("a.key.{keys}", "key"), "its names");
}

static void names(void)
{
	static const struct {
		const char *text, *schema, *table;
	} good[] = { { "public.orders", "public", "orders" },
		     { "a.b_$1", "a", "b_$1" },
		     { "\"A b\".\"c\"\"d.e\"", "A b", "c\"d.e" },
		     { "\303\244.\303\266", "\303\244", "\303\266" } };
	static const char *const bad[] = {
		"",       "a",    "a.",   ".b",
		"a.b.c",  "A.b",  "a.1b", "\"a.b",
		"a.\"\"", "a .b", "a.b ", "a.123456789012345678901234567890123456789012345678901234567890abcd"
	};
	struct sql_name name;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		ok(sql_name_read(good[i].text, &name), "%s", good[i].text);
		is_text(name.schema, good[i].schema, "its schema");
		is_text(name.table, good[i].table, "its name");
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ok(!sql_name_read(bad[i], &name), "no name: \"%s\"", bad[i]);
}

#define HEAD(s, k, h) "\001\0\0\0" s "\0\0\0" k h
#define NO_HEADERS "\377\377\377\377"

static void emits(void)
{
	static const char whole[] = HEAD("\3", "\2", "\0\0\0\11") "a.bk1{\"x\":\"y\"}payload",
			  none[] = "\001\0\0\0\3\377\377\377\377" NO_HEADERS "a.b";
	static const struct {
		const char *bytes;
		size_t count;
		enum reason defect;
	} bad[] = {
		{ "", 0, DEFECT_EMITTED },
		{ none, 12, DEFECT_EMITTED },
		{ none, 15, DEFECT_EMITTED },
		{ "\002\0\0\0\3\377\377\377\377" NO_HEADERS "a.b", 16, DEFECT_EMITTED },
		{ "\001\0\0\0\4\377\377\377\377" NO_HEADERS "a.b", 16, DEFECT_EMITTED },
		{ "\001\377\377\377\377\377\377\377\377" NO_HEADERS "a.b", 16, DEFECT_SUBJECT_NULL },
		{ "\001\200\0\0\0\377\377\377\377" NO_HEADERS "a.b", 16, DEFECT_EMITTED },
		{ "\001\0\0\0\0\377\377\377\377" NO_HEADERS "a.b", 16, DEFECT_SUBJECT_EMPTY },
		{ "\001\0\0\0\3\377\377\377\377" NO_HEADERS "a b", 16, DEFECT_SUBJECT_CHARACTER },
		{ "\001\0\0\0\3\0\0\0\1" NO_HEADERS "a.b\377", 17, DEFECT_EMITTED },
		{ "\001\0\0\0\3\0\0\0\1" NO_HEADERS "a.b\0", 17, DEFECT_EMITTED },
		{ "\001\0\0\0\3\377\377\377\377\0\0\0\2a.b[]", 18, DEFECT_HEADERS_SHAPE },
	};
	struct emitted e;

	is_number(emitted_read(whole, sizeof whole - 1, &e), REASON_NONE, "what emit() writes");
	ok(e.subject_bytes == 3 && memcmp(e.subject, "a.b", 3) == 0 && e.key_bytes == 2 &&
		   memcmp(e.key, "k1", 2) == 0 && e.headers_bytes == 9 && e.payload_bytes == 7 &&
		   memcmp(e.payload, "payload", 7) == 0,
	   "its parts");
	is_number(emitted_read(none, sizeof none - 1, &e), REASON_NONE, "with a subject alone");
	ok(e.key == NULL && e.headers == NULL && e.payload_bytes == 0, "and nothing else");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		is_number(emitted_read(bad[i].bytes, bad[i].count, &e), bad[i].defect, "a content that is none");
}

/* --- logical messages --- */

static enum reason logical(const char *subject, const char *prefix, const void *content, size_t bytes,
			   struct capture_message *m)
{
	return logical_message_write(&w, &style, subject, &place, prefix, content, bytes, m);
}

static void logical_messages(void)
{
	static const char emitted[] =
		HEAD("\3", "\2", "\0\0\0\57") "a.bk1{\"x\":\"y\",\"Boxhaul-Position\":\"no\",\"ce-type\":\"t\"}payload";
	struct capture_message m;

	ok(logical_message_is_of("orders", "orders") && logical_message_is_of("orders/a/b", "orders") &&
		   !logical_message_is_of("ordersx", "orders") && !logical_message_is_of("order", "orders"),
	   "whose they are");
	ok(logical_message_is_of("boxhaul", "boxhaul") && !logical_message_is_of("boxhaul/x", "boxhaul") &&
		   !logical_message_is_of("boxhaul.chunk", "boxhaul"),
	   "what is emit()'s is that alone");
	is_number(logical("orders.{name}", "orders/paid/order-42/7", "\0\377", 2, &m), REASON_NONE, "a name and a key");
	is_text(m.subject, "orders.paid", "the subject");
	is_text(m.key, "order-42/7", "the key is all behind the name");
	is_text(header(&m, "Boxhaul-Key"), "order-42/7", "which is told");
	is_text(header(&m, "Boxhaul-Position"), "0/3B001260.849253375684112.3", "as is the place");
	ok(m.payload_bytes == 2 && memcmp(m.payload, "\0\377", 2) == 0, "the content is as it is");
	is_number(logical("orders.{prefix}.{name>}", "orders/paid.late", "x", 1, &m), REASON_NONE, "without a key");
	is_text(m.subject, "orders.orders.paid.late", "the subject has as many tokens");
	ok(m.key == NULL && header(&m, "Boxhaul-Key") == NULL, "there is none");
	is_number(logical("orders.{name}", "orders", "x", 1, &m), DEFECT_SUBJECT_NULL, "without a name");
	is_text(m.subject, "", "there is no subject");
	is_number(logical("orders.{name}", "orders/", "x", 1, &m), DEFECT_SUBJECT_TOKEN, "with an empty one");
	is_number(logical("orders.{key}", "orders/a/\377", "x", 1, &m), REASON_NONE, "a key that is no UTF-8");
	ok(m.key == NULL, "is none");
	is_number(logical("a.>", "boxhaul", emitted, sizeof emitted - 1, &m), REASON_NONE, "what emit() wrote");
	is_text(m.subject, "a.b", "has its own subject");
	is_text(m.key, "k1", "its key");
	is_text(header(&m, "x"), "y", "its headers");
	is_text(header(&m, "ce-type"), "t", "as they are");
	is_text(header(&m, "Boxhaul-Position"), "0/3B001260.849253375684112.3", "but not ours");
	ok(m.payload_bytes == 7 && memcmp(m.payload, "payload", 7) == 0, "and its payload");
	style.format = CAPTURE_FORMAT_CLOUDEVENTS;
	is_number(logical("a.>", "boxhaul", emitted, sizeof emitted - 1, &m), REASON_NONE, "as an event");
	is_text(header(&m, "ce-type"), "t", "it has the type that it says");
	is_text(header(&m, "ce-id"), m.id, "and an id");
	style.format = CAPTURE_FORMAT_ROW;
	is_number(logical("b.>", "boxhaul", emitted, sizeof emitted - 1, &m), DEFECT_EMITTED,
		  "a subject that is not configured");
	is_text(m.why, "messages.subject = \"b.>\" does not take its subject", "is told");
	is_number(logical("a.>", "boxhaul", "x", 1, &m), DEFECT_EMITTED, "no content of emit()");
	ok(m.payload_bytes == 1, "is kept as it is");
}

/* --- outbox tables --- */

#define TEXT_COLUMN(n)                       \
	{                                    \
		n, { 25, 0, 0 }, -1, NULL, 0 \
	}
#define JSON_COLUMN(n)                         \
	{                                      \
		n, { 3802, 0, 0 }, -1, NULL, 0 \
	}
#define BYTEA_COLUMN(n)                      \
	{                                    \
		n, { 17, 0, 0 }, -1, NULL, 0 \
	}
#define SHAPE(c)                                                         \
	{                                                                \
		"public", "outbox", c, sizeof(c) / sizeof(c)[0], 0, NULL \
	}

static enum reason outbox(const struct outbox_mapping *mapping, const struct capture_shape *shape,
			  const struct pgoutput_value *values, struct capture_message *m)
{
	char why[256] = "";

	ok(outbox_row_fits(mapping, outbox_mapping_subject(mapping->preset), shape, why, sizeof why), "it fits: %s",
	   why);
	return outbox_row_write(&w, &style, mapping, outbox_mapping_subject(mapping->preset), shape, values, &place, m);
}

static void debezium_outbox(void)
{
	static const struct capture_column c[] = { TEXT_COLUMN("id"), TEXT_COLUMN("aggregatetype"),
						   TEXT_COLUMN("aggregateid"), TEXT_COLUMN("type"),
						   JSON_COLUMN("payload") };
	static const struct capture_shape shape = SHAPE(c);
	struct pgoutput_value v[] = { VALUE("AAAAAAAA-1111-2222-3333-444444444444"), VALUE("order"), VALUE("42"),
				      VALUE("OrderPaid"), VALUE("{\"a\": 1}") };
	struct outbox_mapping mapping = { .preset = OUTBOX_PRESET_DEBEZIUM };
	struct capture_message m;

	is_number(outbox(&mapping, &shape, v, &m), REASON_NONE, "a row of Debezium's");
	is_text(m.id, "aaaaaaaa-1111-2222-3333-444444444444", "its id");
	is_text(m.subject, "outbox.event.order", "its subject");
	is_text(m.key, "42", "its key");
	is_text(header(&m, "type"), "OrderPaid", "its type");
	is_text(body_of(&m), "{\"a\": 1}", "its payload");
	v[4].kind = PGOUTPUT_NULL;
	is_number(outbox(&mapping, &shape, v, &m), DEFECT_PAYLOAD_NULL, "no payload");
	is_text(m.subject, "outbox.event.order", "but the rest");
	v[1] = (struct pgoutput_value)VALUE("order.");
	is_number(outbox(&mapping, &shape, v, &m), DEFECT_SUBJECT_TOKEN, "no subject");
}

static void pg_transactional_outbox(void)
{
	static const struct capture_column c[] = { TEXT_COLUMN("id"),           TEXT_COLUMN("aggregate_type"),
						   TEXT_COLUMN("aggregate_id"), TEXT_COLUMN("message_type"),
						   TEXT_COLUMN("segment"),      TEXT_COLUMN("concurrency"),
						   JSON_COLUMN("payload"),      JSON_COLUMN("metadata") };
	static const struct capture_shape shape = SHAPE(c);
	struct pgoutput_value v[] = { VALUE("no uuid"), VALUE("movie"),      VALUE("m1"), VALUE("movie.created"),
				      NOTHING,          VALUE("sequential"), VALUE("1"),  VALUE("{\"a\": 1}") };
	struct outbox_mapping mapping = { .preset = OUTBOX_PRESET_PG_TRANSACTIONAL_OUTBOX };
	struct capture_message m;

	is_number(outbox(&mapping, &shape, v, &m), REASON_NONE, "a row of pg-transactional-outbox");
	is_text(m.id, "7800b518-087e-84fe-abb0-1d788af1b2a4", "what is no uuid is no id");
	is_text(m.subject, "outbox.movie.movie%2Ecreated", "its subject");
	is_text(m.key, "m1", "without a segment the aggregate is the key");
	is_text(header(&m, "metadata"), "{\"a\": 1}", "the metadata");
	v[4] = (struct pgoutput_value)VALUE("s");
	outbox(&mapping, &shape, v, &m);
	is_text(m.key, "s", "or the segment");
	v[5] = (struct pgoutput_value)VALUE("parallel");
	outbox(&mapping, &shape, v, &m);
	ok(m.key == NULL, "or nothing");
	mapping.key = (char[]){ "aggregate_id" };
	outbox(&mapping, &shape, v, &m);
	is_text(m.key, "m1", "or what the configuration says");
}

static void go_outbox(void)
{
	static const struct capture_column c[] = { TEXT_COLUMN("id"), TEXT_COLUMN("topic"), BYTEA_COLUMN("payload"),
						   JSON_COLUMN("headers"), JSON_COLUMN("target") };
	static const struct capture_shape shape = SHAPE(c);
	struct pgoutput_value v[] = { VALUE("11111111-1111-2222-3333-444444444444"), VALUE("account.debited"),
				      VALUE("\\x00ff"),
				      VALUE("{\"traceparent\":\"00-1\",\"n\":1,\"x\":null,\"o\":{\"a\":[1]}}"),
				      VALUE("{\"key\":\"42\"}") };
	struct outbox_mapping mapping = { .preset = OUTBOX_PRESET_GO_OUTBOX };
	struct capture_message m;

	is_number(outbox(&mapping, &shape, v, &m), REASON_NONE, "a row of go-outbox");
	is_text(m.subject, "outbox.account.debited", "its subject");
	is_text(m.key, "42", "its key");
	ok(m.payload_bytes == 2 && memcmp(m.payload, "\0\377", 2) == 0, "its bytes");
	is_text(header(&m, "traceparent"), "00-1", "its headers");
	is_text(header(&m, "n"), "1", "numbers are texts");
	is_text(header(&m, "o"), "{\"a\":[1]}", "as is the rest");
	ok(header(&m, "x") == NULL, "null is none");
	v[4] = (struct pgoutput_value)VALUE("{\"key\":7}");
	outbox(&mapping, &shape, v, &m);
	is_text(m.key, "7", "a key that is a number");
	v[4].kind = PGOUTPUT_NULL;
	is_number(outbox(&mapping, &shape, v, &m), REASON_NONE, "no target");
	ok(m.key == NULL, "is no key");
	v[2] = (struct pgoutput_value)VALUE("\\000");
	is_number(outbox(&mapping, &shape, v, &m), DEFECT_COLUMN, "no hexadecimal");
	is_text(m.why, "the column \"payload\" is no bytea in hexadecimal", "is told");
	v[2] = (struct pgoutput_value)VALUE("\\x");
	v[3] = (struct pgoutput_value)VALUE("[1]");
	is_number(outbox(&mapping, &shape, v, &m), DEFECT_HEADERS_SHAPE, "headers that are a list");
	v[3] = (struct pgoutput_value)VALUE("{\"Nats-Msg-Id\":\"x\"}");
	is_number(outbox(&mapping, &shape, v, &m), DEFECT_HEADER_RESERVED, "or reserved");
}

static void other_outboxes(void)
{
	static const struct capture_column water[] = { TEXT_COLUMN("offset"), TEXT_COLUMN("uuid"),
						       JSON_COLUMN("payload"), JSON_COLUMN("metadata") },
					   mass[] = { TEXT_COLUMN("message_id"), TEXT_COLUMN("MessageType"),
						      TEXT_COLUMN("body"), TEXT_COLUMN("ContentType"),
						      TEXT_COLUMN("correlation_id") };
	static const struct capture_shape watermill = SHAPE(water), masstransit = SHAPE(mass);
	static const struct pgoutput_value v[] = { VALUE("1"), VALUE("11111111-1111-2222-3333-444444444444"),
						   VALUE("{}"), VALUE("{\"a\":\"b\"}") },
					   x[] = { VALUE("11111111-1111-2222-3333-444444444444"),
						   VALUE("urn:message:Shop.Contracts:OrderPaid;urn:message:X:Y"),
						   VALUE("{}"), VALUE("application/vnd.masstransit+json"), NOTHING };
	struct outbox_mapping mapping = { .preset = OUTBOX_PRESET_WATERMILL },
			      own = { .payload = (char[]){ "payload" }, .key = (char[]){ "uuid" } };
	char *columns_of[] = { (char[]){ "offset" } };
	struct capture_message m;
	char why[256];

	is_number(outbox(&mapping, &watermill, v, &m), REASON_NONE, "a row of Watermill");
	is_text(m.id, "11111111-1111-2222-3333-444444444444", "its id");
	is_text(m.subject, "outbox.outbox", "its table");
	is_text(header(&m, "a"), "b", "its metadata");
	ok(m.key == NULL, "no key");
	mapping.preset = OUTBOX_PRESET_MASSTRANSIT;
	is_number(outbox(&mapping, &masstransit, x, &m), REASON_NONE, "a row of MassTransit");
	is_text(m.subject, "outbox.Shop.Contracts.OrderPaid", "the first of its types");
	is_text(header(&m, "Content-Type"), "application/vnd.masstransit+json", "its content type");
	own.header_columns = columns_of;
	own.header_column_count = 1;
	is_number(outbox_row_write(&w, &style, &own, "a.{offset}", &watermill, v, &place, &m), REASON_NONE,
		  "one of nobody's");
	is_text(m.subject, "a.1", "its subject");
	is_text(m.key, "11111111-1111-2222-3333-444444444444", "its key");
	is_text(m.id, "7800b518-087e-84fe-abb0-1d788af1b2a4", "an id of ours");
	is_text(header(&m, "offset"), "1", "a column as a header");
	ok(!outbox_row_fits(&own, "a.{nothing}", &watermill, why, sizeof why), "a subject of no column");
	is_text(why, "the table public.outbox has no column \"nothing\"", "is told");
	mapping.preset = OUTBOX_PRESET_DEBEZIUM;
	ok(!outbox_row_fits(&mapping, "a", &watermill, why, sizeof why), "another library's table");
	is_text(why, "the table public.outbox has no column \"id\"", "is told");
}

static void together(void)
{
	struct capture_text body = { .bytes = NULL };
	struct capture_change one = { .op = CAPTURE_OP_READ,
				      .shape = &orders,
				      .row = row,
				      .snapshot = snapshot,
				      .reading = 1,
				      .place = { .system = 7000000000000000001 } },
			      two = one;
	static const char want[] =
		"{\"op\":\"r\",\"table\":\"public.orders\",\"rows\":[{\"id\":\"42\",\"total\":\"9.90\",\"doc\":\"{\\\"a\\\": 1.0}\"},{}],"
		"\"snapshot\":\"8d3c0f8e-0000-4000-8000-000000000001\"}";
	struct capture_message m;
	char alone[UUID_CHARACTERS + 1];

	style.format = CAPTURE_FORMAT_TEXT;
	is_number(capture_event_write(&w, &style, &one, &m), REASON_NONE, "a row that was there");
	memcpy(alone, m.id, sizeof alone);
	ok(w.part_bytes > 0 && memcmp((const char *)m.payload + w.part_at, "{\"id\":\"42\"", 10) == 0,
	   "it is known where the row stands");
	capture_text_put(&body, (const char *)m.payload + w.part_at, w.part_bytes);
	capture_text_say(&body, ",{}");
	two.row = NULL;
	two.body = &body;
	two.id = "w42";
	two.id_bytes = 3;
	is_number(capture_event_write(&w, &style, &two, &m), REASON_NONE, "several in one message");
	ok(m.payload_bytes == strlen(want) && memcmp(m.payload, want, m.payload_bytes) == 0,
	   "each stands there as it does alone");
	ok(strcmp(alone, m.id) != 0 && m.key == NULL, "it has an id of its own, and no key");
	style.subject = "cdc.{key}";
	is_number(capture_event_write(&w, &style, &two, &m), DEFECT_SUBJECT_NULL, "no subject is that of several rows");
	style.subject = "cdc.{capture}.{schema}.{table}";
	style.format = CAPTURE_FORMAT_ROW;
	capture_text_free(&body);
}

int main(void)
{
	rows();
	table_texts();
	members();
	debezium();
	headers();
	keys();
	identities();
	controls();
	buckets();
	defects();
	shapes();
	subjects();
	names();
	emits();
	logical_messages();
	debezium_outbox();
	pg_transactional_outbox();
	go_outbox();
	other_outboxes();
	together();
	capture_message_free(&w);
	return done_testing();
}
