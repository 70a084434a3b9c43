/* The bodies of changes. */
#include "format/capture_body.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "format/envelope.h"

enum { SECONDS_1970_TO_2000 = 946684800 };

/* --- values --- */

const struct pgoutput_value *capture_body_value(const struct capture_change *c, size_t i)
{
	const struct pgoutput_value *row = c->row != NULL ? &c->row[i] : NULL,
				    *old = c->old != NULL ? &c->old[i] : NULL;
	static const struct pgoutput_value nothing = { .kind = PGOUTPUT_UNCHANGED };

	if (row != NULL && row->kind != PGOUTPUT_UNCHANGED)
		return row;
	if (old != NULL && old->kind == PGOUTPUT_TEXT)
		return old;
	/* A null of an identity alone is no null: it was not sent. */
	if (old != NULL && old->kind == PGOUTPUT_NULL && c->old_is_whole)
		return old;
	return row != NULL ? row : &nothing;
}

struct body {
	struct capture_writer *w;
	struct capture_text *out;
	const struct capture_style *style;
	const struct capture_change *c;
	enum reason defect;
};

/* The first one counts: what it is about, and what is wrong with it. */
static void tell_defect(struct body *b, enum reason defect, const char *what, const char *name, const char *why)
{
	char shown[128];

	if (b->defect != REASON_NONE)
		return;
	b->defect = defect;
	snprintf(b->w->why, sizeof b->w->why, "%s \"%s\" %s", what, utf8_line(name, shown, sizeof shown), why);
}

static void put_value(struct body *b, size_t i, const struct pgoutput_value *v)
{
	const struct capture_column *column = &b->c->shape->columns[i];
	static const struct capture_type text = { .oid = 25 };
	enum reason defect;

	if (v->kind != PGOUTPUT_TEXT) {
		capture_text_say(b->out, "null");
		return;
	}
	defect = capture_value_write(b->out, b->style->format == CAPTURE_FORMAT_TEXT ? &text : &column->type,
				     b->style->int8, v->text, v->bytes);
	if (defect != REASON_NONE)
		tell_defect(b, defect, "the column", column->name,
			    utf8_valid(v->text, v->bytes) ? "holds nothing that its type writes"
							  : "is not valid UTF-8");
}

static void put_member(struct body *b, bool *first, size_t i, const struct pgoutput_value *v)
{
	const char *name = b->c->shape->columns[i].name;

	capture_text_say(b->out, *first ? "" : ",");
	*first = false;
	capture_text_json_lossy(b->out, name, strlen(name));
	capture_text_char(b->out, ':');
	put_value(b, i, v);
}

/* --- objects --- */

/* The column that is this one of the members. As text a row is for those who make jsonb of it. */
static size_t member(const struct body *b, size_t nth)
{
	const uint16_t *members = b->style->format == CAPTURE_FORMAT_TEXT ? b->c->shape->members : NULL;

	return members != NULL ? members[nth] : nth;
}

/* As it is now. A value that was not sent is in no row: null would be another value. */
static void put_row(struct body *b)
{
	bool first = true;

	capture_text_char(b->out, '{');
	for (size_t nth = 0; nth < b->c->shape->count; nth++) {
		size_t i = member(b, nth);
		const struct pgoutput_value *v = capture_body_value(b->c, i);

		if (v->kind != PGOUTPUT_UNCHANGED)
			put_member(b, &first, i, v);
	}
	capture_text_char(b->out, '}');
}

/* As it was, as far as is known. */
static void put_old(struct body *b)
{
	bool first = true;

	capture_text_char(b->out, '{');
	for (size_t nth = 0; nth < b->c->shape->count; nth++) {
		size_t i = member(b, nth);
		const struct pgoutput_value *v = &b->c->old[i];

		if (v->kind == PGOUTPUT_TEXT || (v->kind == PGOUTPUT_NULL && b->c->old_is_whole))
			put_member(b, &first, i, v);
	}
	capture_text_char(b->out, '}');
}

static bool has_row(const struct capture_change *c)
{
	return c->row != NULL && (c->op == CAPTURE_OP_INSERT || c->op == CAPTURE_OP_UPDATE || c->op == CAPTURE_OP_READ);
}

static bool has_old(const struct capture_change *c)
{
	return c->old != NULL && (c->op == CAPTURE_OP_UPDATE || c->op == CAPTURE_OP_DELETE);
}

static void put_key(struct body *b)
{
	const struct capture_shape *shape = b->c->shape;
	bool first = true;

	if (shape->key_count == 0 || b->c->op >= CAPTURE_OP_TRUNCATE || b->c->body != NULL)
		return;
	capture_text_say(b->out, ",\"key\":{");
	for (uint16_t part = 1; part <= shape->key_count; part++) {
		size_t i = capture_shape_key(shape, part);

		if (i < shape->count && capture_body_value(b->c, i)->kind == PGOUTPUT_TEXT)
			put_member(b, &first, i, capture_body_value(b->c, i));
	}
	capture_text_char(b->out, '}');
}

static void put_unchanged(struct body *b)
{
	bool first = true;

	for (size_t i = 0; has_row(b->c) && i < b->c->shape->count; i++) {
		const char *name = b->c->shape->columns[i].name;

		if (capture_body_value(b->c, i)->kind != PGOUTPUT_UNCHANGED)
			continue;
		capture_text_say(b->out, first ? ",\"unchanged\":[" : ",");
		capture_text_json_lossy(b->out, name, strlen(name));
		first = false;
	}
	if (!first)
		capture_text_char(b->out, ']');
}

static void put_text(struct body *b, const char *member, const char *text)
{
	capture_text_say(b->out, member);
	capture_text_json_lossy(b->out, text, strlen(text));
}

/* --- row, text, cloudevents --- */

static void put_table(struct body *b)
{
	char table[2 * 64 + 2];

	snprintf(table, sizeof table, "%s.%s", b->c->shape->schema, b->c->shape->table);
	put_text(b, ",\"table\":", table);
}

/* Whoever makes tables of it has to know whether that can be done. */
static const char *const formats[] = {
	[CAPTURE_FORMAT_ROW] = "row",
	[CAPTURE_FORMAT_TEXT] = "text",
	[CAPTURE_FORMAT_DEBEZIUM] = "debezium",
	[CAPTURE_FORMAT_CLOUDEVENTS] = "cloudevents",
};

/* From there to the end. */
static void set_part(struct body *b, size_t at)
{
	b->w->part_at = at;
	b->w->part_bytes = b->out->count - at;
}

/* All that is said of the row. Of a READ the row alone may stand in a list. */
static void put_change(struct body *b)
{
	const struct capture_change *c = b->c;
	size_t change = b->out->count, row;

	put_key(b);
	if (has_row(c)) {
		capture_text_say(b->out, ",\"row\":");
		row = b->out->count;
		put_row(b);
		if (c->op == CAPTURE_OP_READ)
			set_part(b, row);
	}
	if (has_old(c)) {
		capture_text_say(b->out, ",\"old\":");
		put_old(b);
	}
	put_unchanged(b);
	if (c->op < CAPTURE_OP_READ)
		set_part(b, change);
}

static void put_list(struct body *b)
{
	capture_text_say(b->out, b->c->op == CAPTURE_OP_READ ? ",\"rows\":[" : ",\"changes\":[");
	capture_text_put(b->out, b->c->body->bytes, b->c->body->count);
	capture_text_char(b->out, ']');
}

static void write_plain(struct body *b, const char *op)
{
	const struct capture_change *c = b->c;
	char time[ENVELOPE_TIME_BYTES];

	put_text(b, "{\"op\":", op);
	put_table(b);
	if (c->body != NULL)
		put_list(b);
	else if (c->part != NULL)
		capture_text_put(b->out, c->part, c->part_bytes);
	else
		put_change(b);
	if (c->op == CAPTURE_OP_SHAPE || (c->op == CAPTURE_OP_SNAPSHOT_BEGIN && c->shape->count > 0)) {
		capture_text_say(b->out, ",\"columns\":");
		capture_shape_write(b->out, c->shape);
		put_text(b, ",\"format\":", formats[b->style->format]);
		put_text(b, ",\"order\":", b->style->in_commit_order ? "commit" : "key");
	}
	if (c->snapshot != NULL)
		put_text(b, ",\"snapshot\":", c->snapshot);
	if (c->history != NULL)
		put_text(b, ",\"history\":", c->history);
	if (c->place.commit_lsn != 0 && envelope_time(c->place.commit_us, time))
		put_text(b, ",\"at\":", time);
	capture_text_char(b->out, '}');
}

/* --- debezium --- */

static void put_ms(struct body *b, const char *member)
{
	int64_t ms = b->c->place.commit_us / 1000 + (int64_t)SECONDS_1970_TO_2000 * 1000;

	capture_text_say(b->out, member);
	capture_text_number(b->out, b->c->place.commit_lsn != 0 && ms > 0 ? (uint64_t)ms : 0);
}

static void put_source(struct body *b)
{
	const struct capture_change *c = b->c;

	put_text(b, ",\"source\":{\"version\":\"boxhaul\",\"connector\":\"postgresql\",\"name\":", b->style->capture);
	put_ms(b, ",\"ts_ms\":");
	capture_text_say(b->out, c->op == CAPTURE_OP_READ ? ",\"snapshot\":\"true\"" : ",\"snapshot\":\"false\"");
	put_text(b, ",\"db\":", b->style->database);
	put_text(b, ",\"schema\":", c->shape->schema);
	put_text(b, ",\"table\":", c->shape->table);
	if (c->place.commit_lsn != 0) {
		capture_text_say(b->out, ",\"txId\":");
		capture_text_number(b->out, c->place.xid);
		capture_text_say(b->out, ",\"lsn\":");
		capture_text_number(b->out, c->place.commit_lsn);
	}
	capture_text_char(b->out, '}');
}

static void write_debezium(struct body *b, const char *op)
{
	capture_text_say(b->out, "{\"before\":");
	if (has_old(b->c))
		put_old(b);
	else
		capture_text_say(b->out, "null");
	capture_text_say(b->out, ",\"after\":");
	if (has_row(b->c))
		put_row(b);
	else
		capture_text_say(b->out, "null");
	put_unchanged(b);
	put_source(b);
	put_text(b, ",\"op\":", op);
	put_ms(b, ",\"ts_ms\":");
	capture_text_char(b->out, '}');
}

/* --- a bucket --- */

/* What a bucket holds is the whole row, or it would lose what was not sent. */
static void write_bucket(struct body *b)
{
	const struct capture_change *c = b->c;

	if (c->op == CAPTURE_OP_TRUNCATE) {
		tell_defect(b, DEFECT_TRUNCATE, "a TRUNCATE of", c->shape->table, "cannot be told to a bucket");
		return;
	}
	if (!has_row(c))
		return;
	put_row(b);
	for (size_t i = 0; i < c->shape->count; i++)
		if (capture_body_value(c, i)->kind == PGOUTPUT_UNCHANGED)
			tell_defect(b, DEFECT_COLUMN, "the column", c->shape->columns[i].name,
				    "was not sent, and a bucket holds whole rows");
}

enum reason capture_body_write(struct capture_writer *w, const struct capture_style *style,
			       const struct capture_change *c, const char *op)
{
	struct body b = { .w = w, .out = &w->payload, .style = style, .c = c, .defect = REASON_NONE };

	if (c->op == CAPTURE_OP_VERIFY)
		capture_text_put(b.out, c->body->bytes, c->body->count);
	else if (style->target == CAPTURE_TARGET_KV)
		write_bucket(&b);
	else if (style->format == CAPTURE_FORMAT_DEBEZIUM && c->op < CAPTURE_OP_SHAPE)
		write_debezium(&b, op);
	else
		write_plain(&b, op);
	return b.defect;
}

enum reason capture_body_write_part(struct capture_writer *w, const struct capture_style *style,
				    const struct capture_change *c, const char *op)
{
	struct body b = { .w = w, .out = &w->payload, .style = style, .c = c, .defect = REASON_NONE };

	put_text(&b, "{\"op\":", op);
	put_change(&b);
	return b.defect;
}
