/* /         a page for people
 * /livez    the loop turns. Touches nothing.
 * /readyz   leads or stands by, both sides connected, and progress. Says why not.
 * /healthz  the same as /readyz: what a load balancer asks by habit
 * /metrics  Prometheus text format 0.0.4
 * /status   JSON
 */
#include "health.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/http.h"
#include "metrics.h"
#include "page.h"
#include "utf8.h"

enum { TEXT_MAX_BYTES = 640 };

struct health {
	struct http *http;
	void (*collect)(void *arg, struct health_facts *facts);
	void *arg;
	struct loop_timer *sample;
	struct history history;
};

bool health_ready(const struct health_facts *f, char *text, size_t size)
{
	if (!f->postgres_up)
		snprintf(text, size, "PostgreSQL is not connected: %s", f->postgres_why);
	else if (!f->leads && !f->stands_by)
		snprintf(text, size, "%s", f->trouble[0] != '\0' ? f->trouble : "starting");
	else if (!f->nats_up)
		snprintf(text, size, "NATS is not connected: %s", f->nats_why);
	else if (f->stall[0] != '\0')
		snprintf(text, size, "%s", f->stall);
	else {
		snprintf(text, size, "%s%s%s", f->leads ? "leading" : "standing by",
			 f->paused[0] != '\0' ? ", paused " : "", f->paused);
		return true;
	}
	return false;
}

static int live(void *arg, FILE *body)
{
	(void)arg;
	fputs("alive\n", body);
	return 200;
}

static int ready(void *arg, FILE *body)
{
	struct health *h = arg;
	struct health_facts f = { .instance = NULL };
	char text[TEXT_MAX_BYTES], line[TEXT_MAX_BYTES];
	bool ok;

	h->collect(h->arg, &f);
	ok = health_ready(&f, text, sizeof text);
	fprintf(body, "%s: %s\n", ok ? "ready" : "not ready", utf8_line(text, line, sizeof line));
	return ok ? 200 : 503;
}

static int metrics(void *arg, FILE *body)
{
	struct health *h = arg;
	struct health_facts f = { .instance = NULL };
	char text[TEXT_MAX_BYTES];

	h->collect(h->arg, &f);
	metrics_write(body, &f, health_ready(&f, text, sizeof text));
	return 200;
}

/* --- for people --- */

static int page(void *arg, FILE *body)
{
	struct health *h = arg;
	struct health_facts f = { .instance = NULL };
	char text[TEXT_MAX_BYTES];
	bool ok;

	h->collect(h->arg, &f);
	ok = health_ready(&f, text, sizeof text);
	page_write(body, &f, ok, text, &h->history);
	return 200;
}

static int style(void *arg, FILE *body)
{
	(void)arg;
	page_file(body, "page.css");
	return 200;
}

static int script(void *arg, FILE *body)
{
	(void)arg;
	page_file(body, "page.js");
	return 200;
}

static void on_sample(void *arg)
{
	struct health *h = arg;
	struct health_facts f = { .instance = NULL };

	loop_timer_at(h->sample, loop_now_ms() + HISTORY_STEP_MS);
	h->collect(h->arg, &f);
	history_add(&h->history, &f);
}

/* --- status --- */

static json_t *text_of(const char *text)
{
	char line[TEXT_MAX_BYTES];

	return json_string(utf8_line(text, line, sizeof line));
}

static json_t *streams_of(const struct health_facts *x)
{
	json_t *list = json_array();

	for (size_t i = 0; i < x->stream_count; i++) {
		const struct stream_state *s = &x->stats->stream[i];
		json_t *o = json_pack("{s:o, s:b, s:I, s:I, s:I}", "name", text_of(x->stream[i].name), "blocked",
				      s->blocked, "acked", (json_int_t)s->acked, "sequence", (json_int_t)s->sequence,
				      "queue_messages", (json_int_t)x->backlog->stream[i].messages);

		if (s->blocked) {
			json_object_set_new(o, "reason", text_of(x->stream[i].reason));
			json_object_set_new(o, "detail", text_of(x->stream[i].detail));
			json_object_set_new(o, "blocked_seconds", json_integer((x->now_ms - s->since_ms) / 1000));
		}
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *connection(bool up, const char *why)
{
	return up ? json_pack("{s:b}", "connected", 1) : json_pack("{s:b, s:o}", "connected", 0, "why", text_of(why));
}

static void set_count(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

/* What only a leader knows is null elsewhere. */
static void set_backlog(json_t *o, const struct backlog_figures *b)
{
	json_object_set_new(o, "lag_seconds", b->known ? json_real((double)b->oldest_us / 1e6) : json_null());
	json_object_set_new(o, "oldest_unsent_seconds",
			    b->known ? json_real((double)b->oldest_any_us / 1e6) : json_null());
	json_object_set_new(o, "backlog", b->known ? json_integer((json_int_t)b->messages) : json_null());
	json_object_set_new(o, "dead_letters_waiting", b->known ? json_integer(b->dead_letters) : json_null());
	json_object_set_new(o, "dead_letters_held", b->known ? json_integer(b->held_letters) : json_null());
}

static void set_stats(json_t *o, const struct delivery_stats *s)
{
	const struct {
		const char *key;
		uint64_t value;
	} list[] = {
		{ "position", (uint64_t)s->position },
		{ "read_id", (uint64_t)s->read },
		{ "queue_messages", s->resident },
		{ "queue_bytes", s->resident_bytes },
		{ "in_flight", s->in_flight },
		{ "backing_off", s->backing_off },
		{ "asking", s->asking },
		{ "window", s->window },
		{ "published", s->published },
		{ "acked", s->acked },
		{ "duplicates", s->duplicates },
		{ "refused", s->refused },
		{ "ack_timeouts", s->timeouts },
		{ "retries", s->retries },
		{ "dead_letters", s->dead },
		{ "parked", s->parked },
		{ "exceptions", s->exceptions },
		{ "missing", s->missing },
		{ "parked_ranges", s->parked_ranges },
		{ "blocked_lanes", s->blocked_lanes },
		{ "fetches", s->fetches },
		{ "marks", s->marks },
		{ "notifications", s->notifications },
	};

	for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
		set_count(o, list[i].key, list[i].value);
}

static int status(void *arg, FILE *body)
{
	static const char *const pace[] = {
		[PACE_AWAKE] = "awake", [PACE_DROWSY] = "drowsy", [PACE_ASLEEP] = "asleep"
	};
	struct health *h = arg;
	struct health_facts f = { .instance = NULL };
	char text[TEXT_MAX_BYTES], words[TEXT_MAX_BYTES];
	json_t *o;
	bool ok;

	h->collect(h->arg, &f);
	ok = health_ready(&f, text, sizeof text);
	page_words(&f, ok, text, words, sizeof words);
	o = json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:s, s:b}", "version", PACKAGE_VERSION,
		      "instance", text_of(f.instance), "ready", ok, "why", text_of(text), "words", text_of(words),
		      "role", text_of(f.role), "epoch", (json_int_t)f.epoch, "uptime_seconds",
		      (json_int_t)((f.now_ms - f.started_ms) / 1000), "postgres",
		      connection(f.postgres_up, f.postgres_why), "nats", connection(f.nats_up, f.nats_why), "pace",
		      pace[f.stats->pace], "reload_failed", f.reload_failed);
	set_backlog(o, f.backlog);
	set_stats(o, f.stats);
	set_count(o, "payload_bytes", f.publisher->payload_bytes);
	set_count(o, "slot_truncations", f.truncations);
	set_count(o, "postgres_connects", f.reconnects_postgres);
	set_count(o, "nats_connects", f.reconnects_nats);
	json_object_set_new(o, "paused", f.paused[0] != '\0' ? text_of(f.paused) : json_null());
	json_object_set_new(o, "streams", streams_of(&f));
	json_dumpf(o, body, JSON_INDENT(2));
	fputc('\n', body);
	json_decref(o);
	return 200;
}

static const struct http_page pages[] = {
	{ "/", "text/html; charset=utf-8", page },
	{ "/page.css", "text/css; charset=utf-8", style },
	{ "/page.js", "text/javascript; charset=utf-8", script },
	{ "/livez", "text/plain; charset=utf-8", live },
	{ "/readyz", "text/plain; charset=utf-8", ready },
	{ "/healthz", "text/plain; charset=utf-8", ready },
	{ "/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics },
	{ "/status", "application/json", status },
	{ NULL, NULL, NULL },
};

struct health *health_open(struct loop *l, const char *address, uint16_t port,
			   void (*collect)(void *arg, struct health_facts *facts), void *arg, char *error,
			   size_t error_size)
{
	struct health *h = calloc(1, sizeof *h);

	if (h == NULL)
		return NULL;
	h->collect = collect;
	h->arg = arg;
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

void health_close(struct health *h)
{
	if (h == NULL)
		return;
	loop_timer_at(h->sample, INT64_MAX);
	http_close(h->http);
	free(h);
}
