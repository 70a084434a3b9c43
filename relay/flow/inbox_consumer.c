#include "flow/inbox_consumer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "edge/jetstream.h"
#include "format/consumer.h"
#include "format/inbox_stream.h"
#include "format/inbox_message.h"
#include "format/rfc3339.h"
#include "format/stored.h"
#include "format/stream_info.h"

enum { WORDS_BYTES = 256, NO_STREAM = 10059, LANES = LIMIT_INBOX_PULLS };

/* One that is asked for, or was. */
struct made {
	uint64_t consumer;
	uint32_t number;         /* of the token; 0 = no answer is awaited */
	uint64_t start, pending; /* pending: behind the last message that came */
	bool spoken;             /* a message or a heartbeat came */
	bool deleted;            /* by us: what is said of it from then on is no news */
};

struct inbox_consumer {
	const struct config *config;
	size_t index;
	struct natsio *nats;
	struct log *log;
	struct inbox_consumer_handlers handlers;
	uint32_t numbers; /* of tokens */
	struct made made; /* the last one */
	char name[CONSUMER_NAME_BYTES];
	bool one_filter; /* this server knows no more than one */
	char common[CONSUMER_FILTER_BYTES];
	struct {
		uint32_t ask, number; /* 0 = none is awaited */
	} info, time;
	struct {
		uint32_t pull; /* the last request there; 0 = none */
		uint32_t left; /* messages it may still bring; 0 = it is over */
		uint64_t consumer;
	} lane[LANES];
	char words[WORDS_BYTES];
	int64_t created;
};

struct inbox_consumer *inbox_consumer_create(const struct config *config, size_t index, struct natsio *nats,
					     struct log *log, const struct inbox_consumer_handlers *handlers)
{
	struct inbox_consumer *c = calloc(1, sizeof *c);

	if (c != NULL)
		*c = (struct inbox_consumer){
			.config = config, .index = index, .nats = nats, .log = log, .handlers = *handlers
		};
	return c;
}

void inbox_consumer_free(struct inbox_consumer *c)
{
	free(c);
}

static const struct config_subscription *subscription(const struct inbox_consumer *c)
{
	return &c->config->subscriptions[c->index];
}

static struct jetstream jetstream_of(const struct inbox_consumer *c)
{
	return (struct jetstream){ .io = c->nats, .prefix = c->config->nats.jetstream_prefix };
}

static uint32_t next_number(struct inbox_consumer *c)
{
	if (++c->numbers == JETSTREAM_NUMBERS)
		c->numbers = 1;
	return c->numbers;
}

static uint64_t token(const struct inbox_consumer *c, enum jetstream_kind kind, uint32_t number)
{
	return jetstream_token(kind, (uint16_t)c->index, number);
}

static void tell(struct inbox_consumer *c, struct inbox_event ev)
{
	c->handlers.event(c->handlers.arg, &ev);
}

static void keep_words(struct inbox_consumer *c, const char *what, const char *words)
{
	snprintf(c->words, sizeof c->words, "%s: %s", what, words[0] != '\0' ? words : "no answer of JetStream");
}

/* --- the consumer --- */

static const char *name_of(const struct inbox_consumer *c, uint64_t consumer, char name[static CONSUMER_NAME_BYTES])
{
	char number[24];

	snprintf(number, sizeof number, "%016" PRIx64, consumer);
	return consumer_name(name, subscription(c)->name, number);
}

/* A server that has room for one filter gets one that takes all; what no filter matches is left out by us
 * (inbox_parcel.foreign). Two consumers would break the order of the stream. */
static struct consumer_wish wish(struct inbox_consumer *c, char **one)
{
	const struct config_subscription *s = subscription(c);
	struct consumer_wish w = { .stream = s->stream,
				   .name = c->name,
				   .start = c->made.start,
				   .filters = s->subjects,
				   .filter_count = s->subject_count };

	if (!c->one_filter)
		return w;
	if (!consumer_common_filter(s->subjects, s->subject_count, c->common))
		c->common[0] = '\0';
	*one = c->common;
	w.filters = one;
	w.filter_count = c->common[0] != '\0';
	return w;
}

void inbox_consumer_make(struct inbox_consumer *c, uint64_t consumer, uint64_t start)
{
	struct jetstream js = jetstream_of(c);
	struct consumer_wish w;
	char *one, *body;

	c->made = (struct made){ .consumer = consumer, .number = next_number(c), .start = start };
	name_of(c, consumer, c->name);
	w = wish(c, &one);
	body = consumer_wish_write(&w);
	if (body != NULL)
		jetstream_consumer_create(&js, subscription(c)->stream, c->name, body,
					  token(c, JETSTREAM_INBOX_MAKE, c->made.number));
	free(body);
}

/* Nobody waits for the answer; one that is not deleted dies by itself. */
void inbox_consumer_delete(struct inbox_consumer *c, uint64_t consumer)
{
	struct jetstream js = jetstream_of(c);
	char name[CONSUMER_NAME_BYTES];

	c->made.deleted |= consumer == c->made.consumer;
	jetstream_consumer_delete(&js, subscription(c)->stream, name_of(c, consumer, name),
				  token(c, JETSTREAM_INBOX_DELETE, next_number(c)));
}

static void refused(struct inbox_consumer *c, uint32_t reason, bool hopeless)
{
	struct inbox_event ev = { .kind = INBOX_EVENT_REFUSED };

	ev.refused.consumer = c->made.consumer;
	ev.refused.reason = reason;
	ev.refused.hopeless = hopeless;
	c->made.number = 0;
	tell(c, ev);
}

static void on_made(struct inbox_consumer *c, const struct natsio_reply *reply)
{
	struct answer_error error = { .code = 0 };
	enum consumer_verdict verdict = CONSUMER_REFUSED;
	struct inbox_event ev = { .kind = INBOX_EVENT_MADE };
	char *one;
	struct consumer_wish w = wish(c, &one);

	if (!reply->no_responders)
		verdict = consumer_answer_read(reply->data, reply->bytes, &w, &error);
	switch (verdict) {
	case CONSUMER_MADE:
		c->words[0] = '\0';
		c->made.number = 0;
		ev.made.consumer = c->made.consumer;
		tell(c, ev);
		break;
	case CONSUMER_UNFILTERED: /* the next one is asked for otherwise */
		c->one_filter = true;
		inbox_consumer_delete(c, c->made.consumer);
		keep_words(c, "the consumer", "this server has room for one filter only");
		refused(c, 1, false);
		break;
	case CONSUMER_OTHER:
		inbox_consumer_delete(c, c->made.consumer);
		keep_words(c, "the consumer", "the server made another one than was asked for");
		refused(c, 1, true);
		break;
	case CONSUMER_REFUSED:
	case CONSUMER_HOPELESS:
		keep_words(c, "the consumer", error.words);
		refused(c, answer_err_code(&error), verdict == CONSUMER_HOPELESS);
		break;
	}
}

/* --- the stream --- */

void inbox_consumer_info(struct inbox_consumer *c, uint32_t ask)
{
	struct jetstream js = jetstream_of(c);

	c->info.ask = ask;
	c->info.number = next_number(c);
	jetstream_info(&js, subscription(c)->stream, token(c, JETSTREAM_INBOX_INFO, c->info.number));
}

static void on_info(struct inbox_consumer *c, const struct natsio_reply *reply)
{
	struct inbox_event ev = { .kind = INBOX_EVENT_INFO };
	struct stream_info info = { .first = 0 };
	enum answer_verdict verdict = ANSWER_ERROR;

	if (!reply->no_responders)
		verdict = stream_info_read(reply->data, reply->bytes, &info);
	ev.info.ask = c->info.ask;
	c->info.number = 0;
	if (verdict == ANSWER_OK && rfc3339_read(info.created, &ev.info.created)) {
		ev.info.answer = INBOX_ANSWER_FOUND;
		ev.info.first = info.first;
		ev.info.last = info.last;
		ev.info.usable = inbox_stream_unfit(&info) == NULL;
		if (!ev.info.usable)
			snprintf(c->words, sizeof c->words, "%s", inbox_stream_unfit(&info));
		c->created = ev.info.created;
	} else {
		keep_words(c, "the stream", info.error.words);
		ev.info.answer = info.error.err_code == NO_STREAM ? INBOX_ANSWER_MISSING : INBOX_ANSWER_NONE;
	}
	stream_info_free(&info);
	tell(c, ev);
}

void inbox_consumer_time(struct inbox_consumer *c, uint32_t ask, uint64_t sequence)
{
	struct jetstream js = jetstream_of(c);

	c->time.ask = ask;
	c->time.number = next_number(c);
	jetstream_message(&js, subscription(c)->stream, sequence, token(c, JETSTREAM_INBOX_TIME, c->time.number));
}

static void on_time(struct inbox_consumer *c, const struct natsio_reply *reply)
{
	struct inbox_event ev = { .kind = INBOX_EVENT_TIME };
	struct stored_message m = { .time_ns = 0 };
	enum answer_verdict verdict = ANSWER_ERROR;

	if (!reply->no_responders)
		verdict = stored_message_read(reply->data, reply->bytes, &m);
	if (verdict == ANSWER_ERROR)
		keep_words(c, "a message of the stream", m.error.words);
	ev.time.ask = c->time.ask;
	ev.time.time = m.time_ns;
	ev.time.answer = verdict == ANSWER_OK && m.time_ns != 0 ? INBOX_ANSWER_FOUND
			 : verdict == ANSWER_NOTHING            ? INBOX_ANSWER_MISSING
								: INBOX_ANSWER_NONE;
	c->time.number = 0;
	tell(c, ev);
}

/* --- messages --- */

/* Two requests are outstanding at most, each on a lane of its own. Where both still count as such, one has run out by the clock
 * without a word: the older one. */
static unsigned free_lane(const struct inbox_consumer *c)
{
	unsigned best = 0;

	for (unsigned i = 0; i < LANES; i++) {
		if (c->lane[i].left == 0 || c->lane[i].consumer != c->made.consumer)
			return i;
		if (c->lane[i].pull - c->lane[best].pull > UINT32_MAX / 2)
			best = i;
	}
	return best;
}

void inbox_consumer_pull(struct inbox_consumer *c, const struct inbox_effect *f)
{
	struct jetstream js = jetstream_of(c);
	char body[CONSUMER_PULL_BYTES];
	unsigned lane = free_lane(c);

	c->lane[lane].pull = f->pull.pull;
	c->lane[lane].left = f->pull.messages;
	c->lane[lane].consumer = f->pull.consumer;
	consumer_pull_write(body, f->pull.messages, f->pull.bytes, f->pull.expires_ms, f->pull.heartbeat_ms);
	if (!FAILPOINT(inbox_pulling))
		jetstream_consumer_next(&js, subscription(c)->stream, c->name, body,
					(unsigned)(c->index * LANES) + lane + 1,
					token(c, JETSTREAM_INBOX_PULL, f->pull.pull % JETSTREAM_NUMBERS));
}

static bool is_current(const struct inbox_consumer *c, const struct inbox_ack *ack)
{
	return ack->consumer_bytes == strlen(c->name) && memcmp(ack->consumer, c->name, ack->consumer_bytes) == 0;
}

static unsigned lane_of(const struct natsio_reply *reply)
{
	return (reply->lane - 1) % LANES;
}

static void on_message(struct inbox_consumer *c, const struct natsio_reply *reply)
{
	struct inbox_event ev = { .kind = INBOX_EVENT_MESSAGE };
	struct inbox_ack ack;

	if (!inbox_ack_read(reply->reply, &ack) || !is_current(c, &ack) || FAILPOINT(inbox_received))
		return;
	ev.message.consumer = c->made.consumer;
	ev.message.consumer_sequence = ack.consumer_sequence;
	ev.message.sequence = ack.sequence;
	ev.message.time = ack.time_ns;
	ev.message.pull = c->lane[lane_of(reply)].pull;
	c->lane[lane_of(reply)].left -= c->lane[lane_of(reply)].left > 0;
	c->made.pending = ack.pending;
	c->made.spoken = true;
	c->handlers.message(c->handlers.arg, &ev, reply);
}

static void on_heartbeat(struct inbox_consumer *c, const struct natsio_reply *reply, uint32_t pull)
{
	struct inbox_event ev = { .kind = INBOX_EVENT_HEARTBEAT };

	c->made.spoken = true;
	ev.heartbeat.consumer = c->made.consumer;
	ev.heartbeat.pull = pull;
	/* Without both it says no more than that somebody lives, and about a sequence of 0 there is nothing to say. */
	if (!inbox_number_read(natsio_reply_header(reply, "Nats-Last-Consumer"), &ev.heartbeat.consumer_sequence) ||
	    !inbox_number_read(natsio_reply_header(reply, "Nats-Last-Stream"), &ev.heartbeat.sequence))
		ev.heartbeat.consumer_sequence = ev.heartbeat.sequence = 0;
	tell(c, ev);
}

static enum inbox_status status_of(enum inbox_notice notice)
{
	return notice == INBOX_NOTICE_ENDED  ? INBOX_STATUS_ENDED
	       : notice == INBOX_NOTICE_SIZE ? INBOX_STATUS_SIZE
	       : notice == INBOX_NOTICE_BUSY ? INBOX_STATUS_BUSY
					     : INBOX_STATUS_GONE;
}

/* A 503 names no request; it is for the last one on its lane. What is said about an earlier request is over. */
static void on_notice(struct inbox_consumer *c, const struct natsio_reply *reply)
{
	struct inbox_event ev = { .kind = INBOX_EVENT_STATUS };
	uint32_t pull = c->lane[lane_of(reply)].pull;
	enum inbox_notice notice = INBOX_NOTICE_GONE;

	if (c->lane[lane_of(reply)].consumer != c->made.consumer || c->made.deleted)
		return;
	if (!reply->no_responders) {
		if (jetstream_number(reply->token) != pull % JETSTREAM_NUMBERS)
			return;
		notice = inbox_notice_read(reply->status, reply->description);
	}
	if (notice == INBOX_NOTICE_HEARTBEAT) {
		on_heartbeat(c, reply, pull);
		return;
	}
	if (notice == INBOX_NOTICE_GONE)
		keep_words(c, "the consumer",
			   reply->no_responders         ? "nobody answers under its name"
			   : reply->description != NULL ? reply->description
							: "a status without a word");
	c->lane[lane_of(reply)].left = 0;
	ev.status.consumer = c->made.consumer;
	ev.status.pull = pull;
	ev.status.status = status_of(notice);
	tell(c, ev);
}

/* Of messages the consumer's sequence. A heartbeat says how many were sent before it: it comes behind those. All others say
 * something about their own lane alone, where they are in order. */
uint64_t inbox_consumer_order(const struct inbox_consumer *c, const struct natsio_reply *reply)
{
	struct inbox_ack ack;
	uint64_t sent;

	if (reply->status == NULL)
		return !reply->no_responders && inbox_ack_read(reply->reply, &ack) && is_current(c, &ack)
			       ? ack.consumer_sequence * 2
			       : 0;
	if (inbox_notice_read(reply->status, reply->description) != INBOX_NOTICE_HEARTBEAT ||
	    !inbox_number_read(natsio_reply_header(reply, "Nats-Last-Consumer"), &sent) || sent > UINT64_MAX / 4)
		return 0;
	return sent * 2 + 1;
}

/* --- replies --- */

size_t inbox_consumer_owner(const struct natsio_reply *reply)
{
	enum jetstream_kind kind = jetstream_kind(reply->token);

	if (reply->lane > 0)
		return (reply->lane - 1) / LANES;
	return kind >= JETSTREAM_INBOX_MAKE && kind <= JETSTREAM_INBOX_PULL ? jetstream_stream(reply->token) : SIZE_MAX;
}

void inbox_consumer_reply(struct inbox_consumer *c, const struct natsio_reply *reply)
{
	uint32_t number = jetstream_number(reply->token);

	if (reply->lane > 0) {
		if (reply->status == NULL && !reply->no_responders)
			on_message(c, reply);
		else
			on_notice(c, reply);
		return;
	}
	switch (jetstream_kind(reply->token)) {
	case JETSTREAM_INBOX_MAKE:
		if (number == c->made.number)
			on_made(c, reply);
		break;
	case JETSTREAM_INBOX_INFO:
		if (number == c->info.number)
			on_info(c, reply);
		break;
	case JETSTREAM_INBOX_TIME:
		if (number == c->time.number)
			on_time(c, reply);
		break;
	default: break;
	}
}

void inbox_consumer_forget(struct inbox_consumer *c)
{
	c->made.number = c->info.number = c->time.number = 0;
	c->one_filter = false; /* the next server may be a newer one */
	memset(c->lane, 0, sizeof c->lane);
}

/* --- what may not be asked --- */

static bool is_about(const struct inbox_consumer *c, const char *text, const char *verb)
{
	char subject[512];

	snprintf(subject, sizeof subject, "Permissions Violation for Publish to \"%s.%s.%s",
		 c->config->nats.jetstream_prefix, verb, subscription(c)->stream);
	return strcasestr(text, subject) != NULL;
}

static void denied(struct inbox_consumer *c, const char *verb, const char *rest)
{
	snprintf(c->words, sizeof c->words, "let this login publish to %s.%s.%s%s", c->config->nats.jetstream_prefix,
		 verb, subscription(c)->stream, rest);
}

void inbox_consumer_complaint(struct inbox_consumer *c, const char *text)
{
	if (is_about(c, text, "CONSUMER.CREATE") && c->made.number != 0) {
		denied(c, "CONSUMER.CREATE", ".>");
		refused(c, 1, true);
	} else if (is_about(c, text, "CONSUMER.MSG.NEXT")) {
		struct inbox_event ev = { .kind = INBOX_EVENT_STATUS };

		denied(c, "CONSUMER.MSG.NEXT", ".>");
		ev.status.consumer = c->made.consumer;
		ev.status.status = INBOX_STATUS_GONE;
		tell(c, ev);
	} else if (is_about(c, text, "STREAM.INFO")) {
		denied(c, "STREAM.INFO", "");
	} else if (is_about(c, text, "STREAM.MSG.GET")) {
		denied(c, "STREAM.MSG.GET", "");
	} else if (is_about(c, text, "CONSUMER.DELETE")) {
		denied(c, "CONSUMER.DELETE", ".>");
	}
}

/* --- looking --- */

const char *inbox_consumer_words(const struct inbox_consumer *c)
{
	return c->words;
}

int64_t inbox_consumer_created(const struct inbox_consumer *c)
{
	return c->created;
}

bool inbox_consumer_pending(const struct inbox_consumer *c, uint64_t *messages)
{
	*messages = c->made.pending;
	return c->made.spoken;
}
