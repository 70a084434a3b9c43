/* One thing that is wrong, in words: what the parts of the verdict fill in. */
#ifndef BOXHAUL_WATCH_WRONG_H
#define BOXHAUL_WATCH_WRONG_H

#include <stdbool.h>

enum { WRONG_BYTES = 2560 };

struct wrong {
	bool stalled; /* nothing goes on; else something needs somebody */
	/* What: one sentence without a full stop. Mend: what to do; commands stand in `backquotes`, as they are to be typed; "" = nothing. */
	char what[WRONG_BYTES], mend[WRONG_BYTES];
};

/* Both return true, so that a check is one expression. The first takes away what was to be done. */
__attribute__((format(printf, 3, 4))) bool wrong_say(struct wrong *w, bool stalled, const char *format, ...);
__attribute__((format(printf, 2, 3))) bool wrong_advise(struct wrong *w, const char *format, ...);

#endif
