/* Repairs: keys that have to be read once more (capture_reading.h says why). */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_REPAIRS_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_REPAIRS_H

#include "core/capture/capture_reading_state.h"

/* Adds one, or has the table read again where there are too many. The slot is held until it is on record. */
void capture_repairs_add(struct capture_reading *r, uint32_t table, const void *key, uint32_t key_bytes, uint32_t slot);

/* Is there a whole reading of them: on record, and nothing more to be added? (Where `any`, the last one is closed for it.) */
bool capture_repairs_ready(struct capture_reading *r, uint32_t table, bool any);

/* The first reading was read and went out. */
void capture_repairs_read(struct capture_reading *r, uint32_t table);

/* The oldest so many are on record. */
void capture_repairs_marked(struct capture_reading *r, size_t count);

#endif
