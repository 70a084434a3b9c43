/* What the plugin pgoutput says of a transaction, in version 1 of its protocol: each message is the content of one CopyData (edge/pg_wal_data.h).
 *
 *     B  Begin     R  Relation    I  Insert     T  Truncate
 *     C  Commit    Y  Type        U  Update     M  Message (of pg_logical_emit_message; asked for, from 14 on)
 *     O  Origin                   D  Delete
 *
 * (PostgreSQL's documentation, "Logical Replication Message Formats".) A message is read as a whole, with every length and every count, before any
 * of it is believed. What is read points into the bytes that were read: it lives as long as they do. */
#ifndef BOXHAUL_FORMAT_PGOUTPUT_H
#define BOXHAUL_FORMAT_PGOUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a table (MaxHeapAttributeNumber is 1600), and of a target list (MaxTupleAttributeNumber): nothing larger is a row. */
enum { PGOUTPUT_COLUMNS_MAX = 1664 };

enum pgoutput_kind {
	PGOUTPUT_BEGIN,
	PGOUTPUT_COMMIT,
	PGOUTPUT_ORIGIN,
	PGOUTPUT_RELATION,
	PGOUTPUT_TYPE,
	PGOUTPUT_INSERT,
	PGOUTPUT_UPDATE,
	PGOUTPUT_DELETE,
	PGOUTPUT_TRUNCATE,
	PGOUTPUT_MESSAGE,
};

/* What is left to be read of a tuple, or of a list of columns. */
struct pgoutput_list {
	uint16_t count;
	const char *at;
	size_t bytes;
};

/* What of the row before a change stands in it. */
enum pgoutput_old {
	PGOUTPUT_OLD_NONE,
	PGOUTPUT_OLD_KEY, /* the columns of the identity; all others are null there, whatever they were */
	PGOUTPUT_OLD_ROW, /* all of it (REPLICA IDENTITY FULL) */
};

struct pgoutput_message {
	enum pgoutput_kind kind;
	union {
		struct {
			uint64_t final_lsn; /* where its commit record begins */
			int64_t time_us;    /* of the commit, since 2000-01-01 */
			uint32_t xid;       /* of the top level transaction, its lower half */
		} begin;
		struct {
			uint64_t lsn, end_lsn; /* of the commit record: where it begins; and behind it */
			int64_t time_us;
		} commit;
		struct {
			uint64_t lsn;
			const char *name;
		} origin;
		struct {
			uint32_t oid;
			const char *schema, *name;
			char identity; /* 'd'efault, 'n'othing, 'f'ull, 'i'ndex */
			struct pgoutput_list columns;
		} relation;
		struct {
			uint32_t oid;
			const char *schema, *name;
		} type;
		struct {
			uint32_t oid; /* of the relation; said in a Relation before */
			enum pgoutput_old has_old;
			struct pgoutput_list old; /* of Update and Delete */
			struct pgoutput_list row; /* of Insert and Update */
		} change;
		struct {
			bool cascade, restart;
			struct pgoutput_list relations;
		} truncate;
		struct {
			bool transactional; /* else it stands outside of every transaction, and survives its roll-back */
			uint64_t lsn;
			const char *prefix;
			const void *content;
			size_t bytes;
		} message;
	};
};

/* NULL where the bytes are a message, which is in *message; else why they are none: a few words, static. */
const char *pgoutput_read(const char *data, size_t bytes, struct pgoutput_message *message);

struct pgoutput_column {
	bool is_key; /* of the identity: with REPLICA IDENTITY FULL every column is */
	const char *name;
	uint32_t type; /* its oid */
	int32_t typmod;
};

enum pgoutput_value_kind {
	PGOUTPUT_NULL,
	PGOUTPUT_UNCHANGED, /* stored out of line and not changed: it was not sent */
	PGOUTPUT_TEXT,
};

struct pgoutput_value {
	enum pgoutput_value_kind kind;
	const char *text; /* not terminated, and without a NUL inside; NULL where it is no text */
	size_t bytes;
};

/* Take the next one off a list that pgoutput_read() gave. False: there is none. */
bool pgoutput_next_column(struct pgoutput_list *columns, struct pgoutput_column *column);
bool pgoutput_next_value(struct pgoutput_list *tuple, struct pgoutput_value *value);
bool pgoutput_next_relation(struct pgoutput_list *relations, uint32_t *oid);

#endif
