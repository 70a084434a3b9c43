#include "command/letter.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "command/line.h"

enum { LINE_BYTES = 2048 };

/* --- choosing --- */

enum exit_code letter_check_choice(const struct call *call, int ids)
{
	bool filter = call->given[OPTION_KEY] || call->given[OPTION_REASON] || call->given[OPTION_OLDER];

	if ((ids > 0) + filter + call->given[OPTION_ALL] != 1)
		return line_wrong("%s: say which: ids; or --key, --reason, --older; or --all", call->command->words);
	return EXIT_OK;
}

const char *letter_older(const struct call *call, char out[LETTER_OLDER_BYTES])
{
	if (!call->given[OPTION_OLDER])
		return NULL;
	snprintf(out, LETTER_OLDER_BYTES, "%" PRIu64, call->number[OPTION_OLDER]);
	return out;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

void letter_sort(int64_t *ids, size_t count)
{
	qsort(ids, count, sizeof ids[0], compare);
}

/* --- showing --- */

void letter_row(const struct out *out, const struct pg_result *r, int row, int width)
{
	char key[64], subject[128], reason[512];

	out_print(out, INK_BOLD, "%-10s", pg_text(r, row, 0));
	out_print(out, INK_PLAIN, " %s  %-*s %-24s %-40s ", pg_text(r, row, 1), width, pg_text(r, row, 3),
		  utf8_line(pg_text(r, row, 4), key, sizeof key),
		  utf8_line(pg_text(r, row, 5), subject, sizeof subject));
	out_print(out, INK_BAD, "%s", utf8_line(pg_text(r, row, 6), reason, sizeof reason));
	out_print(out, INK_DIM, " (%s attempts)\n", pg_text(r, row, 2));
}

/* In place. Returns how many bytes; there is a terminator behind them. */
static size_t unhex(char *text)
{
	size_t n = strlen(text) / 2;

	for (size_t i = 0; i < n; i++)
		text[i] = (char)(16 * hex_digit(text[2 * i]) + hex_digit(text[2 * i + 1]));
	text[n] = '\0';
	return n;
}

/* May it go to a terminal as it is? */
static bool is_text(const char *bytes, size_t n)
{
	for (size_t i = 0, length; i < n; i += length) {
		unsigned char c = (unsigned char)bytes[i];

		length = utf8_length(bytes + i, n - i);
		if (length == 0 || (c < ' ' && c != '\n' && c != '\t') || c == 0x7f ||
		    (c == 0xc2 && (unsigned char)bytes[i + 1] < 0xa0))
			return false;
	}
	return true;
}

void letter_payload(const char *hex)
{
	char *bytes = strdup(hex);
	size_t n;

	if (bytes == NULL)
		return;
	n = unhex(bytes);
	printf("payload      %zu bytes%s\n", n, is_text(bytes, n) ? "" : ", in hexadecimal");
	if (is_text(bytes, n))
		printf("%s%s", bytes, n > 0 && bytes[n - 1] != '\n' ? "\n" : "");
	else
		for (const char *p = hex; *p != '\0'; p += strnlen(p, 64))
			printf("%.64s\n", p);
	free(bytes);
}

void letter_field(const struct out *out, const char *name, const char *value)
{
	char line[LINE_BYTES];

	out_print(out, INK_DIM, "%-12s ", name);
	out_print(out, INK_PLAIN, "%s\n", utf8_line(value, line, sizeof line));
}

void letter_line(const struct out *out, const char *name, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	letter_field(out, name, text);
}
