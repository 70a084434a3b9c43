/* Changes as messages: keys, subjects, ids, headers. Their bodies: capture_body.c. */
#include "format/capture_event.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "format/capture_body.h"
#include "format/capture_key.h"
#include "format/capture_subject.h"
#include "format/envelope.h"

static const char *const ops[] = {
	[CAPTURE_OP_INSERT] = "c",
	[CAPTURE_OP_UPDATE] = "u",
	[CAPTURE_OP_DELETE] = "d",
	[CAPTURE_OP_READ] = "r",
	[CAPTURE_OP_TRUNCATE] = "t",
	[CAPTURE_OP_SHAPE] = "s",
	[CAPTURE_OP_SNAPSHOT_BEGIN] = "snapshot-begin",
	[CAPTURE_OP_SNAPSHOT_END] = "snapshot-end",
	[CAPTURE_OP_TOKEN] = "token",
	[CAPTURE_OP_END] = "end",
	[CAPTURE_OP_VERIFY] = "v",
	[CAPTURE_OP_SEVERAL] = "m",
};

/* --- the key --- */

/* So many parts are there and known; 0: none, or not all of them. */
static uint16_t key_parts(const struct capture_change *c)
{
	for (uint16_t part = 1; part <= c->shape->key_count; part++) {
		size_t i = capture_shape_key(c->shape, part);

		if (i == c->shape->count || capture_body_value(c, i)->kind != PGOUTPUT_TEXT)
			return 0;
	}
	return c->op < CAPTURE_OP_TRUNCATE ? c->shape->key_count : 0;
}

static const struct pgoutput_value *key_part(const struct capture_change *c, uint16_t part)
{
	return capture_body_value(c, capture_shape_key(c->shape, part));
}

/* `escape` and two digits for each byte that `stays` says nothing of. */
static void put_escaped(struct capture_text *to, const char *text, size_t bytes, char escape, bool (*stays)(char c))
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)text[i];

		if (stays(text[i])) {
			capture_text_char(to, text[i]);
			continue;
		}
		capture_text_char(to, escape);
		capture_text_char(to, hex[c >> 4]);
		capture_text_char(to, hex[c & 15]);
	}
}

static bool is_key_text(char c)
{
	return c != '/' && c != '%' && c != '\0';
}

/* What clients take for a key of a bucket: letters, digits and -/_=. but the = begins an escape here, and the dot ends a token. */
static bool is_bucket_text(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '/';
}

/* "42", or "7/1" of two columns: what tells the row apart in its table. */
static void put_key(struct capture_text *to, const struct capture_change *c, uint16_t parts)
{
	for (uint16_t part = 1; part <= parts; part++) {
		const struct pgoutput_value *v = key_part(c, part);

		if (part > 1)
			capture_text_char(to, '/');
		put_escaped(to, v->text, v->bytes, '%', is_key_text);
	}
}

/* The ordering key: "public.orders/42". What is no UTF-8 would be no header, but that is a defect of the row. */
static void put_ordering_key(struct capture_writer *w, const struct capture_change *c, uint16_t parts)
{
	capture_text_say(&w->key, c->shape->schema);
	capture_text_char(&w->key, '.');
	capture_text_say(&w->key, c->shape->table);
	capture_text_char(&w->key, '/');
	put_key(&w->key, c, parts);
	capture_text_char(&w->key, '\0');
}

/* --- the subject --- */

struct subject {
	struct capture_writer *w;
	const struct capture_style *style;
	const struct capture_change *change;
	uint16_t key_parts;
};

static bool is_name(const char *name, size_t n, const char *other)
{
	return strlen(other) == n && memcmp(other, name, n) == 0;
}

static struct capture_subject_value text_value(const char *text)
{
	return (struct capture_subject_value){ text, strlen(text) };
}

static struct capture_subject_value key_value(const struct subject *s)
{
	struct capture_text *piece = &s->w->piece;

	piece->count = 0;
	put_key(piece, s->change, s->key_parts);
	return (struct capture_subject_value){ piece->count > 0 ? piece->bytes : "", piece->count };
}

/* Of what is about a table and no row (t, s), nothing stands for a row's values: there the token is "_". */
static struct capture_subject_value no_value(const struct subject *s)
{
	return s->change->op < CAPTURE_OP_TRUNCATE ? (struct capture_subject_value){ NULL, 0 } : text_value("_");
}

static struct capture_subject_value column_value(const struct subject *s, const char *name, size_t n)
{
	const struct capture_shape *shape = s->change->shape;

	for (size_t i = 0; i < shape->count && s->change->op < CAPTURE_OP_TRUNCATE; i++) {
		const struct pgoutput_value *v = capture_body_value(s->change, i);

		if (is_name(name, n, shape->columns[i].name) && v->kind == PGOUTPUT_TEXT)
			return (struct capture_subject_value){ v->text, v->bytes };
	}
	return no_value(s);
}

static struct capture_subject_value subject_value(void *arg, const char *name, size_t n)
{
	const struct subject *s = arg;

	if (is_name(name, n, "capture"))
		return text_value(s->style->capture);
	if (is_name(name, n, "schema"))
		return text_value(s->change->shape->schema);
	if (is_name(name, n, "table"))
		return text_value(s->change->shape->table);
	if (is_name(name, n, "op"))
		return text_value(ops[s->change->op]);
	if (is_name(name, n, "key"))
		return s->key_parts > 0 ? key_value(s) : no_value(s);
	return column_value(s, name, n);
}

/* $KV.<bucket>.<table>.<key>, a token for each column of the key. */
static enum reason write_bucket_key(struct capture_writer *w, const struct capture_style *style,
				    const struct capture_change *c, uint16_t parts)
{
	struct capture_text *piece = &w->piece;

	if (parts == 0)
		return c->op == CAPTURE_OP_TRUNCATE ? DEFECT_TRUNCATE : DEFECT_KEY_NULL;
	piece->count = 0;
	capture_text_say(piece, "$KV.");
	capture_text_say(piece, style->bucket);
	capture_text_char(piece, '.');
	put_escaped(piece, c->shape->table, strlen(c->shape->table), '=', is_bucket_text);
	for (uint16_t part = 1; part <= parts; part++) {
		const struct pgoutput_value *v = key_part(c, part);

		if (v->bytes == 0)
			return DEFECT_SUBJECT_TOKEN;
		capture_text_char(piece, '.');
		put_escaped(piece, v->text, v->bytes, '=', is_bucket_text);
	}
	if (piece->failed)
		return REASON_NO_MEMORY;
	if (piece->count > MESSAGE_SUBJECT_MAX_BYTES)
		return DEFECT_SUBJECT_LONG;
	memcpy(w->subject, piece->bytes, piece->count);
	w->subject[piece->count] = '\0';
	return REASON_NONE;
}

static enum reason write_subject(struct capture_writer *w, const struct capture_style *style,
				 const struct capture_change *c, uint16_t parts)
{
	struct subject s = { .w = w, .style = style, .change = c, .key_parts = parts };
	enum reason defect;

	if (style->target == CAPTURE_TARGET_KV)
		return write_bucket_key(w, style, c, parts);
	defect = capture_subject_write(style->subject, subject_value, &s, w->subject);
	if (defect != REASON_NONE)
		w->subject[0] = '\0';
	return defect;
}

/* --- the id --- */

/* The key in one piece, at the end of w->piece. */
static void put_key_piece(struct capture_writer *w, const struct capture_change *c, uint16_t parts)
{
	w->piece.count = 0;
	for (uint16_t part = 1; part <= parts; part++) {
		const struct pgoutput_value *v = key_part(c, part);
		char *room = capture_text_room(&w->piece, capture_key_bytes(v->bytes));

		if (room == NULL)
			return;
		capture_key_write(room, v->text, v->bytes);
		w->piece.count += capture_key_bytes(v->bytes);
	}
}

/* What has no place in the log has one in a snapshot. No key in one piece is like one of these words: it would begin with a length beyond its end. */
static bool write_id(struct capture_writer *w, const struct capture_change *c, uint16_t parts,
		     char id[static UUID_CHARACTERS + 1])
{
	bool row = c->op == CAPTURE_OP_READ;
	const char *word = ops[c->op];
	char nth[40];

	if (c->id != NULL)
		return capture_identity_row(&w->identity, c->place.system, c->snapshot, c->shape->schema,
					    c->shape->table, c->reading, c->id, c->id_bytes, id);
	if (!row && c->place.commit_lsn != 0)
		return capture_identity_change(&w->identity, &c->place, id);
	if (row && parts > 0 && c->nth == 0) {
		put_key_piece(w, c, parts);
		return !w->piece.failed &&
		       capture_identity_row(&w->identity, c->place.system, c->snapshot, c->shape->schema,
					    c->shape->table, c->reading, w->piece.bytes, w->piece.count, id);
	}
	snprintf(nth, sizeof nth, "%s %llu", word, (unsigned long long)c->nth);
	return capture_identity_row(&w->identity, c->place.system, c->snapshot != NULL ? c->snapshot : "",
				    c->shape->schema, c->shape->table, c->reading, nth, strlen(nth), id);
}

/* --- headers --- */

static void add_event_header(void *arg, const char *name, const char *value, bool attribute)
{
	if (attribute)
		capture_message_encoded(arg, name, value);
	else
		capture_message_header(arg, name, value);
}

/* ce-type is the table and the op, which stand where a row of the outbox has its subject. */
static enum reason add_envelope(struct capture_writer *w, const struct capture_style *style,
				const struct capture_change *c, const char *id, bool keyed)
{
	char type[2 * 64 + 32];
	struct envelope e = { .source = style->event_source,
			      .message_id = id,
			      .subject = type,
			      .key = keyed ? w->key.bytes : NULL,
			      .created_us = c->place.commit_lsn != 0 ? c->place.commit_us : INT64_MIN };

	snprintf(type, sizeof type, "%s.%s.%s", c->shape->schema, c->shape->table, ops[c->op]);
	capture_message_header(w, "content-type", "application/json");
	capture_message_header(w, "ce-datacontenttype", "application/json");
	return envelope_each(&e, add_event_header, w);
}

static enum reason add_headers(struct capture_writer *w, const struct capture_style *style,
			       const struct capture_change *c, const char *id, bool keyed)
{
	char chunk[64 + 32];

	if (c->place.commit_lsn != 0)
		capture_message_place(w, &c->place);
	if (c->snapshot != NULL && c->op != CAPTURE_OP_SHAPE) {
		snprintf(chunk, sizeof chunk, "%s-%llu", c->snapshot, (unsigned long long)c->reading);
		capture_message_header(w, CAPTURE_HEADER_CHUNK, chunk);
	}
	if (c->token != NULL)
		capture_message_header(w, CAPTURE_HEADER_TOKEN, c->token);
	if (keyed)
		capture_message_encoded(w, ENVELOPE_KEY, w->key.bytes);
	if (style->target == CAPTURE_TARGET_KV && c->op == CAPTURE_OP_DELETE)
		capture_message_header(w, "KV-Operation", "DEL");
	return style->format == CAPTURE_FORMAT_CLOUDEVENTS ? add_envelope(w, style, c, id, keyed) : REASON_NONE;
}

/* --- all of it --- */

enum reason capture_event_write(struct capture_writer *w, const struct capture_style *style,
				const struct capture_change *change, struct capture_message *m)
{
	uint16_t parts = key_parts(change);
	bool keyed = parts > 0;
	enum reason body, subject, headers, made;

	capture_message_begin(w);
	if (keyed)
		put_ordering_key(w, change, parts);
	keyed = keyed && !w->key.failed && utf8_valid(w->key.bytes, w->key.count);
	subject = write_subject(w, style, change, parts);
	body = capture_body_write(w, style, change, ops[change->op]);
	if (!write_id(w, change, parts, m->id))
		return REASON_NO_MEMORY;
	headers = add_headers(w, style, change, m->id, keyed);
	made = capture_message_end(w, keyed, m);
	return made != REASON_NONE ? made : subject != REASON_NONE ? subject : body != REASON_NONE ? body : headers;
}

enum reason capture_event_part(struct capture_writer *w, const struct capture_style *style,
			       const struct capture_change *change, struct capture_message *m)
{
	enum reason body, subject, made;

	capture_message_begin(w);
	subject = write_subject(w, style, change, key_parts(change));
	body = capture_body_write_part(w, style, change, ops[change->op]);
	memset(m->id, 0, sizeof m->id);
	made = capture_message_end(w, false, m);
	return made != REASON_NONE ? made : subject != REASON_NONE ? subject : body;
}

bool capture_event_moves(const struct capture_change *c)
{
	for (uint16_t part = 1; c->op == CAPTURE_OP_UPDATE && c->old != NULL && part <= c->shape->key_count; part++) {
		size_t i = capture_shape_key(c->shape, part);
		const struct pgoutput_value *row = &c->row[i], *old = &c->old[i];

		if (i < c->shape->count && row->kind == PGOUTPUT_TEXT && old->kind == PGOUTPUT_TEXT &&
		    (row->bytes != old->bytes || memcmp(row->text, old->text, row->bytes) != 0))
			return true;
	}
	return false;
}
