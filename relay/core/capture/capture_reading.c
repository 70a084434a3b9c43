#include "core/capture/capture_reading.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/capture/capture_mutant.h"
#include "core/capture/capture_piece.h"
#include "core/capture/capture_repairs.h"
#include "core/capture/capture_walks.h"

enum {
	VOID_PAUSE_MS = 1,        /* a limbo is as short as a commit, mostly */
	LOOK_PAUSE_MS = 5,        /* between two looks at the horizon: from, */
	LOOK_PAUSE_MAX_MS = 1000, /* to */
	FAILED_TABLE_MS = 30000,  /* a table that cannot be read is tried again after this */
};

bool capture_reading_create(struct capture_reading *r, const struct capture_settings *set, struct capture_rows *rows,
			    struct capture_stats *stats)
{
	size_t most_xids = set->most_xids != 0 ? set->most_xids : LIMIT_CAPTURE_XIDS;

	*r = (struct capture_reading){ .set = set, .rows = rows, .stats = stats };
	r->most_repairs = set->send.queue_messages;
	r->table = calloc((size_t)set->tables + 1, sizeof *r->table);
	r->walk = calloc((size_t)set->tables + 1, sizeof *r->walk);
	r->repair = calloc(r->most_repairs, sizeof *r->repair);
	r->repair_slot = calloc(r->most_repairs, sizeof *r->repair_slot);
	if (r->table == NULL || r->walk == NULL || r->repair == NULL || r->repair_slot == NULL ||
	    !chunk_create(&r->chunk, rows, set->chunk_rows, most_xids))
		return false;
	capture_reading_forget(r);
	return true;
}

void capture_reading_destroy(struct capture_reading *r)
{
	chunk_destroy(&r->chunk);
	free(r->table);
	free(r->walk);
	free(r->repair);
	free(r->repair_slot);
}

void capture_reading_forget(struct capture_reading *r)
{
	chunk_forget(&r->chunk);
	snapshot_xids_barrier(&r->chunk.xids);
	for (uint32_t i = 0; i < r->set->tables; i++)
		r->walk[i] = (struct capture_walk){ .cursor = CAPTURE_NO_SLOT, .top = CAPTURE_NO_SLOT };
	r->asked = ASKED_NOTHING;
	r->barrier = BARRIER_WANTED;
	r->end = END_UNKNOWN;
	r->window_due = false;
	r->stopped_ms = NEVER;
	r->last_slot = CAPTURE_NO_SLOT;
	r->piece = (struct capture_piece){ .open = false };
	r->next_ms = 0;
	r->failures = r->looks = 0;
	r->limbo_said = false;
	r->step_count = r->repair_count = 0;
	r->unrepaired = 0;
}

void capture_reading_begin(struct capture_reading *r, const struct capture_event *ev)
{
	r->position = ev->leading.end_lsn;
	r->paused = ev->leading.reading_paused;
	for (uint32_t i = 0; i < r->set->tables; i++) {
		struct capture_table *t = &r->table[i];
		uint32_t last;

		*t = ev->leading.tables[i];
		last = t->repair_first + t->repair_count - 1;
		if (t->repair_count > 0 && t->readings < last)
			t->readings = last;
		if (t->readings < t->reading)
			t->readings = t->reading;
		/* An earlier leader has put rows on record that are to be read once more, and did not come to it. */
		if (t->state == CAPTURE_TABLE_COMPLETE && t->repair_count > 0 && !MUTANT(reopened_forgotten))
			t->state = CAPTURE_TABLE_READ;
		r->walk[i].from_start = t->state == CAPTURE_TABLE_WAITING;
		if (t->whole)
			capture_piece_inherit(r, i);
		r->walk[i].sealed = true; /* some of its rows may have gone out already */
	}
	/* Whoever was streamed to an earlier leader may be in limbo still. */
	if ((MUTANT(barrier_once) && ev->leading.ordinal > 0) || MUTANT(no_barrier))
		r->barrier = BARRIER_PASSED;
}

void capture_reading_clock(struct capture_reading *r, int64_t now_ms)
{
	r->now_ms = now_ms;
}

/* --- the window --- */

/* Everything that the chunk has seen has come: what is left stands behind it, and before whatever comes now. */
static void close_window(struct capture_reading *r)
{
	struct capture_table *t = &r->table[r->at];
	uint32_t slot = r->last_slot;

	chunk_emit_all(&r->chunk);
	t->rows += r->chunk.count;
	if (r->kind == CAPTURE_CHUNK_REPAIR)
		capture_repairs_read(r, r->at);
	else if (r->complete)
		t->state = CAPTURE_TABLE_READ;
	capture_walks_step(r, r->at, r->rows->next - 1, slot);
	if (slot != CAPTURE_NO_SLOT)
		capture_walks_cursor(r, &r->walk[r->at], slot);
	r->last_slot = CAPTURE_NO_SLOT;
	r->end = END_UNKNOWN;
	chunk_forget(&r->chunk);
}

static bool go_together(const struct capture_reading *r)
{
	return r->table[r->at].pass != 0 || (r->set->rows_together && r->kind == CAPTURE_CHUNK_ROWS);
}

/* Of a verify pass, and where rows go together, those that are left are messages of several, which the owner makes: the log stands still until they are there
 * (capture_questions_holds), so they stand where the rows would. */
static void look_at_window(struct capture_reading *r)
{
	if (!r->chunk.open || r->end != END_KNOWN || r->position < r->end_lsn)
		return;
	if (go_together(r) && r->chunk.left > 0)
		r->window_due = true;
	else
		close_window(r);
}

static void put_message(struct capture_reading *r, struct capture_row *message, uint32_t rows)
{
	if (rows == 1) {
		chunk_emit_first(&r->chunk);
		return;
	}
	chunk_drop_first(&r->chunk, rows);
	message->slot = capture_rows_take(r->rows, message, true);
	capture_rows_append(r->rows, message->slot);
}

void capture_reading_window(struct capture_reading *r, struct capture_event *ev)
{
	size_t count = ev->window.none ? 0 : ev->window.count;

	for (size_t i = 0; i < count; i++)
		ev->window.messages[i].slot = CAPTURE_NO_SLOT;
	if (r->asked != ASKED_WINDOW)
		return;
	r->asked = ASKED_NOTHING;
	r->window_due = false;
	r->stats->windows++;
	for (size_t i = 0; i < count; i++)
		put_message(r, &ev->window.messages[i], ev->window.rows[i]);
	close_window(r);
}

void capture_reading_position(struct capture_reading *r, uint64_t lsn)
{
	if (lsn > r->position)
		r->position = lsn;
	if (MUTANT(window_at_message) && r->chunk.open) {
		r->end = END_KNOWN;
		r->end_lsn = 0;
	}
	look_at_window(r);
}

/* Each of the keys has a row that may wait here; and between the changes of one message nothing stands. Where none is known (it has other columns by now than those by which
 * the rows were read, or other names) any row may be the one. */
static void emit_keys(struct capture_reading *r, const struct capture_event *ev)
{
	const struct capture_row *row = &ev->change.row;

	if (row->key == NULL && !MUTANT(unkeyed_ignored))
		r->stats->rows_early += chunk_emit_all(&r->chunk);
	else if (row->key != NULL)
		r->stats->rows_early += chunk_emit(&r->chunk, row->key, row->key_bytes);
	for (uint32_t i = 0; i < ev->change.other_count && !MUTANT(others_ignored); i++)
		r->stats->rows_early += chunk_emit(&r->chunk, ev->change.others[i].key, ev->change.others[i].key_bytes);
}

void capture_reading_change(struct capture_reading *r, uint32_t xid, const struct capture_event *ev)
{
	if (!r->chunk.open || ev->change.table != r->at || ev->change.kind == CAPTURE_CHANGE_OTHER)
		return;
	/* Its transaction was seen: the row, if it is here, holds this change already, and stands behind it. */
	if (snapshot_xids_seen(&r->chunk.xids, xid) && !MUTANT(seen_ignored))
		return;
	if (ev->change.kind == CAPTURE_CHANGE_TRUNCATE)
		r->stats->rows_early += MUTANT(truncate_ignored) ? 0 : chunk_emit_all(&r->chunk);
	else
		emit_keys(r, ev);
	/* A verify pass says also of a key that there is no such row: that holds until a change gives a row this key. (Of a row that is there nothing but a change of
	 * its own makes room for another.) */
	if (r->table[r->at].pass != 0 && ev->change.repair_key != NULL && !MUTANT(pass_of_old_key))
		r->stats->rows_early += chunk_emit(&r->chunk, ev->change.repair_key, ev->change.repair_key_bytes);
}

/* All its rows were read, and one is to be read once more. What was streamed while nothing was to be read is in no U: that asks for a barrier. */
static void reopen(struct capture_reading *r, uint32_t table)
{
	if (!capture_walks_unfinished(r) && !MUTANT(reopened_at_once))
		r->barrier = BARRIER_WANTED;
	r->table[table].state = CAPTURE_TABLE_READ;
}

/* No new lead is needed, for the stream has had the table all the time (a table that is added is another matter: who writes to it may have begun before, and is
 * not decoded). While another table is read the barrier has been passed, and U has everything that was streamed since, of each table. While none
 * was, nobody has kept U: then the first chunk stands behind a barrier of its own, as after reopen(). */
void capture_reading_verify(struct capture_reading *r, const struct capture_event *ev)
{
	uint32_t table = ev->verify.table;
	struct capture_walk *w = &r->walk[table];

	if (!capture_walks_unfinished(r) && !MUTANT(pass_at_once))
		r->barrier = BARRIER_WANTED;
	r->table[table] = ev->verify.now;
	*w = (struct capture_walk){
		.cursor = CAPTURE_NO_SLOT, .top = CAPTURE_NO_SLOT, .from_start = true, .sealed = true
	};
}

void capture_reading_changed(struct capture_reading *r, const struct capture_event *ev, uint32_t slot)
{
	uint32_t table = ev->change.table;

	if (ev->change.repair_key == NULL || ev->change.moves_whole || table == CAPTURE_NO_TABLE ||
	    MUTANT(repair_forgotten))
		return;
	/* Who is compared with has the whole row already, and moves it. */
	if (r->table[table].pass != 0 && !MUTANT(pass_repairs))
		return;
	if (ev->change.read_instead && !capture_reading_state_is_unfinished(&r->table[table]))
		reopen(r, table);
	/* Before its first row is read nothing can have moved to where reading has passed. */
	if (capture_reading_state_is_unfinished(&r->table[table]) && r->table[table].state != CAPTURE_TABLE_WAITING)
		capture_repairs_add(r, table, ev->change.repair_key, ev->change.repair_key_bytes, slot);
}

void capture_reading_committed(struct capture_reading *r, uint32_t xid)
{
	if (r->barrier == BARRIER_WANTED || !capture_walks_unfinished(r))
		return;
	snapshot_xids_committed(&r->chunk.xids, xid);
	if (r->chunk.xids.unseen_lost)
		r->barrier = BARRIER_WANTED;
}

/* --- answers --- */

void capture_reading_pause(struct capture_reading *r, bool paused)
{
	/* Transactions that were streamed long ago are no news to a barrier. */
	if (r->paused && !paused)
		r->barrier = BARRIER_WANTED;
	r->paused = paused;
	/* No transaction of ours stays open as long as it pleases somebody. */
	if (paused)
		capture_piece_break(r, CAPTURE_AGAIN_PIECE);
	if (r->asked != ASKED_CHUNK)
		r->stopped_ms = NEVER;
}

static int64_t retry_at(struct capture_reading *r)
{
	int64_t pause = (int64_t)r->set->send.retry_min_ms << (r->failures < 16 ? r->failures : 16);

	r->failures++;
	return r->now_ms + (pause < r->set->send.retry_max_ms ? pause : r->set->send.retry_max_ms);
}

void capture_reading_drawn(struct capture_reading *r, uint64_t xid)
{
	if (r->asked != ASKED_DRAW)
		return;
	r->asked = ASKED_NOTHING;
	r->failures = r->looks = 0;
	/* It was wanted once more meanwhile. */
	if (r->barrier == BARRIER_WANTED)
		return;
	r->fence = xid;
}

void capture_reading_horizon(struct capture_reading *r, const struct capture_event *ev)
{
	/* An xmax is one past the last that has ended: one below it may be under way, and one at or above it in limbo. */
	uint64_t horizon = MUTANT(barrier_by_xmax) ? ev->horizon.xmax : ev->horizon.horizon;
	int64_t pause = (int64_t)LOOK_PAUSE_MS << (r->looks < 16 ? r->looks : 16);

	if (r->asked != ASKED_HORIZON)
		return;
	r->asked = ASKED_NOTHING;
	r->failures = 0;
	if (r->barrier != BARRIER_DRAWN)
		return;
	if (horizon >= r->fence) {
		r->barrier = BARRIER_PASSED;
		r->stats->barriers++;
		return;
	}
	if (r->looks++ == 4)
		capture_walks_note(r, (struct capture_note){ .kind = CAPTURE_NOTE_BARRIER, .xid = r->fence });
	r->next_ms = r->now_ms + (pause < LOOK_PAUSE_MAX_MS ? pause : LOOK_PAUSE_MAX_MS);
}

/* A streamed transaction is not visible yet, a commit's latency at most; or longer, where a standby is away. Then the stream goes
 * on for a while: what it brings is news to U, and waited for in its turn. */
static void wait_out_limbo(struct capture_reading *r)
{
	r->stats->chunks_void++;
	r->next_ms = r->now_ms + VOID_PAUSE_MS;
	if (r->now_ms - r->stopped_ms < r->set->chunk_wait_ms)
		return;
	r->stopped_ms = NEVER;
	r->next_ms = r->now_ms + r->set->chunk_wait_ms;
	if (!r->limbo_said && r->chunk.xids.unseen_count > 0)
		capture_walks_note(r,
				   (struct capture_note){ .kind = CAPTURE_NOTE_LIMBO, .xid = r->chunk.xids.unseen[0] });
	r->limbo_said = true;
}

/* The stream has its share of the time. That is for what has changed; where the log has brought no change since the last chunk, half of the pause is for nobody.
 * (What comes while the stream stands still is brought before the next chunk in any case: its window closes behind that.) The other half is left, or who
 * wants the server to be read slowly could not say so as long as nobody writes. */
static void rest(struct capture_reading *r)
{
	bool idle = r->stats->changes == r->changes_then;
	int64_t share = (int64_t)r->set->chunk_share * (idle ? 2 : 1);

	share = share < 100 ? share : 100;
	r->changes_then = r->stats->changes;
	r->next_ms = r->now_ms + (r->now_ms - r->stopped_ms) * (100 - share) / share;
	r->stopped_ms = NEVER;
	r->limbo_said = false;
}

/* Rewritten since the last chunk: by TRUNCATE, or by ALTER TABLE, of whose new contents no change tells (capture.md 9.7). */
static bool was_rewritten(const struct capture_reading *r, uint64_t filenode)
{
	return r->table[r->at].filenode != 0 && r->table[r->at].filenode != filenode && !MUTANT(filenode_ignored);
}

/* Rows above the largest key that S shows were all put there by transactions that S has not seen, so the log brings them; and brings them
 * behind the message that says that rows begin, for S has seen all that was streamed before (README.md, The top). */
static void take_top(struct capture_reading *r, struct capture_event *ev)
{
	uint32_t slot = CAPTURE_NO_SLOT;

	if (!snapshot_xids_take(&r->chunk.xids, &ev->chunk.snapshot) && !MUTANT(top_in_limbo)) {
		wait_out_limbo(r);
		return;
	}
	rest(r);
	if (ev->chunk.count > 0)
		slot = ev->chunk.rows[0].slot = capture_rows_take(r->rows, &ev->chunk.rows[0], true);
	capture_walks_bound(r, r->at, ev->chunk.filenode, slot);
	if (ev->chunk.count > 0)
		return;
	/* No row is a chunk, too: what it has seen go must have come before the end is said. */
	if (MUTANT(empty_at_once)) {
		r->table[r->at].state = CAPTURE_TABLE_READ;
		return;
	}
	r->complete = true;
	chunk_open(&r->chunk, r->at, NULL, 0);
}

void capture_reading_chunk(struct capture_reading *r, struct capture_event *ev)
{
	struct capture_row *rows = ev->chunk.rows;
	size_t count = ev->chunk.count;

	for (size_t i = 0; i < count; i++)
		rows[i].slot = CAPTURE_NO_SLOT;
	if (r->asked == ASKED_PIECE) {
		r->failures = 0;
		capture_piece_take(r, ev);
		return;
	}
	if (r->asked != ASKED_CHUNK)
		return;
	r->asked = ASKED_NOTHING;
	r->failures = 0;
	if (was_rewritten(r, ev->chunk.filenode)) {
		r->walk[r->at].again = CAPTURE_AGAIN_FILENODE;
		r->stopped_ms = NEVER;
		return;
	}
	if (r->kind == CAPTURE_CHUNK_TOP) {
		take_top(r, ev);
		return;
	}
	if (!snapshot_xids_take(&r->chunk.xids, &ev->chunk.snapshot)) {
		r->piece.transaction_due = r->kind == CAPTURE_CHUNK_OPEN;
		wait_out_limbo(r);
		return;
	}
	if (r->kind == CAPTURE_CHUNK_OPEN) { /* the log stands still until it is said that rows begin */
		capture_piece_open(r, ev->chunk.filenode);
		if (r->paused)
			capture_piece_break(r, CAPTURE_AGAIN_PIECE);
		return;
	}
	rest(r);
	r->stats->chunks++;
	r->stats->rows_read += count;
	r->complete = ev->chunk.complete;
	chunk_open(&r->chunk, r->at, rows, count);
	if (count > 0 && r->kind == CAPTURE_CHUNK_ROWS) {
		r->last_slot = rows[count - 1].slot;
		capture_rows_hold(r->rows, r->last_slot);
	}
	look_at_window(r); /* its end is not known yet, but for a mutant */
}

void capture_reading_end(struct capture_reading *r, uint64_t lsn)
{
	if (r->asked != ASKED_END)
		return;
	r->asked = ASKED_NOTHING;
	r->failures = 0;
	r->end = END_KNOWN;
	r->end_lsn = lsn;
	look_at_window(r);
}

void capture_reading_failed(struct capture_reading *r, uint32_t reason)
{
	bool of_rows = r->asked == ASKED_CHUNK || r->asked == ASKED_PIECE, of_table = of_rows && reason != 0;

	if (r->asked == ASKED_NOTHING || r->asked == ASKED_CONTROL || r->asked == ASKED_WINDOW)
		return;
	r->stats->chunks_failed += of_rows;
	if (r->asked == ASKED_DRAW)
		r->barrier = BARRIER_WANTED;
	/* Its transaction is gone, or of no use. */
	if (r->asked == ASKED_PIECE)
		capture_piece_break(r, CAPTURE_AGAIN_PIECE);
	r->asked = ASKED_NOTHING;
	r->stopped_ms = NEVER;
	if (!of_table) {
		r->next_ms = retry_at(r);
		return;
	}
	/* Its publication may have it only from now on: what was open when it came there is not decoded, and must have ended before a row is read, as
	 * after ADD TABLE. */
	r->barrier = BARRIER_WANTED;
	r->walk[r->at].not_before_ms = r->now_ms + FAILED_TABLE_MS;
	capture_walks_note(r, (struct capture_note){ .kind = CAPTURE_NOTE_FAILED, .table = r->at, .reason = reason });
}

/* Begin and end messages have their places in the order as any other. */
void capture_reading_control(struct capture_reading *r, struct capture_event *ev)
{
	uint32_t table = ev->control.table;
	struct capture_table *t = &r->table[table];

	ev->control.row.slot = CAPTURE_NO_SLOT;
	if (r->asked != ASKED_CONTROL || table != r->at)
		return;
	r->asked = ASKED_NOTHING;
	if (!capture_rows_have_room(r->rows, UINT64_MAX, 0) ||
	    (ev->control.end && (t->state != CAPTURE_TABLE_READ || r->walk[table].again != 0 ||
				 (t->repair_count > 0 && !MUTANT(end_early)))))
		return;
	if (!ev->control.none) {
		ev->control.row.slot = capture_rows_take(r->rows, &ev->control.row, false);
		capture_rows_append(r->rows, ev->control.row.slot);
	}
	r->stats->controls++;
	if (ev->control.end) {
		t->state = CAPTURE_TABLE_COMPLETE;
		r->walk[table].ended = r->rows->next - 1;
		capture_walks_end(r, table);
	} else {
		t->state = CAPTURE_TABLE_READING;
		if (t->reading == 0)
			t->reading = ++t->readings;
		if (r->piece.open)
			rest(r);
		r->piece.begun = r->piece.open;
	}
	capture_walks_note(r, (struct capture_note){
				      .kind = ev->control.end ? CAPTURE_NOTE_COMPLETE : CAPTURE_NOTE_READING,
				      .table = table,
				      .reading = t->reading,
				      .rows = t->rows,
			      });
	capture_walks_step(r, table, r->rows->next - 1, CAPTURE_NO_SLOT);
}
