#include "command/stream_walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "books/reasons.h"
#include "command/session.h"
#include "edge/jetstream.h"
#include "edge/loop.h"
#include "flow/stream_reader.h"

enum { SEARCH_PATIENCE_MS = 3000, ANSWER_PATIENCE_MS = 1000 };

static struct jetstream jetstream_of(const struct stream_walk *w)
{
	return (struct jetstream){ .session = w->session, .prefix = w->prefix };
}

/* The next answer to a question of this token. What is still answered of a walk that was given up is passed over. */
static bool next_answer(const struct stream_walk *w, uint64_t token, struct natsio_answer *answer)
{
	while (natsio_session_answer(w->session, w->patience_ms, answer))
		if (answer->token == token || answer->no_responders)
			return true;
	return false;
}

enum stream_walk_answer stream_walk_info(const struct stream_walk *w, struct stream_info *info)
{
	struct jetstream js = jetstream_of(w);
	uint64_t token = natsio_session_token(w->session);
	struct natsio_answer answer;

	*info = (struct stream_info){ .first = 0 };
	if (!jetstream_info(&js, w->stream, token) || !next_answer(w, token, &answer))
		return STREAM_WALK_SILENCE;
	if (answer.no_responders)
		return STREAM_WALK_NOBODY;
	return stream_info_read(answer.data, answer.bytes, info) == ANSWER_OK ? STREAM_WALK_OK : STREAM_WALK_ERROR;
}

bool stream_walk_account(const struct stream_walk *w, struct account_info *info)
{
	struct jetstream js = jetstream_of(w);
	uint64_t token = natsio_session_token(w->session);
	struct natsio_answer answer;

	return jetstream_account(&js, token) && next_answer(w, token, &answer) && !answer.no_responders &&
	       account_info_read(answer.data, answer.bytes, info);
}

bool stream_walk_is_allowed(const struct stream_walk *w)
{
	struct jetstream js = jetstream_of(w);
	uint64_t token = natsio_session_token(w->session);
	struct natsio_answer answer;

	/* Any answer will do: there is no message 0. */
	return jetstream_message(&js, w->stream, 0, token) && next_answer(w, token, &answer) && !answer.no_responders;
}

/* --- ranges --- */

/* Returns false where not all of it could be asked; *enough: stored() said so. */
static bool take_answer(const struct stream_walk *w, struct stream_reader *r, struct stored_message *m, bool *stored)
{
	struct natsio_answer answer;
	enum answer_verdict verdict;

	if (!stream_reader_ask(r) || !next_answer(w, r->token, &answer))
		return false;
	verdict = stream_reader_take(r, answer.data, answer.bytes, answer.no_responders, m);
	*stored = verdict == ANSWER_OK;
	return verdict != ANSWER_ERROR;
}

static struct stream_reader read_range(const struct stream_walk *w, uint64_t from, uint64_t to)
{
	struct stream_reader r = { .js = jetstream_of(w),
				   .stream = w->stream,
				   .token = natsio_session_token(w->session) };

	stream_reader_begin(&r, from, to, natsio_session_max_payload(w->session));
	return r;
}

bool stream_walk_range(const struct stream_walk *w, uint64_t from, uint64_t to,
		       bool (*stored)(void *arg, const struct stored_message *m), void *arg)
{
	struct stream_reader r = read_range(w, from, to);

	while (!stream_reader_is_done(&r)) {
		struct stored_message m;
		bool is_there;

		if (!take_answer(w, &r, &m, &is_there))
			return false;
		if (is_there && !stored(arg, &m))
			return true;
	}
	return true;
}

/* The first message from .. to, over sequences that are gone: *at = to + 1 where there is none. One after the other: nearly always
 * the first one is there. */
static bool time_at(const struct stream_walk *w, uint64_t from, uint64_t to, uint64_t *at, int64_t *time_s)
{
	struct stream_reader r = read_range(w, from, to);

	r.window = 1;
	for (*at = from; !stream_reader_is_done(&r); ++*at) {
		struct stored_message m;
		bool is_there;

		if (!take_answer(w, &r, &m, &is_there))
			return false;
		if (is_there) {
			*time_s = m.time_ns / 1000000000;
			return true;
		}
	}
	return true;
}

bool stream_walk_to_time(const struct stream_walk *w, uint64_t from, uint64_t to, int64_t time_s, uint64_t *at)
{
	uint64_t lo = from, hi = to + 1; /* all below lo are too old, hi and above are not */

	while (lo < hi) {
		uint64_t middle = lo + (hi - lo) / 2, there;
		int64_t stored_s = 0;

		if (!time_at(w, middle, hi - 1, &there, &stored_s))
			return false;
		if (there == hi || stored_s >= time_s)
			hi = middle;
		else
			lo = there + 1;
	}
	*at = lo;
	return true;
}

/* --- one message --- */

static enum stream_walk_end not_asked(const struct stream_walk *w, struct stream_walk_search *s,
				      const struct answer_error *error)
{
	char text[REASONS_TEXT_BYTES];

	if (error->code == 0 && error->err_code == 0)
		snprintf(s->why, sizeof s->why, "no answer to %s.STREAM.MSG.GET.%s: let this login publish to it",
			 w->prefix, s->stream);
	else
		snprintf(s->why, sizeof s->why, "the broker says %s to %s.STREAM.MSG.GET.%s",
			 reasons_sentence(answer_err_code(error), error->words, text, sizeof text), w->prefix,
			 s->stream);
	return STREAM_WALK_NOT_ASKED;
}

/* The first message of the subject from a sequence on. ANSWER_ERROR with an empty error: nobody answers. */
static enum answer_verdict next_message(const struct stream_walk *w, uint64_t from, const char *subject,
					struct stored_message *m)
{
	struct jetstream js = jetstream_of(w);
	uint64_t token = natsio_session_token(w->session);
	struct natsio_answer answer;

	*m = (struct stored_message){ .sequence = 0 };
	if (!jetstream_next_message(&js, w->stream, from, subject, token) || !next_answer(w, token, &answer) ||
	    answer.no_responders)
		return ANSWER_ERROR;
	return stored_message_read(answer.data, answer.bytes, m);
}

static enum stream_walk_end search(struct natsio_session *nats, const char *prefix, struct stream_walk_search *s)
{
	const struct stream_walk w = {
		.session = nats, .prefix = prefix, .stream = s->stream, .patience_ms = ANSWER_PATIENCE_MS
	};
	int64_t until_ms = loop_now_ms() + SEARCH_PATIENCE_MS;
	struct stored_message m = { .sequence = s->above };
	const char *subject = s->subject;
	struct stored_id wanted;
	struct stream_info info;

	if (stream_walk_info(&w, &info) == STREAM_WALK_OK && info.transforms)
		subject = ">";
	stream_info_free(&info);
	if (!stored_id_read(s->message_id, strlen(s->message_id), &wanted)) {
		snprintf(s->why, sizeof s->why, "its message id is no uuid");
		return STREAM_WALK_NOT_ASKED;
	}
	while (loop_now_ms() < until_ms)
		switch (next_message(&w, m.sequence + 1, subject, &m)) {
		case ANSWER_ERROR: return not_asked(&w, s, &m.error);
		case ANSWER_NOTHING: return STREAM_WALK_NOT_THERE;
		case ANSWER_OK:
			if (!m.has_id || memcmp(m.id.byte, wanted.byte, sizeof wanted.byte) != 0)
				continue;
			s->sequence = m.sequence;
			return STREAM_WALK_FOUND;
		}
	snprintf(s->why, sizeof s->why, "too many messages that it may be: not found up to sequence %" PRIu64,
		 m.sequence);
	return STREAM_WALK_NOT_ASKED;
}

enum stream_walk_end stream_walk_search(const struct call *call, struct stream_walk_search *s)
{
	struct natsio_session *nats = session_try_nats(call, s->why, sizeof s->why);
	enum stream_walk_end end =
		nats != NULL ? search(nats, call->config->nats.jetstream_prefix, s) : STREAM_WALK_NOT_ASKED;

	natsio_session_close(nats);
	natsio_shutdown();
	return end;
}
