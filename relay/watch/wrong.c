#include "watch/wrong.h"

#include <stdarg.h>
#include <stdio.h>

bool wrong_say(struct wrong *w, bool stalled, const char *format, ...)
{
	va_list args;

	w->stalled = stalled;
	w->mend[0] = '\0';
	va_start(args, format);
	vsnprintf(w->what, sizeof w->what, format, args);
	va_end(args);
	return true;
}

bool wrong_advise(struct wrong *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w->mend, sizeof w->mend, format, args);
	va_end(args);
	return true;
}
