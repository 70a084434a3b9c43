/* The body of a change. For capture_event.c only, whose header says what it looks like. */
#ifndef BOXHAUL_FORMAT_CAPTURE_BODY_H
#define BOXHAUL_FORMAT_CAPTURE_BODY_H

#include "format/capture_change.h"
#include "format/capture_message.h"

/* The value of column i of the row that the change is about: as it is now, or of a deleted one as it was. What was not sent with the new row, but stands in the old
 * one, is that. */
const struct pgoutput_value *capture_body_value(const struct capture_change *c, size_t i);

/* Into w->payload; op is its word. REASON_NONE, DEFECT_COLUMN (w->why names it), DEFECT_KEY_NULL, DEFECT_TRUNCATE. */
enum reason capture_body_write(struct capture_writer *w, const struct capture_style *style,
			       const struct capture_change *c, const char *op);

/* Of a change or a READ its op and all that is said of the row, as it stands there (capture_event_part()). REASON_NONE, DEFECT_COLUMN. */
enum reason capture_body_write_part(struct capture_writer *w, const struct capture_style *style,
				    const struct capture_change *c, const char *op);

#endif
