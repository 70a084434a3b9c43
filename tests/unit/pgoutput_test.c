/* What pgoutput says. The bytes are of real servers (PostgreSQL 13, 15 and 18 say the same but for oids and positions); what is wrong with the others is
 * said beside them. */
#include "format/pgoutput.h"

#include <string.h>

#include "base/hex.h"
#include "edge/pg_wal_data.h"
#include "tap.h"

static char bytes[4096];
static struct pgoutput_message message;

/* From hexadecimal digits; blanks are for the eye. Returns how many bytes. */
static size_t put(const char *digits)
{
	size_t n = 0;

	for (; *digits != '\0'; digits++) {
		if (*digits == ' ')
			continue;
		bytes[n++] = (char)(hex_digit(digits[0]) << 4 | hex_digit(digits[1]));
		digits++;
	}
	return n;
}

static const char *read_hex(const char *digits)
{
	return pgoutput_read(bytes, put(digits), &message);
}

/* All values of a tuple in one line: `-` is null, `?` unchanged. */
static const char *line_of(struct pgoutput_list tuple)
{
	static char line[512];
	struct pgoutput_value v;
	size_t n = 0;

	line[0] = '\0';
	while (pgoutput_next_value(&tuple, &v))
		n += (size_t)snprintf(line + n, sizeof line - n, "%s%.*s", n > 0 ? "|" : "",
				      v.kind == PGOUTPUT_TEXT ? (int)v.bytes : 1,
				      v.kind == PGOUTPUT_TEXT   ? v.text
				      : v.kind == PGOUTPUT_NULL ? "-"
								: "?");
	return line;
}

static void transactions(void)
{
	ok(read_hex("42 0000000001536278 00030479ae7b87b3 000002e0") == NULL && message.kind == PGOUTPUT_BEGIN,
	   "a Begin");
	is_number(message.begin.final_lsn, 0x1536278, "where its commit record begins");
	is_number(message.begin.time_us, 0x00030479ae7b87b3, "when it was");
	is_number(message.begin.xid, 736, "its transaction");
	ok(read_hex("43 00 0000000001536278 00000000015362a8 00030479ae7b87b3") == NULL &&
		   message.kind == PGOUTPUT_COMMIT,
	   "a Commit");
	is_number(message.commit.lsn, 0x1536278, "the same place");
	is_number(message.commit.end_lsn, 0x15362a8, "and the end, from which it goes on");
	is_text(read_hex("43 01 0000000001536278 00000000015362a8 00030479ae7b87b3"), "a commit with flags",
		"flags are none of version 1");
	is_text(read_hex("43 00 0000000001536278 0000000001536278 00030479ae7b87b3"),
		"a commit that ends before it begins", "a commit without an end");
	is_text(read_hex("42 0000000000000000 00030479ae7b87b3 000002e0"), "a transaction without a name",
		"a Begin at no place");
	ok(read_hex("4f 0000000001536278 6f7300") == NULL && message.kind == PGOUTPUT_ORIGIN, "an Origin");
	is_text(message.origin.name, "os", "its name");
}

static void relations(void)
{
	static const char odd[] =
		"52 00004011 7075626c696300 776522697264204e616d6500 64 0002 01 696400 00000017 ffffffff"
		" 00 636f6c20756d6e00 00000017 ffffffff";
	struct pgoutput_column c;

	ok(read_hex(odd) == NULL && message.kind == PGOUTPUT_RELATION, "a Relation");
	is_number(message.relation.oid, 16401, "its oid");
	is_text(message.relation.schema, "public", "its schema");
	is_text(message.relation.name, "we\"ird Name", "its name, as it is");
	is_number(message.relation.identity, 'd', "its identity");
	ok(pgoutput_next_column(&message.relation.columns, &c) && c.is_key && strcmp(c.name, "id") == 0 &&
		   c.type == 23 && c.typmod == -1,
	   "the column of the key");
	ok(pgoutput_next_column(&message.relation.columns, &c) && !c.is_key && strcmp(c.name, "col umn") == 0,
	   "another one");
	ok(!pgoutput_next_column(&message.relation.columns, &c), "and no more");
	ok(read_hex("52 00004011 00 6100 66 0000") == NULL, "a table without columns");
	is_text(message.relation.schema, "pg_catalog", "whose schema is written as nothing");
	is_text(read_hex("52 00004011 00 6100 78 0000"), "a replica identity of no known kind", "another identity");
	is_text(read_hex("52 00004011 00 6100 66 0681"), "more columns than a table can have", "1665 columns");
	is_text(read_hex("52 00004011 00 6100 66 0001 01 61"), "it ends too early", "a name without an end");
	ok(read_hex("59 00004001 7075626c696300 6d6f6f6400") == NULL && message.kind == PGOUTPUT_TYPE, "a Type");
	is_text(message.type.name, "mood", "its name");
}

static void changes(void)
{
	ok(read_hex("49 0000400c 4e 0002 74 00000001 31 74 00000001 78") == NULL && message.kind == PGOUTPUT_INSERT,
	   "an Insert");
	is_text(line_of(message.change.row), "1|x", "its row");
	ok(read_hex("49 0000400c 4e 0002 74 00000001 31 6e") == NULL, "another one");
	is_text(line_of(message.change.row), "1|-", "with a null");
	ok(read_hex("55 00004005 4e 0003 74 00000001 31 74 00000001 62 75") == NULL &&
		   message.kind == PGOUTPUT_UPDATE && message.change.has_old == PGOUTPUT_OLD_NONE,
	   "an Update that leaves the key");
	is_text(line_of(message.change.row), "1|b|?", "what was not changed was not sent");
	ok(read_hex("55 00004005 4b 0003 74 00000001 31 6e 6e 4e 0003 74 00000001 32 74 00000001 62 75") == NULL &&
		   message.change.has_old == PGOUTPUT_OLD_KEY,
	   "one that changes the key");
	is_text(line_of(message.change.old), "1|-|-", "the old key, and all else null");
	is_text(line_of(message.change.row), "2|b|?", "the new row");
	ok(read_hex("55 0000400c 4f 0002 74 00000001 31 6e 4e 0002 74 00000001 31 74 00000001 79") == NULL &&
		   message.change.has_old == PGOUTPUT_OLD_ROW,
	   "one with the whole old row");
	ok(read_hex("44 00004005 4b 0003 74 00000001 32 6e 6e") == NULL && message.kind == PGOUTPUT_DELETE, "a Delete");
	is_text(line_of(message.change.old), "2|-|-", "what is gone");
	is_text(read_hex("44 00004005 4e 0001 6e"), "a delete without a row", "a Delete with a new row");
	is_text(read_hex("49 0000400c 4b 0001 6e"), "an insert without a row", "an Insert with an old one");
	is_text(read_hex("55 0000400c 4b 0001 6e"), "it ends too early", "an Update with an old row only");
	is_text(read_hex("49 0000400c 4e 0001 62 00000001 31"), "a value of no known kind", "a binary value");
	is_text(read_hex("49 0000400c 4e 0001 74 00000002 3100"), "a value with a NUL in it", "a NUL in a text");
	is_text(read_hex("49 0000400c 4e 0001 74 ffffffff 31"), "it ends too early", "a length beyond everything");
	is_text(read_hex("49 0000400c 4e 0002 74 00000001 31"), "it ends too early", "fewer values than it counts");
	is_text(read_hex("49 0000400c 4e 0001 74 00000001 31 6e"), "more bytes than it has", "and more");
}

static void the_rest(void)
{
	uint32_t oid = 0;

	ok(read_hex("54 00000002 00 00004005 0000400c") == NULL && message.kind == PGOUTPUT_TRUNCATE, "a Truncate");
	ok(pgoutput_next_relation(&message.truncate.relations, &oid) && oid == 0x4005 &&
		   pgoutput_next_relation(&message.truncate.relations, &oid) && oid == 0x400c &&
		   !pgoutput_next_relation(&message.truncate.relations, &oid),
	   "of two tables");
	ok(read_hex("54 00000001 03 00004005") == NULL && message.truncate.cascade && message.truncate.restart,
	   "and what it does beside");
	is_text(read_hex("54 00000003 00 00004005 0000400c"), "a truncate whose relations are not as many as it says",
		"one that counts wrong");
	ok(read_hex("4d 01 0000000001537d80 626f786861756c00 00000002 00ab") == NULL &&
		   message.kind == PGOUTPUT_MESSAGE && message.message.transactional,
	   "a message of a transaction");
	is_text(message.message.prefix, "boxhaul", "its prefix");
	ok(message.message.bytes == 2 && memcmp(message.message.content, "\0\xab", 2) == 0, "its content, any bytes");
	ok(read_hex("4d 00 0000000001537dc0 626f786861756c2e6368756e6b00 00000000") == NULL &&
		   !message.message.transactional && message.message.bytes == 0,
	   "one that survives a roll-back");
	is_text(read_hex("4d 00 0000000001537dc0 6200 00000003 0000"), "it ends too early", "a content cut off");
	is_text(read_hex("53 000002e0 01"), "a message of no known kind", "a streamed block, which nobody asked for");
	is_text(read_hex(""), "it is empty", "nothing");
}

static void is_fork(const char *content, uint32_t former, uint64_t lsn, const char *what)
{
	ok(pg_wal_data_fork(content, strlen(content), former) == lsn, "the fork: %s", what);
}

static void copy_data(void)
{
	char status[PG_WAL_DATA_STATUS_BYTES];
	struct pg_wal_data d;

	ok(pg_wal_data_read(bytes, put("77 0000000001536278 0000000001536278 00030479ae7b87b3 43"), &d) == NULL &&
		   d.kind == PG_WAL_DATA_PLUGIN && d.lsn == 0x1536278 && d.bytes == 1 && d.content[0] == 'C',
	   "data of the plugin");
	ok(pg_wal_data_read(bytes, put("6b 0000000001537df0 00030479ae7b87b3 01"), &d) == NULL &&
		   d.kind == PG_WAL_DATA_KEEPALIVE && d.end_lsn == 0x1537df0 && d.reply_wanted,
	   "a keepalive that wants a reply");
	ok(pg_wal_data_read(bytes, put("6b 0000000001537df0 00030479ae7b87b3"), &d) != NULL, "one that is cut off");
	ok(pg_wal_data_read(bytes, put("77 0000000001536278"), &d) != NULL, "data without a header");
	ok(pg_wal_data_read(bytes, 0, &d) != NULL, "nothing");
	pg_wal_data_write_status(status, &(struct pg_wal_data_status){ .received_lsn = 0x1537df0,
								       .confirmed_lsn = 0x1536278,
								       .time_us = 1,
								       .reply_wanted = true });
	is_fork("1\t0/3000148\tno recovery target specified\n", 1, 0x3000148, "a promotion");
	is_fork("1\t0/3000148\tx\n\n2\t1/A0\tno recovery target specified\n", 1, 0x3000148,
		"two of them: the first one counts");
	is_fork("1\t0/3000148\tx\n\n2\t1/A0", 2, 0x1000000a0, "the second one, whose line does not end");
	is_fork("1\t0/3000148\tx\n3\t1/A0\ty\n", 2, 0x3000148,
		"of a timeline that it does not come from: the common ancestor");
	is_fork("", 1, 0, "nothing is said");
	put("72 0000000001537df0 0000000001536278 0000000001536278 0000000000000001 01");
	ok(memcmp(status, bytes, sizeof status) == 0, "a status: received, confirmed twice, our time, a question");
}

int main(void)
{
	transactions();
	relations();
	changes();
	the_rest();
	copy_data();
	return done_testing();
}
