/* Many questions are under way at a time: one after the other would take a round trip each. */
#include "command/walk.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	PIPELINE_MESSAGES = 64,
	PIPELINE_BYTES = 32 << 20, /* what is not read yet stands in memory; a server cuts off who is 64 MB behind */
	REQUEST_BYTES = 48,
	SUBJECT_BYTES = 256,
};

static bool ask(const struct walk *w, const char *verb, const char *body, uint64_t token)
{
	char subject[SUBJECT_BYTES];

	snprintf(subject, sizeof subject, "$JS.API.STREAM.%s.%s", verb, w->stream);
	return natsio_session_ask(w->session, subject, body, token);
}

static bool ask_message(const struct walk *w, uint64_t sequence)
{
	char request[REQUEST_BYTES];

	snprintf(request, sizeof request, "{\"seq\":%" PRIu64 "}", sequence);
	return ask(w, "MSG.GET", request, sequence);
}

static bool next_answer(const struct walk *w, struct natsio_answer *answer)
{
	return natsio_session_answer(w->session, w->patience_ms, answer) && !answer->no_responders;
}

/* The answer to any of the questions under way. */
static bool next_message(const struct walk *w, struct stored_message *m, enum stored_verdict *verdict)
{
	struct natsio_answer answer;

	if (!next_answer(w, &answer))
		return false;
	*verdict = stored_message_read(answer.data, answer.bytes, m);
	return *verdict != STORED_ERROR;
}

bool walk_info(const struct walk *w, struct stored_stream *s)
{
	struct natsio_answer answer;

	*s = (struct stored_stream){ .error = 0 };
	return ask(w, "INFO", "", 0) && next_answer(w, &answer) &&
	       stored_stream_read(answer.data, answer.bytes, s) == STORED_OK;
}

enum stored_verdict walk_next(const struct walk *w, uint64_t from, const char *subject, struct stored_message *m)
{
	json_t *o = json_pack("{s:I, s:s}", "seq", (json_int_t)from, "next_by_subj", subject);
	char *body = json_dumps(o, JSON_COMPACT);
	enum stored_verdict verdict = STORED_ERROR;

	*m = (struct stored_message){ .error = 0 };
	if (body != NULL && ask(w, "MSG.GET", body, from))
		next_message(w, m, &verdict);
	free(body);
	json_decref(o);
	return verdict;
}

/* Over sequences that are gone: to the next message that is there, up to `to`. */
static bool time_at(const struct walk *w, uint64_t from, uint64_t to, uint64_t *at, int64_t *time_s)
{
	for (*at = from; *at <= to; ++*at) {
		struct stored_message m;
		enum stored_verdict verdict;

		if (!ask_message(w, *at) || !next_message(w, &m, &verdict))
			return false;
		if (verdict != STORED_OK)
			continue;
		*time_s = m.time_s;
		return true;
	}
	return true;
}

bool walk_to_time(const struct walk *w, uint64_t from, uint64_t to, int64_t time_s, uint64_t *at)
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

static uint64_t pipeline(const struct walk *w)
{
	int64_t most = natsio_session_max_payload(w->session) / 3 * 4; /* base64 */

	if (most <= PIPELINE_BYTES / PIPELINE_MESSAGES)
		return PIPELINE_MESSAGES;
	return most < PIPELINE_BYTES ? (uint64_t)(PIPELINE_BYTES / most) : 1;
}

bool walk_range(const struct walk *w, uint64_t from, uint64_t to)
{
	uint64_t asked = 0, answered = 0, next = from, at_once = pipeline(w);
	bool enough = false;

	/* Questions under way are answered even when it is enough: the next walk must not meet their answers. */
	while (answered < asked || (!enough && next <= to)) {
		struct stored_message m;
		enum stored_verdict verdict;

		while (!enough && next <= to && asked - answered < at_once) {
			if (!ask_message(w, next++))
				return false;
			asked++;
		}
		if (!next_message(w, &m, &verdict))
			return false;
		answered++;
		if (!enough && verdict == STORED_OK)
			enough = !w->stored(w->arg, &m);
	}
	return true;
}
