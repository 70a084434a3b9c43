/* Reading: what to ask the outbox for, and what becomes of the rows.
 *
 * A fetch reads in ONE snapshot, ascending, everything new and everything still missing or due: if a later row of a key is
 * seen, an earlier one was seen with it or before it. (When what is missing may be left out, see below: reading on.) */
#include "core/machine.h"

#include "core/refusal.h"

/* A row out of the middle of a range leaves two of it, and may be parked again. */
enum { ROOM_FOR_ONE = 3 };

enum { MISSING_PAUSE_US = 100, MISSING_PAUSE_MAX_MS = 1000 };

/* How many rows there is room for: in the queue, in the list of the dead, in the book. */
static uint32_t row_credit(const struct delivery *d)
{
	size_t in_memory = resident(d);
	size_t credit = d->s.queue_messages - in_memory;
	size_t book = book_room(&d->book) > in_memory + 8 ? (book_room(&d->book) - in_memory - 8) / 4 : 0;

	if (credit > book)
		credit = book;
	/* With nothing in memory nothing else would ever make room in the book: one at a time, then. */
	if (credit == 0 && in_memory == 0 && book_room(&d->book) > 0)
		credit = 1;
	return (uint32_t)credit;
}

static uint64_t byte_credit(const struct delivery *d)
{
	return d->resident_bytes < d->s.queue_bytes ? d->s.queue_bytes - d->resident_bytes : 0;
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

static void park_row(struct delivery *d, const struct row *row, struct exception *e, struct block *b,
		     uint64_t lane_scope)
{
	struct doubt doubt = doubt_of_row(d, row, e);
	struct block *lane = blocks_find(&d->blocks, lane_scope);
	struct block *stream = blocks_find(&d->blocks, scope_of_stream(row->stream));
	bool waits = stream->blocked && is_probe_of(lane, row->id);

	if (b != stream)
		probe_says_nothing(d, stream, row->id);
	probe_fails(d, stream, row->id);
	probe_fails(d, lane, row->id);
	if (waits) /* it would only be read and parked again, before the stream's own probe */
		lane->due_ms = INT64_MAX;
	/* The lane's probe must be its oldest; a stream's may be of this lane and still to be read: choose again. */
	if (b->probe_id > row->id && (scope_is_lane(b->scope) || find_in_memory(d, b->probe_id) == NULL))
		probe_fails(d, b, b->probe_id);
	if (e == NULL) {
		e = book_park(&d->book, row->id, b->scope, doubt, marked_position(d), d->now);
	} else {
		book_change(&d->book, e, e->kind == EXCEPTION_HELD ? EXCEPTION_HELD : EXCEPTION_PARKED, b->scope);
		e->asked = 0;
		e->doubt = doubt;
		e->inherited = OURS;
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
	doubt_returns(m, doubt_of_row(d, row, e));
	if (e != NULL) {
		e->inherited = OURS;
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
			continue;
		}
		e->inherited = OURS; /* nobody has ever seen it */
		if (e->fence != FENCE_NONE && e->fence != FENCE_PENDING && e->fence <= horizon) {
			d->stats.voided += (uint64_t)(e->hi - e->lo) + 1;
			book_remove(&d->book, e);
			touch(d);
		}
	}
}

/* --- reading on in a snapshot that was kept ---
 *
 * Everything missing is asked for together with what is new, for a new row may stand behind one that was missing at the last
 * look: its writer drew its id after that one had been committed. That costs a descent into the index per range, and where
 * very many are missing it would be most of what a long backlog costs. But take a fetch that asked for everything
 * missing, was answered beyond all of it, and took the snapshot S right before: what is still missing after its answer, or is
 * found missing later, was not committed in S. A row that was committed in S drew its id before that, so it stands
 * behind none of those. Hence the backlog is read on in S, as if by one long statement, and nothing missing is asked for. The
 * first row that is not in S ends that. So does a pause, for a row that was missing is to come soon, too.
 *
 * (What is parked is asked for all the same. Whatever such a row stands behind had been read when it was read itself, by us or by
 * an earlier leader, who left it to us; and our own first look asks for all of that.) */

/* In proportion to what the question costs, but no longer than a committed row may wait. */
static int64_t pause_of_missing(const struct delivery *d)
{
	uint32_t pause_us = d->s.missing_pause_us > 0 ? d->s.missing_pause_us : MISSING_PAUSE_US;

	return earlier((int64_t)d->book.kinds[EXCEPTION_MISSING] * pause_us / 1000, MISSING_PAUSE_MAX_MS);
}

static void choose_snapshot(struct delivery *d)
{
	d->snapshot.used = d->now < d->snapshot.until_ms;
	d->snapshot.asked = !d->snapshot.used && d->book.kinds[EXCEPTION_MISSING] > 0;
}

/* reached: the answer goes beyond all that was missing. The pause is set once, by what is missing still: what is found missing
 * meanwhile must not put the question off. */
static void keep_snapshot(struct delivery *d, const struct event *ev, bool reached)
{
	if (d->snapshot.asked && reached)
		d->snapshot.until_ms = d->now + pause_of_missing(d);
	if (ev->rows.complete || ev->rows.beyond) /* there is nothing in it any more that was not read */
		d->snapshot.until_ms = 0;
}

void rows_arrived(struct delivery *d, const struct event *ev)
{
	int64_t read_before = d->read;
	uint32_t news = 0;
	size_t n = 0;
	bool complete;

	for (size_t i = 0; i < ev->rows.count; i++)
		ev->rows.rows[i].slot = -1;
	if (!d->leading || !d->fetching)
		return;
	d->fetching = false;
	renew_lease(d, ev->rows.asked_ms);
	while (n < ev->rows.count)
		news += row_arrived(d, &ev->rows.rows[n++]);
	complete = ev->rows.complete;
	if (d->book.count > d->book.kinds[EXCEPTION_ACTIVE])
		judge(d, ev->rows.horizon, complete ? INT64_MAX : n > 0 ? ev->rows.rows[n - 1].id : INT64_MIN);
	keep_snapshot(d, ev, n > 0 && ev->rows.rows[n - 1].id > read_before);
	if (!complete)
		d->urgent = d->more = true;
	if (complete && d->fetch_forward && !d->caught_up) {
		d->caught_up = true;
		d->others_to = d->read;
	}
	pace_rows(&d->pace, news, complete || !d->fetch_forward, news >= d->s.queue_messages / 8 && news > 1,
		  d->book.kinds[EXCEPTION_MISSING] > 0, ev->rows.horizon, d->now);
	pace_rest(&d->pace, news, d->now - ev->rows.asked_ms, d->now);
}

static bool any_stream_open(const struct delivery *d)
{
	for (uint32_t i = 0; i < d->s.streams; i++)
		if (!d->blocks.stream[i].blocked)
			return true;
	return false;
}

/* It leads its scope and stands alone: to read it, and to park it again, needs no room in the book. */
static bool is_lone_probe(struct delivery *d, const struct exception *e)
{
	return e->lo == e->hi && is_probe_of(blocks_find(&d->blocks, e->scope), e->lo);
}

/* Lists what is wanted, exactly. Joining ranges across rows that are known already would save descents into the index,
 * but the known rows would use up the room for new ones. `fenced`: there is one among them that may be void. */
static size_t list_wanted(struct delivery *d, bool *fenced)
{
	bool cramped = book_room(&d->book) < ROOM_FOR_ONE, cut = false;
	size_t n = 0;

	for (struct exception *e = d->book.first; e != NULL; e = e->next) {
		if (!is_wanted(d, e) || (d->snapshot.used && e->kind == EXCEPTION_MISSING))
			continue;
		if (cramped && !is_lone_probe(d, e)) {
			/* A single id takes no room. Nothing may be left out before it: what follows stands behind it. */
			if (cut || (e->lo != e->hi && (n > 0 || book_room(&d->book) < ROOM_FOR_ONE - 1))) {
				cut = true;
				continue;
			}
			cut = e->lo != e->hi;
		}
		e->asked = d->fetch_seq;
		*fenced |= e->kind == EXCEPTION_MISSING && e->fence != FENCE_NONE && e->fence != FENCE_PENDING;
		if (n > 0 && d->wanted[n - 1].hi + 1 == e->lo)
			d->wanted[n - 1].hi = e->hi;
		else
			d->wanted[n++] = (struct id_range){ .lo = e->lo, .hi = e->hi };
	}
	return n;
}

/* No small bites while there is something else to do. */
bool has_appetite(const struct delivery *d)
{
	uint32_t credit = row_credit(d);

	if (!d->leading || d->draining || d->pause != 0 || d->fetching || credit == 0 || byte_credit(d) == 0)
		return false;
	/* Memory may be full of lanes that cannot be parked: those that can go on again must be read to make room. */
	return resident(d) == 0 || d->blocks.lanes >= LIMIT_BLOCKED_LANES ||
	       (credit >= d->s.queue_messages / 4 && byte_credit(d) >= d->s.queue_bytes / 4);
}

static enum wakeup cause_of_fetch(const struct delivery *d)
{
	return d->more                       ? WAKEUP_OF_MORE
	       : d->urgent                   ? WAKEUP_OF_PROBE
	       : d->pace.notified            ? WAKEUP_OF_NOTIFY
	       : d->pace.mode == PACE_ASLEEP ? WAKEUP_OF_SAFETY
					     : WAKEUP_OF_POLL;
}

bool next_fetch(struct delivery *d, struct effect *f)
{
	uint64_t bytes = byte_credit(d);
	bool full = d->book.count >= LIMIT_EXCEPTIONS || d->blocks.lanes >= LIMIT_BLOCKED_LANES;
	bool fenced = false;

	if (!has_appetite(d) || !(d->urgent || pace_due(&d->pace, d->now)))
		return false;
	if (full && !d->stats.full)
		take_note(d, (struct note){ .kind = NOTE_FULL });
	d->stats.full = full;
	d->fetch_forward = !full && any_stream_open(d);
	d->fetch_seq++;
	choose_snapshot(d);
	f->kind = EFFECT_FETCH;
	f->fetch.wanted = d->wanted;
	f->fetch.wanted_count = list_wanted(d, &fenced);
	if (!d->fetch_forward && f->fetch.wanted_count == 0) {
		d->urgent = d->more = false;
		pace_failed(&d->pace, d->s.retry_min_ms, d->now);
		return false;
	}
	f->fetch.after = d->read;
	f->fetch.forward = d->fetch_forward;
	f->fetch.rows = row_credit(d);
	f->fetch.bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
	f->fetch.kept = d->snapshot.used;
	f->fetch.horizon = !f->fetch.kept && (d->snapshot.asked || pace_wants_horizon(&d->pace));
	f->fetch.evidence = f->fetch.horizon && (fenced || pace_wants_horizon(&d->pace)) &&
			    d->now - d->evidence_ms >= EVIDENCE_PAUSE_MS;
	if (f->fetch.evidence)
		d->evidence_ms = d->now;
	d->fetching = true;
	d->stats.wakeups[cause_of_fetch(d)]++;
	d->urgent = d->more = false;
	pace_fetching(&d->pace, d->fetch_forward);
	d->stats.fetches++;
	return true;
}
