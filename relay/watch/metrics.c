#include "watch/metrics.h"

#include <inttypes.h>

#include "base/utf8.h"
#include "watch/figures.h"

enum { TEXT_MAX_BYTES = 640 };

static void write_label(FILE *out, char before, const char *name, const char *value)
{
	char line[TEXT_MAX_BYTES];

	fprintf(out, "%c%s=\"", before, name);
	for (const char *p = utf8_line(value, line, sizeof line); *p != '\0'; p++) {
		if (*p == '\\' || *p == '"')
			fputc('\\', out);
		fputc(*p, out);
	}
	fputc('"', out);
}

static void write_name(FILE *out, const struct figure *g, const struct figure_sample *s)
{
	fputs(g->name, out);
	if (s->label == NULL)
		return;
	write_label(out, '{', g->label, s->label);
	for (size_t i = 0; i < FIGURE_MORE_LABELS && s->more[i].name != NULL; i++)
		write_label(out, ',', s->more[i].name, s->more[i].value);
	fputc('}', out);
}

static void write_times(FILE *out, const char *name, const struct histogram *h)
{
	uint64_t sum = 0;

	for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
		sum += h->count[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)histogram_bound_us[i] / 1e6, sum);
	}
	sum += h->count[HISTOGRAM_BOUNDS];
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name, sum, name,
		(double)h->sum_us / 1e6, name, sum);
}

static void write_sample(FILE *out, const struct figure *g, const struct figure_sample *s)
{
	if (s->type == SAMPLE_TIMES) {
		write_times(out, g->name, s->times);
		return;
	}
	write_name(out, g, s);
	switch (s->type) {
	case SAMPLE_FLAG: fprintf(out, " %d\n", s->flag); break;
	case SAMPLE_REAL: fprintf(out, " %.6f\n", s->real); break;
	default: fprintf(out, " %" PRId64 "\n", s->count);
	}
}

void metrics_write(FILE *out, const struct facts *f, const struct verdict *v)
{
	static const char *const types[] = {
		[FIGURE_GAUGE] = "gauge", [FIGURE_COUNTER] = "counter", [FIGURE_HISTOGRAM] = "histogram"
	};
	struct process_figures process;
	struct figure_source source = { .facts = f, .verdict = v, .process = &process };
	struct figure_sample sample;

	process_look(&process);
	for (const struct figure *g = figures; g < figures + figures_count; g++) {
		fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", g->name, g->help, g->name, types[g->type]);
		for (size_t i = 0; figure_sample(g, &source, i, &sample); i++)
			write_sample(out, g, &sample);
	}
}
