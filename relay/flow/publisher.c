#include "flow/publisher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/failpoint.h"
#include "base/hex.h"
#include "edge/jetstream.h"
#include "format/batch_answer.h"
#include "format/capture_message.h"
#include "format/envelope.h"
#include "format/message.h"
#include "format/puback.h"

/* The shortest header, `a: ` and a line end: no more of them than this fit. */
enum { HEADER_MIN_BYTES = 5 };

/* Those with the message id, the snapshot, the key, the sequence that the stream must end with, and that it is the last one. */
enum { OWN_HEADERS = 5, SEQUENCE_CHARACTERS = 20 };

/* What was last sent of a batch to a stream. The tokens of its messages by number; numbers of those that are not answered are no further apart than
 * the slots of the core are many. */
struct sent_batch {
	uint64_t batch;    /* 0 = none */
	uint32_t answered; /* up to this number */
	uint32_t sent;     /* the highest */
	uint64_t *token;   /* made with the first batch; NULL: out of memory, and nothing is timed */
};

struct publisher {
	const struct config *config;
	struct natsio *nats;
	struct reasons *reasons;
	struct parcel *const *parcels;
	struct publisher_figures figures;
	struct sent_batch *batches; /* by stream; NULL: none was sent */
	uint32_t tokens;            /* in each of them: a power of two, and no fewer than slots */
};

struct publisher *publisher_create(const struct config *config, struct natsio *nats, struct reasons *reasons,
				   struct parcel *const *parcels)
{
	struct publisher *p = calloc(1, sizeof *p);

	if (p != NULL)
		*p = (struct publisher){
			.config = config, .nats = nats, .reasons = reasons, .parcels = parcels, .tokens = 1
		};
	while (p != NULL && p->tokens < config->delivery.queue_messages)
		p->tokens *= 2;
	return p;
}

void publisher_free(struct publisher *p)
{
	for (size_t i = 0; p != NULL && p->batches != NULL && i < LIMIT_STREAMS; i++)
		free(p->batches[i].token);
	if (p != NULL)
		free(p->batches);
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

/* Remembers a message of a batch, whether it can be sent or not: its number is taken. Another batch: the one before has ended, one way or the other, or the core would not have begun this. */
static void remember_sent(struct publisher *p, uint16_t stream, const struct effect *f)
{
	struct sent_batch *b;

	if (p->batches == NULL && (p->batches = calloc(LIMIT_STREAMS, sizeof *p->batches)) == NULL)
		return;
	b = &p->batches[stream];
	if (b->token == NULL && (b->token = calloc(p->tokens, sizeof *b->token)) == NULL)
		return;
	if (b->batch != f->publish.batch) {
		b->batch = f->publish.batch;
		b->answered = 0;
	}
	b->sent = f->publish.number;
	b->token[f->publish.number & (p->tokens - 1)] = f->publish.token;
}

void publisher_leave_out(struct publisher *p, const struct parcel *parcel, const struct effect *f)
{
	if (f->publish.batch != 0)
		remember_sent(p, parcel->stream, f);
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
	struct natsio_batch batch = { .stream = parcel->stream,
				      .batch = f->publish.batch,
				      .number = f->publish.number,
				      .flow = f->publish.flow,
				      .operation = (uint8_t)f->publish.op };
	struct headers h = { .has_key = parcel->key_header != NULL };
	bool ok = true;

	if (f->publish.batch != 0)
		remember_sent(p, parcel->stream, f);
	if (witness != NULL)
		witness_write(snapshot, *witness);
	if (parcel->last)
		own[own_count++] = (struct natsio_header){ .name = CAPTURE_HEADER_LAST, .value = "1" };
	m.header_count = own_count;
	if (f->publish.batch != 0)
		m.batch = &batch;
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

/* It ends a batch, or asks how far it is, and nothing is stored of it. A server that knows no batches would store it as a message: to that one it says
 * that it expects a stream whose name none can have. (nats-server 2.14 and 2.15 look at nothing but the reply subject.) */
bool publisher_about_batch(struct publisher *p, const struct parcel *parcel, const struct effect *f)
{
	const struct natsio_header nowhere = { .name = "Nats-Expected-Stream", .value = "." };
	const struct natsio_batch batch = { .stream = f->batch.stream,
					    .batch = f->batch.batch,
					    .number = f->batch.number,
					    .flow = f->batch.flow,
					    .operation = (uint8_t)f->batch.op };

	return parcel != NULL && natsio_send(p->nats, &(struct natsio_message){ .subject = parcel->subject,
										.headers = &nowhere,
										.header_count = 1,
										.payload = "",
										.batch = &batch,
										.request = true,
										.by_ms = INT64_MAX });
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
static void take_time(struct publisher *p, struct parcel *parcel, uint64_t token, int64_t now)
{
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
		take_time(p, parcel, r->token, loop_now_us());
	} else {
		event->refused.token = r->token;
	}
	return true;
}

/* --- answers to batches --- */

void publisher_down(struct publisher *p)
{
	for (size_t i = 0; p->batches != NULL && i < LIMIT_STREAMS; i++)
		p->batches[i].batch = 0;
}

static uint64_t token_of(const struct publisher *p, const struct sent_batch *b, uint32_t number)
{
	return number > b->answered && number <= b->sent ? b->token[number & (p->tokens - 1)] : 0;
}

static struct parcel *parcel_of(const struct publisher *p, uint64_t token)
{
	size_t slot = token & 0xffff;
	struct parcel *parcel = token != 0 && slot < p->config->delivery.queue_messages ? p->parcels[slot] : NULL;

	return parcel != NULL && parcel->token == token ? parcel : NULL;
}

/* Walks: for what seldom happens. */
bool publisher_place(const struct publisher *p, uint64_t token, struct publisher_place *place)
{
	for (uint16_t i = 0; p->batches != NULL && i < LIMIT_STREAMS; i++) {
		const struct sent_batch *b = &p->batches[i];

		for (uint32_t number = b->answered + 1; b->batch != 0 && number <= b->sent; number++)
			if (token_of(p, b, number) == token) {
				*place = (struct publisher_place){ .stream = i, .batch = b->batch, .number = number };
				return true;
			}
	}
	return false;
}

static void answer_up_to(struct publisher *p, struct sent_batch *b, uint32_t number,
			 void (*answered)(void *arg, uint64_t token), void *arg)
{
	int64_t now = loop_now_us();
	uint64_t token;

	for (; (token = token_of(p, b, b->answered + 1)) != 0 && b->answered < number; b->answered++) {
		struct parcel *parcel = parcel_of(p, token);

		if (parcel != NULL)
			take_time(p, parcel, token, now);
		answered(arg, token);
	}
}

static void keep_words(struct publisher *p, const struct sent_batch *b, const struct event *event,
		       const struct answer_error *error)
{
	const struct parcel *parcel = parcel_of(p, token_of(p, b, event->batch.number));

	if (parcel != NULL)
		reasons_keep(p->reasons, parcel->id, parcel->stream, event->batch.reason, error->words);
}

/* Of a 503 the library says no more than to which stream: it may be of a batch that is over, and makes an end of this one unclean, which costs a
 * repeat. */
static bool read_batch(struct publisher *p, const struct natsio_reply *r, uint64_t last, struct event *event,
		       struct answer_error *error)
{
	char batch[17];

	if (r->no_responders) {
		*event = (struct event){ .kind = EVENT_BATCH };
		event->batch.what = BATCH_NO_RESPONDERS;
		event->batch.number = r->number;
		event->batch.batch = r->batch != 0 ? r->batch : last;
		return event->batch.batch != 0;
	}
	hex_write_number(batch, r->batch);
	if (!batch_answer_read(r->data, r->bytes, p->config->streams[r->stream].name, batch, event, error))
		return false;
	if (event->batch.what == BATCH_REFUSED || event->batch.what == BATCH_ALONE)
		event->batch.number = r->number;
	event->batch.batch = r->batch;
	return true;
}

bool publisher_batch_reply(struct publisher *p, const struct natsio_reply *r, struct event *event,
			   void (*answered)(void *arg, uint64_t token), void *arg)
{
	struct answer_error error;
	struct sent_batch *b;

	if (p->batches == NULL || r->stream >= p->config->stream_count)
		return false;
	b = &p->batches[r->stream];
	if (!read_batch(p, r, b->batch, event, &error))
		return false;
	event->batch.stream = r->stream;
	if (b->token == NULL || event->batch.batch != b->batch)
		return true;
	if (event->batch.what == BATCH_ACK || event->batch.what == BATCH_END)
		answer_up_to(p, b, event->batch.number, answered, arg);
	else if (event->batch.what == BATCH_ERROR || event->batch.what == BATCH_REFUSED)
		keep_words(p, b, event, &error);
	return true;
}
