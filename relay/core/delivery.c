/* The state machine.
 *
 *                     fetch                       publish
 *     outbox  ----------------->  lanes in memory ---------> stream
 *        ^                          |        |                 |
 *        |                     parked,       |               ack, refusal, silence
 *        |                     missing       v                 |
 *        +----- mark ------  book of ids <-- settled <---------+
 *
 * Two rules keep everything (G1):
 *   - an id is settled only by an ack, a dead letter in the same mark, or proof that no transaction can own it;
 *   - the position moves past an id only if it is settled or the same mark stores it as an exception.
 * Three keep the order of a key (G3):
 *   - a fetch reads in ONE snapshot, ascending, everything new and everything still missing or due: if a later
 *     row of a key is seen, an earlier one was seen with it or before it (lane.c has the rest; reading.c says when
 *     what is missing need not be asked for);
 *   - whoever is parked parks what comes behind it;
 *   - what was parked is read again before anything newer of its scope may pass (struct block, open_from).
 */
#include "core/delivery.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/machine.h"

struct delivery *delivery_create(const struct delivery_settings *s)
{
	struct delivery *d = calloc(1, sizeof *d);
	size_t capacity = LIMIT_EXCEPTIONS + 8 * (size_t)s->queue_messages;

	assert(s->streams >= 1 && s->streams <= LIMIT_STREAMS && s->queue_messages <= 65536 && s->window_messages >= 1);
	if (d == NULL)
		return NULL;
	d->s = *s;
	d->dead_limit = LIMIT_MARK_DEAD;
	d->wanted = calloc(capacity, sizeof *d->wanted);
	d->mark_gone = calloc(capacity, sizeof *d->mark_gone);
	d->mark_added = calloc(capacity, sizeof *d->mark_added);
	d->mark_dead = calloc(d->dead_limit, sizeof *d->mark_dead);
	d->dead = calloc(d->dead_limit, sizeof *d->dead);
	d->mark_undead = calloc(UNDEAD_LIMIT, sizeof *d->mark_undead);
	d->undead = calloc(UNDEAD_LIMIT, sizeof *d->undead);
	d->late_id = calloc(LIMIT_MARK_LATE, sizeof *d->late_id);
	d->late_stream = calloc(LIMIT_MARK_LATE, sizeof *d->late_stream);
	d->mark_sent = calloc(LIMIT_MARK_LATE + LIMIT_STREAMS, sizeof *d->mark_sent);
	if (!lanes_create(&d->lanes, s->queue_messages, s->ordering == ORDERING_PIPELINED) ||
	    !book_create(&d->book, capacity) || !blocks_create(&d->blocks, s->streams) || d->wanted == NULL ||
	    d->mark_gone == NULL || d->mark_added == NULL || d->mark_dead == NULL || d->dead == NULL ||
	    d->mark_undead == NULL || d->undead == NULL || d->late_id == NULL || d->late_stream == NULL ||
	    d->mark_sent == NULL) {
		delivery_free(d);
		return NULL;
	}
	d->window = d->flight_limit = s->window_messages;
	d->block_ms = INT64_MAX;
	pace_reset(&d->pace, &d->s, 0);
	return d;
}

void delivery_free(struct delivery *d)
{
	if (d == NULL)
		return;
	lanes_destroy(&d->lanes);
	book_destroy(&d->book);
	blocks_destroy(&d->blocks);
	free(d->wanted);
	free(d->mark_gone);
	free(d->mark_added);
	free(d->mark_dead);
	free(d->dead);
	free(d->mark_undead);
	free(d->undead);
	free(d->late_id);
	free(d->late_stream);
	free(d->mark_sent);
	free(d);
}

static void forget_everything(struct delivery *d)
{
	d->leading = d->fetching = d->marking = d->renewing = false;
	while (d->lanes.oldest != NULL)
		leave_memory(d, d->lanes.oldest);
	book_clear(&d->book);
	blocks_clear(&d->blocks);
	d->dead_count = d->undead_count = d->late_count = 0;
	d->dirty = d->urgent = d->more = d->left_behind = false;
	d->snapshot.until_ms = 0;
	d->pause = 0;
	d->block_ms = INT64_MAX;
	d->window = d->s.window_messages;
	memset(d->silent, 0, sizeof d->silent);
	memset(d->touched, 0, sizeof d->touched);
}

static void load_exception(struct delivery *d, const struct exception_row *row, uint64_t fence)
{
	/* Missing, parked for a stream, or being published: all the same now, they are looked for anew. */
	bool held_back = row->lane != 0;
	struct exception *e = book_insert(&d->book, row->lo, row->hi, EXCEPTION_MISSING);
	struct block *b;

	e->stored = true;
	e->fence = fence;
	e->attempts = row->attempts;
	e->born_ms = d->now - d->s.grace_ms;
	e->inherited = row->doubted ? DOUBTED : INHERITED;
	if (row->floor != FLOOR_NONE)
		e->doubt = (struct doubt){ .sent_ms = SENT_BY_OTHERS, .floor = row->floor, .stream = row->stream };
	if (!held_back || (b = blocks_get(&d->blocks, lane_hash(row->lane))) == NULL)
		return;
	d->book.kinds[EXCEPTION_MISSING]--;
	e->kind = row->kind == EXCEPTION_HELD ? EXCEPTION_HELD : EXCEPTION_PARKED;
	d->book.kinds[e->kind]++;
	e->scope = b->scope;
	b->blocked = true;
	b->parked += (size_t)(row->hi - row->lo) + 1;
	b->due_ms = d->now;
	d->block_ms = d->now;
	if (row->kind == EXCEPTION_HELD) {
		b->held = true;
		b->held_id = row->lo;
		b->decided |= row->decided;
	}
}

/* Whatever earlier leaders left they may have sent; but for a lane with a letter that no operator had decided about. (Pipelined,
 * others of its lane were in flight when it became one.) */
static void load_inheritance(struct delivery *d)
{
	if (d->s.ordering != ORDERING_STRICT)
		return;
	for (struct exception *e = d->book.first; e != NULL; e = e->next) {
		const struct block *b = scope_is_lane(e->scope) ? blocks_find(&d->blocks, e->scope) : NULL;

		if (b != NULL && b->held && !b->decided && e->inherited != DOUBTED)
			e->inherited = OURS;
	}
}

static void leading(struct delivery *d, const struct event *ev)
{
	forget_everything(d);
	d->leading = true;
	d->drained = false;
	d->pause = ev->leading.pause;
	d->quiet = false;
	d->position = d->read = d->settled = ev->leading.position;
	d->caught_up = d->settled_in = d->letter_in_doubt = false;
	d->others_until = ev->leading.others_until_ms > d->now ? ev->leading.others_until_ms : d->now;
	tails_unknown(d, ev->leading.floors);
	take_floor(d, &d->floor);
	d->next_floor = d->floor;
	d->lease_until = 0;
	renew_lease(d, ev->leading.asked_ms);
	for (size_t i = 0; i < ev->leading.exception_count; i++)
		load_exception(d, &ev->leading.exceptions[i], ev->leading.fence);
	load_inheritance(d);
	d->considered_ms = d->mark_at = d->now;
	d->urgent = true;
	d->stats.last_ack_ms = d->now;
	pace_reset(&d->pace, &d->s, d->now);
}

/* What was read waits where it is, and its lanes with it: going on needs nothing but to go on. */
static void paused(struct delivery *d, uint64_t pause)
{
	if (!d->leading || pause == d->pause)
		return;
	d->urgent |= pause == 0;
	d->pause = pause;
	d->quiet = false;
}

static void bus_down(struct delivery *d)
{
	d->bus_up = false;
	d->flight_bytes = 0;
	tails_interrupted(d);
	lanes_rewind(&d->lanes);
	memset(d->silent, 0, sizeof d->silent);
}

/* All of them are compared with something whenever there is something to decide: what was decided stays. */
static void adjust(struct delivery *d, const struct delivery_settings *s)
{
	uint32_t in_flight = (uint32_t)d->lanes.place[PLACE_IN_FLIGHT].count;

	assert(s->ordering == d->s.ordering && s->streams == d->s.streams && s->lease_ms == d->s.lease_ms &&
	       s->queue_messages == d->s.queue_messages && s->window_messages >= 1);
	d->s = *s;
	d->flight_limit = in_flight > s->window_messages ? in_flight : s->window_messages;
	if (d->window > s->window_messages)
		d->window = s->window_messages;
	if (d->dirty)
		touch(d);
	pace_adjust(&d->pace, s, d->now);
}

static void timers(struct delivery *d)
{
	struct message *m;

	while (d->bus_up && (m = d->lanes.place[PLACE_IN_FLIGHT].first) != NULL &&
	       d->now - m->at_ms >= d->s.ack_timeout_ms)
		timed_out(d, m);
	while ((m = d->lanes.place[PLACE_BACKOFF].first) != NULL && d->now >= m->at_ms)
		message_move(&d->lanes, m, PLACE_READY);
	blocks_due(d);
	if (d->draining && d->leading && !d->left_behind && d->lanes.place[PLACE_IN_FLIGHT].count == 0)
		leave_behind(d);
}

void delivery_step(struct delivery *d, const struct event *ev)
{
	if (ev->now_ms > d->now)
		d->now = ev->now_ms;
	d->random ^= (uint64_t)ev->random << 16;
	switch (ev->kind) {
	case EVENT_TICK: break;
	case EVENT_LEADING: leading(d, ev); break;
	case EVENT_DEPOSED: forget_everything(d); break;
	case EVENT_BUS_UP: d->bus_up = true; break;
	case EVENT_BUS_DOWN: bus_down(d); break;
	case EVENT_ROWS: rows_arrived(d, ev); break;
	case EVENT_FETCH_FAILED:
		d->fetching = false;
		pace_failed(&d->pace, d->s.retry_min_ms, d->now);
		break;
	case EVENT_ACKED: acked(d, ev); break;
	case EVENT_REFUSED: refused(d, ev); break;
	case EVENT_MARKED: marked(d, ev); break;
	case EVENT_ANNOUNCED:
		renew_lease(d, ev->announced.asked_ms);
		pace_announced(&d->pace, ev->announced.asleep, ev->announced.fence, d->now);
		break;
	case EVENT_RENEWED:
		d->renewing = false;
		renew_lease(d, ev->renewed.asked_ms);
		break;
	case EVENT_NOTIFIED:
		d->stats.notifications++;
		pace_notified(&d->pace, d->now);
		break;
	case EVENT_DECIDED: decided(d, ev); break;
	case EVENT_TAIL: tail_told(d, ev); break;
	case EVENT_PAUSED: paused(d, ev->paused.pause); break;
	case EVENT_DRAIN: d->draining = true; break;
	case EVENT_SETTINGS: adjust(d, ev->settings); break;
	}
	timers(d);
}

static bool next_release(struct delivery *d, struct effect *f)
{
	struct message *m = d->lanes.place[PLACE_DONE].first;

	if (m == NULL)
		return false;
	message_move(&d->lanes, m, PLACE_FREE);
	f->kind = EFFECT_RELEASE;
	f->release.slot = (uint32_t)(m - d->lanes.message);
	return true;
}

static bool next_note(struct delivery *d, struct effect *f)
{
	if (d->note_count == 0)
		return false;
	f->kind = EFFECT_NOTE;
	f->note = d->note[d->note_first];
	d->note_first = (d->note_first + 1) % LIMIT_NOTES;
	d->note_count--;
	return true;
}

static bool next_announce(struct delivery *d, struct effect *f)
{
	if (!d->leading || !d->pace.announce || d->pace.announcing)
		return false;
	d->pace.announce = false;
	d->pace.announcing = true;
	d->stats.announcements++;
	f->kind = EFFECT_ANNOUNCE;
	f->announce.asleep = d->pace.announce_asleep;
	return true;
}

static int64_t renew_at(const struct delivery *d)
{
	return d->lease_until - d->s.lease_ms / 2;
}

static bool next_renew(struct delivery *d, struct effect *f)
{
	if (!d->leading || d->renewing || d->fetching || d->marking || !has_work(d) || d->now < renew_at(d))
		return false;
	d->renewing = true;
	f->kind = EFFECT_RENEW;
	return true;
}

static bool is_under_way(const struct delivery *d)
{
	return d->leading && (d->lanes.place[PLACE_IN_FLIGHT].count > 0 || d->marking || d->fetching || d->dirty);
}

static bool next_quiet(struct delivery *d, struct effect *f)
{
	if (d->pause == 0 || d->quiet || is_under_way(d) || d->now < d->others_until)
		return false;
	d->quiet = true;
	f->kind = EFFECT_QUIET;
	f->quiet.pause = d->pause;
	return true;
}

static bool next_drained(struct delivery *d, struct effect *f)
{
	if (!d->draining || d->drained || is_under_way(d))
		return false;
	d->drained = true;
	f->kind = EFFECT_DRAINED;
	return true;
}

bool delivery_next(struct delivery *d, struct effect *f)
{
	return next_release(d, f) || next_note(d, f) || next_mark(d, f) || next_announce(d, f) || next_fetch(d, f) ||
	       next_renew(d, f) || next_tail(d, f) || next_publish(d, f) ||
	       /* what next_publish() buried, or found that it must ask for */ next_tail(d, f) || next_release(d, f) ||
	       next_note(d, f) || next_mark(d, f) || next_quiet(d, f) || next_drained(d, f);
}

int64_t delivery_send_deadline(const struct delivery *d)
{
	/* Not only for what is in flight: whatever was given up waiting for may still stand before the socket. Whoever says that all is
	 * quiet, or resigns, has said that it will not leave any more. */
	if (d->leading && (d->quiet || d->drained))
		return d->now;
	return d->leading ? d->lease_until : INT64_MAX;
}

int64_t delivery_deadline(const struct delivery *d)
{
	const struct message *flight = d->lanes.place[PLACE_IN_FLIGHT].first,
			     *wait = d->lanes.place[PLACE_BACKOFF].first;
	int64_t at = INT64_MAX;

	if (!d->leading)
		return at;
	if (flight != NULL && d->bus_up)
		at = earlier(at, flight->at_ms + d->s.ack_timeout_ms);
	if (wait != NULL)
		at = earlier(at, wait->at_ms);
	if (d->bus_up)
		at = earlier(at, earlier(d->block_ms, tails_deadline(d)));
	if (d->dirty && !d->marking)
		at = earlier(at, d->mark_at);
	if (has_appetite(d))
		at = earlier(at, pace_deadline(&d->pace));
	if (d->pause != 0 && !d->quiet && d->now < d->others_until)
		at = earlier(at, d->others_until);
	if (has_work(d) && !d->renewing && !d->fetching && !d->marking)
		at = earlier(at, renew_at(d));
	return at;
}

const struct delivery_stats *delivery_look(struct delivery *d)
{
	struct delivery_stats *s = &d->stats;

	s->leading = d->leading;
	s->bus_up = d->bus_up;
	s->draining = d->draining;
	s->paused = d->pause != 0;
	s->pace = d->pace.mode;
	s->position = d->position;
	s->read = d->read;
	s->resident = (uint32_t)(resident(d) - d->lanes.place[PLACE_DONE].count);
	s->resident_bytes = (uint32_t)d->resident_bytes;
	s->ready = (uint32_t)d->lanes.place[PLACE_READY].count;
	s->in_flight = (uint32_t)d->lanes.place[PLACE_IN_FLIGHT].count;
	s->asking = (uint32_t)d->lanes.place[PLACE_ASKING].count;
	s->backing_off = (uint32_t)d->lanes.place[PLACE_BACKOFF].count;
	s->exceptions = (uint32_t)d->book.count;
	s->missing = (uint32_t)d->book.kinds[EXCEPTION_MISSING];
	s->parked_ranges = (uint32_t)(d->book.kinds[EXCEPTION_PARKED] + d->book.kinds[EXCEPTION_HELD]);
	s->blocked_lanes = (uint32_t)d->blocks.lanes;
	s->window = d->window;
	s->sought = found_is_sought(d);
	for (uint32_t i = 0; i < d->s.streams; i++) {
		s->stream[i].blocked = d->blocks.stream[i].blocked;
		s->stream[i].reason = d->blocks.stream[i].reason;
		s->stream[i].since_ms = d->blocks.stream[i].since_ms;
	}
	return s;
}

void delivery_audit(const struct delivery *d)
{
	uint64_t flight = 0, all = 0;

	lanes_audit(&d->lanes);
	book_audit(&d->book);
	for (const struct message *m = d->lanes.oldest; m != NULL; m = m->age_next) {
		const struct exception *e = book_find(&d->book, m->id);

		assert(m->late ? e != NULL && e->kind == EXCEPTION_ACTIVE : e == NULL && m->id > d->position);
		assert(m->id <= d->read);
		all += m->bytes;
		flight += m->place == PLACE_IN_FLIGHT ? m->bytes : 0;
	}
	assert(all == d->resident_bytes && flight == d->flight_bytes);
	for (const struct exception *e = d->book.first; e != NULL; e = e->next)
		assert(e->hi <= d->read && (e->lo > marked_position(d) || e->hi <= marked_position(d)));
	assert(d->lanes.place[PLACE_IN_FLIGHT].count <= d->flight_limit);
	assert(book_room(&d->book) >= resident(d));
}
