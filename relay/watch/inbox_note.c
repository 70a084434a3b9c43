#include "watch/inbox_note.h"

#include "books/inbox_ledger.h"
#include "watch/inbox_stop.h"

const char *inbox_note_doubt(enum inbox_doubt doubt, const char *refused)
{
	static const char *const words[INBOX_DOUBTS] = {
		[INBOX_DOUBT_NONE] = "",
		[INBOX_DOUBT_HOLE] = "a message was lost on the way",
		[INBOX_DOUBT_ORDER] = "messages came in another order than the stream's",
		[INBOX_DOUBT_OVERRUN] = "more came than was asked for",
		[INBOX_DOUBT_HEARTBEAT] = "the consumer has sent more than has come",
		[INBOX_DOUBT_SILENCE] = "the consumer says nothing",
		[INBOX_DOUBT_STATUS] = "the consumer, or what was asked of it, is gone",
		[INBOX_DOUBT_STUCK] = "the consumer brings nothing of what the stream holds",
		[INBOX_DOUBT_UNANSWERED] = "JetStream did not answer",
		[INBOX_DOUBT_REFUSED] = "the consumer could not be made",
		[INBOX_DOUBT_STREAM] = "the stream is not what it was",
		[INBOX_DOUBT_WITNESS] = "another message stands at the position",
		[INBOX_DOUBT_GAP] = "messages left the stream before they came",
		[INBOX_DOUBT_MOVE] = "the database did not move the position",
	};
	bool theirs = doubt == INBOX_DOUBT_STATUS || doubt == INBOX_DOUBT_UNANSWERED || doubt == INBOX_DOUBT_REFUSED;

	return theirs && refused[0] != '\0' ? refused : words[doubt];
}

static void tell_stop(struct log *log, const struct inbox_note *n, const struct inbox_note_about *a)
{
	char what[INBOX_STOP_TEXT_BYTES], mend[INBOX_STOP_TEXT_BYTES];

	inbox_stop_tell(&(struct inbox_stop_case){ .stop = n->stop,
						   .subscription = a->subscription,
						   .stream = a->stream,
						   .target = a->target,
						   .ids = a->ids,
						   .from = n->from,
						   .to = n->to,
						   .reason = a->refused[0] != '\0' ? a->refused : NULL },
			what, mend);
	log_error(log, what, KS("subscription", a->subscription), KS("stop", inbox_ledger_stop_word(n->stop)),
		  KS("do", mend));
}

void inbox_note_tell(struct log *log, const struct inbox_note *n, const struct inbox_note_about *a)
{
	switch (n->kind) {
	case INBOX_NOTE_DOUBT:
		log_warn(log, "making another consumer", KS("subscription", a->subscription),
			 KS("why", inbox_note_doubt(n->doubt, a->refused)), KU("code", n->reason));
		break;
	case INBOX_NOTE_STOPPED: tell_stop(log, n, a); break;
	case INBOX_NOTE_GAP:
		log_error(log, "messages left the stream before they were taken, and are lost here",
			  KS("subscription", a->subscription), KU("from", n->from), KU("to", n->to));
		break;
	case INBOX_NOTE_REWOUND:
		log_error(log, "the stream lost its end: taking again what comes again, by its ids",
			  KS("subscription", a->subscription), KU("from", n->from), KU("to", n->to));
		break;
	case INBOX_NOTE_RECREATED:
		log_error(log, "the stream was made anew: taking it from its beginning",
			  KS("subscription", a->subscription), KU("from", n->from));
		break;
	case INBOX_NOTE_LARGE:
		log_debug(log, "a message is larger than usual requests allow", KS("subscription", a->subscription),
			  KU("behind", n->from));
		break;
	case INBOX_NOTE_BEGUN:
		log_info(log, "the subscription begins: what stands in the stream up to here is not taken",
			 KS("subscription", a->subscription), KU("position", n->from));
		break;
	case INBOX_NOTE_BEGUN_AGAIN:
		log_error(
			log,
			"the database has lost what was taken, as a failover to an older state does: taking again from where the "
			"subscription began",
			KS("subscription", a->subscription), KU("position", n->from));
		break;
	case INBOX_NOTE_DEAD:
		log_error(log, "the database cannot store a message: dead letter", KS("subscription", a->subscription),
			  KU("sequence", n->from), KS("why", a->failed));
		break;
	}
}
