/* A row of somebody else's outbox table as a message. boxhaul.outbox_attach() (sql/010_capture.sql) makes the same of it in a trigger. */
#ifndef BOXHAUL_FORMAT_OUTBOX_ROW_H
#define BOXHAUL_FORMAT_OUTBOX_ROW_H

#include <stdbool.h>
#include <stddef.h>

#include "format/capture_change.h"
#include "format/capture_message.h"
#include "format/outbox_mapping.h"

/* Has the table the columns that the mapping and the template of the subject name? Else `why` names one that is not there. */
bool outbox_row_fits(const struct outbox_mapping *m, const char *subject, const struct capture_shape *shape, char *why,
		     size_t size);

/* Makes the message of an inserted row. REASON_NONE; else why it can never be sent, and *message is what there is of it: DEFECT_PAYLOAD_NULL, DEFECT_SUBJECT_...,
 * DEFECT_HEADER..., DEFECT_COLUMN (message->why names the column). REASON_NO_MEMORY: nobody can say now. */
enum reason outbox_row_write(struct capture_writer *w, const struct capture_style *style,
			     const struct outbox_mapping *m, const char *subject, const struct capture_shape *shape,
			     const struct pgoutput_value *row, const struct capture_place *place,
			     struct capture_message *message);

#endif
