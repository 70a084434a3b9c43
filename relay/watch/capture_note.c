#include "watch/capture_note.h"

#include <stdio.h>

static const char *why_again(uint32_t reason)
{
	switch (reason) {
	case CAPTURE_AGAIN_FILENODE:
		return "it has other files now: contents may have changed without a change in the log";
	case CAPTURE_AGAIN_PIECE: return "it is read whole, and the transaction under which it was read is gone";
	case CAPTURE_AGAIN_LONG: return "it is read whole, which took longer than whole_limit";
	default: return "too many rows got another key while values of them were left out";
	}
}

void capture_note_tell(struct log *log, const struct capture_note *n, const char *capture, const char *table,
		       const char *why)
{
	switch (n->kind) {
	case CAPTURE_NOTE_READING:
		log_info(log, "the rows of the table are being read", KS("capture", capture), KS("table", table),
			 KU("reading", n->reading));
		break;
	case CAPTURE_NOTE_AGAIN:
		log_warn(log, "the rows of the table are read again from the start", KS("capture", capture),
			 KS("table", table), KS("why", why_again(n->reason)));
		break;
	case CAPTURE_NOTE_COMPLETE:
		log_info(log, "all rows of the table are stored", KS("capture", capture), KS("table", table),
			 KU("rows", n->rows));
		break;
	case CAPTURE_NOTE_LIMBO:
		log_debug(log, "reading rows waits for a commit that is streamed and not visible yet",
			  KS("capture", capture), KU("xid", n->xid));
		break;
	case CAPTURE_NOTE_BARRIER:
		log_info(log, "reading rows waits for transactions that began earlier", KS("capture", capture),
			 KU("below_xid", n->xid));
		break;
	case CAPTURE_NOTE_FAILED:
		log_warn(log, "the rows of the table cannot be read for now: its changes go on", KS("capture", capture),
			 KS("table", table), KS("why", why));
		break;
	case CAPTURE_NOTE_TORN:
		log_error(log, "a transaction that had begun did not come again", KS("capture", capture),
			  KU("xid", n->xid));
		break;
	}
}

/* As note.c of the outbox'. */
void capture_note_held(struct log *log, const struct note *n, const struct reasons *reasons, const char *capture,
		       const char *target)
{
	char todo[1200], why[REASONS_TEXT_BYTES];

	reasons_text(reasons, n->id, n->stream, n->reason, why, sizeof why);
	snprintf(todo, sizeof todo, "boxhaul capture dead-letters %s %s, then capture redrive or capture discard",
		 target, capture);
	log_error(log, "dead letter holds its key until somebody decides", KS("capture", capture), KI("change", n->id),
		  KS("why", why), KU("code", n->reason), KU("attempts", n->attempts), KS("do", todo));
}
