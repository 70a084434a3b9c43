#include "command/seek.h"

#include <stdio.h>
#include <string.h>

#include "command/session.h"
#include "command/walk.h"
#include "core/refusal.h"
#include "edge/loop.h"
#include "stored.h"

enum { PATIENCE_MS = 3000, ANSWER_PATIENCE_MS = 1000 };

static void explain(struct seek *s, const struct stored_message *m)
{
	if (m->error == 0)
		snprintf(s->why, sizeof s->why, "no answer to $JS.API.STREAM.MSG.GET.%s: let this login publish to it",
			 s->stream);
	else
		snprintf(s->why, sizeof s->why, "the broker says %s (%u) to $JS.API.STREAM.MSG.GET.%s",
			 refusal_text(m->error), m->error, s->stream);
}

static enum seek_end look(struct natsio_session *nats, struct seek *s)
{
	const struct walk w = { .session = nats, .stream = s->stream, .patience_ms = ANSWER_PATIENCE_MS };
	int64_t until_ms = loop_now_ms() + PATIENCE_MS;
	struct stored_message m = { .sequence = s->above };
	struct stored_id wanted;

	if (!stored_id_read(s->message_id, strlen(s->message_id), &wanted)) {
		snprintf(s->why, sizeof s->why, "its message id is no uuid");
		return SEEK_NOT_ASKED;
	}
	while (loop_now_ms() < until_ms) {
		enum stored_verdict v = walk_next(&w, m.sequence + 1, s->subject, &m);

		if (v == STORED_ERROR)
			explain(s, &m);
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
	enum seek_end end = nats != NULL ? look(nats, s) : SEEK_NOT_ASKED;

	natsio_session_close(nats);
	natsio_shutdown();
	return end;
}
