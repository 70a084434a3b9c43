/* Reading.
 *
 *     fetch --> rows --offer--> in memory, or parked
 *       |         `-- ids that were skipped: missing
 *       `-- asked for, and not among the rows: void, or gone
 *
 * A fetch reads in ONE snapshot, ascending, everything new and everything still missing or due: if a later row of a key is
 * seen, an earlier one was seen with it or before it. (When what is missing may be left out, see below: reading on.) */
#include "core/outbox/reading.h"

#include <assert.h>
#include <stdlib.h>

#include "core/mutant.h"
#include "core/outbox/exceptions.h"
#include "core/outbox/marking.h"
#include "core/outbox/outbox.h"
#include "core/refusal.h"

/* A row out of the middle of a range leaves two of it, and may be parked again. */
enum { ROOM_FOR_ONE = 3 };

enum { MISSING_PAUSE_US = 100, MISSING_PAUSE_MAX_MS = 1000, EVIDENCE_PAUSE_MS = 100 };

bool reading_create(struct reader *r, size_t capacity)
{
	r->reading.wanted = calloc(capacity, sizeof *r->reading.wanted);
	return r->reading.wanted != NULL;
}

void reading_destroy(struct reader *r)
{
	free(r->reading.wanted);
}

void reading_begin(struct reader *r, int64_t position)
{
	struct reading *g = &r->reading;

	assert(!g->fetching);
	g->read = MUTANT(reads_on) && g->read > position ? g->read : position;
	g->caught_up = false;
	g->haste = HASTE_WANTED;
	pace_reset(&r->pace, r->set, r->now_ms);
}

void reading_forget(struct reader *r)
{
	r->reading.fetching = false;
	r->reading.haste = HASTE_NONE;
	if (!MUTANT(kept_over))
		r->reading.kept_until_ms = 0;
}

void reading_hurry(struct reader *r, enum haste haste)
{
	if (r->reading.haste < haste)
		r->reading.haste = haste;
}

/* --- room --- */

/* How many rows there is room for: in the queue, and in the book. */
static uint32_t row_credit(const struct reader *r, size_t in_memory)
{
	size_t room = book_room(&r->book);
	size_t credit = r->set->queue_messages - in_memory;
	size_t book = room > in_memory + 8 ? (room - in_memory - 8) / 4 : 0;

	if (credit > book)
		credit = book;
	/* With nothing in memory nothing else would ever make room in the book: one at a time, then. */
	if (credit == 0 && in_memory == 0 && room > 0)
		credit = 1;
	return (uint32_t)credit;
}

static uint64_t byte_credit(const struct reader *r)
{
	uint64_t taken = memory_resident_bytes(r->send);

	return taken < r->set->queue_bytes ? r->set->queue_bytes - taken : 0;
}

bool reading_has_appetite(const struct reader *r)
{
	size_t in_memory = memory_resident(r->send);
	uint32_t rows;
	uint64_t bytes;

	if (r->reading.fetching)
		return false;
	/* No small bites while there is something else to do. But memory may be full of lanes that cannot be parked: those that can
	 * go on again must be read to make room. */
	if (in_memory == 0 || holding_lanes_are_full(r->send))
		return row_credit(r, in_memory) > 0 && byte_credit(r) > 0;
	if (r->set->queue_messages - in_memory < r->set->queue_messages / 4)
		return false;
	rows = row_credit(r, in_memory);
	bytes = byte_credit(r);
	return rows > 0 && rows >= r->set->queue_messages / 4 && bytes > 0 && bytes >= r->set->queue_bytes / 4;
}

/* --- the rows --- */

/* The exception of a row that is no news by its id, cut out of its range; NULL: it was not asked for, or is not wanted any
 * more. (Ranges are joined when they are asked for: rows in between are known already.) */
static struct exception *wanted_one(struct reader *r, int64_t id)
{
	struct exception *e = book_find(&r->book, id);

	if (e == NULL || e->asked != r->reading.round || !exceptions_is_wanted(r, e))
		return NULL;
	return book_single(&r->book, e, id);
}

static bool offer(struct reader *r, struct row *row, struct exception *e)
{
	struct offer o = { .row = row, .ticket = row->id };
	const struct outcome *parked;
	struct doubt doubt;

	if (e != NULL) {
		o.turn = e->kind == EXCEPTION_HELD ? TURN_REDRIVEN : TURN_LATE;
		o.attempts = e->attempts;
		o.was_parked = e->scope;
	}
	if (e != NULL || !r->reading.caught_up) {
		doubt = exceptions_doubt(r, row, e);
		o.doubt = &doubt;
	}
	row->slot = sender_offer(r->send, &o);
	if (row->slot < 0) {
		parked = outcomes_take(r->outcomes);
		assert(parked != NULL && parked->kind == OUTCOME_PARKED && parked->ticket == row->id);
		exceptions_parked(r, parked);
		return o.was_parked == SCOPE_NONE;
	}
	if (e != NULL)
		exceptions_activate(r, e);
	r->stats->last_row_ms = r->now_ms;
	return true;
}

/* Returns whether the row was news. */
static bool row_arrived(struct reader *r, struct row *row)
{
	struct reading *g = &r->reading;
	struct exception *e = NULL;

	if (MUTANT(unrouted_dies) && row->stream == STREAM_UNROUTED)
		*row = (struct row){ .id = row->id, .defect = DEFECT_SUBJECT_UNROUTED };
	if (row->id > g->read) {
		if (row->id > g->read + 1)
			exceptions_missing(r, g->read + 1, row->id - 1);
		g->read = row->id;
	} else {
		e = wanted_one(r, row->id);
		if (e == NULL)
			return false;
	}
	r->stats->rows++;
	marking_dirty(r);
	return offer(r, row, e);
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
static int64_t pause_of_missing(const struct reader *r)
{
	uint32_t pause_us = r->set->missing_pause_us > 0 ? r->set->missing_pause_us : MISSING_PAUSE_US;
	int64_t pause_ms = (int64_t)r->book.kinds[EXCEPTION_MISSING] * pause_us / 1000;

	return pause_ms < MISSING_PAUSE_MAX_MS ? pause_ms : MISSING_PAUSE_MAX_MS;
}

static void choose_snapshot(struct reader *r)
{
	if (r->now_ms < r->reading.kept_until_ms)
		r->reading.snapshot = SNAPSHOT_USED;
	else
		r->reading.snapshot = r->book.kinds[EXCEPTION_MISSING] > 0 ? SNAPSHOT_ASKED : SNAPSHOT_NONE;
}

/* reached: the answer goes beyond all that was missing. The pause is set once, by what is missing still: what is found missing
 * meanwhile must not put the question off. */
static void keep_snapshot(struct reader *r, const struct event *ev, bool reached)
{
	if ((r->reading.snapshot == SNAPSHOT_ASKED || MUTANT(kept_unasked)) && (reached || MUTANT(kept_cut_short)))
		r->reading.kept_until_ms = r->now_ms + pause_of_missing(r);
	if (ev->rows.complete || ev->rows.beyond) /* there is nothing in it any more that was not read */
		r->reading.kept_until_ms = 0;
}

static void catch_up(struct reader *r)
{
	if (!r->reading.forward || r->reading.caught_up)
		return;
	r->reading.caught_up = true;
	assert(r->reading.read >= r->marking.position);
	r->reading.caught_up_to = r->reading.read;
	sender_caught_up(r->send, r->reading.read);
}

void reading_rows(struct reader *r, const struct event *ev)
{
	struct reading *g = &r->reading;
	const struct row *last = ev->rows.count > 0 ? &ev->rows.rows[ev->rows.count - 1] : NULL;
	bool complete = ev->rows.complete, missing;
	int64_t read_before = g->read;
	uint32_t news = 0;

	assert(g->fetching);
	g->fetching = false;
	for (size_t i = 0; i < ev->rows.count; i++)
		news += row_arrived(r, &ev->rows.rows[i]);
	assert(last == NULL || g->read >= last->id);
	if (r->book.count > r->book.kinds[EXCEPTION_ACTIVE])
		exceptions_absent(r, ev->rows.horizon,
				  complete || MUTANT(truncated_void) ? INT64_MAX
				  : last != NULL                     ? last->id
								     : INT64_MIN);
	keep_snapshot(r, ev, last != NULL && last->id > read_before);
	if (complete)
		catch_up(r);
	else
		reading_hurry(r, HASTE_MORE);
	missing = r->book.kinds[EXCEPTION_MISSING] > 0;
	pace_rows(&r->pace, news, complete || !g->forward, news >= r->set->queue_messages / 8 && news > 1, missing,
		  ev->rows.horizon, r->now_ms);
	pace_rest(&r->pace, news, r->now_ms - ev->rows.asked_ms, r->now_ms);
}

void reading_failed(struct reader *r)
{
	r->reading.fetching = false;
	pace_failed(&r->pace, r->set->retry_min_ms, r->now_ms);
}

/* --- the fetch --- */

/* It leads its scope and stands alone: to read it, and to park it again, needs no room in the book. */
static bool is_lone_probe(const struct reader *r, const struct exception *e)
{
	return e->lo == e->hi && holding_is_probed_by(r->send, e->scope, e->lo);
}

/* With hardly any room in the book: may e be asked for, behind `listed` others? A single id takes no room. Nothing may be left out
 * before e: what follows stands behind it. *cut: something was left out, or will need all the room. */
static bool fits(const struct reader *r, const struct exception *e, size_t listed, bool *cut)
{
	if (is_lone_probe(r, e))
		return true;
	if ((*cut && !MUTANT(full_overtakes)) ||
	    (e->lo != e->hi && (listed > 0 || book_room(&r->book) < ROOM_FOR_ONE - 1))) {
		*cut = true;
		return false;
	}
	*cut = e->lo != e->hi;
	return true;
}

/* Lists what is wanted, exactly. Joining ranges across rows that are known already would save descents into the index,
 * but the known rows would use up the room for new ones. `fenced`: there is one among them that may be void. */
static size_t list_wanted(struct reader *r, bool *fenced)
{
	bool cramped = book_room(&r->book) < ROOM_FOR_ONE, cut = false;
	struct id_range *wanted = r->reading.wanted;
	size_t n = 0;

	for (struct exception *e = r->book.first; e != NULL; e = e->next) {
		if ((r->reading.snapshot == SNAPSHOT_USED && e->kind == EXCEPTION_MISSING) ||
		    !exceptions_is_wanted(r, e) || (cramped && !fits(r, e, n, &cut)))
			continue;
		book_asked(e, r->reading.round);
		*fenced |= e->kind == EXCEPTION_MISSING && e->fence != FENCE_NONE && e->fence != FENCE_PENDING;
		if (n > 0 && wanted[n - 1].hi == e->lo - 1)
			wanted[n - 1].hi = e->hi;
		else
			wanted[n++] = (struct id_range){ .lo = e->lo, .hi = e->hi };
	}
	return n;
}

static enum wakeup cause_of_fetch(const struct reader *r)
{
	return r->reading.haste == HASTE_MORE     ? WAKEUP_OF_MORE
	       : r->reading.haste == HASTE_WANTED ? WAKEUP_OF_PROBE
	       : r->pace.notified                 ? WAKEUP_OF_NOTIFY
	       : r->pace.mode == PACE_ASLEEP      ? WAKEUP_OF_SAFETY
						  : WAKEUP_OF_POLL;
}

/* What most exceptions are there for, and one of them. */
static struct note note_full(const struct reader *r)
{
	struct {
		const struct exception *one;
		size_t count;
	} why[LIMIT_REASONS] = { { .one = NULL } };
	size_t most = 0;

	for (const struct exception *e = r->book.first; e != NULL; e = e->next) {
		size_t i = 0;

		while (i < LIMIT_REASONS - 1 && why[i].one != NULL && why[i].one->reason != e->reason)
			i++;
		why[i].one = why[i].one != NULL ? why[i].one : e;
		most = ++why[i].count > why[most].count ? i : most;
	}
	return (struct note){ .kind = NOTE_FULL,
			      .id = why[most].one != NULL ? why[most].one->lo : 0,
			      .reason = why[most].one != NULL ? why[most].one->reason : REASON_NONE };
}

static void look_for_room(struct reader *r)
{
	bool full = r->book.count >= LIMIT_EXCEPTIONS || holding_lanes_are_full(r->send);

	if (full && !r->reading.full)
		notes_add(r->notes, note_full(r));
	r->reading.full = full;
	r->reading.forward = !full && holding_any_stream_open(r->send);
}

static void ask(struct reader *r, bool fenced, struct effect *f)
{
	struct reading *g = &r->reading;
	bool drowsy = pace_wants_horizon(&r->pace);
	uint64_t bytes = byte_credit(r);

	assert(bytes > 0 && memory_resident(r->send) < r->set->queue_messages);
	f->fetch.after = g->read;
	f->fetch.forward = g->forward;
	f->fetch.rows = row_credit(r, memory_resident(r->send));
	f->fetch.bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
	f->fetch.kept = g->snapshot == SNAPSHOT_USED;
	f->fetch.horizon = g->snapshot == SNAPSHOT_ASKED || (drowsy && g->snapshot == SNAPSHOT_NONE);
	f->fetch.evidence = f->fetch.horizon && (fenced || drowsy) && r->now_ms - g->evidence_ms >= EVIDENCE_PAUSE_MS;
	if (f->fetch.evidence)
		g->evidence_ms = r->now_ms;
}

bool reading_next(struct reader *r, struct effect *f)
{
	struct reading *g = &r->reading;
	bool fenced = false;

	if ((g->haste == HASTE_NONE && !pace_due(&r->pace, r->now_ms)) || !reading_has_appetite(r))
		return false;
	look_for_room(r);
	g->round = sender_round(r->send);
	choose_snapshot(r);
	f->kind = EFFECT_FETCH;
	f->fetch.wanted = g->wanted;
	f->fetch.wanted_count = list_wanted(r, &fenced);
	if (!g->forward && f->fetch.wanted_count == 0) {
		g->haste = HASTE_NONE;
		pace_failed(&r->pace, r->set->retry_min_ms, r->now_ms);
		return false;
	}
	ask(r, fenced, f);
	assert(!g->fetching && f->fetch.wanted_count <= r->book.count);
	g->fetching = true;
	r->stats->wakeups[cause_of_fetch(r)]++;
	g->haste = HASTE_NONE;
	r->stats->fetches++;
	pace_fetching(&r->pace, g->forward);
	return true;
}
