/* The chain of an owned stream is broken: what is in flight is answered, or called back, and then the stream is looked at. The picture and the
 * argument stand in chain.c. */
#include "core/send/chain_break.h"

#include "core/mutant.h"
#include "core/send/holding.h"
#include "core/send/lookback.h"
#include "core/send/memory.h"
#include "core/send/send.h"

void chain_stand(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	lanes_stand(&s->lanes, stream);
	c->looks = false;
	c->call_back_ms = NEVER;
}

void chain_put_off(struct chain *c, int64_t until_ms)
{
	if (c->again_ms < until_ms)
		c->again_ms = until_ms;
}

/* Again and again, with nothing stored in between: somebody is in the way, or the server is not well. */
void chain_break(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (c->state != CHAIN_FLOWS || MUTANT(chain_unbroken))
		return;
	c->state = CHAIN_BROKEN;
	c->broken++;
	if (c->failures++ > 0)
		chain_put_off(c, sender_state_retry_at(s, c->failures - 2));
	chain_stand(s, stream);
}

bool chain_newest_is_in_flight(const struct sender *s, const struct chain *c)
{
	const struct message *m = &s->lanes.message[c->newest & 0xffff];

	return m->place == PLACE_IN_FLIGHT && m->generation == c->newest >> 32 &&
	       m->attempt == (c->newest >> 16 & 0xffff);
}

/* --- what is in flight --- */

/* Its stream parks, is shut, and m has nothing to do in memory: it neither probes, nor stands before what does. */
static bool is_to_be_parked(struct sender *s, const struct message *m)
{
	const struct block *b = sender_state_stream_block(s, m);

	return block_is_shut(b) && !s->set->owned_stays &&
	       (b->probe == 0 || (b->probe < m->ticket && !MUTANT(called_back_late)) ||
		(b->probe != m->ticket && MUTANT(called_back_late)));
}

void chain_call_back(struct sender *s, struct message *m)
{
	if (is_to_be_parked(s, m))
		holding_park_with_lane_or(s, m, sender_state_stream_block(s, m));
	else
		memory_recall(s, m);
}

static void call_all_back(struct sender *s, uint16_t stream)
{
	struct message *next;

	batch_called_back(s, stream);
	for (struct message *m = chain_lane(s, stream)->first; m != NULL; m = next) {
		next = m->lane_next;
		if (m->place == PLACE_IN_FLIGHT)
			chain_call_back(s, m);
	}
}

void chain_park_what_waits(struct sender *s, uint16_t stream)
{
	struct message *next;

	for (struct message *m = chain_lane(s, stream)->first; m != NULL; m = next) {
		next = m->lane_next;
		if (m->place == PLACE_WAITING && is_to_be_parked(s, m))
			holding_park_with_lane_or(s, m, sender_state_stream_block(s, m));
	}
}

/* Nothing goes by itself while a batch is under way, so all that is in flight behind its first one was in it. */
void chain_batch_failed(struct sender *s, uint16_t stream, struct message *first)
{
	struct message *next;

	chain_break(s, stream);
	for (struct message *m = MUTANT(batch_calls_all) ? chain_lane(s, stream)->first : first; m != NULL; m = next) {
		next = m->lane_next;
		if (m->place == PLACE_IN_FLIGHT)
			chain_call_back(s, m);
	}
	chain_look_if_settled(s, stream);
}

/* --- the look --- */

/* Answers come in the order of publishes, so behind the answer to the last one little is to be waited for. */
static bool is_settled(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (chain_lane(s, stream)->active == 0 || MUTANT(chain_unsettled))
		return true;
	if (chain_newest_is_in_flight(s, c))
		return false;
	if (c->call_back_ms == NEVER)
		c->call_back_ms = s->now_ms + s->set->retry_min_ms;
	return s->now_ms >= c->call_back_ms;
}

void chain_look_if_settled(struct sender *s, uint16_t stream)
{
	struct chain *c = &s->chain[stream];

	if (c->state != CHAIN_BROKEN || c->looks || !s->bus_up || !is_settled(s, stream) || s->now_ms < c->again_ms)
		return;
	call_all_back(s, stream);
	c->looks = true;
	lookback_want(s, stream);
}

/* --- time --- */

bool chain_has_work(const struct sender *s)
{
	if (s->set->owned == 0)
		return false;
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (settings_owns(s->set, i) && s->chain[i].state == CHAIN_BROKEN &&
		    s->now_ms >= s->chain[i].again_ms && s->lanes.owned[i].first != NULL)
			return true;
	return false;
}

void chain_timers(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++)
		if (settings_owns(s->set, i))
			chain_look_if_settled(s, i);
}

int64_t chain_deadline(const struct sender *s)
{
	int64_t at = NEVER;

	if (s->set->owned == 0)
		return at;
	for (uint16_t i = 0; i < s->set->streams; i++) {
		const struct chain *c = &s->chain[i];

		if (!settings_owns(s->set, i) || c->state != CHAIN_BROKEN || c->looks)
			continue;
		if (s->lanes.owned[i].active == 0 || c->call_back_ms < c->again_ms)
			at = sender_state_earlier(at, c->again_ms);
		else
			at = sender_state_earlier(at, c->call_back_ms);
	}
	return at;
}
