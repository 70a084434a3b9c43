/* Holding back: parking messages with their stream or their lane, probing, and opening again.
 *
 * Whoever is parked parks what comes behind it; probes are always the oldest of their scope; and what was parked is read
 * again before anything newer of its scope may pass (open_from). So a scope comes back in the order it went. */
#include "core/machine.h"

#include <assert.h>

#include "core/refusal.h"

void leave_memory(struct delivery *d, struct message *m)
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

void block_opens(struct delivery *d, struct block *b)
{
	bool lane = scope_is_lane(b->scope);

	if (b->blocked)
		take_note(d, (struct note){ .kind = lane ? NOTE_LANE_OPEN : NOTE_STREAM_OPEN,
					    .id = b->probe_id,
					    .stream = lane ? 0 : (uint16_t)(b->scope - 1) });
	b->blocked = b->held = false;
	b->probe_id = b->held_id = 0;
	b->failures = 0;
	/* Only the next fetch asks for what was parked: rows of the one under way may not overtake it, and are parked, too. */
	b->open_from = d->fetch_seq + 1;
	d->urgent |= b->parked > 0 || d->fetching;
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

void settle(struct delivery *d, struct message *m)
{
	probes_succeed(d, m);
	if (m->late) {
		book_remove(&d->book, book_find(&d->book, m->id));
		if (d->late_count < LIMIT_MARK_LATE && !m->defect) {
			d->late_id[d->late_count] = m->id;
			d->late_stream[d->late_count++] = m->stream;
		}
	} else {
		d->touched[m->stream] |= !m->defect;
		if (m->id > d->settled)
			d->settled = m->id;
	}
	if (m->redriven)
		d->undead[d->undead_count++] = m->id;
	leave_memory(d, m);
}

/* The position, or what it will be when the mark under way has come through. */
int64_t marked_position(const struct delivery *d)
{
	return d->marking ? d->mark.position : d->position;
}

void probe_fails(struct delivery *d, struct block *b, int64_t id)
{
	if (b == NULL || b->probe_id != id)
		return;
	b->probe_id = 0;
	b->due_ms = backoff(d, b->failures);
	d->block_ms = earlier(d->block_ms, b->due_ms);
}

/* It waits behind a lane that is held back, so it was never sent: the next one is asked at once. With a pause after each of
 * them a stream that is well again would stay shut for as many pauses as that lane has messages. */
void probe_says_nothing(struct delivery *d, struct block *b, int64_t id)
{
	if (b->probe_id != id)
		return;
	b->probe_id = 0;
	b->due_ms = d->block_ms = d->now;
}

struct message *find_in_memory(const struct delivery *d, int64_t id)
{
	struct message *m = d->lanes.oldest;

	while (m != NULL && m->id != id)
		m = m->age_next;
	return m;
}

/* Out of memory, into the book, held back for the block's scope. */
void park(struct delivery *d, struct message *m, struct block *b)
{
	struct exception *e;

	probe_fails(d, stream_block(d, m), m->id);
	probe_fails(d, lane_block(d, m), m->id);
	/* A probe that is still to be read may stand behind m in its lane: choose again. */
	if (b->probe_id > m->id && find_in_memory(d, b->probe_id) == NULL)
		probe_fails(d, b, b->probe_id);
	if (m->late) {
		e = book_find(&d->book, m->id);
		/* As old as it was: what is probed again and again must not hold the position for ever. */
		book_change(&d->book, e, m->redriven ? EXCEPTION_HELD : EXCEPTION_PARKED, b->scope);
		e->asked = 0;
		e->doubt = doubt_of(m);
		e = book_join(&d->book, e, marked_position(d));
	} else {
		e = book_park(&d->book, m->id, b->scope, doubt_of(m), marked_position(d), d->now);
	}
	/* Its own refusal, or that of the message it waits behind. */
	if (e->lo == m->id || m->reason != REASON_NONE) {
		e->reason = m->reason != REASON_NONE ? m->reason : b->reason;
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
void block_stream(struct delivery *d, struct message *m, uint32_t reason)
{
	struct block *b = stream_block(d, m), *lane = lane_block(d, m);
	struct message *x, *next;
	int64_t probe_id = probe_leads_its_lane(d, b) ? b->probe_id : 0;

	m->reason = reason;
	if (!b->blocked)
		take_note(d, (struct note){
				     .kind = NOTE_STREAM_BLOCKED, .id = m->id, .stream = m->stream, .reason = reason });
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

/* The oldest of a lane was not stored, so whoever led before us sent nothing of what stands behind it. (Pipelined he might have, or
 * of what belongs to another stream, or after a decision that a promotion has taken back.) A letter that holds its lane says as much to
 * whoever leads after us: where it is not so, the books must say that. */
static void judge_inheritance(struct delivery *d, scope_id scope, bool held)
{
	bool in_turn = d->s.ordering == ORDERING_STRICT && d->s.streams == 1;

	for (struct exception *e = d->book.first; e != NULL && !d->settled_in; e = e->next) {
		if (e->scope != scope || e->inherited != INHERITED)
			continue;
		if (in_turn) {
			e->inherited = OURS;
		} else if (held) {
			e->inherited = DOUBTED;
			book_change(&d->book, e, e->kind, e->scope);
		}
	}
}

void block_lane(struct delivery *d, struct message *m, uint32_t reason, bool held)
{
	struct lane *lane = m->lane;
	struct block *b = blocks_get(&d->blocks, lane != NULL ? lane->hash : lane_of_one(m->id));
	int64_t id = m->id;
	bool last;

	m->reason = reason;
	if (b == NULL) { /* too many are held back: this one keeps its place in memory */
		if (m->place == PLACE_IN_FLIGHT)
			d->flight_bytes -= m->bytes;
		probe_fails(d, stream_block(d, m), m->id); /* another message may tell more about the stream */
		lanes_retry(&d->lanes, m, d->now + d->s.retry_max_ms);
		return;
	}
	take_note(d, (struct note){ .kind = held ? NOTE_HELD : NOTE_LANE_BLOCKED,
				    .id = id,
				    .stream = m->stream,
				    .reason = reason,
				    .attempts = m->attempts });
	block_begins(d, b, reason);
	judge_inheritance(d, b->scope, held);
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

bool is_probe(struct delivery *d, const struct message *m)
{
	const struct block *lane = lane_block(d, m);

	return stream_block(d, m)->probe_id == m->id || (lane != NULL && lane->probe_id == m->id);
}

/* So many ids are not parked for b any more. */
void unparked(struct delivery *d, struct block *b, size_t ids)
{
	b->parked -= ids;
	if (scope_is_lane(b->scope) && !b->blocked && b->parked == 0)
		blocks_drop(&d->blocks, b);
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

void decided(struct delivery *d, const struct event *ev)
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

static void choose_probes(struct delivery *d)
{
	struct exception *e;
	struct block *b;

	for (e = d->book.first; e != NULL; e = e->next) {
		if (e->kind != EXCEPTION_PARKED && e->kind != EXCEPTION_HELD)
			continue;
		b = blocks_find(&d->blocks, e->scope);
		if (!b->blocked || b->held || b->probe_id != 0 || b->due_ms > d->now ||
		    (e->lo < e->hi && book_room(&d->book) < resident(d) + 2))
			continue;
		e = book_single(&d->book, e, e->lo);
		b->probe_id = e->lo;
		d->urgent = true;
	}
}

void blocks_due(struct delivery *d)
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
			/* Due, and no room in the book to take one out of a range: once more when something has been settled. */
			d->block_ms = earlier(d->block_ms, b->due_ms > d->now ? b->due_ms : d->now + d->s.retry_min_ms);
		}
	}
}
