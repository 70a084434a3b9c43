/* page/index.html with {{names}} in it, each of which one function below writes. Whatever comes from outside goes through
 * escaped(). */
#include "page.h"

#include <inttypes.h>
#include <string.h>

#include "page_files.h"
#include "utf8.h"

enum { TEXT_MAX_BYTES = 640, CHART_WIDTH = 600, CHART_HEIGHT = 100 };

struct page {
	const struct health_facts *f;
	bool ready;
	const char *why;
	const struct history *history;
};

void history_add(struct history *h, const struct health_facts *f)
{
	h->sample[h->next].at_ms = f->now_ms;
	h->sample[h->next].acked = f->stats->acked;
	h->sample[h->next].lag_us = f->backlog->known ? f->backlog->oldest_us : -1;
	h->next = (h->next + 1) % HISTORY_SAMPLES;
	if (h->count < HISTORY_SAMPLES)
		h->count++;
}

static void escaped(FILE *out, const char *text)
{
	char line[TEXT_MAX_BYTES];

	for (const char *p = utf8_line(text, line, sizeof line); *p != '\0'; p++)
		switch (*p) {
		case '<': fputs("&lt;", out); break;
		case '>': fputs("&gt;", out); break;
		case '&': fputs("&amp;", out); break;
		case '"': fputs("&quot;", out); break;
		default: fputc(*p, out);
		}
}

/* A length of time in the unit a person would choose. */
static void duration(char *out, size_t size, int64_t us)
{
	if (us < 1000000)
		snprintf(out, size, "%" PRId64 " ms", us / 1000);
	else if (us < INT64_C(120) * 1000000)
		snprintf(out, size, "%.1f s", (double)us / 1e6);
	else if (us < INT64_C(7200) * 1000000)
		snprintf(out, size, "%" PRId64 " min", us / 60000000);
	else if (us < INT64_C(48) * 3600 * 1000000)
		snprintf(out, size, "%" PRId64 " h", us / INT64_C(3600000000));
	else
		snprintf(out, size, "%" PRId64 " days", us / INT64_C(86400000000));
}

/* Delivering, and yet somebody has something to do. */
static bool is_untidy(const struct health_facts *f)
{
	return f->stats->parked_ranges > 0 || f->backlog->dead_letters > 0 || f->reload_failed;
}

void page_words(const struct health_facts *f, bool ready, const char *why, char *out, size_t size)
{
	const struct backlog_figures *b = f->backlog;
	const char *but = is_untidy(f) ? " But something needs somebody, see below." : "";
	char age[32];

	duration(age, sizeof age, b->oldest_us);
	if (!ready)
		snprintf(out, size, "Not ready: %s", why);
	else if (!f->leads)
		snprintf(out, size, "Standing by: another relay leads.");
	else if (f->stats->draining)
		snprintf(out, size, "Stopping: waits for what is in flight.");
	else if (b->messages == 0)
		snprintf(out, size, "%s.%s", f->stats->parked_ranges > 0 ? "All else is delivered" : "All is delivered",
			 but);
	else if (b->oldest_us < 1000000)
		snprintf(out, size, "Delivering; nothing waits for as long as a second.%s", but);
	else
		snprintf(out, size, "Delivering: %" PRIu64 " %s, the oldest for %s.%s", b->messages,
			 b->messages == 1 ? "message waits" : "messages wait", age, but);
}

/* --- what stands in the names --- */

static void write_title(FILE *out, const struct page *p)
{
	fputs(!p->ready ? "not ready - " : p->f->leads ? "" : "standby - ", out);
	escaped(out, p->f->instance);
	fputs(" - boxhaul", out);
}

static void write_class(FILE *out, const struct page *p)
{
	fputs(!p->ready ? "bad" : !p->f->leads ? "idle" : is_untidy(p->f) ? "untidy" : "good", out);
}

static void write_instance(FILE *out, const struct page *p)
{
	escaped(out, p->f->instance);
}

static void write_words(FILE *out, const struct page *p)
{
	char words[TEXT_MAX_BYTES];

	page_words(p->f, p->ready, p->why, words, sizeof words);
	escaped(out, words);
}

static void write_hint(FILE *out, const struct page *p)
{
	if (!p->ready)
		fputs("<p class=\"hint\">What to do stands in boxhaul-runbook(7); <code>boxhaul check</code> looks at "
		      "everything the relay needs.</p>",
		      out);
}

static void figure(FILE *out, const char *name, const char *value)
{
	fprintf(out, "<div><dt>%s</dt><dd>%s</dd></div>\n", name, value);
}

static void figure_count(FILE *out, const char *name, bool known, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "%" PRIu64, value);
	figure(out, name, known ? text : "-");
}

/* Messages a second between two samples; 0 where the count began anew. */
static double rate(const struct history *h, size_t from, size_t to)
{
	int64_t ms = h->sample[to].at_ms - h->sample[from].at_ms;

	if (ms <= 0 || h->sample[to].acked < h->sample[from].acked)
		return 0;
	return (double)(h->sample[to].acked - h->sample[from].acked) * 1000. / (double)ms;
}

/* The index of the n-th sample, the oldest first. */
static size_t nth(const struct history *h, size_t n)
{
	return (h->next + HISTORY_SAMPLES - h->count + n) % HISTORY_SAMPLES;
}

static double rate_at(const struct history *h, size_t n)
{
	return n > 0 ? rate(h, nth(h, n - 1), nth(h, n)) : 0;
}

static double lag_at(const struct history *h, size_t n)
{
	return (double)h->sample[nth(h, n)].lag_us / 1e6;
}

static void write_figures(FILE *out, const struct page *p)
{
	const struct delivery_stats *s = p->f->stats;
	const struct backlog_figures *b = p->f->backlog;
	char text[32];

	duration(text, sizeof text, b->oldest_us);
	figure(out, "lag", b->known ? text : "-");
	snprintf(text, sizeof text, "%.0f /s", p->history->count > 1 ? rate_at(p->history, p->history->count - 1) : 0.);
	figure(out, "delivered", p->f->leads ? text : "-");
	figure_count(out, "waiting", b->known, b->messages);
	figure_count(out, "in flight", p->f->leads, s->in_flight);
	figure_count(out, "dead letters", b->known, (uint64_t)b->dead_letters);
	figure_count(out, "exceptions", p->f->leads, s->exceptions);
}

/* A line through what is known of the samples, on the same ten minutes whatever there is of them. */
static void draw(FILE *out, const struct history *h, double (*value)(const struct history *h, size_t n), double highest)
{
	bool pen_is_down = false;

	fprintf(out,
		"<svg viewBox=\"0 -4 %d %d\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><line x1=\"0\" y1=\"%d\" "
		"x2=\"%d\" y2=\"%d\"/><path d=\"",
		CHART_WIDTH, CHART_HEIGHT + 8, CHART_HEIGHT, CHART_WIDTH, CHART_HEIGHT);
	for (size_t n = 0; n < h->count; n++) {
		size_t x = (HISTORY_SAMPLES - h->count + n) * CHART_WIDTH / (HISTORY_SAMPLES - 1);
		double v = value(h, n);

		if (v >= 0)
			fprintf(out, "%c%zu %.0f", pen_is_down ? 'L' : 'M', x,
				CHART_HEIGHT * (1. - (highest > 0 ? v / highest : 0.)));
		pen_is_down = v >= 0;
	}
	fputs("\"/></svg>", out);
}

static double highest_of(const struct history *h, double (*value)(const struct history *h, size_t n))
{
	double highest = 0;

	for (size_t n = 0; n < h->count; n++)
		if (value(h, n) > highest)
			highest = value(h, n);
	return highest;
}

static void write_charts(FILE *out, const struct page *p)
{
	double lag = highest_of(p->history, lag_at), most = highest_of(p->history, rate_at);
	char text[32];

	duration(text, sizeof text, (int64_t)(lag * 1e6));
	fprintf(out, "<figure><figcaption><span>lag, the last 10 minutes</span> <span>highest %s</span></figcaption>",
		text);
	draw(out, p->history, lag_at, lag > 1. ? lag : 1.); /* less is no hill */
	fprintf(out,
		"</figure>\n<figure><figcaption><span>delivered a second, the last 10 minutes</span> <span>highest "
		"%.0f</span></figcaption>",
		most);
	draw(out, p->history, rate_at, most);
	fputs("</figure>\n", out);
}

static void write_held(FILE *out, const struct page *p)
{
	const struct delivery_stats *s = p->f->stats;
	char age[32];

	duration(age, sizeof age, p->f->backlog->oldest_any_us);
	fputs("<li>Held back", out);
	if (s->blocked_lanes == 1)
		fputs(", with a stream or with a key", out);
	else if (s->blocked_lanes > 1)
		fprintf(out, ", with a stream or with one of %" PRIu32 " keys", s->blocked_lanes);
	fprintf(out, ": %" PRIu32 " %s", s->parked_ranges, s->parked_ranges == 1 ? "range of ids" : "ranges of ids");
	if (p->f->backlog->oldest_any_us > 0)
		fprintf(out, ", the oldest message for %s", age);
	fputs(": <code>boxhaul status</code>, and <code>boxhaul explain ID</code> for one message</li>\n", out);
}

static void write_attention(FILE *out, const struct page *p)
{
	const struct delivery_stats *s = p->f->stats;
	const struct backlog_figures *b = p->f->backlog;
	bool any = s->parked_ranges > 0;

	fputs("<ul>\n", out);
	for (size_t i = 0; i < p->f->stream_count; i++)
		if (s->stream[i].blocked) {
			any = true;
			fputs("<li>Stream ", out);
			escaped(out, p->f->stream[i].name);
			fprintf(out, " takes no messages for %" PRId64 " s: ",
				(p->f->now_ms - s->stream[i].since_ms) / 1000);
			escaped(out, p->f->stream[i].reason);
			fputs(p->f->stream[i].detail[0] != '\0' ? ": " : "", out);
			escaped(out, p->f->stream[i].detail);
			fputs("</li>\n", out);
		}
	if (b->dead_letters > 0) {
		any = true;
		fprintf(out,
			"<li>Dead letters: %" PRId64 ", of which %" PRId64
			" hold their key back: <code>boxhaul dead-letters list</code></li>\n",
			b->dead_letters, b->held_letters);
	}
	if (s->parked_ranges > 0)
		write_held(out, p);
	if (p->f->reload_failed) {
		any = true;
		fputs("<li>The last reload of the configuration was refused; the old one counts. The log says why.</li>\n",
		      out);
	}
	if (!any)
		fputs(p->ready ? "<li>Nothing.</li>\n" : "<li>See above.</li>\n", out);
	fputs("</ul>", out);
}

static void write_streams(FILE *out, const struct page *p)
{
	for (size_t i = 0; i < p->f->stream_count; i++) {
		const struct stream_state *s = &p->f->stats->stream[i];

		fputs("<tr><td>", out);
		escaped(out, p->f->stream[i].name);
		fprintf(out, "</td><td>%s</td><td>%" PRIu32 "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td></tr>\n",
			s->blocked     ? "takes none"
			: !p->f->leads ? "-"
			: s->acked > 0 ? "open"
				       : "unused",
			p->f->backlog->stream[i].messages, s->acked, s->sequence);
	}
}

static void connection(FILE *out, const char *name, bool up, const char *text)
{
	fprintf(out, "<div><dt>%s</dt><dd>%s", name, up ? "connected" : "not connected: ");
	escaped(out, text);
	fputs("</dd></div>\n", out);
}

static void write_state(FILE *out, const struct page *p)
{
	char text[TEXT_MAX_BYTES];

	connection(out, "PostgreSQL", p->f->postgres_up, p->f->postgres_up ? "" : p->f->postgres_why);
	snprintf(text, sizeof text, " to %s", p->f->nats_url);
	connection(out, "NATS", p->f->nats_up, p->f->nats_up ? text : p->f->nats_why);
	fputs("<div><dt>role</dt><dd>", out);
	escaped(out, p->f->role);
	fprintf(out, ", epoch %" PRId64 "</dd></div>\n", p->f->epoch);
	fprintf(out, "<div><dt>position</dt><dd>%" PRId64 ", read up to %" PRId64 "</dd></div>\n",
		p->f->stats->position, p->f->stats->read);
	fprintf(out,
		"<div><dt>exceptions</dt><dd>%" PRIu32 " ranges of ids held back, %" PRIu32
		" not visible yet (rolled back, or in open transactions: nothing waits for them)</dd></div>\n",
		p->f->stats->parked_ranges, p->f->stats->missing);
	duration(text, sizeof text, (p->f->now_ms - p->f->started_ms) * 1000);
	fprintf(out, "<div><dt>running for</dt><dd>%s</dd></div>\n", text);
}

static void write_version(FILE *out, const struct page *p)
{
	(void)p;
	fputs("boxhaul " PACKAGE_VERSION, out);
}

static const struct {
	const char *name;
	void (*write)(FILE *out, const struct page *p);
} names[] = {
	{ "title", write_title },   { "class", write_class },         { "instance", write_instance },
	{ "words", write_words },   { "hint", write_hint },           { "figures", write_figures },
	{ "charts", write_charts }, { "attention", write_attention }, { "streams", write_streams },
	{ "state", write_state },   { "version", write_version },
};

/* Writes what a name stands for; returns what comes behind it. */
static const char *fill_in(FILE *out, const struct page *p, const char *name)
{
	size_t n = strcspn(name, "}");

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strlen(names[i].name) == n && strncmp(names[i].name, name, n) == 0)
			names[i].write(out, p);
	return name + n + strspn(name + n, "}");
}

static const char *text_of(const char *name)
{
	const struct page_file *file = page_files;

	while (file->name != NULL && strcmp(file->name, name) != 0)
		file++;
	return file->name != NULL ? file->text : "";
}

void page_write(FILE *out, const struct health_facts *f, bool ready, const char *why, const struct history *h)
{
	struct page p = { .f = f, .ready = ready, .why = why, .history = h };
	const char *at = text_of("index.html"), *name;

	while ((name = strstr(at, "{{")) != NULL) {
		fwrite(at, 1, (size_t)(name - at), out);
		at = fill_in(out, &p, name + 2);
	}
	fputs(at, out);
}

void page_file(FILE *out, const char *name)
{
	fputs(text_of(name), out);
}
