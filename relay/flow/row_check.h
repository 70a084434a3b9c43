/* A row as it was fetched: can it be sent, and where to? */
#ifndef BOXHAUL_FLOW_ROW_CHECK_H
#define BOXHAUL_FLOW_ROW_CHECK_H

#include <stdint.h>

#include "config/config.h"
#include "core/refusal.h"
#include "core/vocabulary.h"
#include "edge/pg.h"

enum { ROW_OVERHEAD_BYTES = 256, OVERSIZE_MARGIN_BYTES = 256 };

/* Columns of a row as they are fetched. */
enum {
	COL_ID,
	COL_LANE,
	COL_MESSAGE_ID,
	COL_SUBJECT,
	COL_HEADERS,
	COL_PAYLOAD,
	COL_FITS,
	COL_CREATED,
	COL_NOW,
	COL_KEY, /* NULL also where it is longer than any header, or none that can be sent */
	COL_XID,
	COL_WHY, /* of the careful statement only */
};

/* What COL_FITS says; NULL: the row is not in the kept snapshot. What is longer than anything that could be sent stays there. */
enum {
	FITS_NOT = 0, /* it is behind the byte credit: the answer ends before it */
	SUBJECT_TOO_LONG = 1,
	FITS = 2,
	HEADERS_TOO_LONG = 3,
	PAYLOAD_TOO_LONG = 4,
	KEY_TOO_LONG = 5,
	UNREADABLE = 6,
};

struct row_limits {
	const struct config *config;
	int64_t max_payload; /* the server's; 0 = not known */
};

/* Payload and headers together may have so many bytes. */
int64_t row_largest(const struct row_limits *s);

/* Why row i of the answer can never be sent, REASON_NONE = it can; fills its stream and its bytes. REASON_NO_MEMORY is no
 * verdict. key_header: how many bytes its key has as the text of a header; KEY_STAYS = none goes along. */
#define KEY_STAYS UINT32_MAX
enum reason row_check(const struct row_limits *s, const struct pg_result *r, int i, struct row *row,
		      uint32_t *key_header);

#endif
