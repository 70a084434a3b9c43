/* One scan of a stream:
 *
 *     STREAM.INFO -> where it ends -> STREAM.MSG.GET for every sequence above the low water, many at a time -> answered
 *                                  `-> before that, for the one by which the books know the stream, if they name one
 */
#include "flow/stream_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/refusal.h"
#include "flow/stream_found.h"
#include "flow/stream_reader.h"
#include "format/rfc3339.h"
#include "format/stored.h"
#include "format/stream_info.h"

enum {
	BLIND_MESSAGES = 65536,  /* how far back, where no low water is on record */
	READ_MESSAGES = 1 << 20, /* how far from a low water: ours come first, the rest is others' */
	LOGGED_MESSAGES = 10000, /* a scan of so many takes a while */
};

struct scan {
	bool under_way;
	uint32_t number; /* tells the answers of this scan from those of an abandoned one */
	uint64_t above, known_end, marked;
	uint64_t first; /* where it begins */
	bool at_marked; /* it is being asked for */
	int64_t marked_ns;
	bool another; /* it is not the stream of the last answer, or has lost its end */
	int64_t asked_ms, answered_ms;
	uint64_t last;
	int64_t window_ms;
	char created[40];
	struct sequences acked; /* not to be asked for */
	struct stream_reader reader;
	uint64_t found;
	uint64_t present, foreign; /* messages that were read; the first of them whose id is none as ours are */
};

struct stream_scan {
	struct loop_timer *timer;
	struct natsio *nats;
	const struct config *config;
	struct reasons *reasons;
	struct log *log;
	struct stream_scan_handlers handlers;
	struct scan scan[LIMIT_STREAMS];
	char created[LIMIT_STREAMS][40];
	uint64_t last[LIMIT_STREAMS];   /* and where it ended, at the last answer */
	int64_t lost_ms[LIMIT_STREAMS]; /* it was seen then that what the stream held may be gone; 0 = no */
	bool loses[LIMIT_STREAMS];      /* consumers or later messages take single ones away */
	bool partly[LIMIT_STREAMS];     /* not all of it was read that was to be */
	bool denied[LIMIT_STREAMS];     /* since the last connect: the server forbids it */
	uint32_t numbers;
	struct stream_found found;
};

static void on_timer(void *arg);

struct stream_scan *stream_scan_create(struct loop *l, struct natsio *nats, const struct config *config,
				       struct reasons *reasons, struct log *log,
				       const struct stream_scan_handlers *handlers)
{
	struct stream_scan *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->nats = nats;
	t->config = config;
	t->reasons = reasons;
	t->log = log;
	t->handlers = *handlers;
	t->timer = loop_timer(l, on_timer, t);
	if (t->timer == NULL) {
		free(t);
		return NULL;
	}
	return t;
}

void stream_scan_free(struct stream_scan *t)
{
	if (t == NULL)
		return;
	stream_scan_forget(t);
	free(t);
}

/* --- what was found --- */

static void forget_stream(struct stream_scan *t, size_t stream)
{
	stream_found_forget(&t->found, stream);
	t->partly[stream] = false;
}

bool stream_scan_forget(struct stream_scan *t)
{
	bool any = t->found.count > 0;

	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		forget_stream(t, i);
	return any;
}

size_t stream_scan_found(const struct stream_scan *t)
{
	return t->found.count;
}

static void keep(struct stream_scan *t, uint16_t stream, const struct stored_message *m)
{
	bool whole = !t->found.overflowed;

	if (!stream_found_keep(&t->found, stream, m) && whole)
		log_warn(t->log, "more messages in the streams than can be kept in mind: some may be stored twice",
			 KU("kept", t->found.count));
}

uint64_t stream_scan_take(struct stream_scan *t, uint16_t stream, const char *message_id)
{
	return stream_found_take(&t->found, stream, message_id);
}

uint64_t stream_scan_witness(const struct stream_scan *t, uint16_t stream, const char *message_id,
			     struct witness *witness)
{
	return stream_found_witness(&t->found, stream, message_id, witness);
}

bool stream_scan_beyond(const struct stream_scan *t, uint16_t stream, uint64_t from_lsn,
			struct stream_scan_beyond *first)
{
	*first = (struct stream_scan_beyond){ .sequence = 0 };
	return stream_found_beyond(&t->found, stream, from_lsn, &first->sequence, &first->lsn) || t->found.overflowed ||
	       t->partly[stream] || t->denied[stream];
}

bool stream_scan_loses(const struct stream_scan *t, uint16_t stream)
{
	return t->loses[stream];
}

/* --- one scan --- */

static uint16_t index_of(const struct stream_scan *t, const struct scan *s)
{
	return (uint16_t)(s - t->scan);
}

static const char *name_of(const struct stream_scan *t, const struct scan *s)
{
	return t->config->streams[index_of(t, s)].name;
}

/* Silence ends a scan; each answer puts the end off. */
static void set_timer(struct stream_scan *t)
{
	int64_t at = INT64_MAX;

	for (size_t i = 0; i < t->config->stream_count; i++)
		if (t->scan[i].under_way && t->scan[i].answered_ms < at)
			at = t->scan[i].answered_ms;
	loop_timer_at(t->timer, at != INT64_MAX ? at + t->config->delivery.ack_timeout_ms : at);
}

static void end(struct stream_scan *t, struct scan *s, const struct event *ev)
{
	s->under_way = false;
	set_timer(t);
	t->handlers.answered(t->handlers.arg, ev);
}

static void fail(struct stream_scan *t, struct scan *s, uint32_t reason)
{
	struct event ev = { .kind = EVENT_LOOKBACK };
	char why[REASONS_TEXT_BYTES];

	ev.lookback.stream = index_of(t, s);
	ev.lookback.reason = reason;
	log_debug(t->log, "what the stream holds could not be read", KS("stream", name_of(t, s)),
		  KS("why", reasons_text(t->reasons, REASONS_NO_MESSAGE, ev.lookback.stream, reason, why, sizeof why)));
	end(t, s, &ev);
}

/* The server's answer to a request is an error, or (all zero) there is none of JetStream. */
static void refuse(struct stream_scan *t, struct scan *s, const struct answer_error *error)
{
	uint32_t err_code = answer_err_code(error), reason = err_code != 0 ? err_code : REASON_NO_STREAM;

	reasons_keep(t->reasons, REASONS_NO_MESSAGE, index_of(t, s), reason, error->words);
	fail(t, s, reason);
}

static void succeed(struct stream_scan *t, struct scan *s)
{
	struct event ev = { .kind = EVENT_LOOKBACK };

	ev.lookback.stream = index_of(t, s);
	ev.lookback.ok = true;
	ev.lookback.asked_ms = s->asked_ms;
	ev.lookback.duplicate_window_ms = s->window_ms;
	ev.lookback.last = t->last[ev.lookback.stream] = s->last;
	ev.lookback.another = s->another;
	ev.lookback.first = s->first;
	ev.lookback.present = s->present;
	ev.lookback.foreign = s->foreign;
	ev.lookback.marked_ns = s->marked_ns;
	if (!rfc3339_read(s->created, &ev.lookback.created_ns))
		ev.lookback.created_ns = 0;
	memcpy(t->created[ev.lookback.stream], s->created, sizeof t->created[0]);
	if (s->found > 0 || s->reader.read >= LOGGED_MESSAGES)
		log_info(t->log, "read what the stream holds since the last mark", KS("stream", name_of(t, s)),
			 KU("messages", s->reader.read), KU("with_id", s->found));
	end(t, s, &ev);
}

static struct jetstream jetstream_of(const struct stream_scan *t)
{
	return (struct jetstream){ .io = t->nats, .prefix = t->config->nats.jetstream_prefix };
}

static void go_on(struct stream_scan *t, struct scan *s)
{
	s->reader.js = jetstream_of(t); /* a reload frees what was read before */
	if (!stream_reader_ask(&s->reader))
		fail(t, s, REASON_NO_REPLY);
	else if (stream_reader_is_done(&s->reader))
		succeed(t, s);
}

/* A stream that ends below what is known of it, or was created at another time, is another stream: copies may stand anywhere in
 * it, and most likely at its end. (Else they begin behind the low water.) */
static bool is_another(const struct stream_scan *t, const struct scan *s)
{
	const char *created = t->created[index_of(t, s)];

	return (created[0] != '\0' && strcmp(created, s->created) != 0) || s->last < t->last[index_of(t, s)] ||
	       s->last < s->known_end;
}

/* An empty stream has lost nothing. */
static void lose(struct stream_scan *t, uint16_t i, uint64_t end)
{
	if (end == 0)
		return;
	t->lost_ms[i] = loop_now_ms();
	log_error(t->log, "the stream was made anew, or has lost its end: what was sent before may be gone from it",
		  KS("stream", t->config->streams[i].name), KU("held_up_to", end),
		  KS("do", "see stream-lost in boxhaul-runbook(7)"));
}

int64_t stream_scan_lost_ms(const struct stream_scan *t, uint16_t stream)
{
	return t->lost_ms[stream];
}

static uint64_t first_to_read(const struct scan *s, uint64_t first, bool anywhere)
{
	uint64_t from;

	if (s->above == LOW_WATER_NONE)
		return s->last + 1;
	if (s->above == LOW_WATER_UNKNOWN)
		from = s->last > BLIND_MESSAGES ? s->last - BLIND_MESSAGES + 1 : 1;
	else
		from = anywhere ? 1 : s->above + 1;
	return from < first ? first : from;
}

static void begin(struct stream_scan *t, struct scan *s)
{
	struct stream_reader *r = &s->reader;
	bool anywhere;

	s->another = is_another(t, s);
	if (s->another) {
		lose(t, index_of(t, s),
		     s->known_end > t->last[index_of(t, s)] ? s->known_end : t->last[index_of(t, s)]);
		forget_stream(t, index_of(t, s));
		s->acked.count = 0;
	}
	anywhere = s->another || s->above > s->last;
	t->partly[index_of(t, s)] |= s->above == LOW_WATER_UNKNOWN && s->last > BLIND_MESSAGES;
	*r = (struct stream_reader){ .js = jetstream_of(t),
				     .stream = name_of(t, s),
				     .token = jetstream_token(JETSTREAM_SCAN_MESSAGE, index_of(t, s), s->number),
				     .except = &s->acked };
	stream_reader_begin(r, first_to_read(s, s->first, anywhere), s->last, natsio_max_payload(t->nats));
	if (r->left <= READ_MESSAGES)
		return;
	log_warn(t->log, "the stream has grown so much since the last mark that not all of it is looked at",
		 KS("stream", name_of(t, s)), KU("messages", r->left), KI("read", READ_MESSAGES));
	r->left = READ_MESSAGES;
	t->partly[index_of(t, s)] = true;
	if (anywhere)
		r->next = r->last - r->left + 1;
}

/* Alone, and before the rest: it may stand among what need not be read. */
static bool begin_at_marked(struct stream_scan *t, struct scan *s)
{
	if (s->marked == 0 || s->marked < s->first || s->marked > s->last)
		return false;
	s->at_marked = true;
	s->reader =
		(struct stream_reader){ .js = jetstream_of(t),
					.stream = name_of(t, s),
					.token = jetstream_token(JETSTREAM_SCAN_MESSAGE, index_of(t, s), s->number) };
	stream_reader_begin(&s->reader, s->marked, s->marked, natsio_max_payload(t->nats));
	return true;
}

static void on_info(struct stream_scan *t, struct scan *s, const struct natsio_reply *reply)
{
	struct stream_info info = { .first = 0 };
	enum answer_verdict verdict = ANSWER_ERROR;

	if (!reply->no_responders)
		verdict = stream_info_read(reply->data, reply->bytes, &info);
	if (verdict == ANSWER_OK) {
		s->last = info.last;
		s->window_ms = (int64_t)info.duplicate_window_ms;
		t->loses[index_of(t, s)] = info.retention != RETENTION_LIMITS || info.max_messages_per_subject > 0;
		memcpy(s->created, info.created, sizeof s->created);
		s->first = info.first;
		if (!begin_at_marked(t, s))
			begin(t, s);
		go_on(t, s);
	} else {
		refuse(t, s, &info.error);
	}
	stream_info_free(&info);
}

static void on_stored(struct stream_scan *t, struct scan *s, const struct natsio_reply *reply)
{
	struct stored_message m;
	enum answer_verdict verdict =
		stream_reader_take(&s->reader, reply->data, reply->bytes, reply->no_responders, &m);

	if (verdict == ANSWER_ERROR) {
		refuse(t, s, &m.error);
		return;
	}
	if (s->at_marked) {
		s->at_marked = false;
		s->marked_ns = verdict == ANSWER_OK && m.sequence == s->marked ? m.time_ns : 0;
		begin(t, s);
		go_on(t, s);
		return;
	}
	if (verdict == ANSWER_OK && m.sequence > 0) {
		s->present++;
		if (!m.has_id && (s->foreign == 0 || m.sequence < s->foreign))
			s->foreign = m.sequence;
	}
	if (verdict == ANSWER_OK && m.has_id && m.sequence > 0) {
		s->found++;
		keep(t, index_of(t, s), &m);
	}
	go_on(t, s);
}

void stream_scan_ask(struct stream_scan *t, const struct effect *f)
{
	uint16_t stream = f->lookback.stream;
	struct scan *s = &t->scan[stream];
	struct jetstream js;

	if (f->lookback.truncated) {
		lose(t, stream, t->last[stream] > 0 ? t->last[stream] : 1); /* an acknowledgement has shown it */
		forget_stream(t, stream);
	}
	*s = (struct scan){ .under_way = true,
			    .number = ++t->numbers % JETSTREAM_NUMBERS,
			    .above = f->lookback.above,
			    .known_end = f->lookback.known_end,
			    .marked = f->lookback.marked,
			    .acked = *f->lookback.acked,
			    .asked_ms = loop_now_ms(),
			    .answered_ms = loop_now_ms() };
	if (t->denied[stream]) {
		succeed(t, s);
		return;
	}
	/* What cannot be sent gets no answer, and the timer ends the scan. */
	js = jetstream_of(t);
	jetstream_info(&js, name_of(t, s), jetstream_token(JETSTREAM_SCAN_INFO, stream, s->number));
	set_timer(t);
}

bool stream_scan_reply(struct stream_scan *t, const struct natsio_reply *reply)
{
	enum jetstream_kind kind = jetstream_kind(reply->token);
	uint16_t stream = jetstream_stream(reply->token);
	struct scan *s;

	if (kind != JETSTREAM_SCAN_INFO && kind != JETSTREAM_SCAN_MESSAGE)
		return false;
	s = stream < t->config->stream_count ? &t->scan[stream] : NULL;
	if (s == NULL || !s->under_way || s->number != jetstream_number(reply->token))
		return true;
	s->answered_ms = loop_now_ms();
	if (kind == JETSTREAM_SCAN_INFO)
		on_info(t, s, reply);
	else
		on_stored(t, s, reply);
	set_timer(t);
	return true;
}

/* Without knowing where an owned stream ends nothing can be sent to it. So it is asked again. */
static void refuse_look(struct stream_scan *t, struct scan *s)
{
	reasons_keep(t->reasons, REASONS_NO_MESSAGE, index_of(t, s), REASON_NOT_PERMITTED,
		     "this login may not look at what the stream holds, and it is owned: let it publish to "
		     "$JS.API.STREAM.INFO.<stream> and $JS.API.STREAM.MSG.GET.<stream>");
	fail(t, s, REASON_NOT_PERMITTED);
}

void stream_scan_complaint(struct stream_scan *t, const char *text)
{
	for (size_t i = 0; i < t->config->stream_count; i++) {
		struct scan *s = &t->scan[i];
		const char *prefix = t->config->nats.jetstream_prefix;
		char info[512], get[512];

		snprintf(info, sizeof info, "\"%s.STREAM.INFO.%s\"", prefix, name_of(t, s));
		snprintf(get, sizeof get, "\"%s.STREAM.MSG.GET.%s\"", prefix, name_of(t, s));
		if (!s->under_way || (strstr(text, info) == NULL && strstr(text, get) == NULL))
			continue;
		if (settings_owns(&t->config->delivery, (uint32_t)i)) {
			refuse_look(t, s);
			continue;
		}
		log_warn(
			t->log,
			"may not look at what the stream holds: after a restart or a long outage, messages may be stored twice",
			KS("stream", name_of(t, s)),
			KS("do", "let this login publish to $JS.API.STREAM.INFO.<stream> and "
				 "$JS.API.STREAM.MSG.GET.<stream>"));
		t->denied[i] = true;
		succeed(t, s);
	}
}

void stream_scan_stop(struct stream_scan *t)
{
	for (size_t i = 0; i < t->config->stream_count; i++)
		t->scan[i].under_way = t->denied[i] = false;
	set_timer(t);
}

static void on_timer(void *arg)
{
	struct stream_scan *t = arg;
	int64_t now = loop_now_ms();

	for (size_t i = 0; i < t->config->stream_count; i++)
		if (t->scan[i].under_way && now - t->scan[i].answered_ms >= t->config->delivery.ack_timeout_ms)
			fail(t, &t->scan[i], REASON_NO_REPLY);
	set_timer(t);
}
