/* The sample file: the table, as a person reads it. */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/settings.h"

static void print_wrapped(FILE *out, const char *indent, const char *text)
{
	enum { WIDTH = 96 };
	size_t n = strlen(text);

	while (n > 0) {
		size_t cut = n;

		if (n > WIDTH) {
			cut = WIDTH;
			while (cut > 0 && text[cut] != ' ')
				cut--;
		}
		fprintf(out, "%s# %.*s\n", indent, (int)cut, text);
		text += cut + (text[cut] == ' ');
		n = strlen(text);
	}
}

static void print_range(FILE *out, const char *indent, const struct setting *s)
{
	char from[32], to[32];

	if (s->words != NULL) {
		fprintf(out, "%s# One of:", indent);
		for (size_t i = 0; s->words[i] != NULL; i++) {
			bool last = s->words[i + 1] == NULL;

			fprintf(out, " %s%s%s", s->words[i], last && s->type == SETTING_CHOICE ? "NUMBER" : "",
				last ? ".\n" : ",");
		}
	} else if (s->max != 0) {
		fprintf(out, "%s# From %s to %s.\n", indent, setting_print(s, s->min, from, sizeof from),
			setting_print(s, s->max, to, sizeof to));
	}
}

/* off: it stands in a group that is commented out. */
static void print_setting(FILE *out, const char *indent, const struct setting *s, bool off)
{
	const char *value = s->standard != NULL ? s->standard : s->example;
	bool bare = s->type == SETTING_INTEGER || s->type == SETTING_BOOL || s->type == SETTING_TABLES;
	bool list = s->type == SETTING_STRINGS;
	const char *quote = bare ? "" : "\"";

	print_wrapped(out, indent, s->help);
	print_range(out, indent, s);
	if (s->apply == APPLY_RESTART)
		fprintf(out, "%s# A change needs a restart.\n", indent);
	if (s->apply == APPLY_CAPTURE)
		fprintf(out, "%s# After a reload that changes it this capture alone begins anew, from its mark.\n",
			indent);
	if (s->standard == NULL && !s->required)
		fprintf(out, "%s# Default: none. Example:\n", indent);
	else if (s->required && off)
		fprintf(out, "%s# Required; for example:\n", indent);
	fprintf(out, "%s%s%s = %s%s%s%s%s;\n", indent, s->required && !off ? "" : "#", setting_leaf(s->path),
		list ? "[ " : "", quote, value, quote, list ? " ]" : "");
}

static size_t group_length(const char *path)
{
	return (size_t)(setting_leaf(path) - path);
}

/* The list that the settings of this path stand in, or NULL. */
static const struct setting *list_of(const char *path)
{
	const struct setting *s = setting_find(path);

	return s != NULL ? setting_list_of(s) : NULL;
}

/* A list that need not be there is commented out as a whole. */
static bool is_off(const struct setting *list)
{
	return list != NULL && !list->required;
}

static void open_group(FILE *out, const char *tabs, const char *name, int length, const struct setting *list)
{
	fputc('\n', out);
	if (list != NULL)
		print_wrapped(out, "", list->help);
	fprintf(out, "%s%s%.*s = %s{\n", tabs, is_off(list) ? "#" : "", length, name, list != NULL ? "( " : "");
}

static void close_group(FILE *out, const char *tabs, const struct setting *list)
{
	fprintf(out, "%s%s}%s;\n", tabs, is_off(list) ? "#" : "", list != NULL ? " )" : "");
}

/* Groups nest two deep at most ("nats.tls."), and an inner one stands at the end of its outer one. */
void settings_sample(FILE *out)
{
	static const char *const tabs[] = { "", "\t", "\t\t" };
	const char *before = "";
	size_t depth = 0;

	fputs("# boxhaul. A line that is commented out shows the default.\n"
	      "# A relay that runs takes changes over when it is told to reload (SIGHUP), but for those that need a restart.\n",
	      out);
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		size_t length = group_length(s->path);

		if (s->type == SETTING_GROUPS)
			continue;
		if (group_length(before) != length || strncmp(before, s->path, length) != 0) {
			bool inner = group_length(before) > 0 && strncmp(before, s->path, group_length(before)) == 0;
			const char *name = s->path + (inner ? group_length(before) : 0);

			while (!inner && depth > 0)
				close_group(out, tabs[--depth], list_of(before));
			open_group(out, tabs[depth], name, (int)(s->path + length - 1 - name), setting_list_of(s));
			depth++;
		} else {
			fputc('\n', out);
		}
		print_setting(out, tabs[depth], s, is_off(setting_list_of(s)));
		before = s->path;
	}
	while (depth-- > 0)
		close_group(out, tabs[depth], list_of(before));
}
