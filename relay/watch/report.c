#include "watch/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch/figures.h"

enum { FIGURES_MAX = 32, KEY_BYTES = 40, OWN_FIELDS = 4 };

struct report {
	const struct config *config;
	struct log *log;
	bool stalled; /* and it was told */
	int64_t told_ms;
	uint64_t acked; /* at the last line */
	size_t count;   /* of the figures in the line: */
	const struct figure *figure[FIGURES_MAX];
	char key[FIGURES_MAX][KEY_BYTES];
	int64_t last[FIGURES_MAX]; /* of a counter: at the last line */
};

static void add_figure(struct report *r, const struct figure *g)
{
	static const char total[] = "_total";
	char *key;
	size_t n;

	if ((g->shown & IN_LOG) == 0 || r->count == FIGURES_MAX)
		return;
	key = r->key[r->count];
	snprintf(key, KEY_BYTES, "%s", figure_key(g));
	n = strlen(key);
	if (g->type == FIGURE_COUNTER && n > strlen(total) && strcmp(key + n - strlen(total), total) == 0)
		key[n - strlen(total)] = '\0';
	r->figure[r->count++] = g;
}

struct report *report_create(const struct config *config, struct log *log)
{
	struct report *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->config = config;
	r->log = log;
	for (size_t i = 0; i < figures_count; i++)
		add_figure(r, &figures[i]);
	return r;
}

void report_free(struct report *r)
{
	free(r);
}

static void tell_stall(struct report *r, const struct facts *f, const struct verdict *v)
{
	if (f->stall[0] != '\0')
		log_error(r->log, "stalled", KS("why", f->stall), KS("do", v->action));
	else if (r->stalled)
		log_info(r->log, "moving again");
	r->stalled = f->stall[0] != '\0';
}

/* The sum of a figure's samples; flags and counts only. */
static int64_t sum_of(const struct figure *g, const struct figure_source *source)
{
	struct figure_sample s;
	int64_t sum = 0;

	for (size_t i = 0; figure_sample(g, source, i, &s); i++)
		sum += s.type == SAMPLE_COUNT ? s.count : s.type == SAMPLE_FLAG && s.flag;
	return sum;
}

/* Of a counter, what came since the last line. */
static void tell_figures(struct report *r, const struct facts *f, const struct verdict *v)
{
	struct figure_source source = { .facts = f, .verdict = v };
	struct log_field fields[OWN_FIELDS + FIGURES_MAX];
	uint64_t seconds = (uint64_t)(f->now_ms - r->told_ms) / 1000;

	fields[0] = KS("state", verdict_state_text(v->state));
	fields[1] = KS("summary", v->summary);
	fields[2] = KS("role", f->role);
	fields[3] = KU("per_second", (f->stats->acked - r->acked) / seconds);
	for (size_t i = 0; i < r->count; i++) {
		bool counts = r->figure[i]->type == FIGURE_COUNTER;
		int64_t now = sum_of(r->figure[i], &source);

		fields[OWN_FIELDS + i] = KI(r->key[i], counts ? now - r->last[i] : now);
		r->last[i] = now;
	}
	log_each(r->log, LOG_LEVEL_INFO, "stats", OWN_FIELDS + r->count, fields);
	r->acked = f->stats->acked;
	r->told_ms = f->now_ms;
}

void report_tick(struct report *r, const struct facts *f, const struct verdict *v)
{
	if (r->told_ms == 0)
		r->told_ms = f->now_ms;
	tell_stall(r, f, v);
	if (f->now_ms - r->told_ms >= r->config->log.stats_interval_ms && f->now_ms - r->told_ms >= 1000)
		tell_figures(r, f, v);
}
