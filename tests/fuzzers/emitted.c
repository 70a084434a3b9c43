/* Any bytes as a logical message: as the content of boxhaul.emit(), as a prefix, as a row of an outbox table. What is made can be sent, and what is read lies in the content. */
#include "format/emitted.h"

#include "format/logical_message.h"
#include "format/outbox_row.h"
#include "fuzz.h"

static const struct capture_place place = { .system = 1, .commit_lsn = 2, .commit_us = 3, .xid = 4, .index = 5 };

static bool lies_in(const void *part, size_t n, const void *whole, size_t bytes)
{
	uintptr_t p = (uintptr_t)part, w = (uintptr_t)whole;

	return part == NULL ? n == 0 : p >= w && n <= bytes && p - w <= bytes - n;
}

static void check_content(const void *content, size_t bytes)
{
	struct emitted e;

	if (emitted_read(content, bytes, &e) != REASON_NONE)
		return;
	promise(lies_in(e.subject, e.subject_bytes, content, bytes) && lies_in(e.key, e.key_bytes, content, bytes) &&
			lies_in(e.headers, e.headers_bytes, content, bytes) &&
			lies_in(e.payload, e.payload_bytes, content, bytes),
		"beyond the content");
	promise(13 + e.subject_bytes + e.key_bytes + e.headers_bytes + e.payload_bytes == bytes, "not all of it");
	promise(message_check_subject(e.subject, e.subject_bytes) == REASON_NONE, "the subject");
	promise(e.key == NULL || (is_utf8(e.key, e.key_bytes) && memchr(e.key, '\0', e.key_bytes) == NULL), "the key");
}

static void check_message(enum reason defect, const struct capture_message *m)
{
	const char *at = m->headers;

	promise(defect != REASON_NO_MEMORY, "no memory");
	promise(strlen(m->id) == 36, "no id: %s", m->id);
	promise(m->key == NULL || is_utf8(m->key, strlen(m->key)), "no key");
	promise(m->why == NULL || is_utf8(m->why, strlen(m->why)), "no words");
	for (size_t i = 0; i < m->header_count && defect == REASON_NONE; i++) {
		const char *value = at + strlen(at) + 1;

		promise(message_check_header(at, strlen(at), value, strlen(value)) == REASON_NONE, "the header %s: %s",
			at, value);
		at = value + strlen(value) + 1;
	}
	if (defect == REASON_NONE)
		promise(message_check_subject(m->subject, strlen(m->subject)) == REASON_NONE, "the subject %s",
			m->subject);
}

static void check_logical(struct capture_writer *w, const struct capture_style *style, const char *prefix,
			  const char *content, size_t bytes)
{
	struct capture_message m;
	enum reason defect;

	if (logical_message_is_of(prefix, "orders"))
		promise(strncmp(prefix, "orders", 6) == 0, "whose is %s", prefix);
	defect = logical_message_write(w, style, "a.{name>}", &place, prefix, content, bytes, &m);
	check_message(defect, &m);
	if (strcmp(prefix, EMITTED_PREFIX) != 0)
		promise(m.payload_bytes == bytes && memcmp(m.payload, content, bytes) == 0, "another payload");
	defect = logical_message_write(w, style, "a.>", &place, EMITTED_PREFIX, content, bytes, &m);
	check_message(defect, &m);
	promise(defect != REASON_NONE || strncmp(m.subject, "a.", 2) == 0, "the subject %s is not of the pattern",
		m.subject);
}

static void check_row(struct capture_writer *w, const struct capture_style *style, struct input *in)
{
	static const struct capture_column columns[] = {
		{ "id", { 25, 0, 0 }, -1, NULL, 0 },          { "type", { 25, 0, 0 }, -1, NULL, 0 },
		{ "aggregateid", { 25, 0, 0 }, -1, NULL, 0 }, { "payload", { 17, 0, 0 }, -1, NULL, 0 },
		{ "headers", { 3802, 0, 0 }, -1, NULL, 0 },   { "target", { 3802, 0, 0 }, -1, NULL, 0 },
		{ "MessageType", { 25, 0, 0 }, -1, NULL, 0 }, { "aggregatetype", { 25, 0, 0 }, -1, NULL, 0 },
		{ "topic", { 25, 0, 0 }, -1, NULL, 0 },       { "body", { 25, 0, 0 }, -1, NULL, 0 },
	};
	enum { COUNT = sizeof columns / sizeof columns[0] };
	static const struct capture_shape shape = { "public", "outbox", columns, COUNT, 0, NULL };
	struct pgoutput_value v[COUNT];
	struct capture_message m;

	for (size_t i = 0; i < COUNT; i++) {
		v[i] = (struct pgoutput_value){ .kind = take_byte(in) % 4 == 0 ? PGOUTPUT_NULL : PGOUTPUT_TEXT };
		if (v[i].kind == PGOUTPUT_TEXT)
			v[i].text = take_text(in, '\n', &v[i].bytes);
	}
	for (enum outbox_preset p = OUTBOX_PRESET_DEBEZIUM; p <= OUTBOX_PRESET_MASSTRANSIT; p++) {
		struct outbox_mapping mapping = { .preset = p };

		check_message(outbox_row_write(w, style, &mapping, outbox_mapping_subject(p), &shape, v, &place, &m),
			      &m);
	}
	for (size_t i = 0; i < COUNT; i++)
		free((char *)(uintptr_t)v[i].text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct capture_writer w;
	struct capture_style style = { .capture = "c", .database = "d", .event_source = "/s" };
	struct input in = { data, size }, again;
	char *prefix, *content;
	size_t bytes;

	check_content(data, size);
	style.format = take_byte(&in) % 2 == 0 ? CAPTURE_FORMAT_ROW : CAPTURE_FORMAT_CLOUDEVENTS;
	again = in;
	prefix = take_text(&in, '\n', NULL);
	bytes = in.left;
	content = take_rest(&in);
	check_logical(&w, &style, prefix, content, bytes);
	check_row(&w, &style, &again);
	free(prefix);
	free(content);
	return 0;
}
