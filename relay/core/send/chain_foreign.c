#include "core/send/chain_foreign.h"

#include "core/mutant.h"
#include "core/send/lookback.h"
#include "core/send/send.h"

void chain_foreign_claim(struct sender *s, uint16_t stream, uint64_t sequence)
{
	struct chain *c = &s->chain[stream];

	if (c->unclaimed > 0 && sequence > c->above && sequence <= c->upto)
		c->unclaimed--;
	else if (c->looks)
		sequences_add(&c->early, sequence);
}

void chain_uncounted(struct sender *s, uint16_t stream)
{
	s->chain[stream].counts = false;
	s->chain[stream].unclaimed = 0;
}

static void tell_foreign(struct sender *s, uint16_t stream, uint64_t first, uint64_t last, uint32_t reason)
{
	struct outcome *o = outcomes_add(&s->outcomes, OUTCOME_FOREIGN);

	o->stream = stream;
	o->sequence = first;
	notes_add(s->notes, (struct note){ .kind = NOTE_FOREIGN,
					   .id = (int64_t)first,
					   .last = (int64_t)last,
					   .stream = stream,
					   .reason = reason });
}

bool chain_foreign_passes(const struct sender *s, uint16_t stream)
{
	return (s->set->foreign_passes >> stream & 1) != 0;
}

/* What looks have found may be this: rows that came late stand before it, so its turn has not come. */
static bool one_is_in_doubt(const struct sender *s, uint16_t stream)
{
	for (const struct message *m = s->lanes.owned[stream].first; m != NULL; m = m->lane_next)
		if (m->copies.low_water != LOW_WATER_NONE)
			return true;
	return false;
}

bool chain_foreign_found(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (c->unclaimed == 0 || s->blocks.stream[stream].parked > 0 || one_is_in_doubt(s, stream) ||
	    MUTANT(foreign_unseen))
		return false;
	c->foreign += c->unclaimed;
	c->unclaimed = 0;
	tell_foreign(s, stream, c->above + 1, c->upto, chain_foreign_passes(s, stream) ? REASON_NONE : REASON_FOREIGN);
	return true;
}

/* --- the look --- */

void chain_look_asked(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];
	const struct lookback *l = &s->lookback[stream];

	/* A full list may have forgotten some. */
	c->counts = l->phase == PHASE_OURS && l->acked.count < SEQUENCES_RANGES;
	c->early.count = 0;
	c->asked_above = l->read_up_to;
}

void chain_read(struct sender *s, uint16_t stream, const struct event *ev)
{
	struct chain *c = &s->chain[stream];
	uint64_t last = ev->lookback.last, early;

	if (!c->counts) {
		c->unclaimed = 0;
		if (ev->lookback.foreign != 0) {
			c->foreign++;
			tell_foreign(s, stream, ev->lookback.foreign, last, REASON_NONE);
		}
		return;
	}
	early = sequences_between(&c->early, c->asked_above + 1, last);
	if (ev->lookback.present <= early)
		return;
	if (c->unclaimed == 0)
		c->above = c->asked_above;
	c->unclaimed += ev->lookback.present - early;
	c->upto = last;
}
