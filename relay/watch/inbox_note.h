/* What a core of the inbox has to say, as a line of the log. */
#ifndef BOXHAUL_WATCH_INBOX_NOTE_H
#define BOXHAUL_WATCH_INBOX_NOTE_H

#include "base/log.h"
#include "core/inbox/inbox_types.h"

/* Whom it is about. No text is NULL. */
struct inbox_note_about {
	const char *subscription, *stream;
	bool ids;                     /* dedupe = "ids" */
	const char *target;           /* what a command's line says to mean this configuration */
	const char *refused, *failed; /* what the server said, and the database; "" */
};

/* Why a consumer was given up; refused: what the server said last, or "". */
const char *inbox_note_doubt(enum inbox_doubt doubt, const char *refused);

void inbox_note_tell(struct log *log, const struct inbox_note *n, const struct inbox_note_about *about);

#endif
