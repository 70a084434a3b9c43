#include "command/seek.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/session.h"
#include "core/refusal.h"
#include "edge/loop.h"
#include "stored.h"

enum { PATIENCE_MS = 3000, ANSWER_PATIENCE_MS = 1000 };

/* The first message of the subject at or above a sequence. */
static enum stored_verdict next_of_subject(struct natsio_session *nats, struct seek *s, uint64_t from,
					   struct stored_message *m)
{
	json_t *o = json_pack("{s:I, s:s}", "seq", (json_int_t)from, "next_by_subj", s->subject);
	char *body = json_dumps(o, JSON_COMPACT), *answer = NULL, subject[256];
	enum stored_verdict v = STORED_ERROR;
	size_t bytes;

	snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.GET.%s", s->stream);
	if (body == NULL || !natsio_session_request(nats, subject, body, ANSWER_PATIENCE_MS, &answer, &bytes))
		snprintf(s->why, sizeof s->why, "no answer to %s: let this login publish to it", subject);
	else if ((v = stored_message_read(answer, bytes, m)) == STORED_ERROR)
		snprintf(s->why, sizeof s->why, "the broker says %s (%u) to %s", refusal_text(m->error), m->error,
			 subject);
	free(answer);
	free(body);
	json_decref(o);
	return v;
}

static enum seek_end walk(struct natsio_session *nats, struct seek *s)
{
	int64_t until_ms = loop_now_ms() + PATIENCE_MS;
	struct stored_message m = { .sequence = s->above };
	struct stored_id wanted;

	if (!stored_id_read(s->message_id, strlen(s->message_id), &wanted)) {
		snprintf(s->why, sizeof s->why, "its message id is no uuid");
		return SEEK_NOT_ASKED;
	}
	while (loop_now_ms() < until_ms) {
		enum stored_verdict v = next_of_subject(nats, s, m.sequence + 1, &m);

		if (v != STORED_OK)
			return v == STORED_NOTHING ? SEEK_NOT_THERE : SEEK_NOT_ASKED;
		if (m.has_id && memcmp(m.id.byte, wanted.byte, sizeof wanted.byte) == 0) {
			s->sequence = m.sequence;
			return SEEK_FOUND;
		}
	}
	snprintf(s->why, sizeof s->why, "too many messages of its subject: not found up to sequence %llu",
		 (unsigned long long)m.sequence);
	return SEEK_NOT_ASKED;
}

enum seek_end seek(const struct call *call, struct seek *s)
{
	struct natsio_session *nats = session_try_nats(call, s->why, sizeof s->why);
	enum seek_end end = nats != NULL ? walk(nats, s) : SEEK_NOT_ASKED;

	natsio_session_close(nats);
	natsio_shutdown();
	return end;
}
