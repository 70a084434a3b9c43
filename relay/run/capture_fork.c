/* After a promotion: what has the new primary lost that was sent, and does it send all that is new? */
#include <inttypes.h>
#include <stdio.h>

#include "run/capture_room_state.h"

/* A slot that was copied to the new primary (Patroni, a script) may stand where the old one's log was, beyond the fork: of what commits up to there the server sends
 * nothing, and says nothing. */
static bool slot_is_ahead(struct capture_one *c)
{
	char words[CAPTURE_LEDGER_DETAIL_BYTES];

	if (c->slot_lsn <= c->fork_lsn)
		return false;
	c->former_timeline = 0;
	snprintf(words, sizeof words,
		 "the replication slot %s was brought to a server that was promoted, and stands %" PRIu64
		 " bytes beyond the place from where its log goes on: what commits in between is not sent",
		 c->slot, c->slot_lsn - c->fork_lsn);
	capture_leader_gap(c->leader, "foreign", words);
	return true;
}

/* After a promotion: does the stream have what the server lacks? All of that stands above the low water of the books, which are older than it, and nothing of ours
 * is sent before the stream was looked at from there on. What of the new server stands beyond the fork already, because a leader ended before it
 * could say this, is taken for lost, too: a pass more. */
void capture_fork_look(struct capture_one *c)
{
	struct stream_scan_beyond first;
	char words[96] = "what could not be looked at";
	bool any;

	if (c->former_timeline == 0 || !c->looked || !c->forked || slot_is_ahead(c))
		return;
	c->former_timeline = 0;
	any = stream_scan_beyond(c->scan, 0, c->fork_lsn, &first);
	if (first.sequence != 0)
		snprintf(words, sizeof words,
			 "message %" PRIu64 ", which was committed at %" PRIX32 "/%" PRIX32 ", and others perhaps",
			 first.sequence, (uint32_t)(first.lsn >> 32), (uint32_t)first.lsn);
	capture_leader_forked(c->leader, c->fork_lsn, any ? words : NULL);
}
