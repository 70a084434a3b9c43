#include "note.h"

#include "core/refusal.h"

void note_tell(struct log *log, const struct note *n, const char *stream, const char *detail)
{
	const char *why = refusal_text(n->reason);

	switch (n->kind) {
	case NOTE_STREAM_BLOCKED:
		log_warn(log, "stream takes no messages now: holding them back", KS("stream", stream), KS("why", why),
			 KU("code", n->reason), KI("id", n->id));
		break;
	case NOTE_STREAM_OPEN: log_info(log, "stream takes messages again", KS("stream", stream)); break;
	case NOTE_LANE_BLOCKED:
		log_warn(log, "lane is held back", KI("id", n->id), KS("stream", stream), KS("why", why),
			 KU("code", n->reason), KU("attempts", n->attempts));
		break;
	case NOTE_LANE_OPEN: log_info(log, "lane goes on", KI("id", n->id)); break;
	case NOTE_DEAD:
		log_error(log, "dead letter", KI("id", n->id), KS("why", why), KU("code", n->reason),
			  KU("attempts", n->attempts));
		break;
	case NOTE_HELD:
		log_error(log, "dead letter holds its lane: boxhaul dead-letters redrive or discard", KI("id", n->id),
			  KS("why", why), KU("code", n->reason), KU("attempts", n->attempts));
		break;
	case NOTE_VANISHED:
		log_error(log, "rows vanished from the outbox before they were sent: who deleted them?",
			  KI("first", n->id), KI("last", n->last));
		break;
	case NOTE_FULL:
		log_error(log, "too many messages are held back: reading nothing new until some of them are settled");
		break;
	case NOTE_BLIND:
		log_warn(
			log,
			"stream takes messages, but what it holds cannot be asked for: after a restart or a long outage, "
			"messages may be stored twice",
			KS("stream", stream), KS("why", detail));
		break;
	case NOTE_OTHERS:
		log_info(
			log,
			"waiting for the lease of an earlier leader, which may still publish; the stream's duplicate window "
			"is too short to bridge it",
			KS("stream", stream));
		break;
	case NOTE_RETRY:
		log_debug(log, "sending again", KI("id", n->id), KS("stream", stream), KS("why", why),
			  KU("code", n->reason));
		break;
	}
}
