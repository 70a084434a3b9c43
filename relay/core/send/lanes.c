/* Lanes: who may be sent next.
 *
 *     lane:   first                         waiting              last
 *               |                              |                   |
 *           [IN_FLIGHT] - [READY] - ... - [WAITING] - [WAITING] - ...
 *            `---- active, at most limit ----'
 *
 * Why order holds with the limit 1 (strict): a message becomes READY only when all before it in its lane have
 * left, and a message leaves only when it is stored (acked), given up (dead letter) or parked; parking a
 * message parks its whole lane, or its stream, behind it. So no later message of the lane can reach the
 * stream before it. Replaying several in flight would not be enough: the ones that were stored are dropped
 * as duplicates and the lost one lands behind them.
 *
 * Given up means: on record. A verdict may be another one when the row is read again (a limit was raised, another relay has
 * another configuration). Were the lane to go on while the dead letter is in our memory alone, and we break, the next leader might find the
 * row good, and send it behind what followed it. So it stays in its lane, UNRECORDED, until the mark that wrote it has been answered. */
#include "core/send/lanes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutant.h"

/* --- the list of a place --- */

static inline void list_remove(struct message_list *list, struct message *m)
{
	*(m->prev != NULL ? &m->prev->next : &list->first) = m->next;
	*(m->next != NULL ? &m->next->prev : &list->last) = m->prev;
	list->count--;
}

/* Behind `at`; NULL = in front of all. */
static void list_insert(struct message_list *list, struct message *m, struct message *at)
{
	m->prev = at;
	m->next = at != NULL ? at->next : list->first;
	*(m->prev != NULL ? &m->prev->next : &list->first) = m;
	*(m->next != NULL ? &m->next->prev : &list->last) = m;
	list->count++;
}

static inline void list_append(struct message_list *list, struct message *m)
{
	m->prev = list->last;
	m->next = NULL;
	*(list->last != NULL ? &list->last->next : &list->first) = m;
	list->last = m;
	list->count++;
}

/* --- places --- */

bool lanes_create(struct lanes *l, size_t slots, bool pipelined)
{
	*l = (struct lanes){ .slots = slots, .pipelined = pipelined, .buckets = 2 * slots };
	l->message = calloc(slots, sizeof *l->message);
	l->pool = calloc(slots, sizeof *l->pool);
	l->bucket = calloc(l->buckets, sizeof *l->bucket);
	if (l->message == NULL || l->pool == NULL || l->bucket == NULL) {
		lanes_destroy(l);
		return false;
	}
	for (size_t i = slots; i-- > 0;) {
		l->pool[i].next = l->free_lanes;
		l->free_lanes = &l->pool[i];
	}
	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		l->owned[i] = (struct lane){ .owned = true, .flow = LANE_STANDS };
	for (size_t i = 0; i < slots; i++)
		list_append(&l->place[PLACE_FREE], &l->message[i]);
	return true;
}

void lanes_destroy(struct lanes *l)
{
	free(l->message);
	free(l->pool);
	free(l->bucket);
	*l = (struct lanes){ .slots = 0 };
}

static void move_to_backoff(struct lanes *l, struct message *m)
{
	struct message *at = l->place[PLACE_BACKOFF].last;

	while (at != NULL && at->at_ms > m->at_ms)
		at = at->prev;
	list_insert(&l->place[PLACE_BACKOFF], m, at);
}

void lanes_move(struct lanes *l, struct message *m, enum place to)
{
	list_remove(&l->place[m->place], m);
	m->place = to;
	if (to == PLACE_BACKOFF)
		move_to_backoff(l, m);
	else
		list_append(&l->place[to], m);
}

/* --- finding lanes --- */

static struct lane **bucket_of(struct lanes *l, uint64_t hash)
{
	return &l->bucket[(hash * UINT64_C(0x9e3779b97f4a7c15) >> 32) % l->buckets];
}

static struct lane *lane_get(struct lanes *l, uint64_t hash)
{
	struct lane **at = bucket_of(l, hash), *lane;

	for (lane = *at; lane != NULL; lane = lane->next)
		if (lane->hash == hash)
			return lane;
	lane = l->free_lanes;
	assert(lane != NULL); /* as many lanes as messages */
	l->free_lanes = lane->next;
	*lane = (struct lane){ .hash = hash, .next = *at };
	return *at = lane;
}

static void lane_put(struct lanes *l, struct lane *lane)
{
	struct lane **at = bucket_of(l, lane->hash);

	assert(lane->first == NULL && lane->active == 0);
	while (*at != lane)
		at = &(*at)->next;
	*at = lane->next;
	lane->next = l->free_lanes;
	l->free_lanes = lane;
}

/* --- the flow through a lane --- */

static uint32_t most_active(const struct lanes *l, const struct lane *lane)
{
	return l->pipelined && lane->flow == LANE_FLOWS ? UINT32_MAX : 1 + MUTANT(lane_of_two);
}

static void make_ready(struct lanes *l, struct lane *lane, struct message *m)
{
	lane->waiting = m->lane_next;
	lane->active++;
	lanes_move(l, m, PLACE_READY);
}

/* Those that are called back may stand before some that are in flight still, or are dead letters. */
static void promote_owned(struct lanes *l, struct lane *lane)
{
	struct message *m;

	while ((m = lane->waiting) != NULL) {
		if (m->place != PLACE_WAITING) {
			lane->waiting = m->lane_next;
			continue;
		}
		if (lane->flow != LANE_FLOWS || lane->active >= lane->limit || (lane->unrecorded > 0 && !m->defect))
			return;
		make_ready(l, lane, m);
	}
}

/* Into the same batch as the one before it, which is active. */
static bool goes_with_the_one_before(const struct lanes *l, const struct message *m)
{
	const struct message *before = m->lane_prev;

	return lanes_are_wide(l, m->stream) && m->lane->unrecorded == 0 && m->stream == before->stream && !m->defect &&
	       !before->defect && ((!m->single && !before->single) || MUTANT(batch_beside_single));
}

static void lane_promote(struct lanes *l, struct lane *lane)
{
	struct message *m;

	if (lane->owned) {
		promote_owned(l, lane);
		return;
	}
	while ((m = lane->waiting) != NULL && lane->flow != LANE_SETTLES && (lane->unrecorded == 0 || m->defect) &&
	       (lane->active < most_active(l, lane) || (l->wide != 0 && goes_with_the_one_before(l, m))))
		make_ready(l, lane, m);
}

/* Pipelined: when the last of those in flight is answered, begin again with the oldest that is left. */
static void lane_settle(struct lanes *l, struct lane *lane)
{
	if (lane->flow != LANE_SETTLES || lane->active > 0)
		return;
	lane->flow = LANE_RECOVERING;
	assert(lane->active == 0);
	lane->waiting = lane->first;
	if (lane->first != NULL) {
		struct message *m = lane->first;

		lane->waiting = m->lane_next;
		lane->active++;
		m->at_ms = lane->until_ms;
		lanes_move(l, m, PLACE_BACKOFF);
	}
}

static void deactivate(struct lanes *l, struct message *m)
{
	assert(message_is_active(m) && m->lane->active > 0);
	m->lane->active--;
	lanes_move(l, m, PLACE_WAITING);
}

/* lane: NULL = none. */
static struct message *add(struct lanes *l, int64_t ticket, struct lane *lane)
{
	struct message *m = l->place[PLACE_FREE].first;
	uint32_t generation = m->generation + !MUTANT(slot_reused);

	list_remove(&l->place[PLACE_FREE], m);
	*m = (struct message){ .ticket = ticket,
			       .generation = generation,
			       .lane = lane,
			       .place = PLACE_WAITING,
			       .copies = { .first_ms = NEVER, .low_water = LOW_WATER_NONE } };
	list_append(&l->place[PLACE_WAITING], m);
	m->age_prev = l->newest;
	*(l->newest != NULL ? &l->newest->age_next : &l->oldest) = m;
	l->newest = m;
	if (lane == NULL) {
		lanes_move(l, m, PLACE_READY);
		return m;
	}
	m->lane_prev = lane->last;
	*(lane->last != NULL ? &lane->last->lane_next : &lane->first) = m;
	lane->last = m;
	if (lane->waiting == NULL)
		lane->waiting = m;
	if (lane->active == 0 || l->pipelined || lane->owned || MUTANT(lane_of_two))
		lane_promote(l, lane);
	return m;
}

struct message *lanes_add(struct lanes *l, int64_t ticket, bool keyed, uint64_t hash)
{
	return add(l, ticket, keyed ? lane_get(l, hash) : NULL);
}

/* --- owned streams --- */

struct message *lanes_add_owned(struct lanes *l, int64_t ticket, uint16_t stream)
{
	return add(l, ticket, &l->owned[stream]);
}

void lanes_stand(struct lanes *l, uint16_t stream)
{
	struct lane *lane = &l->owned[stream];

	lane->flow = LANE_STANDS;
	lane->waiting = lane->first;
	for (struct message *m = lane->first; m != NULL; m = m->lane_next)
		if (message_is_active(m) && m->place != PLACE_IN_FLIGHT)
			deactivate(l, m);
}

void lanes_go(struct lanes *l, uint16_t stream, uint32_t limit)
{
	struct lane *lane = &l->owned[stream];

	assert(limit > 0);
	lane->flow = LANE_FLOWS;
	lane->limit = limit;
	lane->waiting = lane->first;
	lane_promote(l, lane);
}

void lanes_recall(struct lanes *l, struct message *m)
{
	assert(m->place == PLACE_IN_FLIGHT && m->lane->owned && m->lane->flow == LANE_STANDS);
	deactivate(l, m);
	m->lane->waiting = m->lane->first;
}

static void lane_unlink(struct lane *lane, struct message *m)
{
	if (message_is_active(m))
		lane->active--;
	if (lane->waiting == m)
		lane->waiting = m->lane_next;
	*(m->lane_prev != NULL ? &m->lane_prev->lane_next : &lane->first) = m->lane_next;
	*(m->lane_next != NULL ? &m->lane_next->lane_prev : &lane->last) = m->lane_prev;
}

static void age_unlink(struct lanes *l, struct message *m)
{
	*(m->age_prev != NULL ? &m->age_prev->age_next : &l->oldest) = m->age_next;
	*(m->age_next != NULL ? &m->age_next->age_prev : &l->newest) = m->age_prev;
}

void lanes_dead_letter(struct lanes *l, struct message *m)
{
	assert(!l->pipelined && message_is_active(m) && m->lane->first != NULL);
	age_unlink(l, m);
	m->lane->active--;
	m->lane->unrecorded++;
	lanes_move(l, m, PLACE_UNRECORDED);
	/* Where many of a lane are ready at once, those behind it are not any more. */
	for (struct message *x = m->lane_next; m->lane->owned && x != NULL && !MUTANT(unrecorded_ready);
	     x = x->lane_next)
		if (x->place == PLACE_READY)
			deactivate(l, x);
	if (m->lane->owned)
		m->lane->waiting = m->lane->first;
	lane_promote(l, m->lane);
}

void lanes_finish(struct lanes *l, struct message *m)
{
	struct lane *lane = m->lane;

	if (m->place != PLACE_UNRECORDED)
		age_unlink(l, m);
	else
		lane->unrecorded--;
	if (lane != NULL) {
		lane_unlink(lane, m);
		lane_settle(l, lane);
		lane_promote(l, lane);
		if (lane->first == NULL && !lane->owned)
			lane_put(l, lane);
	}
	m->lane = NULL;
	lanes_move(l, m, PLACE_DONE);
}

void lanes_retry(struct lanes *l, struct message *m, int64_t until_ms)
{
	struct lane *lane = m->lane;

	assert((m->place == PLACE_IN_FLIGHT || m->place == PLACE_READY) && (lane == NULL || !lane->owned));
	m->at_ms = until_ms;
	if (lane == NULL || !l->pipelined) {
		lanes_move(l, m, PLACE_BACKOFF);
		return;
	}
	/* Call back what was not sent yet, let the others in flight be answered, then begin at the oldest. */
	lane->flow = LANE_SETTLES;
	if (until_ms > lane->until_ms)
		lane->until_ms = until_ms;
	deactivate(l, m);
	for (struct message *x = lane->first; x != NULL; x = x->lane_next)
		if (x->place == PLACE_READY || x->place == PLACE_BACKOFF ||
		    (x->place == PLACE_ASKING && !MUTANT(asking_not_recalled)))
			deactivate(l, x);
	lane_settle(l, lane);
}

void lanes_rewind(struct lanes *l)
{
	struct message_list *flight = &l->place[PLACE_IN_FLIGHT], *ready = &l->place[PLACE_READY];
	struct message *at = MUTANT(rewound_last) ? ready->last : NULL;

	while (flight->first != NULL) {
		struct message *m = flight->first;

		assert(m->place == PLACE_IN_FLIGHT);
		/* An outage is nobody's failure. */
		m->tries -= m->tries > 0;
		if (m->lane != NULL && m->lane->owned) {
			lanes_recall(l, m);
			continue;
		}
		if (m->lane != NULL && m->lane->flow == LANE_SETTLES) {
			deactivate(l, m);
			lane_settle(l, m->lane);
			continue;
		}
		list_remove(flight, m);
		list_insert(ready, m, at);
		m->place = PLACE_READY;
		at = m;
	}
}

/* Behind `at` of those that are READY; NULL: before all. */
static struct message *ready_behind(struct lanes *l, struct message *m, struct message *at)
{
	list_remove(&l->place[m->place], m);
	list_insert(&l->place[PLACE_READY], m, at);
	m->place = PLACE_READY;
	return m;
}

/* One may have gone to ASKING after a later one of its lane went to STANDBY, or the other way: then both are READY, in the order of memory,
 * which is that of each lane. */
static void both_ready(struct lanes *l, uint16_t stream)
{
	struct message *at = NULL;

	for (struct message *m = l->oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && (m->place == PLACE_ASKING || m->place == PLACE_STANDBY))
			at = ready_behind(l, m, at);
}

static void all_ready(struct lanes *l, enum place from, uint16_t stream, struct message *at)
{
	struct message *next;

	if (l->place[PLACE_ASKING].count > 0 && l->place[PLACE_STANDBY].count > 0 && !MUTANT(batch_standby_apart)) {
		both_ready(l, stream);
		return;
	}
	for (struct message *m = l->place[from].first; m != NULL; m = next) {
		next = m->next;
		if (m->stream == stream)
			at = ready_behind(l, m, at);
	}
}

void lanes_answer(struct lanes *l, uint16_t stream)
{
	all_ready(l, PLACE_ASKING, stream, MUTANT(answered_last) ? l->place[PLACE_READY].last : NULL);
}

/* --- batches --- */

void lanes_resume(struct lanes *l, uint16_t stream)
{
	all_ready(l, PLACE_STANDBY, stream, NULL);
}

void lanes_join(struct lanes *l, struct message *m)
{
	if (m->lane != NULL && !m->lane->owned && m->lane->waiting == m)
		lane_promote(l, m->lane);
}

void lanes_widen(struct lanes *l, uint16_t stream)
{
	l->wide |= UINT64_C(1) << stream;
	for (struct message *m = l->oldest; m != NULL; m = m->age_next)
		if (m->stream == stream)
			lanes_join(l, m);
}

static bool is_called_back(const struct message *m)
{
	return m->place == PLACE_READY || m->place == PLACE_ASKING || m->place == PLACE_STANDBY ||
	       (m->place == PLACE_IN_FLIGHT && m->number != 0);
}

/* m waits: is it the first of its lane that does? Those before it are active, or on their way to the record. */
static bool is_next_of_its_lane(const struct message *m)
{
	return m->place == PLACE_WAITING && (m->lane_prev == NULL || m->lane_prev->place != PLACE_WAITING);
}

void lanes_narrow(struct lanes *l, uint16_t stream, const struct message *stays)
{
	struct message *at = NULL;

	l->wide &= ~(UINT64_C(1) << stream);
	for (struct message *m = l->oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && m != stays && is_called_back(m) && m->lane != NULL && !m->lane->owned)
			deactivate(l, m);
	for (struct message *m = l->oldest; m != NULL; m = m->age_next) {
		struct lane *lane = m->lane;

		if (m->stream != stream || m == stays || (lane != NULL && lane->owned))
			continue;
		if (lane == NULL) {
			if (is_called_back(m) && m->place != PLACE_READY && m->place != PLACE_ASKING)
				at = ready_behind(l, m, at);
		} else if (is_next_of_its_lane(m)) {
			lane->waiting = m;
			if (lane->active > 0 || (lane->unrecorded > 0 && !m->defect))
				continue;
			lane->waiting = m->lane_next;
			lane->active++;
			at = ready_behind(l, m, at);
		}
	}
}
