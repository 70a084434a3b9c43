#include "command/out.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* https://no-color.org: set and not empty means none. */
static bool is_set(const char *variable)
{
	const char *value = getenv(variable);

	return value != NULL && value[0] != '\0';
}

struct out out_open(FILE *file)
{
	const char *term = getenv("TERM");
	bool terminal = isatty(fileno(file)) == 1;

	return (struct out){
		.file = file,
		.terminal = terminal,
		.colour = terminal && !is_set("NO_COLOR") && term != NULL && strcmp(term, "dumb") != 0,
	};
}

void out_print(const struct out *o, enum ink ink, const char *format, ...)
{
	static const char *const codes[] = {
		[INK_PLAIN] = "",       [INK_GOOD] = "\033[32m", [INK_WARN] = "\033[33m",
		[INK_BAD] = "\033[31m", [INK_DIM] = "\033[2m",   [INK_BOLD] = "\033[1m",
	};
	bool painted = o->colour && ink != INK_PLAIN;
	va_list args;

	if (painted)
		fputs(codes[ink], o->file);
	va_start(args, format);
	vfprintf(o->file, format, args);
	va_end(args);
	if (painted)
		fputs("\033[0m", o->file);
}

/* Home; each line with what was behind it wiped away; then what was below. Lines are cut at the edge instead of wrapped, so
 * that a page keeps its height. */
void out_redraw(const struct out *o, const char *page)
{
	if (!o->terminal) {
		fputs(page, o->file);
		return;
	}
	fputs("\033[?7l\033[H", o->file);
	for (; *page != '\0'; page++) {
		if (*page == '\n')
			fputs("\033[K", o->file);
		fputc(*page, o->file);
	}
	fputs("\033[J\033[?7h", o->file);
}

void out_element(const struct out *o, bool first, const char *json)
{
	fprintf(o->file, "%s%s", first ? "[" : ",\n ", json);
}

void out_end(const struct out *o, bool empty)
{
	fputs(empty ? "[]\n" : "]\n", o->file);
}

void out_json(const struct out *o, const json_t *value)
{
	json_dumpf(value, o->file, JSON_COMPACT);
	fputc('\n', o->file);
}

bool out_flush(const struct out *o)
{
	return fflush(o->file) == 0 && !ferror(o->file);
}
