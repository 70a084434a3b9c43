/* The table of figures: whatever is told of a relay as a number. /metrics, /status, and the line of figures in the log are walks
 * over it, so a new figure is one line in figures.c and appears in all of them. The manual page and its list, the alerts and
 * the dashboard are held against /metrics by the tests.
 *
 * A figure's name is its name in /metrics, and ends in its unit as Prometheus wants it. In /status it stands without "boxhaul_"
 * (in the object of its stream: without "boxhaul_stream_"), in the log without "_total" too. */
#ifndef BOXHAUL_WATCH_FIGURES_H
#define BOXHAUL_WATCH_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/process.h"
#include "watch/facts.h"
#include "watch/verdict.h"

enum figure_type { FIGURE_GAUGE, FIGURE_COUNTER, FIGURE_HISTOGRAM };

/* Where it shows, beside /metrics, which shows all. */
enum { IN_STATUS = 1, IN_LOG = 2 };

struct figure {
	const char *name;
	enum figure_type type;
	unsigned shown;
	const char *label; /* of its samples: "stream", ...; NULL = it has one sample without a label */
	const char *help;  /* one sentence, to be read alone */
	/* How its samples are read: see figure_places.h. */
	int place, kind;
	size_t offset;
};

extern const struct figure figures[];
extern const size_t figures_count;

/* What the samples are taken from. */
struct figure_source {
	const struct facts *facts;
	const struct verdict *verdict;
	const struct process_figures *process; /* NULL: nobody asked the kernel, and these have no sample */
};

enum { FIGURE_MORE_LABELS = 4 };

struct figure_sample {
	const char *label; /* its value; NULL = none; somebody else's text, in any encoding */
	enum { SAMPLE_FLAG, SAMPLE_COUNT, SAMPLE_REAL, SAMPLE_TIMES } type;
	union {
		bool flag;
		int64_t count;
		double real;
		const struct histogram *times;
	};
	struct {
		const char *name, *value;
	} more[FIGURE_MORE_LABELS];    /* labels beside figure->label; the first without a name ends them */
	char text[REASONS_TEXT_BYTES]; /* where a label is kept that had to be made */
};

/* The i-th sample, from 0 on; false where there is no more. What is not known, or not a standby's to know, has none. */
bool figure_sample(const struct figure *figure, const struct figure_source *source, size_t i,
		   struct figure_sample *out);

/* Its name in /status: behind the prefix. */
const char *figure_key(const struct figure *figure);

#endif
