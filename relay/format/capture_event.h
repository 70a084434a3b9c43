/* A change of a captured table, as a message.
 *
 * format = row (and cloudevents, with its attributes as headers):
 *
 *     {"op":"u","table":"public.orders","key":{"id":42},"row":{"id":42,"total":"9.90"},"old":{...},"unchanged":["doc"],"at":"2026-11-30T09:45:00.123456Z"}
 *
 *     op         c inserted, u updated, d deleted, r read by a snapshot, t truncated, s the shape of the table, snapshot-begin, snapshot-end
 *     key        of the row as it is now; of a deleted one as it was. Not where the table has no key
 *     row        as it is now; not of d, t, s
 *     old        as it was: what the replica identity gives. Of a u with a key that stays: only with REPLICA IDENTITY FULL
 *     unchanged  columns that are stored out of line and were not sent, because they did not change: they stand in no row, and are never null
 *     at         the time of the commit; not of r
 *     snapshot   the snapshot's id, of r, s, snapshot-begin, snapshot-end
 *     columns    of s: format/capture_shape.h
 *
 * format = text: the same with each value as PostgreSQL's text, a string, or null. A table can be made of it again; of the other formats not exactly (jsonb 'null'
 * and NULL are one there, and arrays lose their lower bounds).
 * format = debezium: {"before":...,"after":...,"source":{...},"op":...,"ts_ms":...}, without a schema; values as in row; `unchanged` besides, for no placeholder is sent.
 * target = kv: the row alone, under $KV.<bucket>.<table>.<key>; of d nothing, with KV-Operation: DEL. What a key of a bucket cannot hold is =XX there. */
#ifndef BOXHAUL_FORMAT_CAPTURE_EVENT_H
#define BOXHAUL_FORMAT_CAPTURE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/capture_format.h"
#include "format/capture_identity.h"
#include "format/capture_message.h"
#include "format/capture_shape.h"

enum capture_op {
	CAPTURE_OP_INSERT,
	CAPTURE_OP_UPDATE,
	CAPTURE_OP_DELETE,
	CAPTURE_OP_READ,
	CAPTURE_OP_TRUNCATE,
	CAPTURE_OP_SHAPE,
	CAPTURE_OP_SNAPSHOT_BEGIN,
	CAPTURE_OP_SNAPSHOT_END,
};

/* What is the same for all changes of a capture. */
struct capture_style {
	const char *capture, *database;
	const char *event_source; /* of CloudEvents */
	const char *subject;      /* the template; not of CAPTURE_TARGET_KV */
	const char *bucket;       /* of CAPTURE_TARGET_KV */
	enum capture_format format;
	enum capture_int8 int8;
	enum capture_target target;
	uint64_t system; /* the system identifier */
};

struct capture_change {
	enum capture_op op;
	const struct capture_shape *shape;
	const struct pgoutput_value *row; /* shape->count of them; NULL: there is none */
	const struct pgoutput_value *old; /* the same */
	bool old_is_whole; /* else only columns of the replica identity mean anything in `old`: the null ones are not */
	struct capture_place
		place; /* not of READ. Of SNAPSHOT_BEGIN, SNAPSHOT_END and a SHAPE outside of a transaction: all 0 but `system` */
	const char *
		snapshot; /* the snapshot's id; of READ, SNAPSHOT_BEGIN, SNAPSHOT_END; else NULL, or of SHAPE the one under way */
	uint64_t reading; /* of READ */
	uint64_t nth; /* of a SHAPE outside of a transaction: its number in the snapshot, so that two have two ids */
};

/* Makes the message. REASON_NONE; else a defect of the row, and *m is what there is of it, for a dead letter: DEFECT_COLUMN (m->why names it), DEFECT_KEY_NULL
 * (target = kv, and the key is not there; or a value that was not sent, which a bucket would lose), DEFECT_SUBJECT_...; REASON_NO_MEMORY: nobody can say now. */
enum reason capture_event_write(struct capture_writer *w, const struct capture_style *style,
				const struct capture_change *change, struct capture_message *m);

/* Has an update another key than the row had? In a bucket it is a delete of the old key (the same change with `old` as CAPTURE_OP_DELETE, and another index), then the update. */
bool capture_event_moves(const struct capture_change *change);

#endif
