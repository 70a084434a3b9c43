/* What the core of a capture has to say, in words for the log. */
#ifndef BOXHAUL_WATCH_CAPTURE_NOTE_H
#define BOXHAUL_WATCH_CAPTURE_NOTE_H

#include "base/log.h"
#include "books/reasons.h"
#include "core/capture/capture_types.h"

/* Logs a note of a capture. table: the name of the note's, "" = it is about none; why: of CAPTURE_NOTE_FAILED, in words. */
void capture_note_tell(struct log *log, const struct capture_note *n, const char *capture, const char *table,
		       const char *why);

/* NOTE_HELD of its sender. target: as note_tell(). */
void capture_note_held(struct log *log, const struct note *n, const struct reasons *reasons, const char *capture,
		       const char *target);

#endif
