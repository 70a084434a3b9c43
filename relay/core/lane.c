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
 * as duplicates and the lost one lands behind them. */
#include "core/lane.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
		l->pool[i].chain = l->free_lanes;
		l->free_lanes = &l->pool[i];
	}
	for (size_t i = 0; i < slots; i++) {
		struct message *m = &l->message[i];
		struct message_list *list = &l->place[PLACE_FREE];

		m->prev = list->last;
		*(list->last != NULL ? &list->last->next : &list->first) = m;
		list->last = m;
		list->count++;
	}
	return true;
}

void lanes_destroy(struct lanes *l)
{
	free(l->message);
	free(l->pool);
	free(l->bucket);
	*l = (struct lanes){ .slots = 0 };
}

static void list_remove(struct message_list *list, struct message *m)
{
	*(m->prev != NULL ? &m->prev->next : &list->first) = m->next;
	*(m->next != NULL ? &m->next->prev : &list->last) = m->prev;
	m->next = m->prev = NULL;
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

void message_move(struct lanes *l, struct message *m, enum place to)
{
	struct message *at = l->place[to].last;

	list_remove(&l->place[m->place], m);
	if (to == PLACE_BACKOFF)
		while (at != NULL && at->at_ms > m->at_ms)
			at = at->prev;
	list_insert(&l->place[to], m, at);
	m->place = to;
}

static bool is_active(const struct message *m)
{
	return m->place == PLACE_READY || m->place == PLACE_ASKING || m->place == PLACE_IN_FLIGHT ||
	       m->place == PLACE_BACKOFF;
}

/* --- finding lanes --- */

static struct lane **bucket_of(struct lanes *l, uint64_t hash)
{
	return &l->bucket[(hash * UINT64_C(0x9e3779b97f4a7c15) >> 32) % l->buckets];
}

static struct lane *lane_get(struct lanes *l, uint64_t hash)
{
	struct lane **at = bucket_of(l, hash), *lane;

	for (lane = *at; lane != NULL; lane = lane->chain)
		if (lane->hash == hash)
			return lane;
	lane = l->free_lanes;
	assert(lane != NULL); /* as many lanes as messages */
	l->free_lanes = lane->chain;
	*lane = (struct lane){ .hash = hash, .chain = *at };
	return *at = lane;
}

static void lane_put(struct lanes *l, struct lane *lane)
{
	struct lane **at = bucket_of(l, lane->hash);

	while (*at != lane)
		at = &(*at)->chain;
	*at = lane->chain;
	lane->chain = l->free_lanes;
	l->free_lanes = lane;
}

/* --- the flow through a lane --- */

static void lane_promote(struct lanes *l, struct lane *lane)
{
	uint32_t limit = l->pipelined && !lane->recovering ? UINT32_MAX : 1;

	while (!lane->settling && lane->waiting != NULL && lane->active < limit) {
		struct message *m = lane->waiting;

		lane->waiting = m->lane_next;
		lane->active++;
		message_move(l, m, PLACE_READY);
	}
}

/* Pipelined: when the last of those in flight is answered, begin again with the oldest that is left. */
static void lane_settle(struct lanes *l, struct lane *lane)
{
	if (!lane->settling || lane->active > 0)
		return;
	lane->settling = false;
	lane->waiting = lane->first;
	if (lane->first != NULL) {
		struct message *m = lane->first;

		lane->waiting = m->lane_next;
		lane->active++;
		m->at_ms = lane->until_ms;
		message_move(l, m, PLACE_BACKOFF);
	}
}

static void deactivate(struct lanes *l, struct message *m)
{
	m->lane->active--;
	message_move(l, m, PLACE_WAITING);
}

struct message *lanes_add(struct lanes *l, int64_t id, bool keyed, uint64_t hash)
{
	struct message *m = l->place[PLACE_FREE].first;
	uint32_t generation = m->generation + 1;
	struct lane *lane = keyed ? lane_get(l, hash) : NULL;

	list_remove(&l->place[PLACE_FREE], m);
	*m = (struct message){ .id = id,
			       .generation = generation,
			       .lane = lane,
			       .place = PLACE_WAITING,
			       .doubt_ms = NEVER,
			       .floor = FLOOR_NONE };
	list_insert(&l->place[PLACE_WAITING], m, l->place[PLACE_WAITING].last);
	m->age_prev = l->newest;
	*(l->newest != NULL ? &l->newest->age_next : &l->oldest) = m;
	l->newest = m;
	if (lane == NULL) {
		message_move(l, m, PLACE_READY);
		return m;
	}
	m->lane_prev = lane->last;
	*(lane->last != NULL ? &lane->last->lane_next : &lane->first) = m;
	lane->last = m;
	if (lane->waiting == NULL)
		lane->waiting = m;
	lane_promote(l, lane);
	return m;
}

static void lane_unlink(struct lane *lane, struct message *m)
{
	if (is_active(m))
		lane->active--;
	if (lane->waiting == m)
		lane->waiting = m->lane_next;
	*(m->lane_prev != NULL ? &m->lane_prev->lane_next : &lane->first) = m->lane_next;
	*(m->lane_next != NULL ? &m->lane_next->lane_prev : &lane->last) = m->lane_prev;
}

void lanes_finish(struct lanes *l, struct message *m)
{
	struct lane *lane = m->lane;

	*(m->age_prev != NULL ? &m->age_prev->age_next : &l->oldest) = m->age_next;
	*(m->age_next != NULL ? &m->age_next->age_prev : &l->newest) = m->age_prev;
	if (lane != NULL) {
		lane_unlink(lane, m);
		lane_settle(l, lane);
		lane_promote(l, lane);
		if (lane->first == NULL)
			lane_put(l, lane);
	}
	m->lane = NULL;
	message_move(l, m, PLACE_DONE);
}

void lanes_acked(struct lanes *l, const struct message *m)
{
	if (m->lane != NULL && !m->lane->settling)
		m->lane->recovering = false;
	(void)l;
}

void lanes_retry(struct lanes *l, struct message *m, int64_t until_ms)
{
	struct lane *lane = m->lane;

	m->at_ms = until_ms;
	if (lane == NULL || !l->pipelined) {
		message_move(l, m, PLACE_BACKOFF);
		return;
	}
	/* Call back what was not sent yet, let the others in flight be answered, then begin at the oldest. */
	lane->recovering = lane->settling = true;
	if (until_ms > lane->until_ms)
		lane->until_ms = until_ms;
	deactivate(l, m);
	for (struct message *x = lane->first; x != NULL; x = x->lane_next)
		if (x->place == PLACE_READY || x->place == PLACE_ASKING || x->place == PLACE_BACKOFF)
			deactivate(l, x);
	lane_settle(l, lane);
}

void lanes_rewind(struct lanes *l)
{
	struct message_list *flight = &l->place[PLACE_IN_FLIGHT], *ready = &l->place[PLACE_READY];
	struct message *at = NULL;

	while (flight->first != NULL) {
		struct message *m = flight->first;

		/* An outage is nobody's failure. */
		m->tries -= m->tries > 0;
		if (m->lane != NULL && m->lane->settling) {
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

void lanes_answer(struct lanes *l, uint16_t stream)
{
	struct message_list *ready = &l->place[PLACE_READY];
	struct message *at = NULL, *next;

	for (struct message *m = l->place[PLACE_ASKING].first; m != NULL; m = next) {
		next = m->next;
		if (m->stream != stream)
			continue;
		list_remove(&l->place[PLACE_ASKING], m);
		list_insert(ready, m, at);
		m->place = PLACE_READY;
		at = m;
	}
}

static void lane_audit(const struct lanes *l, const struct lane *lane)
{
	uint32_t active = 0;
	bool waiting = false;

	assert(lane->first != NULL);
	for (const struct message *m = lane->first; m != NULL; m = m->lane_next) {
		assert(m->lane == lane && m->place != PLACE_FREE && m->place != PLACE_DONE);
		assert(m->lane_next == NULL ? lane->last == m : m->lane_next->lane_prev == m);
		if (lane->waiting == m)
			waiting = true;
		active += is_active(m);
		assert(lane->settling || is_active(m) != waiting);
	}
	assert(active == lane->active);
	assert(l->pipelined || active == 1);
}

void lanes_audit(const struct lanes *l)
{
	size_t all = 0, aged = 0;

	for (int p = 0; p < PLACES; p++) {
		size_t n = 0;

		for (const struct message *m = l->place[p].first; m != NULL; m = m->next, n++) {
			assert((int)m->place == p);
			assert(p != PLACE_BACKOFF || m->next == NULL || m->next->at_ms >= m->at_ms);
		}
		assert(n == l->place[p].count);
		all += n;
	}
	assert(all == l->slots);
	for (const struct message *m = l->oldest; m != NULL; m = m->age_next)
		aged++;
	assert(aged == l->slots - l->place[PLACE_FREE].count - l->place[PLACE_DONE].count);
	for (size_t i = 0; i < l->buckets; i++)
		for (const struct lane *lane = l->bucket[i]; lane != NULL; lane = lane->chain)
			lane_audit(l, lane);
}
