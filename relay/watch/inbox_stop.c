#include "watch/inbox_stop.h"

#include <inttypes.h>
#include <stdio.h>

static void tell_gap(const struct inbox_stop_case *c, char *what, char *mend)
{
	snprintf(what, INBOX_STOP_TEXT_BYTES,
		 "Subscription %s has stopped at a gap: sequences %" PRIu64 " to %" PRIu64
		 " left stream %s before they were taken",
		 c->subscription, c->from, c->to, c->stream);
	snprintf(
		mend, INBOX_STOP_TEXT_BYTES,
		"get what they said from where it came from, if it is needed; then `boxhaul inbox accept-gap %s %s` goes on behind them",
		c->target, c->subscription);
}

static void tell_truncated(const struct inbox_stop_case *c, char *what, char *mend)
{
	if (c->from == 0) /* it stood so when we began to lead */
		snprintf(
			what, INBOX_STOP_TEXT_BYTES,
			"Subscription %s has stopped: stream %s lost its end, and does not hold the message of its position any more",
			c->subscription, c->stream);
	else
		snprintf(
			what, INBOX_STOP_TEXT_BYTES,
			"Subscription %s has stopped: stream %s lost its end, and does not hold the message of position %" PRIu64
			" any more; it ends at %" PRIu64,
			c->subscription, c->stream, c->from, c->to);
	if (c->ids)
		snprintf(
			mend, INBOX_STOP_TEXT_BYTES,
			"`boxhaul inbox rewind %s %s --to start` takes it from the beginning, also what stands before its start, and leaves out what it knows by its id",
			c->target, c->subscription);
	else
		snprintf(
			mend, INBOX_STOP_TEXT_BYTES,
			"`boxhaul inbox rewind %s %s --to SEQUENCE` goes on behind SEQUENCE, one below %" PRIu64
			": the last one under which the stream still holds what boxhaul.inbox holds; what stands behind it takes effect, even if it is known",
			c->target, c->subscription, c->from);
}

static void tell_recreated(const struct inbox_stop_case *c, char *what, char *mend)
{
	snprintf(what, INBOX_STOP_TEXT_BYTES, "Subscription %s has stopped: stream %s was made anew", c->subscription,
		 c->stream);
	snprintf(mend, INBOX_STOP_TEXT_BYTES,
		 "`boxhaul inbox rewind %s %s --to start` takes the new one from its beginning%s", c->target,
		 c->subscription, c->ids ? ", and leaves out what it knows by its id" : ": all of it takes effect");
}

static void tell_unfit(const struct inbox_stop_case *c, char *what, char *mend)
{
	switch (c->stop) {
	case INBOX_STOP_KIND:
		snprintf(what, INBOX_STOP_TEXT_BYTES, "Subscription %s takes nothing: stream %s %s", c->subscription,
			 c->stream,
			 c->reason != NULL && c->reason[0] != '\0'
				 ? c->reason
				 : "is a work queue, an interest stream or a mirror, and has no position to read from");
		break;
	case INBOX_STOP_NO_STREAM:
		snprintf(what, INBOX_STOP_TEXT_BYTES, "Subscription %s takes nothing: there is no stream %s",
			 c->subscription, c->stream);
		snprintf(mend, INBOX_STOP_TEXT_BYTES,
			 "create it, or start the daemon that does: `boxhaul check %s` says whether it is there",
			 c->target);
		return;
	case INBOX_STOP_START_AHEAD:
		snprintf(what, INBOX_STOP_TEXT_BYTES,
			 "Subscription %s takes nothing: its start lies behind the end of stream %s, which is %" PRIu64,
			 c->subscription, c->stream, c->to);
		break;
	default:
		snprintf(what, INBOX_STOP_TEXT_BYTES,
			 "Subscription %s takes nothing: the server refuses a consumer of stream %s%s%s",
			 c->subscription, c->stream, c->reason != NULL && c->reason[0] != '\0' ? ": " : "",
			 c->reason != NULL ? c->reason : "");
		break;
	}
	snprintf(mend, INBOX_STOP_TEXT_BYTES, "`boxhaul check %s` says what is wrong", c->target);
}

void inbox_stop_tell(const struct inbox_stop_case *c, char what[static INBOX_STOP_TEXT_BYTES],
		     char mend[static INBOX_STOP_TEXT_BYTES])
{
	switch (c->stop) {
	case INBOX_STOP_NONE: what[0] = mend[0] = '\0'; break;
	case INBOX_STOP_GAP: tell_gap(c, what, mend); break;
	case INBOX_STOP_TRUNCATED: tell_truncated(c, what, mend); break;
	case INBOX_STOP_RECREATED: tell_recreated(c, what, mend); break;
	default: tell_unfit(c, what, mend); break;
	}
}
