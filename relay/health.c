/* /livez    the loop turns. Touches nothing.
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
#include "utf8.h"

enum { TEXT_MAX_BYTES = 640 };

struct health {
	struct http *http;
	void (*collect)(void *arg, struct health_facts *facts);
	void *arg;
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
		snprintf(text, size, "%s", f->leads ? "leading" : "standing by");
		return true;
	}
	return false;
}

/* What a server says may be in any encoding, and may have been cut off in the middle of a character: on a page it is one
 * line of UTF-8. */
static const char *tidy(const char *text, char out[static TEXT_MAX_BYTES])
{
	size_t length;

	snprintf(out, TEXT_MAX_BYTES, "%s", text);
	for (char *p = out; *p != '\0'; p += length) {
		bool c1 = p[0] == '\xc2' && (unsigned char)p[1] < 0xa0;

		length = utf8_length(p, strlen(p));
		if (length == 0)
			*p = '?', length = 1;
		else if ((*p >= '\0' && *p < ' ') || *p == 0x7f || c1)
			memset(p, ' ', length);
	}
	return out;
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
	fprintf(body, "%s: %s\n", ok ? "ready" : "not ready", tidy(text, line));
	return ok ? 200 : 503;
}

/* --- metrics --- */

static void head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP boxhaul_%s %s\n# TYPE boxhaul_%s %s\n", name, help, name, type);
}

static void metric(FILE *f, const char *name, const char *type, const char *help, int64_t value)
{
	head(f, name, type, help);
	fprintf(f, "boxhaul_%s %" PRId64 "\n", name, value);
}

static void label(FILE *f, const char *text)
{
	char line[TEXT_MAX_BYTES];

	for (const char *p = tidy(text, line); *p != '\0'; p++) {
		if (*p == '\\' || *p == '"')
			fputc('\\', f);
		fputc(*p, f);
	}
}

static void by_stream(FILE *f, const struct health_facts *x, const char *name, const char *type, const char *help,
		      uint64_t (*value)(const struct stream_state *s))
{
	head(f, name, type, help);
	for (size_t i = 0; i < x->stream_count; i++) {
		fprintf(f, "boxhaul_%s{stream=\"", name);
		label(f, x->stream[i].name);
		fprintf(f, "\"} %" PRIu64 "\n", value(&x->stats->stream[i]));
	}
}

static uint64_t stream_blocked(const struct stream_state *s)
{
	return s->blocked;
}
static uint64_t stream_acked(const struct stream_state *s)
{
	return s->acked;
}
static uint64_t stream_sequence(const struct stream_state *s)
{
	return s->sequence;
}

static void metrics_of_stats(FILE *f, const struct delivery_stats *s)
{
	metric(f, "rows_total", "counter", "Rows read from the outbox.", (int64_t)s->rows);
	metric(f, "publishes_total", "counter", "Messages sent to JetStream, repeats included.", (int64_t)s->published);
	metric(f, "publish_bytes_total", "counter", "Bytes of messages sent, as counted against the queue.",
	       (int64_t)s->bytes_published);
	metric(f, "acks_total", "counter", "Acknowledgements: messages known to be stored.", (int64_t)s->acked);
	metric(f, "duplicates_total", "counter", "Acknowledgements that said the message was stored before.",
	       (int64_t)s->duplicates);
	metric(f, "refusals_total", "counter", "Publishes the broker refused.", (int64_t)s->refused);
	metric(f, "ack_timeouts_total", "counter", "Publishes without an answer in time.", (int64_t)s->timeouts);
	metric(f, "retries_total", "counter", "Messages to be sent again after a refusal or a timeout.",
	       (int64_t)s->retries);
	metric(f, "dead_letters_total", "counter", "Messages moved to boxhaul.dead_letter.", (int64_t)s->dead);
	metric(f, "parked_total", "counter", "Messages held back with their stream or lane.", (int64_t)s->parked);
	metric(f, "voided_ids_total", "counter", "Ids whose transaction ended without a row.", (int64_t)s->voided);
	metric(f, "vanished_ids_total", "counter", "Rows that disappeared from the outbox before they were sent.",
	       (int64_t)s->vanished);
	metric(f, "stale_replies_total", "counter", "Replies to publishes that were settled or forgotten before.",
	       (int64_t)s->stale_replies);
	metric(f, "fetches_total", "counter", "Queries for rows.", (int64_t)s->fetches);
	metric(f, "tails_total", "counter", "Looks at what a stream holds already.", (int64_t)s->tails);
	metric(f, "asking_messages", "gauge", "Messages that wait until it is known what their stream holds.",
	       s->asking);
	metric(f, "marks_total", "counter", "Transactions that moved the position.", (int64_t)s->marks);
	metric(f, "notifications_total", "counter", "Wake-ups by NOTIFY.", (int64_t)s->notifications);
	metric(f, "position", "gauge", "All ids at or below it are settled, but for the exceptions.", s->position);
	metric(f, "read_id", "gauge", "Highest id read.", s->read);
	metric(f, "queue_messages", "gauge", "Messages in memory.", s->resident);
	metric(f, "queue_bytes", "gauge", "Bytes of messages in memory.", s->resident_bytes);
	metric(f, "in_flight_messages", "gauge", "Messages sent and not answered.", s->in_flight);
	metric(f, "window_messages", "gauge", "Messages that may be in flight now.", s->window);
	metric(f, "exceptions", "gauge", "Ranges of ids that are not settled although later ones are.", s->exceptions);
	metric(f, "missing_ranges", "gauge", "Ranges of ids that were drawn and are not visible.", s->missing);
	metric(f, "blocked_lanes", "gauge", "Keys held back.", s->blocked_lanes);
	metric(f, "asleep", "gauge", "1 while the relay waits for a NOTIFY.", s->pace == PACE_ASLEEP);
}

static int metrics(void *arg, FILE *f)
{
	struct health *h = arg;
	struct health_facts x = { .instance = NULL };
	char text[TEXT_MAX_BYTES];

	h->collect(h->arg, &x);
	head(f, "build_info", "gauge", "Version.");
	fprintf(f, "boxhaul_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
	metric(f, "ready", "gauge", "1 if /readyz answers 200.", health_ready(&x, text, sizeof text));
	metric(f, "leader", "gauge", "1 if this relay leads.", x.leads);
	metric(f, "postgres_up", "gauge", "1 while PostgreSQL is connected.", x.postgres_up);
	metric(f, "nats_up", "gauge", "1 while NATS is connected.", x.nats_up);
	metric(f, "postgres_connects_total", "counter", "Sessions opened.", (int64_t)x.reconnects_postgres);
	metric(f, "nats_connects_total", "counter", "Connections opened.", (int64_t)x.reconnects_nats);
	metric(f, "slot_truncations_total", "counter", "Slots of the ring emptied.", (int64_t)x.truncations);
	metric(f, "uptime_seconds", "gauge", "Since the start.", (x.now_ms - x.started_ms) / 1000);
	metrics_of_stats(f, x.stats);
	by_stream(f, &x, "stream_blocked", "gauge", "1 while the stream takes no messages.", stream_blocked);
	by_stream(f, &x, "stream_acks_total", "counter", "Acknowledgements by stream.", stream_acked);
	by_stream(f, &x, "stream_sequence", "gauge", "Highest acknowledged stream sequence.", stream_sequence);
	return 200;
}

/* --- status --- */

static json_t *text_of(const char *text)
{
	char line[TEXT_MAX_BYTES];

	return json_string(tidy(text, line));
}

static json_t *streams_of(const struct health_facts *x)
{
	json_t *list = json_array();

	for (size_t i = 0; i < x->stream_count; i++) {
		const struct stream_state *s = &x->stats->stream[i];
		json_t *o = json_pack("{s:o, s:b, s:I, s:I}", "name", text_of(x->stream[i].name), "blocked", s->blocked,
				      "acked", (json_int_t)s->acked, "sequence", (json_int_t)s->sequence);

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

static int status(void *arg, FILE *f)
{
	static const char *const pace[] = {
		[PACE_AWAKE] = "awake", [PACE_DROWSY] = "drowsy", [PACE_ASLEEP] = "asleep"
	};
	struct health *h = arg;
	struct health_facts x = { .instance = NULL };
	const struct delivery_stats *s;
	char text[TEXT_MAX_BYTES];
	json_t *o;
	bool ok;

	h->collect(h->arg, &x);
	s = x.stats;
	ok = health_ready(&x, text, sizeof text);
	o = json_pack("{s:s, s:o, s:b, s:o, s:o, s:I, s:I, s:o, s:o, s:s}", "version", PACKAGE_VERSION, "instance",
		      text_of(x.instance), "ready", ok, "why", text_of(text), "role", text_of(x.role), "epoch",
		      (json_int_t)x.epoch, "uptime_seconds", (json_int_t)((x.now_ms - x.started_ms) / 1000), "postgres",
		      connection(x.postgres_up, x.postgres_why), "nats", connection(x.nats_up, x.nats_why), "pace",
		      pace[s->pace]);
	json_object_set_new(o, "position", json_integer(s->position));
	json_object_set_new(o, "read_id", json_integer(s->read));
	json_object_set_new(o, "queue_messages", json_integer(s->resident));
	json_object_set_new(o, "in_flight", json_integer(s->in_flight));
	json_object_set_new(o, "window", json_integer(s->window));
	json_object_set_new(o, "acked", json_integer((json_int_t)s->acked));
	json_object_set_new(o, "duplicates", json_integer((json_int_t)s->duplicates));
	json_object_set_new(o, "refused", json_integer((json_int_t)s->refused));
	json_object_set_new(o, "retries", json_integer((json_int_t)s->retries));
	json_object_set_new(o, "dead_letters", json_integer((json_int_t)s->dead));
	json_object_set_new(o, "exceptions", json_integer(s->exceptions));
	json_object_set_new(o, "missing", json_integer(s->missing));
	json_object_set_new(o, "blocked_lanes", json_integer(s->blocked_lanes));
	json_object_set_new(o, "streams", streams_of(&x));
	json_dumpf(o, f, JSON_INDENT(2));
	fputc('\n', f);
	json_decref(o);
	return 200;
}

static const struct http_page pages[] = {
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
	h->http = http_open(l, address, port, pages, h, error, error_size);
	if (h->http == NULL) {
		free(h);
		return NULL;
	}
	return h;
}

void health_close(struct health *h)
{
	if (h == NULL)
		return;
	http_close(h->http);
	free(h);
}
