#include "core/capture/capture_log.h"

#include <assert.h>

#include "core/capture/capture_mutant.h"
#include "core/capture/capture_piece.h"
#include "core/capture/capture_questions.h"
#include "core/capture/capture_reading.h"
#include "core/capture/capture_walks.h"

void capture_log_forget(struct capture *c)
{
	c->log = (struct capture_log){ .stream = STREAM_NONE };
}

void capture_log_begin(struct capture *c, const struct capture_event *ev)
{
	c->log.wanted = true;
	c->log.end_lsn = c->log.idle_lsn = ev->leading.end_lsn;
	c->log.time = ev->leading.commit_time;
}

void capture_log_up(struct capture *c)
{
	if (c->log.stream == STREAM_ASKED)
		c->log.stream = STREAM_UP;
}

/* What came whole stays. The log is asked for from the last whole commit on, so the transaction that was torn comes again from its
 * beginning, in the same order: what was taken of it is let go then. */
void capture_log_down(struct capture *c)
{
	c->log.stream = STREAM_NONE;
	c->log.torn = c->log.open;
}

/* What is left of a chunk leaves when the log has come to its end. So its bytes keep no log from coming: a chunk of more than the queue may hold would
 * wait for what waits for it. So would one whose last row is that large and has gone out before a change: it is kept for its key. Where all
 * that went out is settled, waiting makes no room. */
static bool has_room(const struct capture *c)
{
	const struct chunk *chunk = &c->reading.chunk;
	uint64_t waits = MUTANT(chunk_fills) ? 0 : chunk->bytes;

	if (chunk->open && capture_rows_settled(&c->rows) + 1 == c->rows.next && !MUTANT(chunk_fills))
		return capture_rows_have_room(&c->rows, UINT64_MAX, chunk->left);
	return capture_rows_have_room(&c->rows, c->set.send.queue_bytes + waits, chunk->left);
}

bool capture_log_takes(const struct capture *c)
{
	bool between = !c->log.open || c->log.torn;

	return lead_may_read(&c->lead) && c->log.stream == STREAM_UP && !c->lost_end &&
	       !(between && capture_questions_stop(&c->reading)) && !capture_questions_holds(&c->reading) &&
	       has_room(c);
}

/* --- transactions --- */

static bool comes_again(const struct capture_log *l, const struct capture_event *ev)
{
	return l->torn && l->xid == ev->begin.xid && l->final_lsn == ev->begin.final_lsn;
}

static void begin(struct capture *c, const struct capture_event *ev)
{
	struct capture_log *l = &c->log;
	bool again = comes_again(l, ev);

	assert(!l->open || l->torn);
	if (l->torn && !again)
		capture_walks_note(&c->reading, (struct capture_note){ .kind = CAPTURE_NOTE_TORN, .xid = l->xid });
	l->open = true;
	l->torn = false;
	l->xid = ev->begin.xid;
	l->final_lsn = ev->begin.final_lsn;
	l->commit_time = ev->begin.commit_time;
	if (!again || MUTANT(torn_twice))
		l->taken = 0;
	/* Whatever was committed below has come. */
	capture_reading_position(&c->reading, ev->begin.final_lsn);
}

static void change(struct capture *c, struct capture_event *ev)
{
	struct capture_log *l = &c->log;
	uint32_t slot;

	ev->change.row.slot = CAPTURE_NO_SLOT;
	assert(l->open && !l->torn);
	if (ev->change.index < l->taken) {
		c->stats.skipped++;
		return;
	}
	l->taken = ev->change.index + 1;
	c->stats.changes++;
	if (capture_piece_lets_go(&c->reading, l->xid, ev)) {
		c->stats.let_go++;
		return;
	}
	capture_reading_change(&c->reading, l->xid, ev);
	slot = capture_rows_take(&c->rows, &ev->change.row, false);
	ev->change.row.slot = slot;
	if (!ev->change.read_instead) {
		capture_rows_append(&c->rows, slot);
		capture_reading_changed(&c->reading, ev, slot);
		return;
	}
	c->stats.read_instead++;
	capture_reading_changed(&c->reading, ev, slot);
	capture_rows_drop(&c->rows, slot); /* a repair holds it as long as it needs the key */
}

static void commit(struct capture *c, const struct capture_event *ev)
{
	struct capture_log *l = &c->log;

	assert(l->open && !l->torn && ev->commit.end_lsn >= l->end_lsn);
	l->open = false;
	l->end_lsn = l->idle_lsn = ev->commit.end_lsn;
	l->time = l->commit_time;
	commits_add(&c->marking.commits, (struct commit){ l->end_lsn, l->time, c->rows.next - 1, ++l->commits });
	capture_reading_committed(&c->reading, l->xid);
	capture_reading_position(&c->reading, l->end_lsn);
}

static void position(struct capture *c, const struct capture_event *ev)
{
	if (ev->position.idle && ev->position.lsn > c->log.idle_lsn)
		c->log.idle_lsn = ev->position.lsn;
	capture_reading_position(&c->reading, ev->position.lsn);
}

void capture_log_event(struct capture *c, struct capture_event *ev)
{
	if (ev->kind == CAPTURE_EVENT_CHANGE)
		ev->change.row.slot = CAPTURE_NO_SLOT;
	if (!lead_is_held(&c->lead) || c->log.stream != STREAM_UP)
		return;
	assert(capture_log_takes(c));
	switch (ev->kind) {
	case CAPTURE_EVENT_BEGIN: begin(c, ev); break;
	case CAPTURE_EVENT_CHANGE: change(c, ev); break;
	case CAPTURE_EVENT_COMMIT: commit(c, ev); break;
	default: position(c, ev); break;
	}
}

/* --- questions --- */

/* (The last ordinals may be rows of chunks, behind the last commit: their steps are on record, and no commit says so.) */
bool capture_log_is_idle(const struct capture *c)
{
	return !c->log.open && c->rows.oldest == c->rows.next && c->marking.commits.count == 0 &&
	       !c->marking.under_way && !capture_marking_wanted(&c->marking) && capture_questions_are_none(&c->reading);
}

bool capture_log_next(struct capture *c, struct capture_effect *f)
{
	if (c->log.stream != STREAM_NONE || !c->log.wanted)
		return false;
	c->log.stream = STREAM_ASKED;
	f->kind = CAPTURE_EFFECT_STREAM;
	f->stream.lsn = c->log.end_lsn;
	return true;
}
