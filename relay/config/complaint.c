/* Mistakes found in a configuration file: collected, and printed in the order of their lines. */
#include "config/complaint.h"

#include <stdarg.h>
#include <stdlib.h>

struct complaint {
	size_t layer;
	unsigned line;
	size_t order;
	char *text;
};

/* A complaint quotes values, which may hold anything, and is one line. */
static void keep_on_one_line(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* Where: which layer, which line of it, and how both are named. */
struct place {
	size_t layer;
	unsigned line;
	char label[LAYERS_LABEL_BYTES];
};

static struct place place_of(const struct loader *l, const config_setting_t *at)
{
	struct place p = { .layer = layers_of(&l->layers, at), .line = layers_line_of(at) };

	layers_label(&l->layers, at, p.label);
	return p;
}

__attribute__((format(printf, 4, 0))) static void add(struct loader *l, const struct place *at, const char *kind,
						      const char *format, va_list args)
{
	struct complaint *more = realloc(l->complaints, (l->complaint_count + 1) * sizeof *more);
	char *what, *text;

	if (more == NULL) {
		l->no_memory = true;
		return;
	}
	l->complaints = more;
	if (vasprintf(&what, format, args) < 0) {
		l->no_memory = true;
		return;
	}
	keep_on_one_line(what);
	if (asprintf(&text, "%s: %s%s", at->label, kind, what) < 0)
		l->no_memory = true;
	else
		l->complaints[l->complaint_count] = (struct complaint){ .layer = at->layer,
									.line = at->line,
									.order = l->complaint_count,
									.text = text },
		l->complaint_count++;
	free(what);
}

void complaint_at(struct loader *l, config_setting_t *at, const char *format, ...)
{
	struct place place = place_of(l, at);
	va_list args;

	va_start(args, format);
	add(l, &place, "", format, args);
	va_end(args);
	l->failed = true;
	if (at != NULL)
		config_setting_set_hook(at, l);
}

void complaint_near(struct loader *l, const config_setting_t *at, const char *format, ...)
{
	struct place place = place_of(l, at);
	va_list args;

	va_start(args, format);
	add(l, &place, "", format, args);
	va_end(args);
	l->failed = true;
}

void complaint_in_environment(struct loader *l, const char *name, const char *format, ...)
{
	struct place place = { .layer = LAYER_ENVIRONMENT };
	va_list args;

	snprintf(place.label, sizeof place.label, "%s", name);
	va_start(args, format);
	add(l, &place, "", format, args);
	va_end(args);
	l->failed = true;
}

void complaint_on_line(struct loader *l, unsigned line, const char *format, ...)
{
	struct place place = { .layer = l->current, .line = line > 0 ? line : 1 };
	va_list args;

	snprintf(place.label, sizeof place.label, "%s:%u", l->layers.each[l->current].path, place.line);
	va_start(args, format);
	add(l, &place, "", format, args);
	va_end(args);
	l->failed = true;
}

void complaint_warn(struct loader *l, const config_setting_t *at, const char *format, ...)
{
	struct place place = place_of(l, at);
	va_list args;

	va_start(args, format);
	add(l, &place, "warning: ", format, args);
	va_end(args);
}

static int by_line(const void *a, const void *b)
{
	const struct complaint *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void complaint_print(struct loader *l, FILE *errors)
{
	if (l->complaint_count > 0)
		qsort(l->complaints, l->complaint_count, sizeof l->complaints[0], by_line);
	for (size_t i = 0; i < l->complaint_count; i++) {
		fprintf(errors, "%s\n", l->complaints[i].text);
		free(l->complaints[i].text);
	}
	free(l->complaints);
	if (l->no_memory)
		fprintf(errors, "%s:1: out of memory\n", l->path);
}
