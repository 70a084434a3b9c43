/* Many questions are under way at a time: one after the other would take a round trip each. */
#include "command/walk.h"

#include <inttypes.h>
#include <stdio.h>

enum {
	PIPELINE_MESSAGES = 64,
	PIPELINE_BYTES = 32 << 20, /* what is not read yet stands in memory; a server cuts off who is 64 MB behind */
	REQUEST_BYTES = 48,
	SUBJECT_BYTES = 256,
};

static bool ask_info(const struct walk *w)
{
	char subject[SUBJECT_BYTES];

	snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.%s", w->stream);
	return natsio_session_ask(w->session, subject, "", 0);
}

static bool ask_message(const struct walk *w, uint64_t sequence)
{
	char subject[SUBJECT_BYTES], request[REQUEST_BYTES];

	snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.GET.%s", w->stream);
	snprintf(request, sizeof request, "{\"seq\":%" PRIu64 "}", sequence);
	return natsio_session_ask(w->session, subject, request, sequence);
}

/* The answer to any of the questions under way. */
static bool next_message(const struct walk *w, struct stored_message *m, enum stored_verdict *verdict)
{
	struct natsio_answer answer;

	if (!natsio_session_answer(w->session, &answer) || answer.no_responders)
		return false;
	*verdict = stored_message_read(answer.data, answer.bytes, m);
	return *verdict != STORED_ERROR;
}

bool walk_info(const struct walk *w, struct stored_stream *s)
{
	struct natsio_answer answer;

	*s = (struct stored_stream){ .error = 0 };
	return ask_info(w) && natsio_session_answer(w->session, &answer) && !answer.no_responders &&
	       stored_stream_read(answer.data, answer.bytes, s) == STORED_OK;
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
