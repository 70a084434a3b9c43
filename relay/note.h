/* What the core has to say, in words for the log. */
#ifndef BOXHAUL_NOTE_H
#define BOXHAUL_NOTE_H

#include "core/delivery.h"
#include "log.h"

/* stream: the name of the note's; detail: what its server said last, or "". */
void note_tell(struct log *log, const struct note *n, const char *stream, const char *detail);

#endif
