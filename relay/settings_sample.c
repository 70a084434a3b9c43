/* The sample file: the table, as a person reads it. */
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "settings.h"

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
		for (size_t i = 0; s->words[i] != NULL; i++)
			fprintf(out, " %s%s", s->words[i], s->words[i + 1] == NULL ? ".\n" : ",");
	} else if (s->max != 0) {
		fprintf(out, "%s# From %s to %s.\n", indent, setting_print(s, s->min, from, sizeof from),
			setting_print(s, s->max, to, sizeof to));
	}
}

static void print_setting(FILE *out, const char *indent, const struct setting *s)
{
	const char *value = s->standard != NULL ? s->standard : s->example;
	bool bare = s->type == SETTING_INTEGER || s->type == SETTING_BOOL;
	bool list = s->type == SETTING_STRINGS;
	const char *quote = bare ? "" : "\"";

	print_wrapped(out, indent, s->help);
	print_range(out, indent, s);
	if (s->apply == APPLY_RESTART)
		fprintf(out, "%s# A change needs a restart.\n", indent);
	if (s->standard == NULL && !s->required)
		fprintf(out, "%s# Default: none. Example:\n", indent);
	fprintf(out, "%s%s%s = %s%s%s%s%s;\n", indent, s->required ? "" : "#", setting_leaf(s->path), list ? "[ " : "",
		quote, value, quote, list ? " ]" : "");
}

static size_t group_length(const char *path)
{
	return (size_t)(setting_leaf(path) - path);
}

static bool in_streams(const char *path)
{
	return strncmp(path, "streams.", 8) == 0;
}

/* Groups nest two deep at most ("nats.tls."), and an inner one stands at the end of its outer one. */
void config_sample(FILE *out)
{
	static const char *const tabs[] = { "", "\t", "\t\t" };
	size_t depth = 0;

	fputs("# boxhaul. A line that is commented out shows the default.\n"
	      "# A relay that runs takes changes over when it is told to reload (SIGHUP), but for those that need a restart.\n",
	      out);
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		const char *before = s == settings ? "" : (s - 1)->path;
		size_t length = group_length(s->path);

		if (s->type == SETTING_STREAMS)
			continue;
		if (s > settings && (s - 1)->type == SETTING_STREAMS)
			before = (s - 2)->path;
		if (group_length(before) != length || strncmp(before, s->path, length) != 0) {
			bool inner = group_length(before) > 0 && strncmp(before, s->path, group_length(before)) == 0;
			const char *name = s->path + (inner ? group_length(before) : 0);

			while (!inner && depth > 0) {
				depth--;
				fprintf(out, "%s}%s;\n", tabs[depth], depth == 0 && in_streams(before) ? " )" : "");
			}
			fputc('\n', out);
			if (in_streams(s->path))
				print_wrapped(out, "", setting_find("streams")->help);
			fprintf(out, "%s%.*s = %s{\n", tabs[depth], (int)(s->path + length - 1 - name), name,
				in_streams(s->path) ? "( " : "");
			depth++;
		} else {
			fputc('\n', out);
		}
		print_setting(out, tabs[depth], s);
	}
	while (depth-- > 0)
		fprintf(out, "%s};\n", tabs[depth]);
}
