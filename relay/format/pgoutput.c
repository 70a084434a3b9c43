#include "format/pgoutput.h"

#include <string.h>

#include "base/network.h"

/* What is left to be read. Whoever reads beyond the end gets zeros, and `short_of` is set. */
struct reading {
	const char *at;
	size_t bytes;
	bool short_of;
};

static uint64_t take_number(struct reading *r, size_t bytes)
{
	uint64_t number = 0;

	if (r->bytes < bytes) {
		r->short_of = true;
		r->bytes = 0;
		return 0;
	}
	number = network_read(r->at, bytes);
	r->at += bytes;
	r->bytes -= bytes;
	return number;
}

static uint8_t take8(struct reading *r)
{
	return (uint8_t)take_number(r, 1);
}

static uint16_t take16(struct reading *r)
{
	return (uint16_t)take_number(r, 2);
}

static uint32_t take32(struct reading *r)
{
	return (uint32_t)take_number(r, 4);
}

static uint64_t take64(struct reading *r)
{
	return take_number(r, 8);
}

static const char *take_bytes(struct reading *r, size_t bytes)
{
	const char *at = r->at;

	if (r->bytes < bytes) {
		r->short_of = true;
		r->bytes = 0;
		return "";
	}
	r->at += bytes;
	r->bytes -= bytes;
	return at;
}

/* A text that ends with a NUL. */
static const char *take_text(struct reading *r)
{
	const char *end = r->bytes > 0 ? memchr(r->at, '\0', r->bytes) : NULL;

	return take_bytes(r, end != NULL ? (size_t)(end - r->at) + 1 : r->bytes + 1);
}

/* --- tuples and lists --- */

static struct pgoutput_list list_of(uint32_t count, const struct reading *from, const struct reading *to)
{
	return (struct pgoutput_list){ .count = (uint16_t)count, .at = from->at, .bytes = from->bytes - to->bytes };
}

static const char *take_value(struct reading *r, struct pgoutput_value *value)
{
	uint8_t kind = take8(r);

	*value = (struct pgoutput_value){ .kind = PGOUTPUT_NULL };
	switch (kind) {
	case 'n': return NULL;
	case 'u': value->kind = PGOUTPUT_UNCHANGED; return NULL;
	case 't':
		value->kind = PGOUTPUT_TEXT;
		value->bytes = take32(r);
		value->text = take_bytes(r, value->bytes);
		if (!r->short_of && memchr(value->text, '\0', value->bytes) != NULL)
			return "a value with a NUL in it";
		return NULL;
	default: return r->short_of ? NULL : "a value of no known kind";
	}
}

static const char *take_tuple(struct reading *r, struct pgoutput_list *tuple)
{
	uint16_t count = take16(r);
	struct reading from = *r;
	struct pgoutput_value value;
	const char *why = NULL;

	if (count > PGOUTPUT_COLUMNS_MAX)
		return "more columns than a table can have";
	for (uint16_t i = 0; i < count && why == NULL && !r->short_of; i++)
		why = take_value(r, &value);
	if (!r->short_of)
		*tuple = list_of(count, &from, r);
	return why;
}

static void take_column(struct reading *r, struct pgoutput_column *column)
{
	column->is_key = (take8(r) & 1) != 0;
	column->name = take_text(r);
	column->type = take32(r);
	column->typmod = (int32_t)take32(r);
}

bool pgoutput_next_column(struct pgoutput_list *columns, struct pgoutput_column *column)
{
	struct reading r = { .at = columns->at, .bytes = columns->bytes };

	if (columns->count == 0)
		return false;
	take_column(&r, column);
	*columns = (struct pgoutput_list){ .count = (uint16_t)(columns->count - 1), .at = r.at, .bytes = r.bytes };
	return true;
}

bool pgoutput_next_value(struct pgoutput_list *tuple, struct pgoutput_value *value)
{
	struct reading r = { .at = tuple->at, .bytes = tuple->bytes };

	if (tuple->count == 0)
		return false;
	take_value(&r, value);
	*tuple = (struct pgoutput_list){ .count = (uint16_t)(tuple->count - 1), .at = r.at, .bytes = r.bytes };
	return true;
}

bool pgoutput_next_relation(struct pgoutput_list *relations, uint32_t *oid)
{
	struct reading r = { .at = relations->at, .bytes = relations->bytes };

	if (relations->count == 0)
		return false;
	*oid = take32(&r);
	*relations = (struct pgoutput_list){ .count = (uint16_t)(relations->count - 1), .at = r.at, .bytes = r.bytes };
	return true;
}

/* --- messages --- */

static const char *read_begin(struct reading *r, struct pgoutput_message *m)
{
	m->begin.final_lsn = take64(r);
	m->begin.time_us = (int64_t)take64(r);
	m->begin.xid = take32(r);
	return r->short_of || (m->begin.final_lsn != 0 && m->begin.xid != 0) ? NULL : "a transaction without a name";
}

static const char *read_commit(struct reading *r, struct pgoutput_message *m)
{
	uint8_t flags = take8(r);

	m->commit.lsn = take64(r);
	m->commit.end_lsn = take64(r);
	m->commit.time_us = (int64_t)take64(r);
	if (r->short_of)
		return NULL;
	if (flags != 0)
		return "a commit with flags";
	return m->commit.lsn != 0 && m->commit.end_lsn > m->commit.lsn ? NULL : "a commit that ends before it begins";
}

static const char *read_origin(struct reading *r, struct pgoutput_message *m)
{
	m->origin.lsn = take64(r);
	m->origin.name = take_text(r);
	return NULL;
}

/* An empty schema is what pg_catalog is written as. */
static const char *take_schema(struct reading *r)
{
	const char *schema = take_text(r);

	return r->short_of || schema[0] != '\0' ? schema : "pg_catalog";
}

static const char *read_relation(struct reading *r, struct pgoutput_message *m)
{
	struct pgoutput_column column;
	struct reading from;
	uint16_t count;

	m->relation.oid = take32(r);
	m->relation.schema = take_schema(r);
	m->relation.name = take_text(r);
	m->relation.identity = (char)take8(r);
	count = take16(r);
	from = *r;
	if (count > PGOUTPUT_COLUMNS_MAX)
		return "more columns than a table can have";
	for (uint16_t i = 0; i < count && !r->short_of; i++)
		take_column(r, &column);
	if (r->short_of)
		return NULL;
	m->relation.columns = list_of(count, &from, r);
	if (m->relation.oid == 0)
		return "a relation without an oid";
	return m->relation.identity != '\0' && strchr("dnfi", m->relation.identity) != NULL
		       ? NULL
		       : "a replica identity of no known kind";
}

static const char *read_type(struct reading *r, struct pgoutput_message *m)
{
	m->type.oid = take32(r);
	m->type.schema = take_schema(r);
	m->type.name = take_text(r);
	return NULL;
}

static const char *read_insert(struct reading *r, struct pgoutput_message *m)
{
	m->change.oid = take32(r);
	if (take8(r) != 'N')
		return r->short_of ? NULL : "an insert without a row";
	return take_tuple(r, &m->change.row);
}

/* Of the letter before the row as it was. */
static enum pgoutput_old old_of(uint8_t letter)
{
	return letter == 'K' ? PGOUTPUT_OLD_KEY : letter == 'O' ? PGOUTPUT_OLD_ROW : PGOUTPUT_OLD_NONE;
}

static const char *read_update(struct reading *r, struct pgoutput_message *m)
{
	const char *why = NULL;
	uint8_t letter;

	m->change.oid = take32(r);
	letter = take8(r);
	m->change.has_old = old_of(letter);
	if (m->change.has_old != PGOUTPUT_OLD_NONE) {
		why = take_tuple(r, &m->change.old);
		letter = take8(r);
	}
	if (why != NULL)
		return why;
	if (letter != 'N')
		return r->short_of ? NULL : "an update without a row";
	return take_tuple(r, &m->change.row);
}

static const char *read_delete(struct reading *r, struct pgoutput_message *m)
{
	m->change.oid = take32(r);
	m->change.has_old = old_of(take8(r));
	if (m->change.has_old == PGOUTPUT_OLD_NONE)
		return r->short_of ? NULL : "a delete without a row";
	return take_tuple(r, &m->change.old);
}

static const char *read_truncate(struct reading *r, struct pgoutput_message *m)
{
	uint32_t count = take32(r);
	uint8_t flags = take8(r);
	struct reading from = *r;

	if (r->short_of)
		return NULL;
	if (count > UINT16_MAX || r->bytes != (size_t)count * 4)
		return "a truncate whose relations are not as many as it says";
	if ((flags & ~3U) != 0)
		return "a truncate with unknown flags";
	m->truncate.cascade = (flags & 1) != 0;
	m->truncate.restart = (flags & 2) != 0;
	take_bytes(r, r->bytes);
	m->truncate.relations = list_of(count, &from, r);
	return NULL;
}

static const char *read_message(struct reading *r, struct pgoutput_message *m)
{
	uint8_t flags = take8(r);

	m->message.lsn = take64(r);
	m->message.prefix = take_text(r);
	m->message.bytes = take32(r);
	m->message.content = take_bytes(r, m->message.bytes);
	m->message.transactional = (flags & 1) != 0;
	return r->short_of || (flags & ~1U) == 0 ? NULL : "a message with unknown flags";
}

static const struct {
	char letter;
	enum pgoutput_kind kind;
	const char *(*read)(struct reading *r, struct pgoutput_message *m);
} kinds[] = {
	{ 'B', PGOUTPUT_BEGIN, read_begin },       { 'C', PGOUTPUT_COMMIT, read_commit },
	{ 'O', PGOUTPUT_ORIGIN, read_origin },     { 'R', PGOUTPUT_RELATION, read_relation },
	{ 'Y', PGOUTPUT_TYPE, read_type },         { 'I', PGOUTPUT_INSERT, read_insert },
	{ 'U', PGOUTPUT_UPDATE, read_update },     { 'D', PGOUTPUT_DELETE, read_delete },
	{ 'T', PGOUTPUT_TRUNCATE, read_truncate }, { 'M', PGOUTPUT_MESSAGE, read_message },
};

const char *pgoutput_read(const char *data, size_t bytes, struct pgoutput_message *message)
{
	struct reading r = { .at = data, .bytes = bytes };
	char letter = (char)take8(&r);
	const char *why;

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (kinds[i].letter != letter)
			continue;
		*message = (struct pgoutput_message){ .kind = kinds[i].kind };
		why = kinds[i].read(&r, message);
		if (r.short_of)
			return "it ends too early";
		return why != NULL ? why : r.bytes > 0 ? "more bytes than it has" : NULL;
	}
	return bytes == 0 ? "it is empty" : "a message of no known kind";
}
