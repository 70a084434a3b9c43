/* The columns of the presets. For outbox_row.c only. */
#ifndef BOXHAUL_FORMAT_OUTBOX_PRESET_H
#define BOXHAUL_FORMAT_OUTBOX_PRESET_H

#include "format/outbox_mapping.h"

enum { OUTBOX_PRESET_HEADERS = 4 };

/* NULL: there is none. */
struct outbox_preset_columns {
	const char *id, *key, *payload, *headers;
	const char *second_key; /* where the key's column is null */
	const char *key_object; /* an object whose member "key" is the key */
	const char *unkeyed;    /* where this is 'parallel' there is no key */
	const char *header_columns[OUTBOX_PRESET_HEADERS];
};

const struct outbox_preset_columns *outbox_preset_columns(enum outbox_preset preset);

#endif
