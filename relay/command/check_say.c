#include "command/check_say.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/scrub.h"
#include "base/utf8.h"
#include "command/out.h"

void check_say(const struct check *c, const char *verdict, const char *format, ...)
{
	enum ink ink = verdict[0] == 'o' ? INK_GOOD : verdict[0] == 'w' ? INK_WARN : INK_BAD;
	struct out o = out_open(stdout);
	char line[1024], clean[1024], shown[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	scrub(line, clean, sizeof clean);
	utf8_line(clean, shown, sizeof shown);
	if (c->lines != NULL) {
		json_array_append_new(c->lines, json_pack("{s:s, s:s}", "verdict", verdict, "text", shown));
		return;
	}
	out_print(&o, ink, "%-4s", verdict);
	out_print(&o, INK_PLAIN, "  %s\n", shown);
}
