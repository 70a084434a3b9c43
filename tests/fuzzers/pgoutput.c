/* Any bytes as a message of pgoutput, and as what carries it. What is let through lies inside what was read, and is as many as it says. */
#include "format/pgoutput.h"

#include "edge/pg_wal_data.h"
#include "fuzz.h"

static const char *first, *end;

static void check_inside(const char *at, size_t bytes, const char *what)
{
	promise(at >= first && at <= end && bytes <= (size_t)(end - at), "%s lies outside", what);
}

static void check_text(const char *text, const char *what)
{
	if (strcmp(text, "pg_catalog") != 0)
		check_inside(text, strlen(text) + 1, what);
}

static void check_tuple(struct pgoutput_list tuple)
{
	unsigned count = tuple.count, seen = 0;
	struct pgoutput_value v;

	promise(count <= PGOUTPUT_COLUMNS_MAX, "%u columns", count);
	while (pgoutput_next_value(&tuple, &v)) {
		seen++;
		promise((v.text != NULL) == (v.kind == PGOUTPUT_TEXT), "a text that is none");
		if (v.text == NULL)
			continue;
		check_inside(v.text, v.bytes, "a value");
		promise(memchr(v.text, '\0', v.bytes) == NULL, "a NUL in a value");
	}
	promise(seen == count && tuple.bytes == 0, "%u of %u values, %zu bytes left", seen, count, tuple.bytes);
}

static void check_relation(const struct pgoutput_message *m)
{
	struct pgoutput_list columns = m->relation.columns;
	unsigned count = columns.count, seen = 0;
	struct pgoutput_column c;

	check_text(m->relation.schema, "a schema");
	check_text(m->relation.name, "a name");
	while (pgoutput_next_column(&columns, &c)) {
		seen++;
		check_inside(c.name, strlen(c.name) + 1, "a column");
	}
	promise(seen == count && columns.bytes == 0, "%u of %u columns", seen, count);
}

static void check_truncate(struct pgoutput_list relations)
{
	unsigned count = relations.count, seen = 0;
	uint32_t oid;

	while (pgoutput_next_relation(&relations, &oid))
		seen++;
	promise(seen == count && relations.bytes == 0, "%u of %u relations", seen, count);
}

static void check_message(const char *data, size_t size)
{
	struct pgoutput_message m;

	first = data;
	end = data + size;
	if (pgoutput_read(data, size, &m) != NULL)
		return;
	switch (m.kind) {
	case PGOUTPUT_BEGIN: promise(m.begin.xid != 0 && m.begin.final_lsn != 0, "a transaction without a name"); break;
	case PGOUTPUT_COMMIT: promise(m.commit.end_lsn > m.commit.lsn, "an end before its beginning"); break;
	case PGOUTPUT_ORIGIN: check_text(m.origin.name, "an origin"); break;
	case PGOUTPUT_RELATION: check_relation(&m); break;
	case PGOUTPUT_TYPE:
		check_text(m.type.schema, "a schema");
		check_text(m.type.name, "a name");
		break;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		promise(m.change.has_old != PGOUTPUT_OLD_NONE || m.change.old.count == 0, "an old row that is none");
		promise(m.kind != PGOUTPUT_DELETE || m.change.has_old != PGOUTPUT_OLD_NONE, "nothing is deleted");
		check_tuple(m.change.old);
		check_tuple(m.change.row);
		break;
	case PGOUTPUT_TRUNCATE: check_truncate(m.truncate.relations); break;
	case PGOUTPUT_MESSAGE:
		check_text(m.message.prefix, "a prefix");
		check_inside(m.message.content, m.message.bytes, "a content");
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pg_wal_data d;

	check_message((const char *)data, size);
	if (pg_wal_data_read((const char *)data, size, &d) == NULL && d.kind == PG_WAL_DATA_PLUGIN) {
		first = (const char *)data;
		end = first + size;
		check_inside(d.content, d.bytes, "the content");
		check_message(d.content, d.bytes);
	}
	return 0;
}
