#include "format/outbox_row.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/utf8.h"
#include "format/capture_subject.h"
#include "format/outbox_preset.h"

enum { NAME_BYTES = 64, BYTEA = 17 };

static const char masstransit_type[] = "MessageType", masstransit_content[] = "ContentType";

/* --- columns --- */

/* MassTransit's names in snake case: MessageId is message_id. */
static bool is_snake_case_of(const char *column, const char *name)
{
	for (const char *at = name; *at != '\0'; at++) {
		if (isupper((unsigned char)*at) && at > name && *column++ != '_')
			return false;
		if (*column++ != tolower((unsigned char)*at))
			return false;
	}
	return *column == '\0';
}

/* The index of a column; shape->count: there is none. */
static size_t find(const struct capture_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->count; i++)
		if (strcmp(shape->columns[i].name, name) == 0)
			return i;
	for (size_t i = 0; i < shape->count; i++)
		if (is_snake_case_of(shape->columns[i].name, name))
			return i;
	return shape->count;
}

struct row {
	const struct outbox_mapping *mapping;
	const struct outbox_preset_columns *preset;
	const struct capture_shape *shape;
	const struct pgoutput_value *values;
	char type[256]; /* MassTransit's */
};

/* NULL: the column is not there, or null, or nobody named it. */
static const struct pgoutput_value *value_of(const struct row *r, const char *name)
{
	size_t i = name != NULL ? find(r->shape, name) : r->shape->count;

	return i < r->shape->count && r->values[i].kind == PGOUTPUT_TEXT ? &r->values[i] : NULL;
}

static const char *either(const char *own, const char *preset)
{
	return own != NULL ? own : preset;
}

/* --- does it fit? --- */

static bool has_column(const struct capture_shape *shape, const char *name, char *why, size_t size)
{
	if (name == NULL || find(shape, name) < shape->count)
		return true;
	snprintf(why, size, "the table %s.%s has no column \"%s\"", shape->schema, shape->table, name);
	return false;
}

struct fit {
	const struct outbox_mapping *mapping;
	const struct capture_shape *shape;
	char *why;
	size_t size;
	bool ok;
};

static bool is(const char *name, size_t n, const char *other)
{
	return strlen(other) == n && memcmp(name, other, n) == 0;
}

static struct capture_subject_value fit_name(void *arg, const char *name, size_t n)
{
	static const struct capture_subject_value any = { "x", 1 };
	struct fit *f = arg;
	char column[NAME_BYTES];

	if (is(name, n, "table"))
		return any;
	if (f->mapping->preset == OUTBOX_PRESET_MASSTRANSIT && is(name, n, "type"))
		snprintf(column, sizeof column, "%s", masstransit_type);
	else
		snprintf(column, sizeof column, "%.*s", (int)n, name);
	f->ok = f->ok && has_column(f->shape, column, f->why, f->size);
	return any;
}

bool outbox_row_fits(const struct outbox_mapping *m, const char *subject, const struct capture_shape *shape, char *why,
		     size_t size)
{
	const struct outbox_preset_columns *preset = outbox_preset_columns(m->preset);
	const char *const names[] = { either(m->id, preset->id),
				      either(m->key, preset->key),
				      either(m->payload, preset->payload),
				      either(m->headers, preset->headers),
				      preset->unkeyed,
				      preset->second_key,
				      preset->key_object };
	struct fit f = { .mapping = m, .shape = shape, .why = why, .size = size, .ok = true };
	char any[MESSAGE_SUBJECT_MAX_BYTES + 1];

	for (size_t i = 0; f.ok && i < sizeof names / sizeof names[0]; i++)
		f.ok = has_column(shape, names[i], why, size);
	for (size_t i = 0; f.ok && i < OUTBOX_PRESET_HEADERS; i++)
		f.ok = has_column(shape, preset->header_columns[i], why, size);
	for (size_t i = 0; f.ok && i < m->header_column_count; i++)
		f.ok = has_column(shape, m->header_columns[i], why, size);
	if (f.ok)
		capture_subject_write(subject, fit_name, &f, any);
	return f.ok;
}

/* --- parts of the message --- */

static bool is_uuid(const struct pgoutput_value *v)
{
	for (size_t i = 0; i < v->bytes; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? v->text[i] != '-' : hex_digit(v->text[i]) < 0)
			return false;
	return v->bytes == UUID_CHARACTERS;
}

/* Its own, if it is a uuid: so a switch between trigger and log makes no second message. Else that of a change. */
static bool write_id(struct capture_writer *w, const struct row *r, const struct capture_place *place,
		     char id[static UUID_CHARACTERS + 1])
{
	const struct pgoutput_value *v = value_of(r, either(r->mapping->id, r->preset->id));

	if (v == NULL || !is_uuid(v))
		return capture_identity_change(&w->identity, place, id);
	for (size_t i = 0; i < UUID_CHARACTERS; i++)
		id[i] = (char)tolower((unsigned char)v->text[i]);
	id[UUID_CHARACTERS] = '\0';
	return true;
}

static enum reason tell_column(struct capture_writer *w, const char *name, const char *why)
{
	char shown[NAME_BYTES * 2];

	snprintf(w->why, sizeof w->why, "the column \"%s\" %s", utf8_line(name, shown, sizeof shown), why);
	return DEFECT_COLUMN;
}

static enum reason put_payload(struct capture_writer *w, const struct row *r)
{
	const char *name = either(r->mapping->payload, r->preset->payload);
	const struct pgoutput_value *v = value_of(r, name);
	const struct capture_type *type;

	if (v == NULL)
		return DEFECT_PAYLOAD_NULL;
	type = &r->shape->columns[find(r->shape, name)].type;
	if (type->oid != BYTEA && type->base != BYTEA)
		capture_text_put(&w->payload, v->text, v->bytes);
	else if (!capture_value_unhex(&w->payload, v->text, v->bytes))
		return tell_column(w, name, "is no bytea in hexadecimal");
	return REASON_NONE;
}

static enum reason put_key_text(struct capture_writer *w, const char *name, const char *key, size_t bytes)
{
	if (!utf8_valid(key, bytes) || memchr(key, '\0', bytes) != NULL)
		return tell_column(w, name, "is not valid UTF-8");
	capture_text_put(&w->key, key, bytes);
	capture_text_char(&w->key, '\0');
	return REASON_NONE;
}

static bool says(const struct pgoutput_value *v, const char *word)
{
	return v != NULL && v->bytes == strlen(word) && memcmp(v->text, word, v->bytes) == 0;
}

/* The member "key" of an object. Its text, if it is none. */
static enum reason put_object_key(struct capture_writer *w, const char *name, const struct pgoutput_value *v)
{
	json_t *object = json_loadb(v->text, v->bytes, 0, NULL), *key = json_object_get(object, "key");
	char *text = json_is_string(key) || key == NULL || json_is_null(key) ? NULL : json_dumps(key, JSON_ENCODE_ANY);
	enum reason defect = REASON_NONE;

	if (json_is_string(key))
		defect = put_key_text(w, name, json_string_value(key), json_string_length(key));
	else if (text != NULL)
		defect = put_key_text(w, name, text, strlen(text));
	free(text);
	json_decref(object);
	return defect;
}

static enum reason put_key(struct capture_writer *w, const struct row *r)
{
	const char *name = either(r->mapping->key, r->preset->key);
	const struct pgoutput_value *v = value_of(r, name), *object = value_of(r, r->preset->key_object);

	if (r->mapping->key == NULL && says(value_of(r, r->preset->unkeyed), "parallel"))
		return REASON_NONE;
	if (r->mapping->key == NULL && object != NULL)
		return put_object_key(w, r->preset->key_object, object);
	if (r->mapping->key == NULL && v == NULL) {
		name = r->preset->second_key;
		v = value_of(r, name);
	}
	return v != NULL ? put_key_text(w, name, v->text, v->bytes) : REASON_NONE;
}

/* --- the subject --- */

/* urn:message:Shop.Contracts:OrderPaid;urn:... is Shop.Contracts.OrderPaid. */
static struct capture_subject_value message_type(struct row *r)
{
	static const char urn[] = "urn:message:";
	const struct pgoutput_value *v = value_of(r, masstransit_type);
	size_t n = 0, from = sizeof urn - 1;

	if (v == NULL)
		return (struct capture_subject_value){ NULL, 0 };
	if (v->bytes < from || memcmp(v->text, urn, from) != 0)
		return (struct capture_subject_value){ "", 0 };
	for (size_t i = from; i < v->bytes && v->text[i] != ';' && n < sizeof r->type; i++)
		r->type[n++] = v->text[i] == ':' ? '.' : v->text[i];
	return (struct capture_subject_value){ r->type, n };
}

static struct capture_subject_value subject_value(void *arg, const char *name, size_t n)
{
	struct row *r = arg;
	const struct pgoutput_value *v;
	char column[NAME_BYTES];

	if (is(name, n, "table"))
		return (struct capture_subject_value){ r->shape->table, strlen(r->shape->table) };
	if (r->mapping->preset == OUTBOX_PRESET_MASSTRANSIT && is(name, n, "type"))
		return message_type(r);
	snprintf(column, sizeof column, "%.*s", (int)n, name);
	v = value_of(r, column);
	return v != NULL ? (struct capture_subject_value){ v->text, v->bytes }
			 : (struct capture_subject_value){ NULL, 0 };
}

/* --- headers --- */

static bool set_text(json_t *headers, const char *name, const char *text, size_t bytes)
{
	return json_object_set_new(headers, name, json_stringn(text, bytes)) == 0;
}

/* A member of any kind, as a string; null is none. */
static bool set_member(json_t *headers, const char *name, json_t *value)
{
	char *text;
	bool ok;

	if (json_is_null(value))
		return true;
	if (json_is_string(value))
		return json_object_set(headers, name, value) == 0;
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	ok = text != NULL && set_text(headers, name, text, strlen(text));
	free(text);
	return ok;
}

static enum reason add_object(json_t *headers, const struct pgoutput_value *v)
{
	json_t *given = json_loadb(v->text, v->bytes, JSON_DECODE_ANY, NULL), *value;
	enum reason defect = json_is_object(given) || json_is_null(given) ? REASON_NONE : DEFECT_HEADERS_SHAPE;
	const char *name;

	json_object_foreach (given, name, value)
		if (defect == REASON_NONE && !set_member(headers, name, value))
			defect = REASON_NO_MEMORY;
	json_decref(given);
	return defect;
}

static enum reason add_column(struct capture_writer *w, const struct row *r, json_t *headers, const char *column,
			      const char *name)
{
	const struct pgoutput_value *v = value_of(r, column);

	if (v == NULL)
		return REASON_NONE;
	if (!utf8_valid(v->text, v->bytes))
		return tell_column(w, column, "is not valid UTF-8");
	return set_text(headers, name, v->text, v->bytes) ? REASON_NONE : REASON_NO_MEMORY;
}

static enum reason collect_headers(struct capture_writer *w, const struct row *r, json_t *headers)
{
	const struct pgoutput_value *object = value_of(r, either(r->mapping->headers, r->preset->headers));
	enum reason defect = object != NULL ? add_object(headers, object) : REASON_NONE;

	for (size_t i = 0; defect == REASON_NONE && i < OUTBOX_PRESET_HEADERS; i++)
		if (r->preset->header_columns[i] != NULL)
			defect = add_column(w, r, headers, r->preset->header_columns[i], r->preset->header_columns[i]);
	for (size_t i = 0; defect == REASON_NONE && i < r->mapping->header_column_count; i++)
		defect = add_column(w, r, headers, r->mapping->header_columns[i], r->mapping->header_columns[i]);
	if (defect == REASON_NONE && r->mapping->preset == OUTBOX_PRESET_MASSTRANSIT)
		defect = add_column(w, r, headers, masstransit_content, "Content-Type");
	return defect;
}

static enum reason put_headers(struct capture_writer *w, const struct capture_style *style, const struct row *r,
			       const char *id, const struct capture_place *place)
{
	json_t *headers = json_object();
	enum reason defect = headers != NULL ? collect_headers(w, r, headers) : REASON_NO_MEMORY, given;
	char *text = headers != NULL && json_object_size(headers) > 0 ? json_dumps(headers, JSON_COMPACT) : NULL;

	given = capture_message_given(w, style->format == CAPTURE_FORMAT_CLOUDEVENTS ? style->event_source : NULL, id,
				      place, w->key.count > 0, text, text != NULL ? strlen(text) : 0);
	free(text);
	json_decref(headers);
	return defect != REASON_NONE ? defect : given;
}

enum reason outbox_row_write(struct capture_writer *w, const struct capture_style *style,
			     const struct outbox_mapping *m, const char *subject, const struct capture_shape *shape,
			     const struct pgoutput_value *row, const struct capture_place *place,
			     struct capture_message *message)
{
	struct row r = { .mapping = m, .preset = outbox_preset_columns(m->preset), .shape = shape, .values = row };
	enum reason defects[4], made;

	capture_message_begin(w);
	if (!write_id(w, &r, place, message->id))
		return REASON_NO_MEMORY;
	defects[0] = capture_subject_write(subject, subject_value, &r, w->subject);
	if (defects[0] != REASON_NONE)
		w->subject[0] = '\0';
	defects[1] = put_payload(w, &r);
	defects[2] = put_key(w, &r);
	defects[3] = put_headers(w, style, &r, message->id, place);
	made = capture_message_end(w, w->key.count > 0, message);
	for (size_t i = 0; made == REASON_NONE && i < sizeof defects / sizeof defects[0]; i++)
		made = defects[i];
	return made;
}
