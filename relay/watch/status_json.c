#include "watch/status_json.h"

#include <jansson.h>
#include <string.h>

#include "base/utf8.h"
#include "books/inbox_ledger.h"
#include "flow/stream_wire.h"
#include "watch/figures.h"

enum { TEXT_MAX_BYTES = 1280 };

static json_t *text_of(const char *text)
{
	char line[TEXT_MAX_BYTES];

	return json_string(utf8_line(text, line, sizeof line));
}

/* "" is null. */
static json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? text_of(text) : json_null();
}

static json_t *value_of(const struct figure_sample *s)
{
	switch (s->type) {
	case SAMPLE_FLAG: return json_boolean(s->flag);
	case SAMPLE_REAL: return json_real(s->real);
	default: return json_integer(s->count);
	}
}

/* --- streams --- */

static json_t *stream_of(const struct facts *f, size_t i)
{
	const struct stream_state *s = &f->stats->stream[i];
	json_t *o = json_pack("{s:o}", "name", text_of(f->stream[i].name));

	json_object_set_new(o, "wire", json_string(stream_wire_word(s->wire)));
	json_object_set_new(o, "wire_why", json_string(stream_wire_text(s->wire)));
	if (s->blocked) {
		json_object_set_new(o, "reason", text_of(f->stream[i].reason));
		json_object_set_new(o, "detail", text_of(f->stream[i].detail));
		json_object_set_new(o, "blocked_seconds", json_integer((f->now_ms - s->since_ms) / 1000));
	}
	return o;
}

static json_t *streams_of(const struct facts *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->stream_count; i++)
		json_array_append_new(list, stream_of(f, i));
	return list;
}

/* --- subscriptions --- */

static json_t *subscription_of(const struct facts *f, const struct inbox_subscription_facts *s)
{
	json_t *o =
		json_pack("{s:o, s:o, s:s, s:s, s:s, s:o, s:o}", "name", text_of(s->name), "stream", text_of(s->stream),
			  "role", s->role, "state", s->state, "stop", inbox_ledger_stop_word(s->stats->stop), "trouble",
			  text_or_null(s->trouble), "handler_trouble", text_or_null(s->handler.trouble));

	if (s->stats->stop != INBOX_STOP_NONE) {
		json_object_set_new(o, "stop_from", json_integer((json_int_t)s->stats->stop_from));
		json_object_set_new(o, "stop_to", json_integer((json_int_t)s->stats->stop_to));
	}
	if (s->witness_ms != INBOX_NEVER)
		json_object_set_new(o, "witness_seconds", json_real((double)(f->now_ms - s->witness_ms) / 1000));
	if (s->backlog->blocked_id != 0)
		json_object_set_new(
			o, "blocked",
			json_pack("{s:I, s:o, s:s, s:o}", "id", (json_int_t)s->backlog->blocked_id, "key",
				  s->backlog->blocked_has_key ? text_of(s->backlog->blocked_key) : json_null(), "state",
				  s->backlog->blocked_state, "error", text_of(s->backlog->blocked_error)));
	return o;
}

static json_t *subscriptions_of(const struct facts *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->inbox->count; i++)
		json_array_append_new(list, subscription_of(f, &f->inbox->subscription[i]));
	return list;
}

/* --- captures --- */

static json_t *table_of(const struct capture_table_facts *t)
{
	return json_pack("{s:o, s:o, s:o, s:b, s:I, s:I, s:o}", "name", text_of(t->name), "state",
			 text_or_null(t->state), "reason", text_or_null(t->reason), "whole", t->whole, "rows",
			 (json_int_t)t->rows, "estimate_rows", (json_int_t)t->estimate, "rate",
			 t->rate >= 0 ? json_real(t->rate) : json_null());
}

static json_t *capture_of(const struct capture_one_facts *c)
{
	json_t *tables = json_array(),
	       *o = json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "name", text_of(c->name), "stream",
			      text_of(c->stream), "role", c->role, "state", text_or_null(c->state), "reason",
			      text_or_null(c->reason), "detail", text_or_null(c->detail), "slot", text_or_null(c->slot),
			      "tables", tables);

	for (size_t i = 0; i < c->table_count; i++)
		json_array_append_new(tables, table_of(&c->table[i]));
	json_object_set_new(o, "trouble", text_or_null(c->trouble[0] != '\0' ? c->trouble : c->broken));
	json_object_set_new(o, "paused_by", text_or_null(c->paused ? c->paused_by : ""));
	json_object_set_new(o, "blocked_why", text_or_null(c->blocked ? c->blocked_why : ""));
	json_object_set_new(o, "waits_for", text_or_null(c->waits_for));
	json_object_set_new(o, "waits_what", text_or_null(c->waits_for[0] != '\0' ? c->waits_what : ""));
	json_object_set_new(o, "waits_seconds",
			    c->waits_for[0] != '\0' ? json_real((double)c->waits_us / 1e6) : json_null());
	json_object_set_new(o, "rate", json_integer((json_int_t)c->rate));
	return o;
}

static json_t *captures_of(const struct capture_facts *f)
{
	json_t *list = json_array();

	for (size_t i = 0; f != NULL && i < f->count; i++)
		json_array_append_new(list, capture_of(&f->capture[i]));
	return list;
}

/* By its name, for not every figure is known of every one. */
static json_t *named(json_t *list, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach (list, i, o)
		if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
			return o;
	return NULL;
}

static void set_named_figure(json_t *list, const struct figure *g, const struct figure_source *source)
{
	struct figure_sample s;
	json_t *o;
	size_t i;

	json_array_foreach (list, i, o)
		json_object_set_new(o, figure_key(g), json_null());
	for (size_t n = 0; figure_sample(g, source, n, &s); n++)
		json_object_set_new(named(list, s.label), figure_key(g), value_of(&s));
}

/* --- sagas --- */

static json_t *worst_of(const struct saga_figures *g)
{
	if (g->stuck == 0)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o, s:f}", "id", text_of(g->worst_id), "name", text_of(g->worst_name),
			 "step", text_of(g->worst_step), "stuck", text_of(g->worst_why), "seconds",
			 (double)g->worst_us / 1e6);
}

/* NULL is null: none are started here. */
static json_t *sagas_of(const struct saga_facts *s)
{
	const struct saga_figures *g = s->figures;
	json_t *by = json_array(), *o;

	for (size_t i = 0; i < g->kinds; i++)
		json_array_append_new(by, json_pack("{s:o, s:o, s:I}", "name", text_of(g->kind[i].name), "state",
						    text_of(g->kind[i].state), "open", (json_int_t)g->kind[i].open));
	o = json_pack("{s:b, s:o, s:o, s:o, s:o}", "leads", s->leads, "trouble", text_or_null(s->trouble), "open",
		      g->known ? json_integer((json_int_t)g->open) : json_null(), "by", by, "worst", worst_of(g));
	if (s->here)
		return o;
	json_decref(o);
	return json_null();
}

static bool is_of_sagas(const struct figure *g)
{
	return strncmp(g->name, "boxhaul_saga_", strlen("boxhaul_saga_")) == 0;
}

/* --- figures --- */

static void set_stream_figure(json_t *list, const struct figure *g, const struct figure_source *source)
{
	struct figure_sample s;
	size_t n = 0;

	for (; figure_sample(g, source, n, &s); n++)
		json_object_set_new(json_array_get(list, n), figure_key(g), value_of(&s));
	for (; n < json_array_size(list); n++)
		json_object_set_new(json_array_get(list, n), figure_key(g), json_null());
}

static json_t *labelled(const struct figure *g, const struct figure_source *source)
{
	json_t *each = json_object();
	struct figure_sample s;
	char line[TEXT_MAX_BYTES];

	for (size_t n = 0; figure_sample(g, source, n, &s); n++)
		json_object_set_new(each, utf8_line(s.label, line, sizeof line), value_of(&s));
	return each;
}

static void set_figure(json_t *o, const struct figure *g, const struct figure_source *source)
{
	struct figure_sample s;

	if (g->label == NULL)
		json_object_set_new(o, figure_key(g), figure_sample(g, source, 0, &s) ? value_of(&s) : json_null());
	else if (strcmp(g->label, "stream") == 0)
		set_stream_figure(json_object_get(o, "streams"), g, source);
	else if (strcmp(g->label, "subscription") == 0)
		set_named_figure(json_object_get(o, "subscriptions"), g, source);
	else if (strcmp(g->label, "capture") == 0)
		set_named_figure(json_object_get(o, "captures"), g, source);
	else
		json_object_set_new(o, figure_key(g), labelled(g, source));
}

/* --- the whole --- */

static json_t *problems_of(const struct facts *f)
{
	json_t *list = json_array();
	struct verdict v;

	for (size_t at = 0; verdict_next_problem(f, &at, &v);)
		json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "state", verdict_state_text(v.state),
						      "summary", text_of(v.summary), "action", text_or_null(v.action)));
	return list;
}

static json_t *connection(bool up, const char *why)
{
	return up ? json_pack("{s:b}", "connected", 1)
		  : json_pack("{s:b, s:o}", "connected", 0, "why", text_of(why[0] != '\0' ? why : "connecting"));
}

static json_t *rate_of(const struct facts *f, const struct history *h, int64_t seconds)
{
	double rate = history_rate(h, f->now_ms, f->stats->acked, seconds);

	return rate < 0 ? json_null() : json_real(rate);
}

void status_json_write(FILE *out, const struct facts *f, const struct verdict *v, const struct history *h)
{
	static const char *const pace[] = {
		[PACE_AWAKE] = "awake", [PACE_DROWSY] = "drowsy", [PACE_ASLEEP] = "asleep"
	};
	struct figure_source source = { .facts = f, .verdict = v };
	json_t *o = json_pack(
		"{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "version",
		PACKAGE_VERSION, "instance", text_of(f->instance), "state", verdict_state_text(v->state), "summary",
		text_of(v->summary), "action", text_or_null(v->action), "problems", problems_of(f), "role",
		text_of(f->role), "led_by", text_or_null(f->led_by), "epoch", (json_int_t)f->epoch, "uptime_seconds",
		(json_int_t)((f->now_ms - f->started_ms) / 1000), "postgres",
		connection(f->postgres_up, f->postgres_why), "nats", connection(f->nats_up, f->nats_why), "nats_url",
		text_or_null(f->nats_url), "pace", pace[f->stats->pace], "paused_by",
		text_or_null(f->paused ? f->paused_by : ""), "refused_last", text_or_null(f->refused), "streams",
		streams_of(f), "subscriptions", subscriptions_of(f));

	json_object_set_new(o, "captures", captures_of(f->capture));
	json_object_set_new(o, "sagas", sagas_of(&f->inbox->sagas));
	json_object_set_new(o, "rate_10s", rate_of(f, h, 10));
	json_object_set_new(o, "rate_60s", rate_of(f, h, 60));
	for (const struct figure *g = figures; g < figures + figures_count; g++)
		if ((g->shown & IN_STATUS) == 0 || (is_of_sagas(g) && !f->inbox->sagas.here))
			continue;
		else if (is_of_sagas(g))
			set_figure(json_object_get(o, "sagas"), g, &source);
		else
			set_figure(o, g, &source);
	json_dumpf(o, out, JSON_INDENT(2));
	fputc('\n', out);
	json_decref(o);
}

void status_json_write_history(FILE *out, const struct history *h, int64_t now_ms)
{
	json_t *samples = json_array(), *o = json_pack("{s:o}", "samples", samples);

	for (size_t n = 0; n < h->count; n++) {
		const struct history_sample *s = history_at(h, n);

		json_array_append_new(samples,
				      json_pack("[f, I, o]", (double)(now_ms - s->at_ms) / 1000, (json_int_t)s->acks,
						s->lag_us >= 0 ? json_real((double)s->lag_us / 1e6) : json_null()));
	}
	json_dumpf(o, out, JSON_COMPACT | JSON_REAL_PRECISION(6));
	fputc('\n', out);
	json_decref(o);
}
