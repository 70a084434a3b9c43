/* What the files of flow/capture_maker*.c share, and nobody else sees. */
#ifndef BOXHAUL_FLOW_CAPTURE_MAKER_STATE_H
#define BOXHAUL_FLOW_CAPTURE_MAKER_STATE_H

#include "config/config.h"
#include "flow/capture_pack.h"
#include "format/capture_change.h"
#include "format/capture_message.h"
#include "format/pgoutput.h"

struct capture_maker {
	const struct config *config;
	size_t index;
	struct capture_style style;
	struct capture_writer writer;
	struct capture_text key, repair_key, columns, body, id;
	bool moves_whole;
	bool puts_together, by_table; /* by_table: all changes of a table have one subject */
	struct pgoutput_value row[PGOUTPUT_COLUMNS_MAX], old[PGOUTPUT_COLUMNS_MAX];
};

/* capture_maker.c: the message of a change, and its parcel; the parcel of what the writer has made. NULL when out of memory. */
struct capture_parcel *capture_maker_make(struct capture_maker *m, const struct capture_change *c,
					  struct capture_parts *p);

struct capture_parcel *capture_maker_pack(struct capture_maker *m, const struct capture_message *message,
					  struct capture_parts *p);

#endif
