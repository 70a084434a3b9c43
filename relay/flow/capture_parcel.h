/* What a capture sends, as the core's slots hold it: a message for the publisher, with what the core and the books want to know of it. */
#ifndef BOXHAUL_FLOW_CAPTURE_PARCEL_H
#define BOXHAUL_FLOW_CAPTURE_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/capture/capture_types.h"
#include "flow/parcel.h"

/* One allocation; free with free(). */
struct capture_parcel {
	struct parcel parcel; /* for the publisher. parcel.id is the ordinal, once it is known */
	const char *
		key; /* in one piece (format/capture_key.h): of the row before a change, where the change has it; NULL: none */
	uint32_t key_bytes;
	struct capture_key_of *others; /* of a message of several changes: the keys of those behind the first one */
	uint32_t other_count;
	const char *repair_key; /* the key after a change that gave the row another one; else NULL */
	uint32_t repair_key_bytes;
	bool moves_whole; /* then: it left no value out */
	bool read_instead; /* the row under repair_key is to be read, and sent instead: it is not whole, and for a bucket */
	uint64_t lane;     /* of its table and key */
	uint32_t table;       /* of the capture, or CAPTURE_NO_TABLE */
	const char *tab;      /* its name; "" */
	const char *position; /* "0/3B001260.849253375684112.3"; "": it is of no transaction */
	const char *columns;  /* of the description of a table: as the books are to hold it (JSON); else NULL */
	const char *
		part; /* of a row, or a change, that others may stand beside in one message: its part of that; else NULL */
	size_t part_bytes;
	/* Of a row that is no message yet (capture_maker_alone() makes one of it): what it was read in. It has a key, and no defect. NULL: this is a message, or
	 * a change that goes with those before it (capture_maker_part()), which is never sent. */
	const char *snapshot;
	uint64_t reading;
	uint16_t defect; /* enum reason: why it can never be sent; 0: it can */
	const char *why; /* of the defect, in words; "" */
	uint32_t bytes;  /* that it takes */
};

#endif
