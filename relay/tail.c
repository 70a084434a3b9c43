/* Reading the tail of a stream.
 *
 *     STREAM.INFO -> where it ends -> STREAM.MSG.GET for every sequence above the floor, many at a time -> told
 *
 * Both are answered by the stream's leader, so what was acknowledged before is seen (DIRECT.GET may be answered by
 * a replica that lags). A consumer would be quicker and would not carry payloads about, but may lag likewise, and a
 * work queue allows none beside its own. */
#include "tail.h"

#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "core/refusal.h"
#include "stored.h"

enum {
	PIPELINE_MESSAGES = 32,         /* asked for at a time, at most; more is no quicker */
	PIPELINE_BYTES = 32 << 20,      /* fewer where messages may be larger: a server cuts off who is 64 MB behind */
	BLIND_MESSAGES = 65536,         /* how far back, where no floor is on record */
	READ_MESSAGES = 1 << 20,        /* how far from a floor: ours come first, the rest is others' */
	FOUND_MESSAGES = 1 << 17,       /* kept at most; about 10 MB */
	WORTH_TELLING_MESSAGES = 10000, /* a reading that takes a while */
};

struct reading {
	bool under_way;
	uint32_t number; /* tells the answers of this reading from those of an abandoned one */
	uint64_t above, top;
	bool another; /* not the stream that was last told of, or without its end */
	int64_t asked_ms, heard_ms;
	struct stored_stream stream;
	struct sequences acked;   /* not to be asked for */
	uint64_t next, end, left; /* to be asked for: next .. end, and no more than that many */
	uint32_t outstanding, pipeline;
	uint64_t read, found;
};

/* One of a tree of those that were found. */
struct found {
	struct stored_id id;
	uint64_t sequence;
};

struct tails {
	struct loop_timer *timer;
	struct natsio *const *nats;
	const struct config *config;
	struct log *log;
	struct tails_handlers handlers;
	struct reading reading[LIMIT_STREAMS];
	char created[LIMIT_STREAMS][40];
	uint64_t last[LIMIT_STREAMS]; /* and where it ended, when it was last told */
	bool denied[LIMIT_STREAMS];   /* since the last connect: we may not look */
	uint32_t numbers;
	void *found[LIMIT_STREAMS]; /* trees of <search.h> */
	size_t found_in[LIMIT_STREAMS], found_count;
	bool overflowed;
};

static void on_timer(void *arg);

struct tails *tails_create(struct loop *l, struct natsio *const *nats, const struct config *config, struct log *log,
			   const struct tails_handlers *handlers)
{
	struct tails *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->nats = nats;
	t->config = config;
	t->log = log;
	t->handlers = *handlers;
	t->timer = loop_timer(l, on_timer, t);
	if (t->timer == NULL) {
		free(t);
		return NULL;
	}
	return t;
}

void tails_free(struct tails *t)
{
	if (t == NULL)
		return;
	tails_forget(t);
	free(t);
}

/* --- what was found --- */

static int compare(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return memcmp(x->id.byte, y->id.byte, sizeof x->id.byte);
}

static void forget_stream(struct tails *t, size_t stream)
{
	tdestroy(t->found[stream], free);
	t->found[stream] = NULL;
	t->found_count -= t->found_in[stream];
	t->found_in[stream] = 0;
	t->overflowed = false;
}

bool tails_forget(struct tails *t)
{
	bool any = t->found_count > 0;

	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		forget_stream(t, i);
	return any;
}

size_t tails_found(const struct tails *t)
{
	return t->found_count;
}

/* The first copy counts. Without room for it, it may be sent twice: never the other way round. */
static void keep(struct tails *t, uint16_t stream, const struct stored_message *m)
{
	struct found *f = t->found_count < FOUND_MESSAGES ? malloc(sizeof *f) : NULL;
	void *node = NULL;

	if (f != NULL) {
		*f = (struct found){ .id = m->id, .sequence = m->sequence };
		node = tsearch(f, &t->found[stream], compare);
	}
	if (node == NULL) {
		if (!t->overflowed)
			log_warn(t->log,
				 "more messages in the streams than can be kept in mind: some may be stored twice",
				 KU("kept", t->found_count));
		t->overflowed = true;
		free(f);
		return;
	}
	if (*(struct found **)node != f) {
		free(f);
		return;
	}
	t->found_in[stream]++;
	t->found_count++;
}

uint64_t tails_take(struct tails *t, uint16_t stream, const char *message_id)
{
	struct found key = { .sequence = 0 }, *f;
	void *node;
	uint64_t sequence;

	if (t->found_in[stream] == 0 || message_id == NULL ||
	    !stored_id_read(message_id, strlen(message_id), &key.id) ||
	    (node = tfind(&key, &t->found[stream], compare)) == NULL)
		return 0;
	f = *(struct found **)node;
	sequence = f->sequence;
	tdelete(&key, &t->found[stream], compare);
	t->found_in[stream]--;
	t->found_count--;
	free(f);
	return sequence;
}

/* --- one reading --- */

static const char *name_of(const struct tails *t, const struct reading *r)
{
	return t->config->streams[r - t->reading].name;
}

/* Silence ends a reading; each answer puts the end off. */
static void set_timer(struct tails *t)
{
	int64_t at = INT64_MAX;

	for (size_t i = 0; i < t->config->stream_count; i++)
		if (t->reading[i].under_way && t->reading[i].heard_ms < at)
			at = t->reading[i].heard_ms;
	loop_timer_at(t->timer, at != INT64_MAX ? at + t->config->delivery.ack_timeout_ms : at);
}

static void end(struct tails *t, struct reading *r, const struct event *ev)
{
	r->under_way = false;
	set_timer(t);
	t->handlers.told(t->handlers.arg, ev);
}

static void fail(struct tails *t, struct reading *r, uint32_t reason)
{
	struct event ev = { .kind = EVENT_TAIL };

	ev.tail.stream = (uint16_t)(r - t->reading);
	ev.tail.reason = reason;
	log_debug(t->log, "the tail of the stream could not be read", KS("stream", name_of(t, r)),
		  KS("why", refusal_text(reason)));
	end(t, r, &ev);
}

static void succeed(struct tails *t, struct reading *r)
{
	struct event ev = { .kind = EVENT_TAIL };

	ev.tail.stream = (uint16_t)(r - t->reading);
	ev.tail.ok = true;
	ev.tail.asked_ms = r->asked_ms;
	ev.tail.window_ms = r->stream.window_ms;
	ev.tail.last = t->last[ev.tail.stream] = r->stream.last;
	ev.tail.another = r->another;
	memcpy(t->created[ev.tail.stream], r->stream.created, sizeof t->created[0]);
	if (r->found > 0 || r->read >= WORTH_TELLING_MESSAGES)
		log_info(t->log, "read what the stream holds since the last mark", KS("stream", name_of(t, r)),
			 KU("messages", r->read), KU("with_id", r->found));
	end(t, r, &ev);
}

static void pump(struct tails *t, struct reading *r)
{
	char body[48];

	while (r->left > 0 && (r->next = sequences_skip(&r->acked, r->next)) <= r->end &&
	       r->outstanding < r->pipeline) {
		snprintf(body, sizeof body, "{\"seq\":%" PRIu64 "}", r->next);
		if (!api_request(*t->nats, API_STORED, "MSG.GET", name_of(t, r), (uint16_t)(r - t->reading), r->number,
				 body)) {
			fail(t, r, REASON_NO_REPLY);
			return;
		}
		r->next++;
		r->left--;
		r->outstanding++;
	}
	if (r->outstanding == 0)
		succeed(t, r);
}

/* From where to where. A stream that ends below what is known of it, or was created at another time, is another stream: copies may
 * stand anywhere in it, and most likely at its end. (Else they begin behind the floor.) */
static void choose_range(struct tails *t, struct reading *r)
{
	const struct stored_stream *s = &r->stream;
	const char *created = t->created[r - t->reading];
	int64_t most = natsio_max_payload(*t->nats) / 3 * 4; /* base64 */
	bool anywhere;

	r->another = (created[0] != '\0' && strcmp(created, s->created) != 0) || s->last < t->last[r - t->reading] ||
		     s->last < r->top;
	if (r->another) {
		forget_stream(t, (size_t)(r - t->reading));
		r->acked.count = 0;
	}
	anywhere = r->another || r->above > s->last;
	r->end = s->last;
	if (r->above == FLOOR_NONE)
		r->next = s->last + 1;
	else if (r->above == FLOOR_UNKNOWN)
		r->next = s->last > BLIND_MESSAGES ? s->last - BLIND_MESSAGES + 1 : 1;
	else
		r->next = anywhere ? 1 : r->above + 1;
	if (r->next < s->first)
		r->next = s->first;
	r->left = r->next <= r->end ? r->end - r->next + 1 - sequences_between(&r->acked, r->next, r->end) : 0;
	if (r->left > READ_MESSAGES) {
		log_warn(t->log, "the stream has grown so much since the last mark that not all of it is looked at",
			 KS("stream", name_of(t, r)), KU("messages", r->left), KI("read", READ_MESSAGES));
		r->left = READ_MESSAGES;
		if (anywhere)
			r->next = r->end - r->left + 1;
	}
	r->pipeline = PIPELINE_MESSAGES;
	if (most > PIPELINE_BYTES / PIPELINE_MESSAGES)
		r->pipeline = most < PIPELINE_BYTES ? (uint32_t)(PIPELINE_BYTES / most) : 1;
}

/* The server's own words for why it does not answer come with STREAM.INFO, which publisher.c asks for as well. */
static uint32_t reason_of(uint32_t error)
{
	return error >= 10000 ? error : REASON_NO_STREAM;
}

static void on_info(struct tails *t, struct reading *r, const struct natsio_reply *reply)
{
	enum stored_verdict verdict = STORED_ERROR;

	if (!reply->no_responders)
		verdict = stored_stream_read(reply->data, reply->bytes, &r->stream);
	if (verdict != STORED_OK) {
		fail(t, r, reply->no_responders ? REASON_NO_STREAM : reason_of(r->stream.error));
		return;
	}
	choose_range(t, r);
	pump(t, r);
}

static void on_stored(struct tails *t, struct reading *r, const struct natsio_reply *reply)
{
	struct stored_message m;
	enum stored_verdict verdict = STORED_ERROR;

	m.error = 0;
	if (!reply->no_responders)
		verdict = stored_message_read(reply->data, reply->bytes, &m);
	if (verdict == STORED_ERROR) {
		fail(t, r, reason_of(m.error));
		return;
	}
	r->outstanding--;
	r->read++;
	if (verdict == STORED_OK && m.has_id && m.sequence > 0) {
		r->found++;
		keep(t, (uint16_t)(r - t->reading), &m);
	}
	pump(t, r);
}

void tails_ask(struct tails *t, const struct effect *f)
{
	uint16_t stream = f->tail.stream;
	struct reading *r = &t->reading[stream];

	if (f->tail.anew)
		forget_stream(t, stream);
	*r = (struct reading){ .under_way = true,
			       .number = ++t->numbers % API_NUMBERS,
			       .above = f->tail.above,
			       .top = f->tail.top,
			       .acked = *f->tail.acked,
			       .asked_ms = loop_now_ms(),
			       .heard_ms = loop_now_ms() };
	if (t->denied[stream]) {
		succeed(t, r);
		return;
	}
	/* What cannot be sent gets no answer, and that is told by the timer. */
	api_request(*t->nats, API_TAIL, "INFO", name_of(t, r), stream, r->number, "");
	set_timer(t);
}

bool tails_reply(struct tails *t, const struct natsio_reply *reply)
{
	enum api_kind kind = api_kind(reply->token);
	uint16_t stream = api_stream(reply->token);
	struct reading *r;

	if (kind != API_TAIL && kind != API_STORED)
		return false;
	r = stream < t->config->stream_count ? &t->reading[stream] : NULL;
	if (r == NULL || !r->under_way || r->number != api_number(reply->token))
		return true;
	r->heard_ms = loop_now_ms();
	if (kind == API_TAIL)
		on_info(t, r, reply);
	else
		on_stored(t, r, reply);
	set_timer(t);
	return true;
}

void tails_complaint(struct tails *t, const char *text)
{
	for (size_t i = 0; i < t->config->stream_count; i++) {
		struct reading *r = &t->reading[i];
		char info[256], get[256];

		snprintf(info, sizeof info, "\"$JS.API.STREAM.INFO.%s\"", name_of(t, r));
		snprintf(get, sizeof get, "\"$JS.API.STREAM.MSG.GET.%s\"", name_of(t, r));
		if (!r->under_way || (strstr(text, info) == NULL && strstr(text, get) == NULL))
			continue;
		log_warn(
			t->log,
			"may not look at what the stream holds: after a restart or a long outage, messages may be stored twice",
			KS("stream", name_of(t, r)),
			KS("do", "let this login publish to $JS.API.STREAM.INFO.<stream> and "
				 "$JS.API.STREAM.MSG.GET.<stream>"));
		t->denied[i] = true;
		succeed(t, r);
	}
}

void tails_stop(struct tails *t)
{
	for (size_t i = 0; i < t->config->stream_count; i++)
		t->reading[i].under_way = t->denied[i] = false;
	set_timer(t);
}

static void on_timer(void *arg)
{
	struct tails *t = arg;
	int64_t now = loop_now_ms();

	for (size_t i = 0; i < t->config->stream_count; i++)
		if (t->reading[i].under_way && now - t->reading[i].heard_ms >= t->config->delivery.ack_timeout_ms)
			fail(t, &t->reading[i], REASON_NO_REPLY);
	set_timer(t);
}
