#include "flow/stream_setup.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/limits.h"
#include "core/refusal.h"
#include "edge/jetstream.h"
#include "edge/loop.h"
#include "flow/stream_wire.h"
#include "format/stream_info.h"

enum {
	STREAM_NOT_FOUND = 10059,
	FIELD_NOT_KNOWN = 10025, /* in a configuration */
	NS_PER_MS = 1000000,
	ELSEWHERE_MIN_MS = 10000,
	ELSEWHERE_MAX_MS = 600000,
};

static const char create_advice[] = "create it, or set create = true";

/* What else it says when it is asked for a stream, or to create one, and what to do. */
static const struct {
	uint32_t err_code;
	const char *advice;
} remedies[] = {
	{ STREAM_NOT_FOUND, create_advice },
	{ 10005, "there are fewer servers for it than replicas: set fewer, or add servers" },
	{ 10027, "raise the account's number of streams, or delete one" },
	{ 10028, "raise the account's memory for JetStream" },
	{ 10039, "enable JetStream for this account" },
	{ 10047, "raise the account's storage for JetStream, or delete or shrink another stream" },
	{ 10052, "mend the stream in the configuration" },
	{ 10058, "a stream of this name is there and has other settings" },
	{ 10065,
	  "give its subjects to one stream only: take them out of the other one, or name that one in the configuration" },
	{ 10074, "set replicas = 1 for it, or run the servers as a cluster of as many" },
	{ 10076, "enable JetStream in the server's configuration" },
};

static const char *remedy_of(uint32_t err_code)
{
	for (size_t i = 0; i < sizeof remedies / sizeof remedies[0]; i++)
		if (remedies[i].err_code == err_code)
			return remedies[i].advice;
	return "";
}

struct finding {
	char detail[REASONS_TEXT_BYTES];
	const char *advice; /* the part of it that is not the reason's text */
	uint32_t reason;    /* the server's, or 0: the stream is there */
	bool takes;         /* it is there, and takes what is configured */
};

/* Another stream has stored what was meant for this one. */
struct elsewhere {
	bool is;
	int64_t until_ms, pause_ms;
};

/* How it can be sent to. */
struct wire {
	enum wire_reason why; /* without regard to the login */
	bool asked;           /* its answers are subscribed to, and it was asked again */
	bool proved;          /* and has answered: the login may, or the server would have said so before */
};

struct stream_setup {
	const struct config *config;
	struct natsio *nats;
	struct reasons *reasons;
	struct log *log;
	struct finding finding[LIMIT_STREAMS];
	struct elsewhere elsewhere[LIMIT_STREAMS];
	struct wire wire[LIMIT_STREAMS];
	uint64_t most_bytes[LIMIT_STREAMS];
	bool told[LIMIT_STREAMS]; /* so it was, or nobody says it */
};

struct stream_setup *stream_setup_create(const struct config *config, struct natsio *nats, struct reasons *reasons,
					 struct log *log)
{
	struct stream_setup *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	*s = (struct stream_setup){ .config = config, .nats = nats, .reasons = reasons, .log = log };
	stream_setup_down(s);
	return s;
}

void stream_setup_free(struct stream_setup *s)
{
	free(s);
}

const char *stream_setup_detail(const struct stream_setup *s, uint16_t stream)
{
	return s->finding[stream].detail;
}

const char *stream_setup_advice(const struct stream_setup *s, uint16_t stream, uint32_t reason)
{
	const struct finding *f = &s->finding[stream];

	/* It says what to do itself; what is found out beside it (that the configured one is not there) would advise against it. */
	if (reason == REASON_WRONG_STREAM)
		return "";
	if (reason == REASON_NO_STREAM && f->takes)
		return "the stream is there and takes the subject, but the message does not reach it: does a mapping of the "
		       "server lead it elsewhere, or is the stream another account's?";
	return f->reason != 0 && f->reason == reason ? f->advice : f->detail;
}

void stream_setup_ask(struct stream_setup *s, uint16_t stream)
{
	/* What cannot be sent is asked again: after the next connect, or while the stream takes nothing. */
	jetstream_info(&(struct jetstream){ .io = s->nats, .prefix = s->config->nats.jetstream_prefix },
		       s->config->streams[stream].name, jetstream_token(JETSTREAM_SETUP_INFO, stream, 0));
}

/* A server before 2.14 either does not know allow_batched and says so (2.12), or passes it by. A stream that has it cannot go back to one, so it is set only
 * where batches are asked for by name. */
static void create(struct stream_setup *s, uint16_t stream, bool batched)
{
	const struct config_stream *c = &s->config->streams[stream];
	json_t *subjects = json_array(), *body;
	char *text;

	for (size_t i = 0; i < c->subject_count; i++)
		json_array_append_new(subjects, json_string(c->subjects[i]));
	/* discard new: a full stream refuses, and the relay waits; discard old would acknowledge and then delete
	 * messages nobody has read. */
	body = json_pack("{s:s, s:o, s:s, s:s, s:s, s:i, s:I, s:b}", "name", c->name, "subjects", subjects, "retention",
			 "limits", "discard", "new", "storage", "file", "num_replicas", (int)c->replicas,
			 "duplicate_window", (json_int_t)c->duplicate_window_ms * NS_PER_MS, "allow_direct", 1);
	if (batched)
		json_object_set_new(body, "allow_batched", json_true());
	text = json_dumps(body, JSON_COMPACT);
	if (text != NULL) {
		log_info(s->log, "creating the stream", KS("stream", c->name));
		jetstream_create(&(struct jetstream){ .io = s->nats, .prefix = s->config->nats.jetstream_prefix },
				 c->name, text, jetstream_token(JETSTREAM_SETUP_CREATE, stream, batched));
	}
	free(text);
	json_decref(body);
}

/* --- another stream takes the subject ---
 *
 * A message whose acknowledgement names another stream is stored there, and not in ours. A repeat would be dropped within that
 * one's duplicate window, and stored again in the next: one copy a window, for as long as nobody mends it. So nothing more is
 * published until the server says that our stream takes the subject, where it did not before: subjects of two streams
 * cannot overlap, so it is ours that stores it from then on. Where the server said so all the time it lies at something that it does not
 * say (a mapping, another account's import), or it may not be asked; then a message is tried after a pause that grows.
 *
 * The header Nats-Expected-Stream would make the other one refuse. But it is stored with the message, and goes with it to
 * whatever copies the stream: a source before nats-server 2.10.14 and a mirror before 2.11.9 compare it with their own name, and stop
 * there for good. */

bool stream_setup_is_elsewhere(const struct stream_setup *s, uint16_t stream)
{
	return s->elsewhere[stream].is && loop_now_ms() < s->elsewhere[stream].until_ms;
}

void stream_setup_stored_elsewhere(struct stream_setup *s, uint16_t stream)
{
	struct elsewhere *e = &s->elsewhere[stream];

	if (stream_setup_is_elsewhere(s, stream)) /* it was in flight */
		return;
	e->pause_ms = e->pause_ms == 0                     ? ELSEWHERE_MIN_MS
		      : e->pause_ms * 2 < ELSEWHERE_MAX_MS ? e->pause_ms * 2
							   : ELSEWHERE_MAX_MS;
	e->is = true;
	e->until_ms = loop_now_ms() + e->pause_ms;
	stream_setup_ask(s, stream);
}

void stream_setup_stored(struct stream_setup *s, uint16_t stream)
{
	s->elsewhere[stream] = (struct elsewhere){ .is = false };
}

/* --- the wire ---
 *
 * Whether the login may subscribe to the answers of batches is told by no answer, only by a complaint where it may not; and that comes before whatever is
 * answered to a later request. So the subscription is made when a stream could be sent to by batches, and the stream is asked once more. Where it
 * could not, nothing is subscribed to, and a login needs no more rights than before. */

void stream_setup_down(struct stream_setup *s)
{
	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		s->wire[i] = (struct wire){ .why = WIRE_UNTOLD };
}

enum wire_reason stream_setup_wire(struct stream_setup *s, uint16_t stream)
{
	const struct wire *w = &s->wire[stream];

	if (w->why != WIRE_BATCHES)
		return w->why;
	if (!natsio_batches(s->nats, stream))
		return WIRE_DENIED;
	return w->proved ? WIRE_BATCHES : WIRE_UNTOLD;
}

static void look_at_wire(struct stream_setup *s, uint16_t stream, const struct stream_info *info)
{
	struct wire *w = &s->wire[stream];

	w->proved = w->asked;
	w->why = stream_wire_of(s->config, stream, info);
	if (w->why != WIRE_BATCHES || w->asked)
		return;
	w->asked = natsio_batches(s->nats, stream);
	if (w->asked)
		stream_setup_ask(s, stream);
}

uint64_t stream_setup_most_bytes(const struct stream_setup *s, uint16_t stream)
{
	return s->most_bytes[stream];
}

bool stream_setup_is_told(const struct stream_setup *s, uint16_t stream)
{
	return s->told[stream];
}

/* --- answers --- */

static void check(struct stream_setup *s, uint16_t stream, const struct stream_info *info)
{
	const struct config_stream *c = &s->config->streams[stream];
	struct finding *f = &s->finding[stream];
	bool took = f->takes;

	*f = (struct finding){ .advice = "" };
	for (size_t i = 0; i < c->subject_count; i++)
		if (!stream_info_takes(info, c->subjects[i]))
			snprintf(
				f->detail, sizeof f->detail,
				"the stream does not take %s: add the subject to it, or take it out of the configuration",
				c->subjects[i]);
	if (info->no_ack)
		snprintf(f->detail, sizeof f->detail,
			 "the stream has no_ack: nothing can be known to be stored; switch it off");
	if (info->sealed)
		snprintf(f->detail, sizeof f->detail,
			 "the stream is sealed: take these subjects out of it, then configure another stream for them");
	if (info->mirror)
		snprintf(f->detail, sizeof f->detail, "the stream is a mirror and takes nothing: configure its origin");
	f->takes = f->detail[0] == '\0';
	if (f->takes && !took)
		stream_setup_stored(s, stream);
	if (!f->takes)
		log_warn(s->log, "stream cannot take our messages", KS("stream", c->name), KS("why", f->detail));
}

static void refused(struct stream_setup *s, enum jetstream_kind kind, uint16_t stream, bool batched,
		    const struct answer_error *error)
{
	const struct config_stream *c = &s->config->streams[stream];
	struct finding *f = &s->finding[stream];
	char text[REASONS_TEXT_BYTES];

	if (error->err_code == STREAM_NOT_FOUND && c->create && kind == JETSTREAM_SETUP_INFO) {
		create(s, stream, c->send == SEND_BATCH);
		return;
	}
	if (error->err_code == FIELD_NOT_KNOWN && batched) {
		create(s, stream, false);
		return;
	}
	*f = (struct finding){ .reason = answer_err_code(error), .advice = remedy_of(error->err_code) };
	reasons_keep(s->reasons, REASONS_NO_MESSAGE, stream, f->reason, error->words);
	snprintf(f->detail, sizeof f->detail, "%s%s%s", reasons_sentence(f->reason, error->words, text, sizeof text),
		 f->advice[0] != '\0' ? ": " : "", f->advice);
	log_warn(s->log, kind == JETSTREAM_SETUP_INFO ? "stream is not there" : "stream could not be created",
		 KS("stream", c->name), KS("why", f->detail));
}

static void not_answered(struct stream_setup *s, uint16_t stream)
{
	struct finding *f = &s->finding[stream];

	*f = (struct finding){ .advice = "" };
	snprintf(f->detail, sizeof f->detail, "JetStream does not answer: is it enabled for this account?");
	log_warn(s->log, "stream is not there", KS("stream", s->config->streams[stream].name), KS("why", f->detail));
}

static void read_reply(struct stream_setup *s, enum jetstream_kind kind, uint16_t stream, const struct natsio_reply *r)
{
	struct stream_info info = { .first = 0 };
	enum answer_verdict verdict = ANSWER_ERROR;

	if (!r->no_responders)
		verdict = stream_info_read(r->data, r->bytes, &info);
	/* Nothing else, and no silence, says what another election will not deny. (One that is created says so itself.) */
	if (info.error.err_code == STREAM_NOT_FOUND && !s->config->streams[stream].create)
		s->wire[stream].why = WIRE_UNKNOWN;
	if (verdict == ANSWER_OK) {
		check(s, stream, &info);
		look_at_wire(s, stream, &info);
		s->most_bytes[stream] = info.max_message_bytes;
	} else if (info.error.code != 0 || info.error.err_code != 0) {
		refused(s, kind, stream, kind == JETSTREAM_SETUP_CREATE && jetstream_number(r->token) != 0,
			&info.error);
	} else {
		not_answered(s, stream);
	}
	/* One that is not there may be made now, which is answered, too. */
	s->told[stream] |= info.error.err_code != STREAM_NOT_FOUND || kind != JETSTREAM_SETUP_INFO ||
			   !s->config->streams[stream].create;
	stream_info_free(&info);
}

bool stream_setup_reply(struct stream_setup *s, const struct natsio_reply *r)
{
	enum jetstream_kind kind = jetstream_kind(r->token);
	uint16_t stream = jetstream_stream(r->token);

	if (kind != JETSTREAM_SETUP_INFO && kind != JETSTREAM_SETUP_CREATE)
		return false;
	if (stream < s->config->stream_count)
		read_reply(s, kind, stream, r);
	return true;
}
