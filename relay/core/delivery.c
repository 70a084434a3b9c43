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
 *     row of a key is seen, an earlier one was seen with it or before it (lane.c has the rest);
 *   - whoever is parked parks what comes behind it;
 *   - what was parked is read again before anything newer of its scope may pass (struct block, open_from).
 */
#include "core/delivery.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/block.h"
#include "core/lane.h"
#include "core/pace.h"
#include "core/position.h"
#include "core/refusal.h"

struct delivery {
	struct delivery_settings s;
	struct lanes lanes;
	struct book book;
	struct blocks blocks;
	struct pace pace;
	int64_t now;
	uint64_t random;

	bool leading, bus_up, draining, drained;
	int64_t lease_until;
	bool renewing;
	int64_t position, read;

	bool fetching, fetch_forward, fetch_joined, urgent;
	uint32_t fetch_seq, stretch;  /* so often did a fetch find no room for anything new */
	int64_t evidence_ms;          /* when the lock table was last asked for */
	struct id_range *wanted;

	bool marking, dirty;
	int64_t considered_ms, mark_at; /* when a mark was last thought about; when to do so again */
	struct mark mark;
	int64_t *mark_gone, *mark_undead, *undead, *late_id;
	struct exception_row *mark_added;
	struct dead *mark_dead, *dead;
	struct sent *mark_sent;
	uint16_t *late_stream;
	size_t dead_count, dead_limit, undead_count, late_count;

	uint32_t window, window_credit;
	uint64_t flight_bytes, resident_bytes;
	uint32_t silent[LIMIT_STREAMS];
	bool caught_up;               /* all that was there when we took the lead has been read */
	struct floor {
		int64_t read;
		uint64_t sequence[LIMIT_STREAMS];
	} floor, next_floor;
	bool touched[LIMIT_STREAMS];  /* acked something since the last ledger row */
	int64_t block_ms;             /* the earliest block that is due */

	struct note note[LIMIT_NOTES];
	size_t note_first, note_count;
	struct delivery_stats stats;
};

enum { EVIDENCE_PAUSE_MS = 100, STRETCH_MAX = 12, UNDEAD_LIMIT = 2 * LIMIT_BLOCKED_LANES };

/* --- life --- */

struct delivery *delivery_create(const struct delivery_settings *s)
{
	struct delivery *d = calloc(1, sizeof *d);
	size_t capacity = LIMIT_EXCEPTIONS + 8 * (size_t)s->queue_messages;

	assert(s->streams >= 1 && s->streams <= LIMIT_STREAMS && s->queue_messages <= 65536 && s->window_messages >= 1);
	if (d == NULL)
		return NULL;
	d->s = *s;
	d->dead_limit = 2 * (size_t)s->queue_messages;
	d->wanted = calloc(LIMIT_WANTED_RANGES, sizeof *d->wanted);
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
	d->window = s->window_messages;
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

/* --- small things --- */

static uint64_t draw(struct delivery *d)
{
	uint64_t x = d->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Exponential, capped, and never twice the same: between half of the pause and all of it. */
static int64_t backoff(struct delivery *d, uint32_t failures)
{
	uint64_t pause = d->s.retry_max_ms;

	if (failures < 32 && ((uint64_t)d->s.retry_min_ms << failures) < pause)
		pause = (uint64_t)d->s.retry_min_ms << failures;
	return d->now + (int64_t)(pause / 2 + draw(d) % (pause / 2 + 1));
}

static void take_note(struct delivery *d, struct note note)
{
	if (d->note_count == LIMIT_NOTES) {
		d->stats.notes_dropped++;
		return;
	}
	d->note[(d->note_first + d->note_count++) % LIMIT_NOTES] = note;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static size_t resident(const struct delivery *d)
{
	return d->s.queue_messages - d->lanes.place[PLACE_FREE].count;
}

static struct block *stream_block(struct delivery *d, const struct message *m)
{
	return blocks_find(&d->blocks, scope_of_stream(m->stream));
}

static struct block *lane_block(struct delivery *d, const struct message *m)
{
	return m->lane != NULL ? blocks_find(&d->blocks, m->lane->hash) : NULL;
}

/* Something a mark would change. */
static void touch(struct delivery *d)
{
	d->dirty = true;
	d->mark_at = earlier(d->mark_at, d->considered_ms + d->s.mark_interval_ms);
}

static void renew_lease(struct delivery *d, int64_t asked_ms)
{
	if (asked_ms + d->s.lease_ms > d->lease_until)
		d->lease_until = asked_ms + d->s.lease_ms;
}

/* How many rows there is room for: in the queue, in the list of the dead, in the book. */
static uint32_t row_credit(const struct delivery *d)
{
	size_t in_memory = resident(d);
	size_t credit = d->s.queue_messages - in_memory;
	size_t book = book_room(&d->book) > in_memory + 8 ? (book_room(&d->book) - in_memory - 8) / 4 : 0;

	if (credit > book)
		credit = book;
	return (uint32_t)credit;
}

static uint64_t byte_credit(const struct delivery *d)
{
	return d->resident_bytes < d->s.queue_bytes ? d->s.queue_bytes - d->resident_bytes : 0;
}

/* --- messages leave memory --- */

static void leave_memory(struct delivery *d, struct message *m)
{
	if (m->place == PLACE_IN_FLIGHT)
		d->flight_bytes -= m->bytes;
	d->resident_bytes -= m->bytes;
	lanes_finish(&d->lanes, m);
	touch(d);
}

/* Lanes whose probe waited for its stream may try again. */
static void wake_waiting_lanes(struct delivery *d)
{
	struct block *b = d->blocks.lanes > 0 ? blocks_next(&d->blocks, NULL) : NULL;

	for (; b != NULL; b = blocks_next(&d->blocks, b))
		if (b->blocked && b->due_ms == INT64_MAX)
			b->due_ms = d->block_ms = d->now;
}

static void block_opens(struct delivery *d, struct block *b)
{
	bool lane = scope_is_lane(b->scope);

	if (b->blocked)
		take_note(d, (struct note){ .kind = lane ? NOTE_LANE_OPEN : NOTE_STREAM_OPEN, .id = b->probe_id,
					    .stream = lane ? 0 : (uint16_t)(b->scope - 1) });
	b->blocked = b->held = false;
	b->probe_id = b->held_id = 0;
	b->failures = 0;
	/* Only the next fetch asks for what was parked: rows of the one under way may not overtake it. */
	b->open_from = d->fetch_seq + 1;
	d->urgent = true;
	if (!lane)
		wake_waiting_lanes(d);
	else if (b->parked == 0)
		blocks_drop(&d->blocks, b);
}

/* m was stored, or is a dead letter: whoever waited for its fate goes on. */
static void probes_succeed(struct delivery *d, const struct message *m)
{
	struct block *stream = stream_block(d, m), *lane = lane_block(d, m);

	if (stream->probe_id == m->id)
		block_opens(d, stream);
	if (lane != NULL && lane->probe_id == m->id)
		block_opens(d, lane);
}

static void settle(struct delivery *d, struct message *m)
{
	probes_succeed(d, m);
	if (m->late) {
		book_remove(&d->book, book_find(&d->book, m->id));
		if (d->late_count < LIMIT_MARK_LATE && !m->defect) {
			d->late_id[d->late_count] = m->id;
			d->late_stream[d->late_count++] = m->stream;
		}
	} else if (!m->defect) {
		d->touched[m->stream] = true;
	}
	if (m->redriven)
		d->undead[d->undead_count++] = m->id;
	leave_memory(d, m);
}

/* --- parking --- */

/* The position, or what it will be when the mark under way has come through. */
static int64_t marked_position(const struct delivery *d)
{
	return d->marking ? d->mark.position : d->position;
}

static void probe_fails(struct delivery *d, struct block *b, int64_t id)
{
	if (b == NULL || b->probe_id != id)
		return;
	b->probe_id = 0;
	b->due_ms = backoff(d, b->failures);
	d->block_ms = earlier(d->block_ms, b->due_ms);
}

static struct message *find_in_memory(const struct delivery *d, int64_t id)
{
	struct message *m = d->lanes.oldest;

	while (m != NULL && m->id != id)
		m = m->age_next;
	return m;
}

/* Out of memory, into the book, held back for the block's scope. */
static void park(struct delivery *d, struct message *m, struct block *b)
{
	struct exception *e;

	probe_fails(d, stream_block(d, m), m->id);
	probe_fails(d, lane_block(d, m), m->id);
	/* A probe that is still to be read may stand behind m in its lane: choose again. */
	if (b->probe_id > m->id && find_in_memory(d, b->probe_id) == NULL)
		probe_fails(d, b, b->probe_id);
	if (m->late) {
		e = book_find(&d->book, m->id);
		book_change(&d->book, e, m->redriven ? EXCEPTION_HELD : EXCEPTION_PARKED, b->scope);
		e->born_ms = d->now;
		e->asked = 0;
		e = book_join(&d->book, e, marked_position(d));
	} else {
		e = book_park(&d->book, m->id, b->scope, marked_position(d), d->now);
	}
	if (e->lo == m->id || m->reason != REASON_NONE) {
		e->reason = m->reason;
		e->attempts = m->attempts;
	}
	b->parked++;
	d->stats.parked++;
	leave_memory(d, m);
}

static void block_begins(struct delivery *d, struct block *b, uint32_t reason)
{
	if (!b->blocked) {
		b->since_ms = d->now;
		b->failures = 0;
	}
	b->blocked = true;
	b->reason = reason;
	b->failures++;
	b->due_ms = backoff(d, b->failures - 1);
	d->block_ms = earlier(d->block_ms, b->due_ms);
}

/* Nothing of its lane stands in memory before the probe: parking others does not make it overtake them. */
static bool probe_leads_its_lane(const struct delivery *d, const struct block *b)
{
	const struct message *m = find_in_memory(d, b->probe_id);

	return m == NULL || m->lane == NULL || m->lane->first == m;
}

/* The stream takes nothing now: m, and everything of it that is not in flight, is held back. */
static void block_stream(struct delivery *d, struct message *m, uint32_t reason)
{
	struct block *b = stream_block(d, m), *lane = lane_block(d, m);
	struct message *x, *next;
	int64_t probe_id = probe_leads_its_lane(d, b) ? b->probe_id : 0;

	m->reason = reason;
	if (!b->blocked)
		take_note(d, (struct note){ .kind = NOTE_STREAM_BLOCKED, .id = m->id, .stream = m->stream, .reason = reason });
	if (!b->blocked || b->probe_id == m->id)
		block_begins(d, b, reason);
	/* Whose lane is held back too stays with its lane: the lane's probe must find its oldest. */
	park(d, m, lane != NULL && lane->blocked ? lane : b);
	for (x = d->lanes.oldest; x != NULL; x = next) {
		next = x->age_next;
		if (scope_of_stream(x->stream) == b->scope && x->place != PLACE_IN_FLIGHT && x->id != probe_id) {
			lane = lane_block(d, x);
			park(d, x, lane != NULL && lane->blocked ? lane : b);
		}
	}
}

static void park_lane_behind(struct delivery *d, struct lane *lane, struct block *b)
{
	struct message *x = lane->first, *next;

	for (; x != NULL; x = next) {
		next = x->lane_next;
		if (x->place != PLACE_IN_FLIGHT)
			park(d, x, b);
	}
}

/* A lane of its own for an unordered message that has to be held back alone. */
static uint64_t lane_of_one(int64_t id)
{
	return lane_hash(((uint64_t)id * UINT64_C(0xd6e8feb86659fd93)) >> 1);
}

static void block_lane(struct delivery *d, struct message *m, uint32_t reason, bool held)
{
	struct lane *lane = m->lane;
	struct block *b = blocks_get(&d->blocks, lane != NULL ? lane->hash : lane_of_one(m->id));
	int64_t id = m->id;
	bool last;

	m->reason = reason;
	if (b == NULL) { /* too many are held back: this one keeps its place in memory */
		if (m->place == PLACE_IN_FLIGHT)
			d->flight_bytes -= m->bytes;
		lanes_retry(&d->lanes, m, d->now + d->s.retry_max_ms);
		return;
	}
	take_note(d, (struct note){ .kind = held ? NOTE_HELD : NOTE_LANE_BLOCKED, .id = id, .stream = m->stream,
				    .reason = reason, .attempts = m->attempts });
	block_begins(d, b, reason);
	last = lane == NULL || (lane->first == m && lane->last == m);
	park(d, m, b);
	b->probe_id = 0;
	if (held) {
		struct exception *e = book_find(&d->book, id);

		if (e->lo != id || e->hi != id)
			e = book_single(&d->book, e, id);
		book_change(&d->book, e, EXCEPTION_HELD, b->scope);
		b->held = true;
		b->held_id = id;
	}
	if (!last)
		park_lane_behind(d, lane, b);
}

/* --- poison --- */

static void poison(struct delivery *d, struct message *m, uint32_t reason)
{
	bool hold = d->s.poison == POISON_HOLD && m->keyed;

	assert(d->dead_count < d->dead_limit);
	if (hold && blocks_get(&d->blocks, m->lane->hash) == NULL) {
		block_lane(d, m, reason, true);
		return;
	}
	d->dead[d->dead_count++] = (struct dead){ .id = m->id, .reason = reason, .attempts = m->attempts, .held = hold };
	d->stats.dead++;
	m->defect = true;
	if (hold) {
		struct block *stream = stream_block(d, m);

		/* The stream did answer. */
		if (stream->probe_id == m->id)
			block_opens(d, stream);
		m->redriven = false;
		block_lane(d, m, reason, true);
		return;
	}
	take_note(d, (struct note){ .kind = NOTE_DEAD, .id = m->id, .stream = m->stream, .reason = reason, .attempts = m->attempts });
	settle(d, m);
}

/* --- answers --- */

static uint64_t token_of(const struct delivery *d, const struct message *m)
{
	return (uint64_t)(m - d->lanes.message) | (uint64_t)m->attempt << 16 | (uint64_t)m->generation << 32;
}

/* The message a token names, or NULL where it is long settled. An ack counts whichever attempt it answers: the
 * message is stored. A refusal counts only for the attempt under way: an older one says nothing about it. */
static struct message *resolve(struct delivery *d, uint64_t token, bool any_attempt)
{
	size_t slot = token & 0xffff;
	struct message *m = slot < d->s.queue_messages ? &d->lanes.message[slot] : NULL;

	if (m == NULL || m->generation != token >> 32 || m->place == PLACE_FREE || m->place == PLACE_DONE ||
	    m->attempt == 0 ||
	    (!any_attempt && (m->place != PLACE_IN_FLIGHT || m->attempt != ((token >> 16) & 0xffff)))) {
		d->stats.stale_replies++;
		return NULL;
	}
	return m;
}

static void acked(struct delivery *d, const struct event *ev)
{
	struct message *m = d->leading ? resolve(d, ev->acked.token, true) : NULL;

	if (m == NULL)
		return;
	d->stats.acked++;
	d->stats.duplicates += ev->acked.duplicate;
	d->stats.last_ack_ms = d->now;
	d->stats.stream[m->stream].acked++;
	d->silent[m->stream] = 0;
	if (ev->acked.sequence > d->stats.stream[m->stream].sequence)
		d->stats.stream[m->stream].sequence = ev->acked.sequence;
	if (d->window < d->s.window_messages && ++d->window_credit >= d->window) {
		d->window_credit = 0;
		d->window += 1 + d->window / 8;
		if (d->window > d->s.window_messages)
			d->window = d->s.window_messages;
	}
	lanes_acked(&d->lanes, m);
	settle(d, m);
}

static void retry(struct delivery *d, struct message *m, uint32_t reason)
{
	m->reason = reason;
	d->stats.retries++;
	take_note(d, (struct note){ .kind = NOTE_RETRY, .id = m->id, .stream = m->stream, .reason = reason, .attempts = m->attempts });
	d->flight_bytes -= m->bytes;
	lanes_retry(&d->lanes, m, backoff(d, m->tries > 0 ? m->tries - 1u : 0));
}

static bool is_probe(struct delivery *d, const struct message *m)
{
	const struct block *lane = lane_block(d, m);

	return stream_block(d, m)->probe_id == m->id || (lane != NULL && lane->probe_id == m->id);
}

/* Not stored, or nobody knows, and not for good: in memory for a while, then parked with its lane. */
static void try_again(struct delivery *d, struct message *m, uint32_t reason)
{
	struct block *stream = stream_block(d, m), *lane = lane_block(d, m);

	if (lane != NULL && lane->blocked && lane->probe_id != m->id) {
		m->reason = reason;
		park(d, m, lane);
	} else if (lane != NULL && lane->blocked) {
		block_lane(d, m, reason, false);
	} else if (stream->blocked) {
		block_stream(d, m, reason);
	} else if (m->tries >= LIMIT_TRIES_IN_MEMORY) {
		block_lane(d, m, reason, false);
	} else {
		retry(d, m, reason);
	}
}

static void refuse(struct delivery *d, struct message *m, uint32_t reason, uint32_t status)
{
	enum verdict verdict = refusal_verdict(reason, status);

	d->stats.refused++;
	if (verdict != VERDICT_UNKNOWN && m->attempts < UINT16_MAX)
		m->attempts++;
	if (refusal_means_busy(reason)) {
		d->window = d->window / 2 > LIMIT_WINDOW_MIN_MESSAGES ? d->window / 2 : LIMIT_WINDOW_MIN_MESSAGES;
		if (d->window > d->s.window_messages)
			d->window = d->s.window_messages;
		d->window_credit = 0;
	}
	switch (verdict) {
	case VERDICT_POISON:
		if (d->dead_count == d->dead_limit)
			retry(d, m, reason);
		else
			poison(d, m, reason);
		break;
	case VERDICT_STREAM:
		block_stream(d, m, reason);
		break;
	case VERDICT_LANE:
		block_lane(d, m, reason, false);
		break;
	case VERDICT_RETRY:
	case VERDICT_UNKNOWN:
	case VERDICT_SUSPECT:
		try_again(d, m, reason);
		break;
	}
}

static void refused(struct delivery *d, const struct event *ev)
{
	struct message *m = d->leading ? resolve(d, ev->refused.token, false) : NULL;

	if (m == NULL)
		return;
	d->silent[m->stream] = 0;
	refuse(d, m, ev->refused.reason, ev->refused.status);
}

/* Silence says nothing about the message, so it costs no attempt. Several in a row say something about the
 * stream: it is gone, or its answers cannot reach us; one probe at a time is enough to find out. */
static void timed_out(struct delivery *d, struct message *m)
{
	d->stats.timeouts++;
	if (++d->silent[m->stream] >= LIMIT_SILENT_PUBLISHES && !is_probe(d, m))
		block_stream(d, m, REASON_NO_REPLY);
	else
		try_again(d, m, REASON_NO_REPLY);
}

/* --- rows --- */

static bool is_probe_of(const struct block *b, int64_t id)
{
	return b != NULL && b->probe_id == id;
}

static bool is_shut(const struct delivery *d, const struct block *b)
{
	return b != NULL && (b->blocked || (int32_t)(d->fetch_seq - b->open_from) < 0);
}

/* Which block keeps this row out of memory, or NULL. */
static struct block *gate(struct delivery *d, const struct row *row, uint64_t lane_scope)
{
	struct block *lane = blocks_find(&d->blocks, lane_scope);
	struct block *stream = blocks_find(&d->blocks, scope_of_stream(row->stream));

	if (is_shut(d, lane) && !is_probe_of(lane, row->id))
		return lane;
	if (is_shut(d, stream) && !is_probe_of(stream, row->id))
		return lane != NULL && lane->blocked ? lane : stream;
	return NULL;
}

static void park_row(struct delivery *d, const struct row *row, struct exception *e, struct block *b, uint64_t lane_scope)
{
	struct block *lane = blocks_find(&d->blocks, lane_scope);
	struct block *stream = blocks_find(&d->blocks, scope_of_stream(row->stream));
	bool waits = stream->blocked && is_probe_of(lane, row->id);

	probe_fails(d, stream, row->id);
	probe_fails(d, lane, row->id);
	if (waits) /* it would only be read and parked again, before the stream's own probe */
		lane->due_ms = INT64_MAX;
	/* The lane's probe must be its oldest; a stream's may be of this lane and still to be read: choose again. */
	if (b->probe_id > row->id && (scope_is_lane(b->scope) || find_in_memory(d, b->probe_id) == NULL))
		probe_fails(d, b, b->probe_id);
	if (e == NULL) {
		e = book_park(&d->book, row->id, b->scope, marked_position(d), d->now);
	} else {
		book_change(&d->book, e, e->kind == EXCEPTION_HELD ? EXCEPTION_HELD : EXCEPTION_PARKED, b->scope);
		e->asked = 0;
		e = book_join(&d->book, e, marked_position(d));
	}
	if (e->reason == REASON_NONE)
		e->reason = b->reason;
	b->parked++;
	d->stats.parked++;
}

static void admit(struct delivery *d, struct row *row, struct exception *e, uint64_t lane_scope)
{
	struct message *m = lanes_add(&d->lanes, row->id, lane_scope != SCOPE_NONE, lane_scope);

	m->stream = row->stream;
	m->bytes = row->bytes;
	m->keyed = row->keyed && d->s.ordering != ORDERING_NONE;
	m->defect = row->defect != REASON_NONE;
	m->reason = row->defect;
	if (e != NULL) {
		m->late = true;
		m->redriven = e->kind == EXCEPTION_HELD;
		m->attempts = e->attempts > UINT16_MAX ? UINT16_MAX : (uint16_t)e->attempts;
		book_change(&d->book, e, EXCEPTION_ACTIVE, SCOPE_NONE);
	}
	d->resident_bytes += m->bytes;
	d->stats.last_row_ms = d->now;
	row->slot = (int32_t)(m - d->lanes.message);
}

/* Was this exception asked for by the fetch under way, and does it still want its rows? */
static bool is_wanted(struct delivery *d, const struct exception *e)
{
	const struct block *b;

	if (e->kind == EXCEPTION_MISSING)
		return true;
	if (e->kind == EXCEPTION_ACTIVE)
		return false;
	b = blocks_find(&d->blocks, e->scope);
	/* Where nothing is held back any more, HELD is a letter that was redriven and parked on its way. */
	return is_probe_of(b, e->lo) || !b->blocked;
}

/* So many ids are not parked for b any more. */
static void unparked(struct delivery *d, struct block *b, size_t ids)
{
	b->parked -= ids;
	if (scope_is_lane(b->scope) && !b->blocked && b->parked == 0)
		blocks_drop(&d->blocks, b);
}

/* Returns whether the row was news. */
static bool row_arrived(struct delivery *d, struct row *row)
{
	uint64_t lane_scope = row->keyed && d->s.ordering != ORDERING_NONE ? lane_hash(row->lane) : SCOPE_NONE;
	struct exception *e = NULL;
	struct block *b;
	bool was_parked = false;

	if (row->id > d->read) {
		if (row->id > d->read + 1)
			book_insert(&d->book, d->read + 1, row->id - 1, EXCEPTION_MISSING)->born_ms = d->now;
		d->read = row->id;
	} else {
		e = book_find(&d->book, row->id);
		/* Ranges are joined when they are asked for: rows in between are known already. */
		if (e == NULL || e->asked != d->fetch_seq || !is_wanted(d, e))
			return false;
		e = book_single(&d->book, e, row->id);
		if (e->kind != EXCEPTION_MISSING) {
			was_parked = true;
			b = blocks_find(&d->blocks, e->scope);
			if (lane_scope == SCOPE_NONE && scope_is_lane(e->scope))
				lane_scope = e->scope;
			unparked(d, b, 1);
		}
	}
	d->stats.rows++;
	touch(d);
	b = gate(d, row, lane_scope);
	if (b != NULL)
		park_row(d, row, e, b, lane_scope);
	else
		admit(d, row, e, lane_scope);
	return b == NULL || !was_parked;
}

static void vanish(struct delivery *d, struct exception *e)
{
	struct block *b = blocks_find(&d->blocks, e->scope);

	take_note(d, (struct note){ .kind = NOTE_VANISHED, .id = e->lo, .last = e->hi });
	d->stats.vanished += (uint64_t)(e->hi - e->lo) + 1;
	if (e->kind == EXCEPTION_HELD && d->undead_count < UNDEAD_LIMIT)
		d->undead[d->undead_count++] = e->lo;
	if (b->probe_id == e->lo) {
		b->probe_id = 0;
		b->held = false;
		b->due_ms = d->now;
		d->block_ms = d->now;
	}
	unparked(d, b, (size_t)(e->hi - e->lo) + 1);
	book_remove(&d->book, e);
	touch(d);
}

/* What was asked for and is not there, in a snapshot as young as the rows.
 *
 * A missing id is void, and only then, when every transaction with an xid below its fence had ended before
 * the snapshot was taken. The fence was drawn after the id was found missing, so after the id was drawn, and
 * whoever draws an id owns an xid first: its owner's xid is below the fence, it has ended, and had it
 * committed the row would be here. (The xmax of a snapshot is no such fence: it is one past the last
 * COMPLETED xid, and a running transaction can own an xid at or above it.) */
static void judge(struct delivery *d, uint64_t horizon, int64_t up_to)
{
	struct exception *e, *next;

	for (e = d->book.first; e != NULL && e->lo <= up_to; e = next) {
		next = e->next;
		if (e->asked != d->fetch_seq || e->hi > up_to || e->kind == EXCEPTION_ACTIVE)
			continue;
		if (e->kind != EXCEPTION_MISSING) {
			if (is_wanted(d, e))
				vanish(d, e);
		} else if (e->fence != FENCE_NONE && e->fence != FENCE_PENDING && e->fence <= horizon) {
			d->stats.voided += (uint64_t)(e->hi - e->lo) + 1;
			book_remove(&d->book, e);
			touch(d);
		}
	}
}

static void rows_arrived(struct delivery *d, const struct event *ev)
{
	uint32_t news = 0;
	size_t n = 0;
	bool complete;

	for (size_t i = 0; i < ev->rows.count; i++)
		ev->rows.rows[i].slot = -1;
	if (!d->leading || !d->fetching)
		return;
	d->fetching = false;
	renew_lease(d, ev->rows.asked_ms);
	/* A stretched fetch may bring more than there is room for: as if it had been cut there. */
	while (n < ev->rows.count && row_credit(d) > 0 && byte_credit(d) > 0)
		news += row_arrived(d, &ev->rows.rows[n++]);
	complete = ev->rows.complete && n == ev->rows.count;
	if (d->book.count > d->book.kinds[EXCEPTION_ACTIVE])
		judge(d, ev->rows.horizon, complete ? INT64_MAX : n > 0 ? ev->rows.rows[n - 1].id : INT64_MIN);
	if (!d->fetch_joined)
		d->stretch = 0;
	else if (!complete && news == 0 && d->stretch < STRETCH_MAX)
		d->stretch++;
	if (!complete)
		d->urgent = true;
	d->caught_up |= complete && d->fetch_forward;
	pace_rows(&d->pace, news, complete || !d->fetch_forward, news >= d->s.queue_messages / 8 && news > 1,
		  ev->rows.horizon, d->now);
}

/* --- leading and not leading --- */

/* Ids above `read` were not read when the floor was taken: whatever becomes of them is stored above what was
 * acknowledged by then. Not so what was there when we took the lead: an earlier leader may have sent it. */
static void take_floor(const struct delivery *d, struct floor *f)
{
	f->read = d->read;
	for (uint32_t s = 0; s < d->s.streams; s++)
		f->sequence[s] = d->caught_up ? d->stats.stream[s].sequence : 0;
}

static void forget_everything(struct delivery *d)
{
	d->leading = d->fetching = d->marking = d->renewing = false;
	while (d->lanes.oldest != NULL)
		leave_memory(d, d->lanes.oldest);
	book_clear(&d->book);
	blocks_clear(&d->blocks);
	d->dead_count = d->undead_count = d->late_count = 0;
	d->dirty = d->urgent = false;
	d->stretch = 0;
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
	}
}

static void leading(struct delivery *d, const struct event *ev)
{
	forget_everything(d);
	d->leading = true;
	d->drained = false;
	d->position = d->read = ev->leading.position;
	d->caught_up = false;
	take_floor(d, &d->floor);
	d->next_floor = d->floor;
	d->lease_until = 0;
	renew_lease(d, ev->leading.asked_ms);
	for (size_t i = 0; i < ev->leading.exception_count; i++)
		load_exception(d, &ev->leading.exceptions[i], ev->leading.fence);
	d->considered_ms = d->mark_at = d->now;
	d->urgent = true;
	d->stats.last_ack_ms = d->now;
	pace_reset(&d->pace, &d->s, d->now);
}

static void give_up(struct delivery *d, struct exception *e, struct block *b)
{
	d->undead[d->undead_count++] = e->lo;
	probe_fails(d, b, e->lo);
	book_remove(&d->book, e);
	unparked(d, b, 1);
	touch(d);
}

/* A restart may have forgotten that this one is a dead letter: its record is to go when it is settled. */
static void remember_letter(struct delivery *d, struct exception *e, int64_t id, bool redrive)
{
	if (e == NULL && id <= d->position) {
		d->undead[d->undead_count++] = id;
		touch(d);
	} else if (e != NULL && e->kind == EXCEPTION_ACTIVE && redrive) {
		find_in_memory(d, id)->redriven = true;
	} else if (e != NULL && e->kind == EXCEPTION_PARKED && redrive && book_room(&d->book) >= resident(d) + 2) {
		e = book_single(&d->book, e, id);
		book_change(&d->book, e, EXCEPTION_HELD, e->scope);
	}
}

static void decided(struct delivery *d, const struct event *ev)
{
	struct exception *e = book_find(&d->book, ev->decided.id);
	struct block *b;

	if (!d->leading || d->undead_count >= LIMIT_BLOCKED_LANES)
		return;
	if (e == NULL || e->kind != EXCEPTION_HELD) {
		remember_letter(d, e, ev->decided.id, ev->decided.redrive);
		return;
	}
	b = blocks_find(&d->blocks, e->scope);
	if (!b->held || b->held_id != e->lo) {
		/* Redriven before, and parked on its way: told again, or given up after all. */
		if (!ev->decided.redrive)
			give_up(d, e, b);
		return;
	}
	if (ev->decided.redrive) {
		b->held = false;
		b->probe_id = e->lo;
		d->urgent = true;
		return;
	}
	d->undead[d->undead_count++] = e->lo;
	b->parked--;
	book_remove(&d->book, e);
	block_opens(d, b);
	touch(d);
}

static void bus_down(struct delivery *d)
{
	d->bus_up = false;
	d->flight_bytes = 0;
	lanes_rewind(&d->lanes);
	memset(d->silent, 0, sizeof d->silent);
}

static void marked(struct delivery *d, const struct event *ev)
{
	if (!d->leading || !d->marking)
		return;
	d->marking = false;
	renew_lease(d, ev->marked.asked_ms);
	d->position = d->mark.position;
	for (struct exception *e = d->book.first; e != NULL && d->book.kinds[EXCEPTION_MISSING] > 0; e = e->next)
		if (e->fence == FENCE_PENDING)
			e->fence = ev->marked.fence;
}

/* --- time --- */

static void choose_probes(struct delivery *d)
{
	struct exception *e;
	struct block *b;

	for (e = d->book.first; e != NULL; e = e->next) {
		if (e->kind != EXCEPTION_PARKED && e->kind != EXCEPTION_HELD)
			continue;
		b = blocks_find(&d->blocks, e->scope);
		if (!b->blocked || b->held || b->probe_id != 0 || b->due_ms > d->now || book_room(&d->book) < resident(d) + 2)
			continue;
		e = book_single(&d->book, e, e->lo);
		b->probe_id = e->lo;
		d->urgent = true;
	}
}

static void blocks_due(struct delivery *d)
{
	struct block *b = NULL;

	if (d->now < d->block_ms || !d->bus_up || !d->leading)
		return;
	choose_probes(d);
	d->block_ms = INT64_MAX;
	for (b = blocks_next(&d->blocks, NULL); b != NULL; b = blocks_next(&d->blocks, b)) {
		if (!b->blocked || b->held || b->probe_id != 0)
			continue;
		if (b->parked == 0 && b->due_ms <= d->now) {
			bool lane = scope_is_lane(b->scope);

			block_opens(d, b); /* nothing left that could probe */
			if (lane)
				b = NULL; /* dropped: entries have moved, begin again */
		} else {
			d->block_ms = earlier(d->block_ms, b->due_ms);
		}
	}
}

static void timers(struct delivery *d)
{
	struct message *m;

	while (d->bus_up && (m = d->lanes.place[PLACE_IN_FLIGHT].first) != NULL && d->now - m->at_ms >= d->s.ack_timeout_ms)
		timed_out(d, m);
	while ((m = d->lanes.place[PLACE_BACKOFF].first) != NULL && d->now >= m->at_ms)
		message_move(&d->lanes, m, PLACE_READY);
	blocks_due(d);
}

void delivery_step(struct delivery *d, const struct event *ev)
{
	if (ev->now_ms > d->now)
		d->now = ev->now_ms;
	d->random ^= (uint64_t)ev->random << 16;
	switch (ev->kind) {
	case EVENT_TICK:
		break;
	case EVENT_LEADING:
		leading(d, ev);
		break;
	case EVENT_DEPOSED:
		forget_everything(d);
		break;
	case EVENT_BUS_UP:
		d->bus_up = true;
		break;
	case EVENT_BUS_DOWN:
		bus_down(d);
		break;
	case EVENT_ROWS:
		rows_arrived(d, ev);
		break;
	case EVENT_FETCH_FAILED:
		d->fetching = false;
		pace_failed(&d->pace, d->s.retry_min_ms, d->now);
		break;
	case EVENT_ACKED:
		acked(d, ev);
		break;
	case EVENT_REFUSED:
		refused(d, ev);
		break;
	case EVENT_MARKED:
		marked(d, ev);
		break;
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
	case EVENT_DECIDED:
		decided(d, ev);
		break;
	case EVENT_DRAIN:
		d->draining = true;
		break;
	}
	timers(d);
}

/* --- effects: fetch --- */

static bool any_stream_open(const struct delivery *d)
{
	for (uint32_t i = 0; i < d->s.streams; i++)
		if (!d->blocks.stream[i].blocked)
			return true;
	return false;
}

static size_t known_between(const struct id_range *a, const struct exception *b)
{
	return (size_t)(b->lo - a->hi);
}

/* Lists what is wanted. Only when there are too many ranges they are joined across rows that are known already:
 * those come along, and use up the rows and bytes there is room for (see `stretch`). */
static size_t list_wanted(struct delivery *d, bool *missing)
{
	size_t n = 0, gap = 1;
	struct exception *e;

again:
	n = 0;
	for (e = d->book.first; e != NULL; e = e->next) {
		if (!is_wanted(d, e))
			continue;
		e->asked = d->fetch_seq;
		*missing |= e->kind == EXCEPTION_MISSING && e->fence != FENCE_NONE && e->fence != FENCE_PENDING;
		if (n > 0 && known_between(&d->wanted[n - 1], e) <= gap) {
			d->wanted[n - 1].hi = e->hi;
		} else if (n < LIMIT_WANTED_RANGES) {
			d->wanted[n++] = (struct id_range){ .lo = e->lo, .hi = e->hi };
		} else {
			gap *= 8;
			goto again;
		}
	}
	d->fetch_joined = gap > 1;
	return n;
}

/* No small bites while there is something else to do. */
static bool has_appetite(const struct delivery *d)
{
	uint32_t credit = row_credit(d);

	if (!d->leading || d->draining || d->fetching || credit == 0 || byte_credit(d) == 0)
		return false;
	return resident(d) == 0 || (credit >= d->s.queue_messages / 4 && byte_credit(d) >= d->s.queue_bytes / 4);
}

static bool next_fetch(struct delivery *d, struct effect *f)
{
	uint64_t bytes = byte_credit(d);
	bool full = d->book.count >= LIMIT_EXCEPTIONS || d->blocks.lanes >= LIMIT_BLOCKED_LANES;
	bool missing = false;

	if (!has_appetite(d) || !(d->urgent || pace_due(&d->pace, d->now)))
		return false;
	if (full && !d->stats.full)
		take_note(d, (struct note){ .kind = NOTE_FULL });
	d->stats.full = full;
	d->fetch_forward = !full && any_stream_open(d);
	d->fetch_seq++;
	f->kind = EFFECT_FETCH;
	f->fetch.wanted = d->wanted;
	f->fetch.wanted_count = list_wanted(d, &missing);
	if (!d->fetch_forward && f->fetch.wanted_count == 0) {
		d->urgent = false;
		pace_failed(&d->pace, d->s.retry_min_ms, d->now);
		return false;
	}
	f->fetch.after = d->read;
	f->fetch.forward = d->fetch_forward;
	f->fetch.rows = row_credit(d) << d->stretch;
	bytes <<= d->stretch;
	f->fetch.bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
	f->fetch.horizon = missing || pace_wants_horizon(&d->pace);
	f->fetch.evidence = f->fetch.horizon && d->now - d->evidence_ms >= EVIDENCE_PAUSE_MS;
	if (f->fetch.evidence)
		d->evidence_ms = d->now;
	d->fetching = true;
	d->urgent = false;
	pace_fetching(&d->pace, d->fetch_forward);
	d->stats.fetches++;
	return true;
}

/* --- effects: mark --- */

/* How far the position can go: to the oldest message in memory that is no exception, and not past a gap that is so
 * young that it may close by itself (an exception costs two writes, waiting costs none). */
static int64_t reachable(struct delivery *d)
{
	int64_t to = d->read;
	size_t fresh = 0;

	for (const struct message *m = d->lanes.oldest; m != NULL; m = m->age_next)
		if (!m->late) {
			to = m->id - 1;
			break;
		}
	for (const struct exception *e = book_from(&d->book, d->position + 1); e != NULL && e->lo <= to; e = e->next) {
		if (e->kind == EXCEPTION_ACTIVE)
			return e->lo - 1;
		if (e->kind != EXCEPTION_HELD && !d->draining && d->now - e->born_ms < d->s.grace_ms) {
			d->mark_at = earlier(d->mark_at, e->born_ms + d->s.grace_ms);
			return e->lo - 1;
		}
		if (!e->stored && ++fresh > LIMIT_MARK_NEW_EXCEPTIONS) {
			d->mark_at = d->now; /* the rest in the next one */
			return e->lo - 1;
		}
	}
	return to;
}

/* Exceptions up to the new position that the database does not hold yet. Every missing id without a fence
 * gets the one this mark's transaction will draw: it was found missing before. */
static bool list_added(struct delivery *d, int64_t to)
{
	size_t n = 0;
	bool unfenced = false;

	for (struct exception *e = d->book.first; e != NULL; e = e->next) {
		unfenced |= e->kind == EXCEPTION_MISSING && e->fence == FENCE_NONE;
		if (e->lo > to || e->stored)
			continue;
		d->mark_added[n++] = (struct exception_row){
			.lo = e->lo, .hi = e->hi, .kind = e->kind, .lane = scope_is_lane(e->scope) ? e->scope : 0,
			.attempts = e->attempts, .reason = e->reason,
		};
	}
	d->mark.added = d->mark_added;
	d->mark.added_count = n;
	return unfenced;
}

static void mark_is_sent(struct delivery *d)
{
	for (struct exception *e = d->book.first; e != NULL; e = e->next) {
		if (e->kind == EXCEPTION_MISSING && e->fence == FENCE_NONE)
			e->fence = FENCE_PENDING;
		if (e->lo <= d->mark.position)
			e->stored = true;
	}
}

/* A floor at or below the new position: one is in use while the next grows old enough. */
static void raise_floor(struct delivery *d, int64_t to)
{
	if (to < d->next_floor.read)
		return;
	d->floor = d->next_floor;
	take_floor(d, &d->next_floor);
	if (to == d->read)
		d->floor = d->next_floor;
}

static void list_sent(struct delivery *d, int64_t to)
{
	size_t n = 0;

	raise_floor(d, to);
	for (uint16_t s = 0; s < d->s.streams && to > d->position; s++)
		if (d->touched[s]) {
			d->touched[s] = false;
			d->mark_sent[n++] = (struct sent){ .first = d->position + 1, .last = to, .stream = s,
							   .sequence = d->floor.sequence[s] };
		}
	for (size_t i = 0; i < d->late_count; i++)
		d->mark_sent[n++] = (struct sent){ .first = d->late_id[i], .last = d->late_id[i],
						   .stream = d->late_stream[i], .sequence = d->floor.sequence[d->late_stream[i]] };
	d->late_count = 0;
	d->mark.sent = d->mark_sent;
	d->mark.sent_count = n;
}

/* The pending list goes into the mark; the mark's old one is used for what comes meanwhile. */
static void hand_over(struct delivery *d)
{
	struct dead *dead = d->mark_dead;
	int64_t *undead = d->mark_undead, *gone = d->mark_gone;

	d->mark.dead = d->mark_dead = d->dead;
	d->mark.dead_count = d->dead_count;
	d->dead = dead;
	d->dead_count = 0;
	d->mark.undead = d->mark_undead = d->undead;
	d->mark.undead_count = d->undead_count;
	d->undead = undead;
	d->undead_count = 0;
	d->mark.gone = d->mark_gone = d->book.gone;
	d->mark.gone_count = d->book.gone_count;
	d->book.gone = gone;
	d->book.gone_count = 0;
}

static bool next_mark(struct delivery *d, struct effect *f)
{
	int64_t to;
	bool unfenced;

	if (!d->leading || d->marking || !d->dirty || (d->now < d->mark_at && !d->draining))
		return false;
	d->mark_at = INT64_MAX;
	d->considered_ms = d->now;
	to = reachable(d);
	assert(to >= d->position);
	unfenced = list_added(d, to);
	if (to == d->position && d->mark.added_count == 0 && d->book.gone_count == 0 && d->dead_count == 0 &&
	    d->undead_count == 0 && d->late_count == 0 && !unfenced) {
		d->dirty = d->mark_at != INT64_MAX; /* a young gap: look again when it has grown up */
		return false;
	}
	d->mark.position = to;
	list_sent(d, to);
	hand_over(d);
	mark_is_sent(d);
	d->marking = true;
	d->dirty = d->mark_at != INT64_MAX;
	d->mark_at = d->dirty ? d->now + d->s.mark_interval_ms : INT64_MAX;
	d->stats.marks++;
	f->kind = EFFECT_MARK;
	f->mark = &d->mark;
	return true;
}

/* --- effects: publish and the rest --- */

static bool next_publish(struct delivery *d, struct effect *f)
{
	struct message *m;

	/* The lease: without a sign of life of the session that carries the lead, somebody else may lead. */
	while (d->leading && d->bus_up && !d->draining && d->now < d->lease_until &&
	       (m = d->lanes.place[PLACE_READY].first) != NULL) {
		if (m->defect) {
			if (d->dead_count == d->dead_limit)
				return false;
			poison(d, m, m->reason);
			continue;
		}
		if (d->lanes.place[PLACE_IN_FLIGHT].count >= d->window ||
		    (d->flight_bytes > 0 && d->flight_bytes + m->bytes > d->s.window_bytes))
			return false;
		/* Never 0: that is "not sent yet". Never back to an attempt whose reply may still come. */
		m->attempt = m->attempt == UINT16_MAX ? 1 : (uint16_t)(m->attempt + 1);
		if (m->tries < UINT16_MAX)
			m->tries++;
		m->at_ms = d->now;
		d->flight_bytes += m->bytes;
		message_move(&d->lanes, m, PLACE_IN_FLIGHT);
		d->stats.published++;
		d->stats.bytes_published += m->bytes;
		f->kind = EFFECT_PUBLISH;
		f->publish.slot = (uint32_t)(m - d->lanes.message);
		f->publish.id = m->id;
		f->publish.token = token_of(d, m);
		return true;
	}
	return false;
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

static bool has_work(const struct delivery *d)
{
	return d->lanes.place[PLACE_READY].count > 0 || d->lanes.place[PLACE_IN_FLIGHT].count > 0;
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

static bool next_drained(struct delivery *d, struct effect *f)
{
	if (!d->draining || d->drained ||
	    (d->leading && (d->lanes.place[PLACE_IN_FLIGHT].count > 0 || d->marking || d->fetching || d->dirty)))
		return false;
	d->drained = true;
	f->kind = EFFECT_DRAINED;
	return true;
}

bool delivery_next(struct delivery *d, struct effect *f)
{
	return next_release(d, f) || next_note(d, f) || next_mark(d, f) || next_announce(d, f) || next_fetch(d, f) ||
	       next_renew(d, f) || next_publish(d, f) ||
	       /* what next_publish() buried */ next_release(d, f) || next_note(d, f) || next_mark(d, f) ||
	       next_drained(d, f);
}

int64_t delivery_deadline(const struct delivery *d)
{
	const struct message *flight = d->lanes.place[PLACE_IN_FLIGHT].first, *wait = d->lanes.place[PLACE_BACKOFF].first;
	int64_t at = INT64_MAX;

	if (!d->leading)
		return at;
	if (flight != NULL && d->bus_up)
		at = earlier(at, flight->at_ms + d->s.ack_timeout_ms);
	if (wait != NULL)
		at = earlier(at, wait->at_ms);
	if (d->bus_up)
		at = earlier(at, d->block_ms);
	if (d->dirty && !d->marking)
		at = earlier(at, d->mark_at);
	if (has_appetite(d))
		at = earlier(at, pace_deadline(&d->pace));
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
	s->pace = d->pace.mode;
	s->position = d->position;
	s->read = d->read;
	s->resident = (uint32_t)(resident(d) - d->lanes.place[PLACE_DONE].count);
	s->resident_bytes = (uint32_t)d->resident_bytes;
	s->ready = (uint32_t)d->lanes.place[PLACE_READY].count;
	s->in_flight = (uint32_t)d->lanes.place[PLACE_IN_FLIGHT].count;
	s->backing_off = (uint32_t)d->lanes.place[PLACE_BACKOFF].count;
	s->exceptions = (uint32_t)d->book.count;
	s->missing = (uint32_t)d->book.kinds[EXCEPTION_MISSING];
	s->parked_ranges = (uint32_t)(d->book.kinds[EXCEPTION_PARKED] + d->book.kinds[EXCEPTION_HELD]);
	s->blocked_lanes = (uint32_t)d->blocks.lanes;
	s->window = d->window;
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
		assert(e->hi <= d->read && (e->lo > d->position || e->hi <= d->position));
	assert(d->lanes.place[PLACE_IN_FLIGHT].count <= d->s.window_messages);
	assert(book_room(&d->book) >= resident(d));
}
