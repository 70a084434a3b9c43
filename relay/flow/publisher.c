#include "flow/publisher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/failpoint.h"
#include "edge/jetstream.h"
#include "format/capture_message.h"
#include "format/envelope.h"
#include "format/message.h"
#include "format/puback.h"

/* The shortest header, `a: ` and a line end: no more of them than this fit. */
enum { HEADER_MIN_BYTES = 5 };

/* Those with the message id, the snapshot, the key, the sequence that the stream must end with, and that it is the last one. */
enum { OWN_HEADERS = 5, SEQUENCE_CHARACTERS = 20 };

struct publisher {
	const struct config *config;
	struct natsio *nats;
	struct reasons *reasons;
	struct parcel *const *parcels;
	struct publisher_figures figures;
};

struct publisher *publisher_create(const struct config *config, struct natsio *nats, struct reasons *reasons,
				   struct parcel *const *parcels)
{
	struct publisher *p = calloc(1, sizeof *p);

	if (p != NULL)
		*p = (struct publisher){ .config = config, .nats = nats, .reasons = reasons, .parcels = parcels };
	return p;
}

void publisher_free(struct publisher *p)
{
	free(p);
}

/* --- publishing --- */

struct headers {
	struct natsio_header *list;
	size_t count;
	char *copies; /* names and values die with the callback: kept here */
	size_t used;
	bool has_key; /* ours stands in the list */
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

	/* A row older than the rule that Boxhaul-... is ours. */
	if (h->has_key && strcasecmp(name, ENVELOPE_KEY) == 0)
		return;
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

	h->list = malloc((bytes / HEADER_MIN_BYTES + OWN_HEADERS + 1) * sizeof *h->list);
	h->copies = malloc(bytes + 1);
	return h->list != NULL && h->copies != NULL;
}

/* False: no memory. Some of them are missing then. */
static bool fill_headers(struct headers *h, const struct parcel *parcel)
{
	struct envelope e = { .source = parcel->source,
			      .message_id = parcel->message_id,
			      .subject = parcel->subject,
			      .key = parcel->key,
			      .created_us = parcel->created_us,
			      .headers = parcel->headers,
			      .headers_bytes = parcel->headers_bytes };

	if (parcel->source != NULL)
		return envelope_each(&e, add_header, h) == REASON_NONE;
	return message_each_header(parcel->headers, parcel->headers_bytes, take_header, h) == REASON_NONE;
}

/* Ours, and behind them those that a capture has written, which are as they are sent, and live as long as the parcel. False: no memory. */
static bool add_pairs(struct headers *h, const struct natsio_header *own, size_t own_count, const struct parcel *parcel)
{
	const char *at = parcel->pairs;

	h->list = malloc((own_count + parcel->pair_count) * sizeof *h->list);
	if (h->list == NULL)
		return false;
	memcpy(h->list, own, own_count * sizeof *own);
	for (h->count = own_count; h->count < own_count + parcel->pair_count; h->count++) {
		struct natsio_header *pair = &h->list[h->count];

		pair->name = at;
		pair->value = at + strlen(at) + 1;
		at = pair->value + strlen(pair->value) + 1;
	}
	return true;
}

/* Behind the first `count` of ours. Returns how many there are. */
static size_t add_key(struct natsio_header own[OWN_HEADERS], size_t count, const struct parcel *parcel)
{
	if (parcel->key_header == NULL)
		return count;
	own[count] = (struct natsio_header){ .name = ENVELOPE_KEY, .value = parcel->key_header };
	return count + 1;
}

/* The same, of an owned stream (nats-server checks it before it stores a message: 10071). */
static size_t add_expected(struct natsio_header own[OWN_HEADERS], size_t count, uint64_t expected,
			   char text[SEQUENCE_CHARACTERS + 1])
{
	if (expected == EXPECTED_ANY)
		return count;
	snprintf(text, SEQUENCE_CHARACTERS + 1, "%" PRIu64, expected);
	own[count] = (struct natsio_header){ .name = "Nats-Expected-Last-Sequence", .value = text };
	return count + 1;
}

bool publisher_send(struct publisher *p, struct parcel *parcel, const struct effect *f, const struct witness *witness)
{
	/* The row's own uuid: the same at every attempt, by every relay, and never another row's, also after a restore
	 * that hands out the same ids again. */
	char snapshot[WITNESS_CHARACTERS + 1], expected[SEQUENCE_CHARACTERS + 1];
	struct natsio_header own[OWN_HEADERS] = { { .name = "Nats-Msg-Id", .value = parcel->message_id },
						  { .name = WITNESS_HEADER, .value = snapshot } };
	size_t own_count =
		add_expected(own, add_key(own, witness != NULL ? 2 : 1, parcel), f->publish.expected, expected);
	struct natsio_message m = { .subject = parcel->subject,
				    .headers = own,
				    .header_count = own_count,
				    .payload = parcel->payload,
				    .bytes = parcel->payload_bytes,
				    .token = f->publish.token,
				    .by_ms = f->publish.by_ms,
				    .careful = f->publish.again };
	struct headers h = { .has_key = parcel->key_header != NULL };
	bool ok = true;

	if (witness != NULL)
		witness_write(snapshot, *witness);
	if (parcel->last)
		own[own_count++] = (struct natsio_header){ .name = CAPTURE_HEADER_LAST, .value = "1" };
	m.header_count = own_count;
	/* A parcel has the one kind or the other. */
	if (parcel->pair_count > 0) {
		ok = add_pairs(&h, own, own_count, parcel);
	} else if ((parcel->headers != NULL || parcel->source != NULL) && (ok = open_headers(&h, parcel))) {
		for (; h.count < own_count; h.count++)
			h.list[h.count] = own[h.count];
		ok = fill_headers(&h, parcel);
	}
	if (h.list != NULL) {
		m.headers = h.list;
		m.header_count = h.count;
	}
	ok = ok && !FAILPOINT(publishing) && natsio_send(p->nats, &m) && !FAILPOINT(handed_over);
	free(h.list);
	free(h.copies);
	if (ok) {
		parcel->sent_us = loop_now_us();
		p->figures.payload_bytes += parcel->payload_bytes;
	}
	return ok;
}

bool publisher_drop_key(struct parcel *parcel, int64_t most)
{
	size_t key = parcel->key_header != NULL ? envelope_key_bytes(strlen(parcel->key_header)) : 0;

	if (key == 0 || (int64_t)(parcel->wire_bytes - key) > most)
		return false;
	parcel->wire_bytes -= key;
	parcel->key_header = NULL;
	parcel->keyless = true;
	return true;
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

const struct publisher_figures *publisher_figures(const struct publisher *p)
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

/* --- replies --- */

/* The words of a reply that is late may be of a message that had this slot before: those are not kept. */
static void read_puback(struct publisher *p, const struct parcel *parcel, const struct natsio_reply *r,
			struct event *event)
{
	struct answer_error error;

	puback_read(r->data, r->bytes, p->config->streams[parcel->stream].name, event, &error);
	if (event->kind == EVENT_REFUSED && parcel->token == r->token)
		reasons_keep(p->reasons, parcel->id, parcel->stream, event->refused.reason, error.words);
}

bool publisher_reply(struct publisher *p, const struct natsio_reply *r, struct event *event)
{
	size_t slot = r->token & 0xffff;
	struct parcel *parcel;

	if (jetstream_owns(r->token))
		return false;
	/* The core knows whether the token is stale; here it only has to be safe. */
	parcel = slot < p->config->delivery.queue_messages ? p->parcels[slot] : NULL;
	if (parcel == NULL)
		return false;
	if (r->no_responders) {
		event->kind = EVENT_REFUSED;
		event->refused.reason = REASON_NO_STREAM;
		event->refused.status = 503;
	} else {
		read_puback(p, parcel, r, event);
	}
	if (event->kind == EVENT_ACKED) {
		event->acked.token = r->token;
		take_time(p, parcel, r->token);
	} else {
		event->refused.token = r->token;
	}
	return true;
}
