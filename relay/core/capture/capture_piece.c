#include "core/capture/capture_piece.h"

#include "core/capture/capture_mutant.h"
#include "core/capture/capture_walks.h"

void capture_piece_inherit(struct capture_reading *r, uint32_t table)
{
	const struct capture_table *t = &r->table[table];

	/* Its snapshot is gone. And a number that was given may have rows in the stream: so none is read before another one is on record. */
	if (t->state == CAPTURE_TABLE_WAITING || t->state == CAPTURE_TABLE_READING)
		r->walk[table].again = MUTANT(whole_kept) && t->reading != 0 ? 0 : CAPTURE_AGAIN_PIECE;
	if (MUTANT(whole_kept) && t->state == CAPTURE_TABLE_READING)
		r->table[table].state = CAPTURE_TABLE_WAITING;
}

void capture_piece_open(struct capture_reading *r, uint64_t filenode)
{
	r->piece = (struct capture_piece){ .open = true, .table = r->at, .until_ms = r->now_ms + r->set->whole_ms };
	r->table[r->at].filenode = filenode;
}

static void close_piece(struct capture_reading *r)
{
	r->piece.open = r->piece.begun = false;
	r->end = END_UNKNOWN;
	if (r->asked == ASKED_PIECE || r->asked == ASKED_END || r->asked == ASKED_CONTROL)
		r->asked = ASKED_NOTHING;
}

void capture_piece_break(struct capture_reading *r, enum capture_again why)
{
	if (!r->piece.open)
		return;
	r->piece.transaction_due = true;
	r->stopped_ms = NEVER;
	r->walk[r->piece.table].again = why;
	close_piece(r);
}

/* --- rows --- */

bool capture_piece_ask(struct capture_reading *r, struct capture_effect *f)
{
	const struct capture_table *t = &r->table[r->piece.table];

	if (capture_rows_chunk_room(r->rows) < r->set->chunk_rows)
		return false;
	r->at = r->piece.table;
	r->kind = CAPTURE_CHUNK_PIECE;
	r->asked = ASKED_PIECE;
	f->kind = CAPTURE_EFFECT_CHUNK;
	f->chunk.kind = CAPTURE_CHUNK_PIECE;
	f->chunk.table = r->at;
	f->chunk.reading = t->reading;
	f->chunk.after = f->chunk.upto = CAPTURE_NO_SLOT;
	f->chunk.rows = r->set->chunk_rows;
	f->chunk.nth = r->piece.rows;
	return true;
}

/* Wherever they stand among the inserts that S has not seen: no row is a later state of another one. */
void capture_piece_take(struct capture_reading *r, struct capture_event *ev)
{
	struct capture_table *t = &r->table[r->piece.table];

	r->asked = ASKED_NOTHING;
	for (size_t i = 0; i < ev->chunk.count; i++) {
		ev->chunk.rows[i].slot = capture_rows_take(r->rows, &ev->chunk.rows[i], true);
		capture_rows_append(r->rows, ev->chunk.rows[i].slot);
	}
	r->piece.rows += ev->chunk.count;
	r->piece.read = ev->chunk.complete;
	r->stats->chunks++;
	r->stats->rows_read += ev->chunk.count;
	t->rows += ev->chunk.count;
	/* How far it is; nobody goes on from there. */
	if (r->step_count == 0)
		capture_walks_step(r, r->piece.table, r->rows->next - 1, CAPTURE_NO_SLOT);
}

/* --- the log --- */

bool capture_piece_lets_go(const struct capture_reading *r, uint32_t xid, const struct capture_event *ev)
{
	return r->piece.open && r->piece.begun && ev->change.table == r->piece.table &&
	       ev->change.kind == CAPTURE_CHANGE_ROW && !MUTANT(whole_seen_sent) &&
	       (snapshot_xids_seen(&r->chunk.xids, xid) || MUTANT(whole_unseen_let_go));
}

/* All that S has seen has come: nothing is let go from now on. */
static bool has_passed(const struct capture_reading *r)
{
	return r->piece.read && (MUTANT(whole_without_end) || (r->end == END_KNOWN && r->position >= r->end_lsn));
}

/* A transaction that was let go has no message, so no ordinal speaks for it. Were the table on record as read while the position lies before such a one, it would come again
 * after a crash, and be sent beside its rows. So the step is added only where each mark from now on goes behind all of them. */
void capture_piece_settled(struct capture_reading *r, uint64_t taken, uint64_t settled)
{
	if (!r->piece.open || !has_passed(r) || !capture_walks_have_room(r))
		return;
	if (r->piece.behind == 0)
		r->piece.behind = taken;
	if (settled < r->piece.behind && !MUTANT(whole_unsettled))
		return;
	r->table[r->piece.table].state = CAPTURE_TABLE_READ;
	/* And before that is on record its end is not said: whoever leads then would begin anew, and send again what was let go. */
	r->walk[r->piece.table].unrecorded = !MUTANT(whole_end_early);
	capture_walks_step(r, r->piece.table, r->rows->next - 1, CAPTURE_NO_SLOT);
	close_piece(r);
}

/* --- its transaction --- */

bool capture_piece_next(struct capture_reading *r, struct capture_effect *f)
{
	/* Too long: what PostgreSQL keeps for it grows, and whoever wants to change the table waits for it. It rests as long before it is tried again. */
	if (r->piece.open && !r->piece.read && r->now_ms >= r->piece.until_ms) {
		r->walk[r->piece.table].not_before_ms = r->now_ms + r->set->whole_ms;
		capture_piece_break(r, CAPTURE_AGAIN_LONG);
	}
	if (!r->piece.transaction_due)
		return false;
	r->piece.transaction_due = false;
	f->kind = CAPTURE_EFFECT_LET_GO;
	return true;
}

int64_t capture_piece_deadline(const struct capture_reading *r)
{
	int64_t at = r->piece.read ? INT64_MAX : r->piece.until_ms;

	return r->next_ms > r->now_ms && r->next_ms < at ? r->next_ms : at;
}
