/* What the core has to say, in words for the log. */
#ifndef BOXHAUL_WATCH_NOTE_H
#define BOXHAUL_WATCH_NOTE_H

#include "base/log.h"
#include "books/reasons.h"
#include "core/delivery.h"

/* Logs a note. stream: the name of the note's; detail: what is wrong with that stream, or ""; target: what a command's line says to mean this
 * instance. */
void note_tell(struct log *log, const struct note *n, const struct reasons *reasons, const char *stream,
	       const char *detail, const char *target);

#endif
