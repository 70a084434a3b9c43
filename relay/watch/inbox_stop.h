/* Why a subscription takes nothing until somebody decides, in words, and the command that goes on. */
#ifndef BOXHAUL_WATCH_INBOX_STOP_H
#define BOXHAUL_WATCH_INBOX_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "watch/wrong.h"

#include "core/inbox/inbox_types.h"

enum { INBOX_STOP_TEXT_BYTES = WRONG_BYTES };

struct inbox_stop_case {
	enum inbox_stop stop;
	const char *subscription, *stream;
	const char *target; /* what a command's line says to mean this relay's configuration */
	bool ids;           /* dedupe = "ids" */
	uint64_t from,
		to; /* GAP: what is gone; TRUNCATED: the position, and where the stream ends; START_AHEAD: its end */
	const char *reason; /* REFUSED: what the server said; KIND: what is wrong with the stream; or NULL */
};

/* what: one sentence without a full stop, that begins with "Subscription NAME". mend: what to do; commands stand in
 * `backquotes`, as they are to be typed. */
void inbox_stop_tell(const struct inbox_stop_case *c, char what[static INBOX_STOP_TEXT_BYTES],
		     char mend[static INBOX_STOP_TEXT_BYTES]);

#endif
