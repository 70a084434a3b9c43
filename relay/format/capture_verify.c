#include "format/capture_verify.h"

#include <stdio.h>
#include <string.h>

#include "format/capture_key.h"

bool capture_verify_has(const char *columns, size_t columns_bytes, const char *name)
{
	const char *text;
	size_t bytes;

	if (columns == NULL)
		return true;
	while (capture_key_next(&columns, &columns_bytes, &text, &bytes))
		if (strlen(name) == bytes && memcmp(name, text, bytes) == 0)
			return true;
	return false;
}

static bool has(const struct capture_verify *v, size_t i)
{
	return capture_verify_has(v->columns, v->columns_bytes, v->shape->columns[i].name);
}

static void put_name(struct capture_text *out, const char *name, bool *first)
{
	capture_text_say(out, *first ? "" : ",");
	*first = false;
	capture_text_json_lossy(out, name, strlen(name));
}

/* In the order of the table: so the statement that makes the hash has them, and so does who compares. */
static void put_columns(struct capture_text *out, const struct capture_verify *v)
{
	bool first = true;

	capture_text_say(out, ",\"columns\":[");
	for (size_t i = 0; i < v->shape->count; i++)
		if (has(v, i))
			put_name(out, v->shape->columns[i].name, &first);
	first = true;
	capture_text_say(out, "],\"key\":[");
	for (uint16_t part = 1; part <= v->shape->key_count; part++)
		put_name(out, v->shape->columns[capture_shape_key(v->shape, part)].name, &first);
	capture_text_char(out, ']');
}

void capture_verify_open(struct capture_text *out, const struct capture_verify *v, const char *what)
{
	char table[2 * 64 + 2];

	snprintf(table, sizeof table, "%s.%s", v->shape->schema, v->shape->table);
	capture_text_say(out, "{\"op\":\"v\",\"table\":");
	capture_text_json_lossy(out, table, strlen(table));
	capture_text_say(out, ",\"pass\":\"");
	capture_text_say(out, v->pass);
	capture_text_say(out, "\",\"reading\":");
	capture_text_number(out, v->reading);
	capture_text_say(out, ",\"what\":\"");
	capture_text_say(out, what);
	capture_text_say(out, v->repair ? "\",\"repair\":true" : "\",\"repair\":false");
	capture_text_say(out, v->keys ? ",\"keys\":true" : ",\"keys\":false");
	if (v->shape->count > 0)
		put_columns(out, v);
	if (v->shape->count > 0 && strcmp(what, "begin") == 0) {
		capture_text_say(out, ",\"shape\":");
		capture_shape_write(out, v->shape);
	}
	if (strcmp(what, "rows") == 0)
		capture_text_say(out, ",\"rows\":[");
}

/* A value, or null. */
static bool put_value(struct capture_text *out, const struct pgoutput_value *value)
{
	if (value->kind == PGOUTPUT_TEXT)
		return capture_text_json(out, value->text, value->bytes);
	capture_text_say(out, "null");
	return true;
}

static bool put_whole(struct capture_text *out, const struct capture_verify *v, const struct pgoutput_value *values)
{
	bool first = true, ok = true;

	capture_text_char(out, '{');
	for (size_t i = 0; i < v->shape->count && ok; i++) {
		if (!has(v, i))
			continue;
		put_name(out, v->shape->columns[i].name, &first);
		capture_text_char(out, ':');
		ok = put_value(out, &values[i]);
	}
	capture_text_char(out, '}');
	return ok;
}

bool capture_verify_row(struct capture_text *out, const struct capture_verify *v, const struct pgoutput_value *values,
			const char *hash, bool absent)
{
	bool ok = true;

	capture_text_say(out, "[[");
	for (uint16_t part = 1; part <= v->shape->key_count && ok; part++) {
		capture_text_say(out, part > 1 ? "," : "");
		ok = put_value(out, &values[capture_shape_key(v->shape, part)]);
	}
	capture_text_say(out, "],");
	if (absent)
		capture_text_say(out, "null");
	else if (hash != NULL)
		ok = capture_text_json(out, hash, strlen(hash)) && ok;
	else
		ok = ok && put_whole(out, v, values);
	capture_text_char(out, ']');
	return ok;
}

void capture_verify_close(struct capture_text *out, const char *what)
{
	capture_text_say(out, strcmp(what, "rows") == 0 ? "]}" : "}");
}
