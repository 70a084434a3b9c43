/* Any bytes as a change of a captured table, in every format. What is made can be sent: JSON, headers and a subject that hold; a value that was not sent is nowhere, and
 * the same change is the same message. */
#include "format/capture_event.h"
#include <strings.h>

#include "fuzz.h"

enum { COLUMNS = 4 };

static const uint32_t oids[] = { 16, 17, 20, 23, 25, 114, 701, 1007, 1009, 1184, 1700, 2950, 16999 };

static const char *const templates[] = { "cdc.{capture}.{schema}.{table}", "cdc.{table}.{op}.{key}", "cdc.{a}",
					 "cdc.{b>}" };

static void take_value(struct input *in, struct pgoutput_value *v)
{
	unsigned kind = take_byte(in) % 4;

	*v = (struct pgoutput_value){ .kind = kind == 0   ? PGOUTPUT_NULL
					      : kind == 1 ? PGOUTPUT_UNCHANGED
							  : PGOUTPUT_TEXT };
	if (v->kind == PGOUTPUT_TEXT)
		v->text = take_text(in, '\n', &v->bytes);
}

/* Names are those of a catalogue, not empty and without NUL; whoever reads them has made sure of that. */
static char *take_name(struct input *in)
{
	char *name = take_text(in, '\n', NULL);

	if (strlen(name) > 63)
		name[63] = '\0';
	if (name[0] != '\0')
		return name;
	free(name);
	return strdup("x");
}

static void check_headers(const struct capture_message *m)
{
	const char *at = m->headers, *end = at + m->headers_bytes;
	size_t bytes = strlen("Boxhaul-Last: 1\r\n") + m->payload_bytes;

	for (size_t i = 0; i < m->header_count; i++) {
		const char *value = at + strlen(at) + 1;

		promise(value + strlen(value) < end, "a header beyond the end");
		promise(message_check_header(strncasecmp(at, "nats-", 5) == 0 ? "x" : at, strlen(at), value,
					     strlen(value)) == REASON_NONE,
			"the header %s: %s", at, value);
		bytes += strlen(at) + strlen(value) + 4;
		at = value + strlen(value) + 1;
	}
	promise(at == end, "more headers than are told");
	promise(bytes == m->wire_bytes, "%zu bytes, not %zu", bytes, m->wire_bytes);
}

/* The member of the row is there if its value was sent or stands in the old row. */
static void check_row(const json_t *row, const json_t *unchanged, const struct capture_change *c)
{
	for (size_t i = 0; i < c->shape->count; i++) {
		const struct pgoutput_value *old = c->old != NULL ? &c->old[i] : NULL;
		bool known = c->row[i].kind != PGOUTPUT_UNCHANGED ||
			     (old != NULL &&
			      (old->kind == PGOUTPUT_TEXT || (old->kind == PGOUTPUT_NULL && c->old_is_whole)));
		bool null = c->row[i].kind == PGOUTPUT_NULL ||
			    (c->row[i].kind == PGOUTPUT_UNCHANGED && known && old->kind == PGOUTPUT_NULL);
		json_t *value = json_object_get(row, c->shape->columns[i].name), *name;
		bool named = false;
		size_t k;

		json_array_foreach (unchanged, k, name)
			named |= strcmp(json_string_value(name), c->shape->columns[i].name) == 0;
		promise((value != NULL) == known, "column %zu is %s", i, known ? "not there" : "there");
		promise(named == !known, "column %zu is %s unchanged", i, named ? "called" : "not called");
		if (null)
			promise(json_is_null(value), "column %zu is not null", i);
	}
}

static void check_body(const struct capture_style *style, const struct capture_change *c,
		       const struct capture_message *m, bool distinct)
{
	json_t *body = json_loadb(m->payload, m->payload_bytes, JSON_ALLOW_NUL, NULL);

	/* What a json column holds was checked by the server, and is not here. */
	if (body == NULL && style->format != CAPTURE_FORMAT_TEXT) {
		for (size_t i = 0; i < c->shape->count; i++)
			if (c->shape->columns[i].type.oid == 114 || c->shape->columns[i].type.oid == 701)
				return;
	}
	promise(body != NULL, "no JSON: %.*s", (int)m->payload_bytes, (const char *)m->payload);
	if (distinct && style->format != CAPTURE_FORMAT_DEBEZIUM && c->row != NULL &&
	    (c->op == CAPTURE_OP_INSERT || c->op == CAPTURE_OP_UPDATE || c->op == CAPTURE_OP_READ))
		check_row(json_object_get(body, "row"), json_object_get(body, "unchanged"), c);
	json_decref(body);
}

static void check_change(struct capture_writer *w, const struct capture_style *style, const struct capture_change *c,
			 bool distinct)
{
	struct capture_message m;
	enum reason defect = capture_event_write(w, style, c, &m);
	char id[sizeof m.id];

	promise(defect != REASON_NO_MEMORY, "no memory");
	promise(m.id[14] == '8' && strlen(m.id) == 36, "no id: %s", m.id);
	check_headers(&m);
	if (m.key != NULL)
		promise(is_utf8(m.key, strlen(m.key)), "no key");
	if (defect == REASON_NONE && style->target == CAPTURE_TARGET_STREAM)
		promise(message_check_subject(m.subject, strlen(m.subject)) == REASON_NONE, "the subject %s",
			m.subject);
	if (defect == REASON_NONE && style->target == CAPTURE_TARGET_KV)
		promise(strncmp(m.subject, "$KV.b.", 6) == 0 &&
				m.subject[strspn(
					m.subject,
					"$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_=.")] ==
					'\0' &&
				strstr(m.subject, "..") == NULL && m.subject[strlen(m.subject) - 1] != '.',
			"the key %s", m.subject);
	if (style->target == CAPTURE_TARGET_STREAM)
		check_body(style, c, &m, distinct);
	if (m.why != NULL)
		promise(is_utf8(m.why, strlen(m.why)) && strchr(m.why, '\n') == NULL, "no line: %s", m.why);
	snprintf(id, sizeof id, "%s", m.id);
	promise(capture_event_write(w, style, c, &m) == defect && strcmp(id, m.id) == 0, "another message");
}

static bool are_distinct(const struct capture_column *columns)
{
	for (size_t i = 0; i < COLUMNS; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(columns[i].name, columns[k].name) == 0)
				return false;
	for (size_t i = 0; i < COLUMNS; i++)
		if (!is_utf8(columns[i].name, strlen(columns[i].name)))
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct capture_writer w;
	struct input in = { data, size };
	unsigned what = take_byte(&in), keys = take_byte(&in), types = take_byte(&in), op = take_byte(&in) % 8;
	struct capture_column columns[COLUMNS];
	struct pgoutput_value row[COLUMNS], old[COLUMNS];
	struct capture_shape shape = { .columns = columns, .count = COLUMNS };
	struct capture_style style = { .capture = "c",
				       .database = "d",
				       .event_source = "/s",
				       .bucket = "b",
				       .subject = templates[what % 4],
				       .int8 = what >> 2 & 1,
				       .system = 7 };
	struct capture_change c = {
		.op = (enum capture_op)op,
		.shape = &shape,
		.place = { .system = 7, .commit_lsn = op == CAPTURE_OP_READ ? 0 : take_byte(&in), .index = what },
		.old_is_whole = (what & 8) != 0
	};
	char *schema = take_name(&in), *table = take_name(&in), *names[COLUMNS];
	uint16_t *members;

	shape.schema = schema;
	shape.table = table;
	for (size_t i = 0; i < COLUMNS; i++) {
		names[i] = take_name(&in);
		columns[i] = (struct capture_column){
			.name = names[i],
			.type = { .oid = oids[(types + i * 5) % (sizeof oids / sizeof oids[0])] },
			.typmod = -1
		};
		if (keys >> i & 1)
			columns[i].key = ++shape.key_count;
		take_value(&in, &row[i]);
		take_value(&in, &old[i]);
	}
	shape.members = members = capture_shape_members(&shape);
	if (op != CAPTURE_OP_DELETE && op < CAPTURE_OP_TRUNCATE)
		c.row = row;
	if (what & 16 || op == CAPTURE_OP_DELETE)
		c.old = old;
	if (op == CAPTURE_OP_READ || op > CAPTURE_OP_SHAPE)
		c.snapshot = "8d3c0f8e-0000-4000-8000-000000000001";
	for (style.format = CAPTURE_FORMAT_ROW; style.format <= CAPTURE_FORMAT_CLOUDEVENTS; style.format++)
		check_change(&w, &style, &c, are_distinct(columns));
	style.format = CAPTURE_FORMAT_ROW;
	style.target = CAPTURE_TARGET_KV;
	check_change(&w, &style, &c, false);
	for (size_t i = 0; i < COLUMNS; i++) {
		free(names[i]);
		free((char *)(uintptr_t)row[i].text);
		free((char *)(uintptr_t)old[i].text);
	}
	free(members);
	free(schema);
	free(table);
	return 0;
}
