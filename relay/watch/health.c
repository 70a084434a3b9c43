/* /         a page for people: static, its script draws /status and /history
 * /livez    the loop turns. Touches nothing.
 * /readyz   200 or 503, and the verdict. In a second line, if there is something to do: what.
 * /healthz  the same as /readyz: what a load balancer asks by habit
 * /metrics  Prometheus text format 0.0.4
 * /status   JSON
 * /history  JSON: the last ten minutes
 */
#include "watch/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "edge/http.h"
#include "watch/history.h"
#include "watch/metrics.h"
#include "watch/page_files.h"
#include "watch/status_json.h"
#include "watch/verdict.h"

struct health {
	struct http *http, *also; /* also: NULL, or the second one */
	struct health_handlers handlers;
	struct loop_timer *sample;
	struct history history;
};

static void collect(struct health *h, struct facts *f, struct verdict *v)
{
	h->handlers.collect(h->handlers.arg, f);
	verdict_of(f, v);
}

/* --- for machines --- */

static int live(void *arg, FILE *body)
{
	(void)arg;
	fputs("alive\n", body);
	return 200;
}

static int ready(void *arg, FILE *body)
{
	struct facts f;
	struct verdict v;
	char line[VERDICT_ACTION_BYTES];

	collect(arg, &f, &v);
	fprintf(body, "%s: %s\n", v.ready ? "ready" : "not ready", utf8_line(v.summary, line, sizeof line));
	if (v.action[0] != '\0')
		fprintf(body, "%s\n", utf8_line(v.action, line, sizeof line));
	return v.ready ? 200 : 503;
}

static int metrics(void *arg, FILE *body)
{
	struct facts f;
	struct verdict v;

	collect(arg, &f, &v);
	metrics_write(body, &f, &v);
	return 200;
}

static int status(void *arg, FILE *body)
{
	const struct health *h = arg;
	struct facts f;
	struct verdict v;

	collect(arg, &f, &v);
	status_json_write(body, &f, &v, &h->history);
	return 200;
}

static int history(void *arg, FILE *body)
{
	struct health *h = arg;

	status_json_write_history(body, &h->history, loop_now_ms());
	return 200;
}

static void on_sample(void *arg)
{
	struct health *h = arg;
	struct facts f;

	loop_timer_at(h->sample, loop_now_ms() + HISTORY_STEP_MS);
	h->handlers.collect(h->handlers.arg, &f);
	history_add(&h->history, &f);
}

/* --- for people --- */

static int write_file(FILE *body, const char *name)
{
	for (const struct page_file *file = page_files; file->name != NULL; file++)
		if (strcmp(file->name, name) == 0)
			fputs(file->text, body);
	return 200;
}

static int page(void *arg, FILE *body)
{
	(void)arg;
	return write_file(body, "index.html");
}

static int style(void *arg, FILE *body)
{
	(void)arg;
	return write_file(body, "page.css");
}

static int script(void *arg, FILE *body)
{
	(void)arg;
	return write_file(body, "page.js");
}

/* --- from start to end --- */

static const struct http_page pages[] = {
	{ .path = "/", .content_type = "text/html; charset=utf-8", .render = page },
	{ .path = "/page.css", .content_type = "text/css; charset=utf-8", .render = style },
	{ .path = "/page.js", .content_type = "text/javascript; charset=utf-8", .render = script },
	{ .path = "/livez", .content_type = "text/plain; charset=utf-8", .render = live },
	{ .path = "/readyz", .content_type = "text/plain; charset=utf-8", .render = ready },
	{ .path = "/healthz", .content_type = "text/plain; charset=utf-8", .render = ready },
	{ .path = "/metrics", .content_type = "text/plain; version=0.0.4; charset=utf-8", .render = metrics },
	{ .path = "/status", .content_type = "application/json", .render = status },
	{ .path = "/history", .content_type = "application/json", .render = history },
	{ .path = NULL },
};

struct health *health_open(struct loop *l, const char *address, uint16_t port, const struct health_handlers *handlers,
			   char *error, size_t error_size)
{
	struct health *h = calloc(1, sizeof *h);

	if (h == NULL)
		return NULL;
	h->handlers = *handlers;
	h->sample = loop_timer(l, on_sample, h);
	if (h->sample != NULL)
		h->http = http_open(l, address, port, pages, h, error, error_size);
	if (h->http == NULL) {
		free(h);
		return NULL;
	}
	loop_timer_at(h->sample, loop_now_ms());
	return h;
}

bool health_also(struct health *h, struct loop *l, const char *path, char *error, size_t error_size)
{
	h->also = http_open(l, path, 0, pages, h, error, error_size);
	return h->also != NULL;
}

void health_close(struct health *h)
{
	if (h == NULL)
		return;
	loop_timer_at(h->sample, INT64_MAX);
	http_close(h->http);
	http_close(h->also);
	free(h);
}
