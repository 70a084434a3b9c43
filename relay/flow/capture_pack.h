/* From a message that was made to a parcel: one allocation, with what the core and the books want to know of it. */
#ifndef BOXHAUL_FLOW_CAPTURE_PACK_H
#define BOXHAUL_FLOW_CAPTURE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/capture/capture_types.h"
#include "core/refusal.h"
#include "flow/capture_parcel.h"
#include "format/capture_message.h"
#include "format/capture_shape.h"
#include "format/pgoutput.h"

/* What there is to know of it beside the message. All is borrowed. */
struct capture_parts {
	const char *tab;
	uint32_t table;
	const struct capture_place *place;                     /* NULL: of no transaction */
	const struct capture_text *key, *repair_key, *columns; /* NULL, or empty: none */
	const struct capture_key_of *others; /* keys of a message of several changes, behind the first one */
	uint32_t other_count;
	enum reason defect;
	bool read_instead;
	bool written; /* by somebody, as a message: of no row */
	bool moves_whole;
	bool has_part;              /* that of the message, where the writer has put it */
	size_t part_at, part_bytes; /* in the body */
	const char *snapshot;       /* of a row that is no message yet: what it was read in; else NULL */
	uint64_t reading;
};

/* The key of a row in one piece; empty where it has none, or not all of it was sent. */
void capture_pack_key(struct capture_text *out, const struct capture_shape *s, const struct pgoutput_value *values);

/* NULL when out of memory; free with free(). */
struct capture_parcel *capture_pack(const struct capture_message *m, const struct capture_parts *p);

#endif
