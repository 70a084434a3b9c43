/* Publishing, and asking after the streams. */
#include "publisher.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "envelope.h"
#include "failpoint.h"
#include "message.h"
#include "puback.h"

/* The shortest header, `a: ` and a line end: no more of them than this fit. */
enum { HEADER_MIN_BYTES = 5 };

struct publisher {
	const struct config *config;
	struct log *log;
	struct parcel *const *parcels;
	char detail[LIMIT_STREAMS][192];
	struct publisher_figures figures;
};

struct publisher *publisher_create(const struct config *config, struct log *log, struct parcel *const *parcels)
{
	struct publisher *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->config = config;
	p->log = log;
	p->parcels = parcels;
	return p;
}

void publisher_free(struct publisher *p)
{
	free(p);
}

const char *publisher_detail(const struct publisher *p, uint16_t stream)
{
	return p->detail[stream];
}

/* --- publishing --- */

struct headers {
	struct natsio_header *list;
	size_t count;
	char *copies; /* names and values die with the callback: kept here */
	size_t used;
};

static const char *keep(struct headers *h, const char *text)
{
	size_t n = strlen(text) + 1;
	char *at = h->copies + h->used;

	memcpy(at, text, n);
	h->used += n;
	return at;
}

static const char *keep_encoded(struct headers *h, const char *value)
{
	char *at = h->copies + h->used;

	h->used += envelope_encode(value, at) + 1;
	return at;
}

static void add_header(void *arg, const char *name, const char *value, bool attribute)
{
	struct headers *h = arg;

	h->list[h->count].name = keep(h, name);
	h->list[h->count++].value = attribute ? keep_encoded(h, value) : keep(h, value);
}

static bool take_header(void *arg, const char *name, const char *value)
{
	add_header(arg, name, value, false);
	return true;
}

/* On the wire a header has four bytes beside name and value, here two terminators. */
static bool open_headers(struct headers *h, const struct parcel *parcel)
{
	size_t bytes = parcel->wire_bytes - parcel->payload_bytes;

	h->list = malloc((bytes / HEADER_MIN_BYTES + 2) * sizeof *h->list);
	h->copies = malloc(bytes + 1);
	return h->list != NULL && h->copies != NULL;
}

static void fill_headers(struct headers *h, const struct parcel *parcel)
{
	struct envelope e = { .source = parcel->source,
			      .message_id = parcel->message_id,
			      .subject = parcel->subject,
			      .key = parcel->key,
			      .created_us = parcel->created_us,
			      .headers = parcel->headers,
			      .headers_bytes = parcel->headers_bytes };

	if (parcel->source != NULL)
		envelope_each(&e, add_header, h);
	else
		message_each_header(parcel->headers, parcel->headers_bytes, take_header, h);
}

bool publisher_send(struct publisher *p, struct natsio *io, struct parcel *parcel, const struct effect *f)
{
	/* The row's own uuid: the same at every attempt, by every relay, and never another row's, also after a restore
	 * that hands out the same ids again. */
	struct natsio_header id = { .name = "Nats-Msg-Id", .value = parcel->message_id };
	struct natsio_message m = { .subject = parcel->subject,
				    .headers = &id,
				    .header_count = 1,
				    .payload = parcel->payload,
				    .bytes = parcel->payload_bytes,
				    .token = f->publish.token,
				    .by_ms = f->publish.by_ms,
				    .careful = f->publish.again };
	struct headers h = { .list = NULL };
	bool ok = true;

	if ((parcel->headers != NULL || parcel->source != NULL) && (ok = open_headers(&h, parcel))) {
		h.list[h.count++] = id;
		fill_headers(&h, parcel);
		m.headers = h.list;
		m.header_count = h.count;
	}
	ok = ok && !FAILPOINT(publishing) && natsio_send(io, &m) && !FAILPOINT(handed_over);
	free(h.list);
	free(h.copies);
	if (ok) {
		parcel->sent_us = loop_now_us();
		p->figures.payload_bytes += parcel->payload_bytes;
	}
	return ok;
}

/* Only of the attempt under way, and once: an ack may come twice, and a late one says nothing about how long it takes. */
static void take_time(struct publisher *p, struct parcel *parcel, uint64_t token)
{
	int64_t now = loop_now_us();

	if (parcel->token != token || parcel->sent_us == 0)
		return;
	histogram_add(&p->figures.ack, now - parcel->sent_us);
	histogram_add(&p->figures.delivery, now - parcel->born_us);
	parcel->sent_us = 0;
}

const struct publisher_figures *publisher_look(const struct publisher *p)
{
	return &p->figures;
}

/* As the server quotes it, and cut off where nats.c has no more room for it. */
static bool is_quoted(const char *quoted, const char *subject)
{
	for (; *quoted != '\0' && *quoted != '"'; quoted++, subject++) {
		if (*quoted == '\\' && *++quoted == '\0')
			return true;
		if (*quoted != *subject)
			return false;
	}
	return *quoted == '\0' || *subject == '\0';
}

bool publisher_denied(const struct parcel *parcel, const char *complaint)
{
	static const char words[] = "Permissions Violation for Publish to \"";
	const char *at = strstr(complaint, words);

	return at != NULL && is_quoted(at + sizeof words - 1, parcel->subject);
}

/* --- streams --- */

void publisher_ask(struct publisher *p, struct natsio *io, uint16_t stream)
{
	api_request(io, API_INFO, "INFO", p->config->streams[stream].name, stream, 0, "");
}

static void create(struct publisher *p, struct natsio *io, uint16_t stream)
{
	const struct config_stream *c = &p->config->streams[stream];
	json_t *subjects = json_array(), *body;
	char *text;

	for (size_t i = 0; i < c->subject_count; i++)
		json_array_append_new(subjects, json_string(c->subjects[i]));
	/* discard new: a full stream refuses, and the relay waits; discard old would acknowledge and then delete
	 * messages nobody has read. */
	body = json_pack("{s:s, s:o, s:s, s:s, s:s, s:i, s:I, s:b}", "name", c->name, "subjects", subjects, "retention",
			 "limits", "discard", "new", "storage", "file", "num_replicas", (int)c->replicas,
			 "duplicate_window", (json_int_t)c->duplicate_window_ms * 1000000, "allow_direct", 1);
	text = json_dumps(body, JSON_COMPACT);
	if (text != NULL) {
		log_info(p->log, "creating the stream", KS("stream", c->name));
		api_request(io, API_CREATE, "CREATE", c->name, stream, 0, text);
	}
	free(text);
	json_decref(body);
}

static bool covered(const json_t *subjects, const char *pattern)
{
	size_t i;
	const json_t *s;

	/* A pattern matches itself as a subject where the wider one covers it. */
	json_array_foreach (subjects, i, s)
		if (json_is_string(s) && (strcmp(json_string_value(s), pattern) == 0 ||
					  message_subject_matches(json_string_value(s), pattern)))
			return true;
	return false;
}

static void look_at_stream(struct publisher *p, uint16_t stream, const json_t *config)
{
	const struct config_stream *c = &p->config->streams[stream];
	char *detail = p->detail[stream];
	size_t size = sizeof p->detail[stream];

	detail[0] = '\0';
	for (size_t i = 0; i < c->subject_count; i++)
		if (!covered(json_object_get(config, "subjects"), c->subjects[i]))
			snprintf(
				detail, size,
				"the stream does not take %s: add the subject to it, or take it out of the configuration",
				c->subjects[i]);
	if (json_is_true(json_object_get(config, "no_ack")))
		snprintf(detail, size, "the stream has no_ack: nothing can be known to be stored; switch it off");
	if (json_is_true(json_object_get(config, "sealed")))
		snprintf(detail, size, "the stream is sealed");
	if (detail[0] != '\0')
		log_warn(p->log, "stream cannot take our messages", KS("stream", c->name), KS("why", detail));
}

static void api_refused(struct publisher *p, struct natsio *io, uint64_t token, const json_t *error)
{
	uint16_t stream = api_stream(token);
	const struct config_stream *c = &p->config->streams[stream];
	json_int_t code = json_integer_value(json_object_get(error, "err_code"));
	const char *text = json_string_value(json_object_get(error, "description"));

	if (code == 10059 && c->create && api_kind(token) == API_INFO) {
		create(p, io, stream);
		return;
	}
	snprintf(p->detail[stream], sizeof p->detail[stream], "%s (%" PRId64 ")%s", text != NULL ? text : "error",
		 (int64_t)code, code == 10059 ? ": create it, or set create = true" : "");
	log_warn(p->log, api_kind(token) == API_INFO ? "stream is not there" : "stream could not be created",
		 KS("stream", c->name), KS("why", p->detail[stream]));
}

static void api_reply(struct publisher *p, struct natsio *io, const struct natsio_reply *r)
{
	uint16_t stream = api_stream(r->token);
	json_t *answer = r->no_responders ? NULL : json_loadb(r->data, r->bytes, 0, NULL);

	if (stream >= p->config->stream_count) {
		json_decref(answer);
		return;
	}
	if (answer == NULL) {
		snprintf(p->detail[stream], sizeof p->detail[stream],
			 "JetStream does not answer: is it enabled for this account?");
		log_warn(p->log, "stream is not there", KS("stream", p->config->streams[stream].name),
			 KS("why", p->detail[stream]));
	} else if (json_object_get(answer, "error") != NULL) {
		api_refused(p, io, r->token, json_object_get(answer, "error"));
	} else {
		look_at_stream(p, stream, json_object_get(answer, "config"));
	}
	json_decref(answer);
}

bool publisher_reply(struct publisher *p, struct natsio *io, const struct natsio_reply *r, struct event *event)
{
	struct parcel *parcel;
	size_t slot = r->token & 0xffff;

	if (api_owns(r->token)) {
		if (api_kind(r->token) == API_INFO || api_kind(r->token) == API_CREATE)
			api_reply(p, io, r);
		return false;
	}
	/* The core knows whether the token is stale; here it only has to be safe. */
	parcel = slot < p->config->delivery.queue_messages ? p->parcels[slot] : NULL;
	if (parcel == NULL)
		return false;
	if (r->no_responders) {
		event->kind = EVENT_REFUSED;
		event->refused.reason = REASON_NO_STREAM;
		event->refused.status = 503;
	} else {
		puback_read(r->data, r->bytes, p->config->streams[parcel->stream].name, event);
	}
	if (event->kind == EVENT_ACKED) {
		event->acked.token = r->token;
		take_time(p, parcel, r->token);
	} else {
		event->refused.token = r->token;
	}
	return true;
}
