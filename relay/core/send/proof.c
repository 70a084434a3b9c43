/* What is gone from a stream is not taken for never stored.
 *
 *     lane    E ........ F          F is found, and tells from which snapshot it was sent
 *             |          `-- sent when all of its lane that stood in that snapshot, E among it, was stored
 *             `-- not found: consumed, or replaced
 *
 * Why that is so is argued in README.md, What is gone. */
#include "core/send/proof.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/send/send.h"

/* Strict, a lane goes on behind what is stored, and behind a dead letter that is on record. */
bool proof_is_evident(const struct sender *s, const struct message *m)
{
	return (s->set->ordering == ORDERING_STRICT || MUTANT(evident_pipelined)) && m->keyed && m->lane != NULL;
}

/* Once nothing is left that an earlier leader may have sent, nobody asks. And whoever redrives a letter wants it sent: an operator may have
 * given it up before, and its lane have gone on. */
int32_t proof_witness(const struct sender *s, uint32_t slot, int32_t after)
{
	const struct message *m = &s->lanes.message[slot], *x = after < 0 ? m : &s->lanes.message[after];

	assert(slot < s->lanes.slots && m->place == PLACE_IN_FLIGHT);
	if (m->lane == NULL || m->lane->owned || !s->predecessor.remains ||
	    (m->turn == TURN_REDRIVEN && !MUTANT(proved_redriven)))
		return -1;
	for (x = x->lane_next; x != NULL; x = x->lane_next)
		if ((x->stream == m->stream || MUTANT(proved_by_other_stream)) &&
		    (x->ticket > m->ticket || MUTANT(proved_by_earlier)))
			return (int32_t)(x - s->lanes.message);
	return -1;
}

bool proof_holds(const struct sender *s, uint32_t slot, uint32_t witness, uint64_t horizon)
{
	const struct message *m = &s->lanes.message[slot], *x = &s->lanes.message[witness];

	assert(m->lane != NULL && m->lane == x->lane);
	return m->xid != 0 &&
	       (m->xid == x->xid || m->xid < horizon + MUTANT(proved_by_one) || MUTANT(proved_though_late));
}
