/* A change of a captured table, as a message.
 *
 * format = row (and cloudevents, with its attributes as headers):
 *
 *     {"op":"u","table":"public.orders","key":{"id":42},"row":{"id":42,"total":"9.90"},"old":{...},"unchanged":["doc"],"at":"2026-11-30T09:45:00.123456Z"}
 *
 *     op         c inserted, u updated, d deleted, r read by a snapshot, t truncated, s the shape of the table, snapshot-begin, snapshot-end,
 *                v of a verify pass, which has a body of its own (format/capture_verify.h); m several changes (format = text, order = commit)
 *     key        of the row as it is now; of a deleted one as it was. Not where the table has no key
 *     row        as it is now; not of d, t, s
 *     rows       of an r, in the place of key and row: several rows of one snapshot, each as in `row` (format = text, order = commit)
 *     changes    of an m: changes of one transaction to rows of this table, in their order, each with its own op (c, u, d), key, row, old and unchanged
 *     old        as it was: what the replica identity gives. Of a u with a key that stays: only with REPLICA IDENTITY FULL
 *     unchanged  columns that are stored out of line and were not sent, because they did not change: they stand in no row, and are never null
 *     at         the time of the commit; not of r
 *     snapshot   the snapshot's id, of r, s, snapshot-begin, snapshot-end
 *     columns    of s, snapshot-begin: format/capture_shape.h
 *     history    the same: in which history of the table it stands. Under another one than before changes are missing between the two, and its rows are read
 *                again. Not where nobody reads them
 *     format     the same: this one
 *     order      the same: commit, or key
 *
 * format = text: the same with each value as PostgreSQL's text, a string, or null. The members of row and old stand in the order in which jsonb keeps them
 * (format/capture_shape.h). A table can be made of it again; of the other formats not exactly (jsonb 'null'
 * and NULL are one there, and arrays lose their lower bounds).
 * format = debezium: {"before":...,"after":...,"source":{...},"op":...,"ts_ms":...}, without a schema; values as in row; `unchanged` besides, for no placeholder is sent.
 * target = kv: the row alone, under $KV.<bucket>.<table>.<key>; of d nothing, with KV-Operation: DEL. What a key of a bucket cannot hold is =XX there. */
#ifndef BOXHAUL_FORMAT_CAPTURE_EVENT_H
#define BOXHAUL_FORMAT_CAPTURE_EVENT_H

#include <stdbool.h>

#include "format/capture_change.h"
#include "format/capture_message.h"

/* Makes the message. REASON_NONE; else a defect of the row, and *m is what there is of it, for a dead letter: DEFECT_COLUMN (m->why names it; in a bucket also a
 * value that was not sent, which it would lose), DEFECT_KEY_NULL (in a bucket: there is nothing to put it under), DEFECT_TRUNCATE (a bucket cannot be told of one), DEFECT_SUBJECT_...;
 * REASON_NO_MEMORY: nobody can say now. */
enum reason capture_event_write(struct capture_writer *w, const struct capture_style *style,
				const struct capture_change *change, struct capture_message *m);

/* Of an insert, update, delete or READ, in the formats row and text, only what may stand beside others in one message. It has neither id nor headers: they are much of the work, and of no use
 * there. The payload is the op, in CAPTURE_EVENT_HEAD_BYTES, and then all that is said of the row (change->part of a READ: capture_event_write() makes of it the message that it would have
 * made of the row). A defect as above. */
enum { CAPTURE_EVENT_HEAD_BYTES = sizeof "{\"op\":\"c\"" - 1 };
enum reason capture_event_part(struct capture_writer *w, const struct capture_style *style,
			       const struct capture_change *change, struct capture_message *m);

/* A bucket holds rows: of a SHAPE and of where a snapshot begins and ends it is told nothing. */
static inline bool capture_event_is_sent(const struct capture_style *style, enum capture_op op)
{
	return style->target != CAPTURE_TARGET_KV || op < CAPTURE_OP_SHAPE;
}

/* Has an update another key than the row had? In a bucket it is a delete of the old key (the same change with `old` as CAPTURE_OP_DELETE, and another index), then the update. */
bool capture_event_moves(const struct capture_change *change);

#endif
