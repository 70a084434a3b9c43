/* Messages in memory. */
#include "core/send/memory.h"

#include "core/mutant.h"
#include "core/send/doubt.h"
#include "core/send/send.h"

/* m is not in flight any more, if it was. */
static void ground(struct sender *s, const struct message *m)
{
	if (m->place != PLACE_IN_FLIGHT)
		return;
	assert(s->flight_bytes >= m->bytes);
	s->flight_bytes -= m->bytes;
}

void memory_grounded(struct sender *s, const struct message *m)
{
	assert(m->place == PLACE_IN_FLIGHT);
	ground(s, m);
}

void memory_retry(struct sender *s, struct message *m, int64_t until_ms)
{
	assert(m->place == PLACE_IN_FLIGHT || m->place == PLACE_READY);
	ground(s, m);
	lanes_retry(&s->lanes, m, until_ms);
}

void memory_recall(struct sender *s, struct message *m)
{
	ground(s, m);
	lanes_recall(&s->lanes, m);
}

void memory_release(struct sender *s, struct message *m)
{
	assert(m->place != PLACE_FREE && m->place != PLACE_DONE && s->resident_bytes >= m->bytes);
	ground(s, m);
	s->resident_bytes -= m->bytes;
	if (m->uncertain)
		batch_settled(s, m);
	lanes_finish(&s->lanes, m);
	assert(m->place == PLACE_DONE);
}

void memory_dead_letter(struct sender *s, struct message *m)
{
	ground(s, m);
	lanes_dead_letter(&s->lanes, m);
}

size_t memory_unrecorded(const struct sender *s)
{
	return s->lanes.place[PLACE_UNRECORDED].count;
}

void memory_on_record(struct sender *s, size_t dead_letters)
{
	for (; dead_letters > 0; dead_letters--)
		memory_release(s, s->lanes.place[PLACE_UNRECORDED].first);
}

void memory_clear(struct sender *s)
{
	memory_on_record(s, memory_unrecorded(s));
	while (s->lanes.oldest != NULL)
		memory_release(s, s->lanes.oldest);
	assert(s->resident_bytes == 0 && s->flight_bytes == 0);
	s->outcomes.count = s->outcomes.taken = 0;
}

void memory_rewind(struct sender *s)
{
	s->flight_bytes = 0;
	if (!MUTANT(forgotten_outage))
		lanes_rewind(&s->lanes);
}

/* --- what the source asks --- */

struct message *memory_find(const struct sender *s, int64_t ticket)
{
	struct message *m = s->lanes.oldest;

	while (m != NULL && m->ticket != ticket)
		m = m->age_next;
	return m;
}

size_t memory_resident(const struct sender *s)
{
	return sender_state_resident(s);
}

uint64_t memory_resident_bytes(const struct sender *s)
{
	return s->resident_bytes;
}

size_t memory_in_flight(const struct sender *s)
{
	return s->lanes.place[PLACE_IN_FLIGHT].count;
}

bool memory_has_work(const struct sender *s)
{
	return s->lanes.place[PLACE_READY].count > 0 || s->lanes.place[PLACE_ASKING].count > 0 ||
	       s->lanes.place[PLACE_STANDBY].count > 0 || s->lanes.place[PLACE_IN_FLIGHT].count > 0 ||
	       chain_has_work(s);
}

struct message *memory_oldest(const struct sender *s, const struct message *after)
{
	return after != NULL ? after->age_next : s->lanes.oldest;
}

int64_t memory_ticket_of(const struct message *m)
{
	return m->ticket;
}

enum turn memory_turn_of(const struct message *m)
{
	return m->turn;
}

struct doubt memory_doubt_of(const struct message *m)
{
	return doubt_of(m);
}

void memory_set_turn(struct message *m, enum turn turn)
{
	assert(m->place != PLACE_FREE && m->place != PLACE_DONE && turn != TURN_REGULAR);
	m->turn = turn;
}

int64_t memory_oldest_regular(const struct sender *s)
{
	for (const struct message *m = s->lanes.oldest; m != NULL; m = m->age_next)
		if (m->turn == TURN_REGULAR && !(MUTANT(mark_before_ack) && m->place == PLACE_IN_FLIGHT))
			return m->ticket;
	return 0;
}

bool memory_next_release(struct sender *s, struct effect *f)
{
	struct message *m = s->lanes.place[PLACE_DONE].first;

	if (m == NULL)
		return false;
	assert(m->place == PLACE_DONE && m->lane == NULL);
	lanes_move(&s->lanes, m, PLACE_FREE);
	f->kind = EFFECT_RELEASE;
	f->release.slot = (uint32_t)(m - s->lanes.message);
	return true;
}
