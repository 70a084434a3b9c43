#include "command/letter.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "command/line.h"
#include "command/look.h"
#include "command/session.h"

enum { LINE_BYTES = 2048, PAGE = 500 };

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
	snprintf(out, LETTER_OLDER_BYTES, "%" PRIu64 " milliseconds", call->number[OPTION_OLDER]);
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

/* --- listing --- */

void letter_pages_begin(struct letter_pages *pages, const struct call *call, const char *what, const char *query)
{
	*pages = (struct letter_pages){ .what = what, .query = query, .above = "-1" };
	letter_older(call, pages->older);
	snprintf(pages->most, sizeof pages->most, "%d", PAGE);
}

const struct pg_result *letter_pages_next(struct letter_pages *pages, struct pg_session *s, const struct call *call,
					  enum exit_code *code)
{
	const struct pg_result *r = pg_session_run(s, pages->query, pages->count, pages->p);

	*code = EXIT_OK;
	if (pg_error(r) != NULL) {
		*code = session_failed(call->config, pages->what, r);
		return NULL;
	}
	if (pg_rows(r) == 0)
		return NULL;
	snprintf(pages->above, sizeof pages->above, "%s", pg_text(r, pg_rows(r) - 1, 0));
	return r;
}

static const char *text_of(const json_t *o, const char *member, char *to, size_t size)
{
	return look_at(o, member) != NULL ? utf8_line(look_text(o, member), to, size) : "-";
}

/* False: out of memory. */
static bool print_row(const struct out *out, const char *id, const char *object, const char *member, int width)
{
	json_t *o = json_loads(object, 0, NULL);
	char any[64], key[64], subject[128], reason[512];

	if (o == NULL)
		return false;
	out_print(out, INK_BOLD, "%-10s", id);
	out_print(out, INK_PLAIN, " %.19s  %-*s %-24s %-40s ", look_text(o, "died_at"), width,
		  text_of(o, member, any, sizeof any), text_of(o, "key", key, sizeof key),
		  text_of(o, "subject", subject, sizeof subject));
	out_print(out, INK_BAD, "%s", text_of(o, "reason", reason, sizeof reason));
	out_print(out, INK_DIM, " (%.0f attempts)\n", look_number(o, "attempts"));
	json_decref(o);
	return true;
}

static void print_head(const struct out *out, const char *member, int width)
{
	char title[64];
	size_t n = 0;

	for (; n < sizeof title - 1 && member[n] != '\0'; n++)
		title[n] = (char)toupper((unsigned char)member[n]);
	title[n] = '\0';
	out_print(out, INK_DIM, "%-10s %-19s  %-*s %-24s %-40s %s\n", "ID", "DIED", width, title, "KEY", "SUBJECT",
		  "REASON");
}

enum exit_code letter_list(struct letter_pages *pages, struct pg_session *s, const struct call *call,
			   const char *member, int width)
{
	bool json = call->given[OPTION_JSON], ok = true;
	struct out out = out_open(stdout);
	const struct pg_result *r;
	enum exit_code code;
	size_t shown = 0;

	while ((r = letter_pages_next(pages, s, call, &code)) != NULL)
		for (int i = 0; i < pg_rows(r); i++, shown++) {
			if (shown == 0 && !json)
				print_head(&out, member, width);
			if (json)
				out_element(&out, shown == 0, pg_text(r, i, 1));
			else
				ok &= print_row(&out, pg_text(r, i, 0), pg_text(r, i, 1), member, width);
		}
	if (json)
		out_end(&out, shown == 0);
	else if (shown == 0 && code == EXIT_OK)
		puts("no dead letters");
	if (code != EXIT_OK)
		return code;
	return ok && out_flush(&out) ? EXIT_OK : EXIT_FAILED;
}

/* --- showing --- */

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

/* In hexadecimal digits: as text where it is text that may go to a terminal, else in those digits. */
static void print_payload(const char *hex)
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

void letter_text(const struct out *out, const char *name, const json_t *o, const char *member)
{
	letter_field(out, name, look_at(o, member) != NULL ? look_text(o, member) : "-");
}

static void print_content(const struct out *out, const struct pg_result *r)
{
	letter_field(out, "headers", pg_text(r, 0, 0));
	if (pg_is_null(r, 0, 1))
		letter_field(out, "payload", "was never stored here");
	else
		print_payload(pg_text(r, 0, 1));
}

static void add_content(json_t *o, const struct pg_result *r)
{
	json_object_set_new(o, "headers", json_loads(pg_text(r, 0, 0), 0, NULL));
	json_object_set_new(o, "payload_base64", pg_is_null(r, 0, 2) ? json_null() : json_string(pg_text(r, 0, 2)));
}

enum exit_code letter_show(struct pg_session *s, const struct call *call, const struct pg_result *r,
			   void (*print)(const struct out *out, const json_t *o), const char *content_query, int count,
			   const char *const *parameters)
{
	bool json = call->given[OPTION_JSON];
	struct out out = out_open(stdout);
	json_t *o;
	enum exit_code code = look_answer(call->config, "cannot show the dead letter", r, &o);

	if (code != EXIT_OK)
		return code;
	if (!json)
		print(&out, o);
	if (call->given[OPTION_PAYLOAD]) {
		r = pg_session_run(s, content_query, count, parameters);
		if (pg_error(r) != NULL)
			code = session_failed(call->config, "cannot show headers and payload", r);
		else if (json)
			add_content(o, r);
		else
			print_content(&out, r);
	}
	if (code == EXIT_OK && json) {
		out_json(&out, o);
	}
	json_decref(o);
	return code == EXIT_OK && !out_flush(&out) ? EXIT_FAILED : code;
}
