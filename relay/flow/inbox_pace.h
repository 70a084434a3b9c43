/* How many rows a call of a handler may have, and how long nothing is called after calls that came to nothing. */
#ifndef BOXHAUL_FLOW_INBOX_PACE_H
#define BOXHAUL_FLOW_INBOX_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { INBOX_PACE_ROWS = 100 }; /* of a call, at most */

struct inbox_pace {
	uint32_t rows; /* of the next call; begins with INBOX_PACE_ROWS */
	int64_t pause_ms, not_before_ms;
};

/* A call for all that the lane has, so many rows, took so long; each row may take timeout_ms. Calls are to be short where single rows are. */
void inbox_pace_took(struct inbox_pace *p, uint64_t rows, int64_t ms, uint32_t timeout_ms);

/* An error after so many ms: is it the session's statement_timeout? The server ends a statement in its own time; a cancel by hand has the
 * same SQLSTATE, and says nothing about the row. */
bool inbox_pace_is_timeout(const char *sqlstate, int64_t ms, uint32_t timeout_ms);

/* A call took longer than that. */
void inbox_pace_too_long(struct inbox_pace *p);

/* Something was done. */
void inbox_pace_succeeded(struct inbox_pace *p);

/* Nothing was; whatever it was, it will be there in the next moment, too. */
void inbox_pace_in_vain(struct inbox_pace *p, int64_t now_ms);

#endif
