#include "books/capture_mark.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/capture_tables.h"
#include "core/refusal.h"
#include "format/capture_key.h"

/* --- values; each NULL where there is no memory --- */

static json_t *lsn_of(uint64_t lsn)
{
	return json_sprintf("%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

/* Any bytes, which JSON's texts are not. */
static json_t *hex_of(const void *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *from = bytes;
	char *text = malloc(2 * count + 1);
	json_t *value;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		text[2 * i] = digits[from[i] >> 4];
		text[2 * i + 1] = digits[from[i] & 15];
	}
	value = json_stringn(text, 2 * count);
	free(text);
	return value;
}

/* A key as an array of its columns. */
static json_t *key_of(const void *key, size_t key_bytes)
{
	json_t *list = json_array();
	const char *at = key, *text;
	size_t left = key_bytes, bytes, count = 0;

	while (capture_key_next(&at, &left, &text, &bytes)) {
		json_array_append_new(list, hex_of(text, bytes));
		count++;
	}
	if (json_array_size(list) == count)
		return list;
	json_decref(list);
	return NULL;
}

/* For people: what is no UTF-8 stands there as ?. */
static json_t *shown(const char *text, size_t bytes)
{
	json_t *value = json_stringn(text, bytes);
	char *copy = value == NULL ? malloc(bytes + 1) : NULL;

	if (copy == NULL)
		return value;
	for (size_t i = 0; i < bytes; i++)
		copy[i] = (char)((unsigned char)text[i] < 0x80 ? text[i] : '?');
	value = json_stringn(copy, bytes);
	free(copy);
	return value;
}

/* "7, 42" */
static json_t *key_shown(const void *key, size_t key_bytes)
{
	char *text = malloc(key_bytes + 1), *out = text;
	const char *at = key, *column;
	size_t left = key_bytes, bytes;
	json_t *value;

	if (text == NULL)
		return NULL;
	/* Each column has its length before it, in more bytes than the separator. */
	while (capture_key_next(&at, &left, &column, &bytes)) {
		if (out != text)
			out = mempcpy(out, ", ", 2);
		out = mempcpy(out, column, bytes);
	}
	value = shown(text, (size_t)(out - text));
	free(text);
	return value;
}

/* --- objects --- */

/* False: something is missing. Takes the value. */
static bool put(json_t *object, const char *name, json_t *value)
{
	return value != NULL && json_object_set_new(object, name, value) == 0;
}

static bool put_int(json_t *object, const char *name, int64_t value)
{
	return put(object, name, json_integer(value));
}

/* Nothing for NULL and "". */
static bool put_shown(json_t *object, const char *name, const char *text)
{
	return text == NULL || text[0] == '\0' || put(object, name, shown(text, strlen(text)));
}

/* The object if all of it is there; else NULL. */
static json_t *whole(json_t *object, bool is_whole)
{
	if (is_whole)
		return object;
	json_decref(object);
	return NULL;
}

/* Nothing where it is empty; else all of it. */
static bool put_list(json_t *object, const char *name, json_t *list, size_t count)
{
	bool ok = json_array_size(list) == count;

	if (ok && count > 0)
		return put(object, name, list);
	json_decref(list);
	return ok;
}

static const char *name_of(const struct capture_mark_books *m, uint32_t table)
{
	return capture_tables_name(m->capture, table);
}

static json_t *table_of(const struct capture_mark_books *m, const struct capture_cursor *c)
{
	struct capture_mark_message at = { .key = NULL }, top = { .key = NULL };
	json_t *o = json_object();

	if (c->slot != CAPTURE_NO_SLOT)
		m->message(m->arg, c->slot, &at);
	if (c->top != CAPTURE_NO_SLOT)
		m->message(m->arg, c->top, &top);
	return whole(o, put(o, "table", json_string(name_of(m, c->table))) &&
				put(o, "state", json_string(capture_tables_word(c->now.state))) &&
				put_int(o, "reading", c->now.reading) &&
				put_int(o, "repair_first", c->now.repair_first) &&
				put_int(o, "filenode", (int64_t)c->now.filenode) &&
				(c->now.pass == 0 || put_int(o, "pass", (int64_t)c->now.pass)) &&
				put_int(o, "rows", (int64_t)c->now.rows) &&
				(!c->restart || (put(o, "cursor", json_null()) && put(o, "top", json_null()))) &&
				(at.key == NULL || put(o, "cursor", key_of(at.key, at.key_bytes))) &&
				(top.key == NULL || put(o, "top", key_of(top.key, top.key_bytes))));
}

static json_t *told_of(const struct capture_mark_books *m, const struct capture_mark_told *t)
{
	json_t *o = json_object();

	return whole(o, put(o, "table", json_string(name_of(m, t->table))) &&
				put(o, "columns", json_loads(t->columns, 0, NULL)));
}

/* What was told of a table, and what was read of it, are objects of their own: a table may stand in both, and the second does not undo the
 * first. */
static bool put_tables(json_t *mark, const struct capture_mark_books *m)
{
	json_t *list = json_array(), *told = json_array();

	for (size_t i = 0; i < m->mark->cursor_count; i++)
		json_array_append_new(list, table_of(m, &m->mark->cursors[i]));
	for (size_t i = 0; i < m->told_count; i++)
		json_array_append_new(told, told_of(m, &m->told[i]));
	if (put_list(mark, "tables", list, m->mark->cursor_count))
		return put_list(mark, "told", told, m->told_count);
	json_decref(told);
	return false;
}

static json_t *repair_of(const struct capture_mark_books *m, const struct capture_repair *r)
{
	json_t *o = json_object();

	return whole(o, put(o, "table", json_string(name_of(m, r->table))) && put_int(o, "reading", r->reading) &&
				put(o, "key", key_of(r->key, r->key_bytes)));
}

static bool put_repairs(json_t *mark, const struct capture_mark_books *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->mark->repair_count; i++)
		json_array_append_new(list, repair_of(m, &m->mark->repairs[i]));
	return put_list(mark, "repairs", list, m->mark->repair_count);
}

static bool put_reason(json_t *o, const struct capture_mark_books *m, const struct capture_letter *l, const char *why)
{
	char text[REASONS_TEXT_BYTES];

	reasons_text_of(m->reasons, l->ordinal, l->reason, text, sizeof text);
	return put(o, "reason", why != NULL && why[0] != '\0' ? json_sprintf("%s: %s", text, why) : json_string(text));
}

/* One of a name that stands there twice is enough for people. */
static json_t *headers_of(const struct capture_mark_message *at)
{
	json_t *o = json_object();
	const char *p = at->pairs;
	bool ok = true;

	for (size_t i = 0; ok && i < at->pair_count; i++) {
		const char *value = p + strlen(p) + 1;
		json_t *name = shown(p, strlen(p));

		ok = name != NULL && put(o, json_string_value(name), shown(value, strlen(value)));
		json_decref(name);
		p = value + strlen(value) + 1;
	}
	return whole(o, ok);
}

static json_t *letter_of(const struct capture_mark_books *m, const struct capture_letter *l, struct array *payloads)
{
	struct capture_mark_message at = { .position = "" };
	json_t *o = json_object();

	m->message(m->arg, l->slot, &at);
	if (at.payload != NULL)
		array_add_bytes(payloads, at.payload, at.payload_bytes);
	else
		array_add_text(payloads, NULL);
	return whole(o, put_int(o, "ordinal", l->ordinal) && put_int(o, "attempts", l->attempts) &&
				put_reason(o, m, l, at.why) && put_shown(o, "message_id", at.message_id) &&
				put_shown(o, "subject", at.subject) && put_shown(o, "position", at.position) &&
				put_shown(o, "tab", at.tab) &&
				(l->reason != DEFECT_TRUNCATE || put(o, "stops", json_true())) &&
				(at.pair_count == 0 || put(o, "headers", headers_of(&at))) &&
				(at.key == NULL || put(o, "key", key_shown(at.key, at.key_bytes))));
}

static bool put_letters(json_t *mark, const struct capture_mark_books *m, struct array *payloads)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->mark->letter_count; i++)
		json_array_append_new(list, letter_of(m, &m->mark->letters[i], payloads));
	return put_list(mark, "letters", list, m->mark->letter_count);
}

/* Never NULL where the books want bytes: none is a text without any. */
static void add_bytes(struct array *payloads, const void *bytes, size_t count)
{
	array_add_bytes(payloads, bytes != NULL ? bytes : "", bytes != NULL ? count : 0);
}

static json_t *carried_of(const struct capture_mark_books *m, const struct capture_carry *x, struct array *payloads)
{
	struct capture_mark_message at = { .position = "" };
	struct capture_letter as = { .ordinal = x->ordinal };
	json_t *o = json_object();

	m->message(m->arg, x->slot, &at);
	add_bytes(payloads, at.payload, at.payload_bytes);
	add_bytes(payloads, at.pairs, at.pairs_bytes);
	if (at.key != NULL)
		array_add_bytes(payloads, at.key, at.key_bytes);
	else
		array_add_text(payloads, NULL);
	return whole(o, put_int(o, "ordinal", x->ordinal) && put_int(o, "lane", (int64_t)x->lane) &&
				(x->low_water == LOW_WATER_UNKNOWN || put_int(o, "low_water", (int64_t)x->low_water)) &&
				put_shown(o, "message_id", at.message_id) && put_shown(o, "subject", at.subject) &&
				put_int(o, "bytes", (int64_t)at.bytes) &&
				put_int(o, "wire_bytes", (int64_t)at.wire_bytes) &&
				put_shown(o, "position", at.position) && put_shown(o, "tab", at.tab) &&
				(at.key == NULL || put(o, "key", key_shown(at.key, at.key_bytes))) &&
				(at.defect == 0 || put_int(o, "defect", at.defect)) && put_shown(o, "why", at.why) &&
				put_int(o, "attempts", x->attempts) &&
				(x->reason == 0 || (as.reason = x->reason, put_reason(o, m, &as, NULL))));
}

static bool put_carried(json_t *mark, const struct capture_mark_books *m, struct array *payloads)
{
	json_t *list = json_array(), *gone = json_array();

	for (size_t i = 0; i < m->mark->carry_count; i++)
		json_array_append_new(list, carried_of(m, &m->mark->carries[i], payloads));
	for (size_t i = 0; i < m->mark->gone_count; i++)
		json_array_append_new(gone, json_integer(m->mark->gone[i]));
	if (put_list(mark, "carried", list, m->mark->carry_count))
		return put_list(mark, "gone", gone, m->mark->gone_count) &&
		       (!m->mark->carried_void || put(mark, "void", json_true()));
	json_decref(gone);
	return false;
}

/* What stands there of it besides is on record already, or is with this mark. */
static json_t *held_of(const struct capture_mark_books *m, const struct capture_held *h)
{
	struct capture_letter as = { .ordinal = h->ordinal, .reason = h->reason };
	json_t *o = json_object();

	return whole(o, put_int(o, "ordinal", h->ordinal) && put_reason(o, m, &as, NULL) &&
				(h->reason != DEFECT_TRUNCATE || put(o, "stops", json_true())) &&
				put_int(o, "attempts", h->attempts));
}

static bool put_held(json_t *mark, const struct capture_mark_books *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->mark->held_count; i++)
		json_array_append_new(list, held_of(m, &m->mark->held[i]));
	return put_list(mark, "held", list, m->mark->held_count);
}

static bool put_end(json_t *mark, const struct stream_end *end)
{
	return end->sequence == 0 || (put_int(mark, "stream_sequence", (int64_t)end->sequence) &&
				      (end->time_ns == 0 || put_int(mark, "stream_time", end->time_ns)) &&
				      (end->created_ns == 0 || put_int(mark, "stream_created", end->created_ns)));
}

char *capture_mark_text(const struct capture_mark_books *m, struct array *payloads)
{
	json_t *o = json_object();
	char *text = NULL;

	if (put_int(o, "incarnation", m->incarnation) && put_int(o, "from", m->mark->from_ordinal) &&
	    put(o, "end_lsn", lsn_of(m->mark->end_lsn)) &&
	    (m->mark->commit_time == 0 || put_int(o, "commit_time", m->mark->commit_time)) &&
	    put_int(o, "ordinal", m->mark->ordinal) &&
	    (m->mark->low_water == LOW_WATER_UNKNOWN || put_int(o, "low_water", (int64_t)m->mark->low_water)) &&
	    put_end(o, &m->mark->end) && put_tables(o, m) && put_repairs(o, m) && put_letters(o, m, payloads) &&
	    put_carried(o, m, payloads) && put_held(o, m))
		text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
