#include "watch/note.h"

#include <inttypes.h>
#include <stdio.h>

#include "flow/stream_wire.h"

static void tell_held(struct log *log, const struct note *n, const char *why, const char *target)
{
	char todo[1200];

	snprintf(todo, sizeof todo, "boxhaul dead-letters list %s, then redrive or discard", target);
	log_error(log, "dead letter holds its lane until somebody decides", KI("id", n->id), KS("why", why),
		  KU("code", n->reason), KU("attempts", n->attempts), KS("do", todo));
}

static void tell_full(struct log *log, const struct note *n, const char *why, const char *target)
{
	char todo[1200];

	snprintf(todo, sizeof todo, "boxhaul explain %s %" PRId64 ", which is one of most of them", target, n->id);
	log_error(log, "too many messages are held back: reading nothing new until some of them are settled",
		  KS("why", n->reason != 0 ? why : "ids that nobody has committed, nor rolled back"),
		  KU("code", n->reason), KI("id", n->id), KS("do", todo));
}

/* What takes its place in an owned stream may have been passed by what stood behind it: that is said as well. */
static void tell_foreign(struct log *log, const struct note *n, const char *stream, const char *target)
{
	char todo[2600];

	snprintf(
		todo, sizeof todo,
		"see who has published there (nats stream get %s SEQUENCE), and stop that; then boxhaul pause %s and boxhaul "
		"resume %s",
		stream, target, target);
	log_error(log,
		  n->reason != 0 ? "somebody else has published to a stream that is owned: nothing more is sent to it"
				 : "somebody else has published to a stream that is owned",
		  KS("stream", stream), KI("from", n->id), KI("to", n->last), KS("do", n->reason != 0 ? todo : ""));
}

/* What is so because it was set so, or is not known yet, is no news. */
void note_tell_wire(struct log *log, enum wire_reason reason, const char *stream, bool wanted)
{
	bool plain = reason == WIRE_SET || reason == WIRE_UNTOLD;
	char message[256], todo[STREAM_WIRE_ADVICE_BYTES];

	if (reason == WIRE_BATCHES) {
		log_info(log, "messages go to the stream in batches", KS("stream", stream));
		return;
	}
	/* In the message, not beside it: two are the same only if they say the same. */
	snprintf(message, sizeof message, "messages go to the stream one by one: %s", stream_wire_text(reason));
	stream_wire_advice(reason, stream, todo, sizeof todo);
	log_write(log,
		  plain    ? LOG_LEVEL_DEBUG
		  : wanted ? LOG_LEVEL_WARN
			   : LOG_LEVEL_INFO,
		  message, log_fields_(KS("stream", stream), KS("do", todo)));
}

void note_tell(struct log *log, const struct note *n, const struct reasons *reasons, const char *stream,
	       const char *detail, const char *target)
{
	char why[REASONS_TEXT_BYTES];

	reasons_text(reasons, n->id, n->stream, n->reason, why, sizeof why);
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
	case NOTE_HELD: tell_held(log, n, why, target); break;
	case NOTE_VANISHED:
		log_error(log, "rows vanished from the outbox before they were sent: who deleted them?",
			  KI("first", n->id), KI("last", n->last));
		break;
	case NOTE_FULL: tell_full(log, n, why, target); break;
	case NOTE_BLIND:
		log_warn(
			log,
			"stream takes messages, but what it holds cannot be asked for: after a restart or a long outage, "
			"messages may be stored twice",
			KS("stream", stream), KS("why", detail));
		break;
	case NOTE_PREDECESSOR:
		log_info(
			log,
			"waiting for the lease of an earlier leader, which may still publish; the stream's duplicate window "
			"is too short to bridge it",
			KS("stream", stream));
		break;
	case NOTE_FOREIGN: tell_foreign(log, n, stream, target); break;
	case NOTE_UNROUTED:
		log_error(log, "messages are held: no stream of the configuration takes their subject", KI("id", n->id),
			  KS("do",
			     "add its subject to a stream of the configuration, then restart: they follow, in order"));
		break;
	case NOTE_WIRE: note_tell_wire(log, (enum wire_reason)n->reason, stream, false); break;
	case NOTE_RETRY:
		log_debug(log, "sending again", KI("id", n->id), KS("stream", stream), KS("why", why),
			  KU("code", n->reason));
		break;
	}
}
