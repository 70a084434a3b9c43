#include "core/capture/capture_questions.h"

#include <assert.h>

#include "core/capture/capture_mutant.h"
#include "core/capture/capture_piece.h"
#include "core/capture/capture_repairs.h"
#include "core/capture/capture_walks.h"

enum work { WORK_NONE, WORK_RESTART, WORK_OPEN, WORK_BEGIN, WORK_ROWS, WORK_REPAIR, WORK_END };

/* The first table that is unfinished and may be read now, or one past the last. */
static uint32_t choose(const struct capture_reading *r)
{
	uint32_t i = 0;

	while (i < r->set->tables &&
	       (!capture_reading_state_is_unfinished(&r->table[i]) || r->now_ms < r->walk[i].not_before_ms))
		i++;
	return i;
}

/* A table that is opened once more (reopen) has said its end under the id that the next one has, too. Were both on their way, the stream would tell one sequence of two
 * messages; and where it is told of the second first, as of the one that stands there already, of the first as if it had given it again: as a stream does that
 * has lost its end. */
static bool is_end_stored(const struct capture_reading *r, const struct capture_walk *w)
{
	return w->ended <= capture_rows_settled(r->rows) || MUTANT(end_twice);
}

/* One that may not be read now keeps its walk waiting; but it must not be forgotten that it has to begin anew. */
static enum work work_of(struct capture_reading *r, uint32_t table)
{
	const struct capture_table *t = &r->table[table];
	const struct capture_walk *w = &r->walk[table];

	if (w->again != 0)
		return WORK_RESTART;
	if (w->unrecorded && !MUTANT(restart_unmarked))
		return WORK_NONE;
	if (t->state == CAPTURE_TABLE_WAITING)
		return t->whole ? WORK_OPEN : WORK_BEGIN;
	if (capture_repairs_ready(r, table, t->state == CAPTURE_TABLE_READ))
		return WORK_REPAIR;
	if (t->state == CAPTURE_TABLE_READING)
		return WORK_ROWS;
	/* The end is not said before every repair has gone out. */
	return (t->repair_count == 0 || MUTANT(end_early)) && is_end_stored(r, w) ? WORK_END : WORK_NONE;
}

/* --- questions --- */

/* A leader before us may live, and have been streamed what no barrier of ours waits for, as long as its walsender does. Once the
 * stream is ours it was streamed nothing more. */
static bool ask_barrier(struct capture_reading *r, bool streaming, struct capture_effect *f)
{
	if (r->barrier == BARRIER_DRAWN) {
		f->kind = CAPTURE_EFFECT_HORIZON;
		r->asked = ASKED_HORIZON;
		return true;
	}
	if (!streaming && !MUTANT(barrier_before_stream))
		return false;
	/* Whoever was streamed before the draw has an xid below it. */
	snapshot_xids_barrier(&r->chunk.xids);
	r->barrier = BARRIER_DRAWN;
	f->kind = CAPTURE_EFFECT_DRAW;
	r->asked = ASKED_DRAW;
	return true;
}

static bool ask_end(struct capture_reading *r, struct capture_effect *f)
{
	f->kind = CAPTURE_EFFECT_CHUNK_END;
	r->asked = ASKED_END;
	return true;
}

static bool ask_control(struct capture_reading *r, uint32_t table, bool end, struct capture_effect *f)
{
	if (!capture_walks_have_room(r) || !capture_rows_have_room(r->rows, r->set->send.queue_bytes, 0))
		return false;
	r->at = table;
	r->asked = ASKED_CONTROL;
	f->kind = CAPTURE_EFFECT_CONTROL;
	f->control.table = table;
	f->control.reading = r->table[table].reading != 0 ? r->table[table].reading : r->table[table].readings + 1;
	f->control.end = end;
	return true;
}

/* The stream stands still from now until it is answered: so U is all that was streamed before the chunk. And it stands between two
 * transactions, for the one under way may be the one that is waited for. */
static bool ask_chunk(struct capture_reading *r, uint32_t table, enum capture_chunk_kind kind, bool between,
		      struct capture_effect *f)
{
	const struct capture_table *t = &r->table[table];

	if ((!between && !MUTANT(chunk_in_transaction)) || !capture_walks_have_room(r) ||
	    capture_rows_chunk_room(r->rows) < capture_reading_slots_of_chunk(r->set)) {
		r->stopped_ms = NEVER;
		return false;
	}
	if (r->stopped_ms == NEVER)
		r->stopped_ms = r->now_ms;
	/* Where the walk ends, and in which files, is on record before its first row is read. */
	if (t->filenode == 0 && kind != CAPTURE_CHUNK_OPEN)
		kind = CAPTURE_CHUNK_TOP;
	r->at = table;
	r->kind = kind;
	if (MUTANT(end_first) && r->end == END_UNKNOWN)
		return ask_end(r, f);
	r->asked = ASKED_CHUNK;
	f->kind = CAPTURE_EFFECT_CHUNK;
	f->chunk.kind = kind;
	f->chunk.table = table;
	f->chunk.reading = kind == CAPTURE_CHUNK_REPAIR && !MUTANT(repair_of_walk) ? t->repair_first : t->reading;
	f->chunk.repairs = t->repair_first;
	f->chunk.after = r->walk[table].cursor;
	f->chunk.from_start = r->walk[table].from_start;
	f->chunk.upto = r->walk[table].top;
	f->chunk.rows = r->set->chunk_rows;
	return true;
}

/* A piece that is open goes before everything else, for its transaction; but a walk that has to begin anew must not wait for it: it may keep the position from moving, for
 * which the piece waits at its end (capture_piece_settled). */
static bool ask_piece(struct capture_reading *r, struct capture_effect *f)
{
	for (uint32_t i = 0; i < r->set->tables; i++)
		if (r->walk[i].again != 0 && capture_reading_state_is_unfinished(&r->table[i]) &&
		    capture_walks_have_room(r))
			capture_walks_restart(r, i);
	if (!r->piece.begun)
		return ask_control(r, r->piece.table, false, f);
	if (r->now_ms < r->next_ms)
		return false;
	if (r->piece.read)
		return r->end == END_UNKNOWN && ask_end(r, f);
	return capture_piece_ask(r, f);
}

/* Where nothing is left to be waited for but the answer: the message that says that rows begin has its room, too. */
static bool ask_open(struct capture_reading *r, uint32_t table, bool between, struct capture_effect *f)
{
	if (!capture_rows_have_room(r->rows, r->set->send.queue_bytes, 0)) {
		r->stopped_ms = NEVER;
		return false;
	}
	return ask_chunk(r, table, CAPTURE_CHUNK_OPEN, between, f);
}

/* The log waits for it, so it waits for nothing. */
static bool ask_window(struct capture_reading *r, struct capture_effect *f)
{
	f->kind = CAPTURE_EFFECT_WINDOW;
	f->window.table = r->at;
	f->window.reading = r->table[r->at].reading;
	f->window.slots = chunk_slots(&r->chunk);
	f->window.count = r->chunk.left;
	r->asked = ASKED_WINDOW;
	return true;
}

bool capture_questions_next(struct capture_reading *r, bool between, bool streaming, struct capture_effect *f)
{
	uint32_t table;

	if (r->asked == ASKED_NOTHING && r->window_due)
		return ask_window(r, f);
	if (r->asked == ASKED_NOTHING && r->piece.open)
		return ask_piece(r, f);

	if (r->asked != ASKED_NOTHING || r->now_ms < r->next_ms)
		return false;
	/* Only now: what S has seen had ended before S was taken, so before this position was asked for. */
	if (r->chunk.open)
		return r->end == END_UNKNOWN && ask_end(r, f);
	table = choose(r);
	if (r->paused || table == r->set->tables)
		return false;
	switch (work_of(r, table)) {
	case WORK_NONE: break;
	case WORK_RESTART:
		if (!capture_walks_have_room(r))
			return false;
		capture_walks_restart(r, table);
		return capture_questions_next(r, between, streaming, f);
	case WORK_OPEN:
		return r->barrier != BARRIER_PASSED ? ask_barrier(r, streaming, f) : ask_open(r, table, between, f);
	case WORK_BEGIN: return ask_control(r, table, false, f);
	case WORK_END: return ask_control(r, table, true, f);
	case WORK_ROWS:
		return r->barrier != BARRIER_PASSED ? ask_barrier(r, streaming, f)
						    : ask_chunk(r, table, CAPTURE_CHUNK_ROWS, between, f);
	case WORK_REPAIR:
		return r->barrier != BARRIER_PASSED ? ask_barrier(r, streaming, f)
						    : ask_chunk(r, table, CAPTURE_CHUNK_REPAIR, between, f);
	}
	r->stopped_ms = NEVER;
	return false;
}

/* --- looks --- */

bool capture_questions_stop(const struct capture_reading *r)
{
	return r->asked == ASKED_CHUNK || (r->stopped_ms != NEVER && !r->chunk.open);
}

bool capture_questions_holds(const struct capture_reading *r)
{
	return r->window_due && !MUTANT(window_goes_on);
}

bool capture_questions_are_none(const struct capture_reading *r)
{
	return !r->chunk.open && !r->piece.open && r->asked != ASKED_CHUNK && r->step_count == 0 &&
	       r->repair_count == 0;
}

int64_t capture_questions_deadline(const struct capture_reading *r)
{
	int64_t at = INT64_MAX;

	if (r->asked != ASKED_NOTHING)
		return INT64_MAX;
	if (r->chunk.open)
		return r->end == END_UNKNOWN ? r->next_ms : INT64_MAX;
	if (r->piece.open)
		return capture_piece_deadline(r);
	if (r->paused)
		return INT64_MAX;
	for (uint32_t i = 0; i < r->set->tables; i++)
		if (capture_reading_state_is_unfinished(&r->table[i]) && r->walk[i].not_before_ms < at)
			at = r->walk[i].not_before_ms;
	if (at == INT64_MAX)
		return INT64_MAX;
	at = at > r->next_ms ? at : r->next_ms;
	/* What does not wait for the clock waits for an event. */
	return at > r->now_ms ? at : INT64_MAX;
}

static enum capture_reader_state state_of(const struct capture_reading *r)
{
	if (r->chunk.open || (r->piece.open && r->piece.read))
		return CAPTURE_READER_WINDOW;
	if (r->asked == ASKED_CHUNK || r->asked == ASKED_PIECE)
		return CAPTURE_READER_READING;
	if (!capture_walks_unfinished(r))
		return CAPTURE_READER_IDLE;
	if (r->paused)
		return CAPTURE_READER_PAUSED;
	if (r->barrier != BARRIER_PASSED)
		return CAPTURE_READER_BARRIER;
	if (r->limbo_said || r->stopped_ms != NEVER)
		return CAPTURE_READER_LIMBO;
	return r->now_ms < r->next_ms ? CAPTURE_READER_RESTING : CAPTURE_READER_ROOM;
}

void capture_questions_stats(const struct capture_reading *r, struct capture_stats *stats)
{
	uint32_t table = choose(r);

	stats->reader = state_of(r);
	stats->waits_for = 0;
	if (stats->reader == CAPTURE_READER_BARRIER)
		stats->waits_for = r->fence;
	else if (stats->reader == CAPTURE_READER_LIMBO && r->chunk.xids.unseen_count > 0)
		stats->waits_for = snapshot_xids_widen(r->chunk.xids.xmax, r->chunk.xids.unseen[0]);
	stats->table = r->chunk.open || r->piece.open || r->asked == ASKED_CHUNK ? r->at
		       : table < r->set->tables                                  ? table
										 : CAPTURE_NO_TABLE;
	stats->tables_open = stats->repairs = 0;
	for (uint32_t i = 0; i < r->set->tables; i++) {
		stats->tables_open += capture_reading_state_is_unfinished(&r->table[i]);
		stats->repairs += r->table[i].repair_count;
	}
	stats->unseen_commits = (uint32_t)r->chunk.xids.unseen_count;
	stats->open_rows = r->chunk.left;
}
