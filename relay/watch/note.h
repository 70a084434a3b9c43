/* What the core has to say, in words for the log. */
#ifndef BOXHAUL_WATCH_NOTE_H
#define BOXHAUL_WATCH_NOTE_H

#include <stdbool.h>

#include "base/log.h"
#include "books/reasons.h"
#include "core/delivery.h"

/* Logs a note. stream: the name of the note's; detail: what is wrong with that stream, or ""; target: what a command's line says to mean this
 * instance. */
void note_tell(struct log *log, const struct note *n, const struct reasons *reasons, const char *stream,
	       const char *detail, const char *target);

/* By which wire the messages of a stream go from now on, and why. wanted: the configuration asks for batches, and wants it said where there are
 * none. */
void note_tell_wire(struct log *log, enum wire_reason reason, const char *stream, bool wanted);

#endif
