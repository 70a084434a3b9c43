/* A signal of boxhaul's own in the log (sql/010_capture.sql, capture_emit()): from PostgreSQL 14 on a logical message; before that, for pgoutput sends no
 * messages there, a row that is inserted into boxhaul.capture_signal. Whoever reads the log makes a message of the row, and knows no difference
 * then: it stands at the same place of the same transaction. */
#ifndef BOXHAUL_FORMAT_SIGNAL_ROW_H
#define BOXHAUL_FORMAT_SIGNAL_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "format/capture_shape.h"
#include "format/pgoutput.h"

enum { SIGNAL_PREFIX_BYTES = 64 };

/* Is it the table of signals? Its rows are never anything else. */
bool signal_row_is_of(const struct capture_shape *s);

/* Makes a logical message (PGOUTPUT_MESSAGE, transactional) of a row of that table. The prefix goes into the room, the content points into the row. False: it is no
 * signal, for the columns are others, something was not sent, or the prefix is none of boxhaul's own: what a service has to say is no row here. */
bool signal_row_read(const struct capture_shape *s, const struct pgoutput_list *row,
		     char prefix[static SIGNAL_PREFIX_BYTES], struct pgoutput_message *message);

#endif
