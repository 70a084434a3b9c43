/* A change of a captured table, as it is known before it is a message; and what is the same for all of a capture. */
#ifndef BOXHAUL_FORMAT_CAPTURE_CHANGE_H
#define BOXHAUL_FORMAT_CAPTURE_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/capture_format.h"
#include "format/capture_identity.h"
#include "format/capture_shape.h"
#include "format/capture_text.h"

enum capture_op {
	CAPTURE_OP_INSERT,
	CAPTURE_OP_UPDATE,
	CAPTURE_OP_DELETE,
	CAPTURE_OP_READ,
	CAPTURE_OP_TRUNCATE,
	CAPTURE_OP_SHAPE,
	CAPTURE_OP_SNAPSHOT_BEGIN,
	CAPTURE_OP_SNAPSHOT_END,
	CAPTURE_OP_TOKEN, /* of a move; of no table, and alone in its transaction */
	CAPTURE_OP_END,   /* of no table: its transaction ends here */
	CAPTURE_OP_VERIFY,
	CAPTURE_OP_SEVERAL, /* changes of one transaction and table */
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
	bool in_commit_order; /* the stream is ours alone, and has the order of the commits */
	uint64_t system;      /* the system identifier */
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
	const char *
		history; /* of SHAPE, SNAPSHOT_BEGIN: in which history of the table it stands (sql/010_capture.sql); else NULL */
	uint64_t reading;  /* of READ, VERIFY */
	const char *token; /* of TOKEN */
	/* Of VERIFY: its body (format/capture_verify.h), and what tells it from the others of its pass, whose id is `snapshot`. Of a READ of several rows, which has no `row`: these, with
	 * commas between them, and what tells it from the others of its reading. Of SEVERAL: the changes; its place is that of the last one. */
	const struct capture_text *body;
	const void *id;
	size_t id_bytes;
	/* Of a READ of one row: what capture_event_part() has written of it, behind its CAPTURE_EVENT_HEAD_BYTES. Then the columns of its shape, and `row`, are those of its key alone. NULL: it is to be written. */
	const void *part;
	size_t part_bytes;
	uint64_t
		nth; /* of a READ without a key: its number in the reading. Of a SHAPE outside of a transaction: its number in the snapshot. So that no two have one id */
};

#endif
