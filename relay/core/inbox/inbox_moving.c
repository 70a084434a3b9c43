/* What moves the position.
 *
 * Each move is one statement in one transaction: where the subscription stands at `from`, in this incarnation, under
 * our epoch, it stands at `to`, and what lies between is stored with it. So two leaders cannot both move it from the
 * same place (I8), and what is not stored is not passed (I1).
 *
 * Two are in flight, the second from where the first one goes to. If the first one fails, the second hits no row:
 * nothing passes what is not stored. After any answer but a commit the books are read again, once all in flight are
 * answered: nothing is begun while a statement of ours may still move the position. */
#include "core/inbox/inbox_moving.h"

#include <assert.h>

#include "core/inbox/inbox_mutant.h"

void inbox_moving_books(struct inbox *in, const struct inbox_books *books)
{
	size_t first = books->trail_count > LIMIT_INBOX_TRAIL ? books->trail_count - LIMIT_INBOX_TRAIL : 0;

	assert(in->moves == 0);
	if (books->incarnation != in->incarnation || books->position >= in->narrow_to)
		in->narrow_to = in->dead_at = 0;
	in->position = in->sent = books->position;
	in->incarnation = books->incarnation;
	in->created = books->created;
	if (books->created != 0) {
		in->began = books->began;
		in->began_created = books->created;
	}
	in->witness_time = books->witness_time;
	in->paused = books->paused;
	in->stop_stands =
		(books->stop == INBOX_STOP_TRUNCATED || books->stop == INBOX_STOP_RECREATED) && !MUTANT(stop_forgotten);
	in->stop = in->stats.stop = books->stop;
	inbox_trail_clear(&in->trail);
	for (size_t i = first; i < books->trail_count; i++)
		inbox_trail_add(&in->trail, books->trail[i]);
}

/* --- answers --- */

static void count_move(struct inbox *in, const struct inbox_move *m)
{
	in->stats.moves++;
	in->stats.taken += m->count;
	in->stats.follows += m->kind == INBOX_MOVE_FOLLOW;
	in->stats.rewinds += m->kind == INBOX_MOVE_REWIND;
	in->stats.restarts += m->kind == INBOX_MOVE_RESTART;
	in->stats.gaps += m->gap_from != 0;
	in->stats.dead += m->dead;
}

static void tell_begun(struct inbox *in, const struct inbox_move *m)
{
	inbox_state_note(
		in, (struct inbox_note){ .kind = in->began_created != 0 ? INBOX_NOTE_BEGUN_AGAIN : INBOX_NOTE_BEGUN,
					 .from = m->to });
}

static void history_changes(struct inbox *in, const struct inbox_move *m)
{
	if (m->kind == INBOX_MOVE_BEGIN)
		tell_begun(in, m);
	in->incarnation++;
	if (m->kind == INBOX_MOVE_BEGIN || m->to < in->began)
		in->began = m->to;
	in->narrow_to = in->dead_at = 0;
	if (m->kind != INBOX_MOVE_REWIND)
		in->created = in->began_created = m->created;
	if (m->kind == INBOX_MOVE_REWIND && !MUTANT(trail_kept))
		inbox_trail_cut(&in->trail, m->to);
	else if (m->kind == INBOX_MOVE_REWIND)
		return;
	else
		inbox_trail_clear(&in->trail);
}

static void committed(struct inbox *in, const struct inbox_move *m)
{
	count_move(in, m);
	in->failures = 0;
	if (m->kind == INBOX_MOVE_BEGIN || m->kind == INBOX_MOVE_REWIND || m->kind == INBOX_MOVE_RESTART)
		history_changes(in, m);
	in->position = m->to;
	in->witness_time = m->time;
	if (m->kind != INBOX_MOVE_REWIND)
		inbox_trail_add(&in->trail, (struct inbox_mark){ .sequence = m->to, .time = m->time });
	if (m->kind == INBOX_MOVE_FOLLOW || m->kind == INBOX_MOVE_TAKE)
		in->follow_ms = in->now_ms + in->s.follow_interval_ms;
	if (in->position >= in->narrow_to)
		in->narrow_to = in->dead_at = 0;
}

/* A row that the database cannot store must not stop all behind it: its batch is taken one by one, and it alone as a
 * dead letter. */
static void narrow(struct inbox *in, const struct inbox_move *m)
{
	if (m->to > in->narrow_to)
		in->narrow_to = m->to;
	if (m->count != 1 || m->dead || MUTANT(dead_again))
		return;
	in->dead_at = m->to;
	inbox_state_note(in, (struct inbox_note){ .kind = INBOX_NOTE_DEAD, .from = m->to });
}

static void not_committed(struct inbox *in, const struct inbox_move *m, enum inbox_moved result)
{
	bool first = !in->stale;

	if (result == INBOX_MOVED_DATA)
		narrow(in, m);
	in->place_wanted = false;
	in->stale = !MUTANT(books_trusted);
	inbox_state_drop_queue(in);
	if (first || in->state != INBOX_SETTLING)
		inbox_state_doubt(in, INBOX_DOUBT_MOVE, result);
}

/* A rewind or a restart takes another consumer; a skip goes on with the one that was made. */
static void placed(struct inbox *in, const struct inbox_move *m)
{
	if (m->kind != INBOX_MOVE_SKIP)
		inbox_state_drop_consumer(in);
	else
		in->heard = in->sure = in->position;
}

void inbox_moving_answered(struct inbox *in, enum inbox_moved result)
{
	struct inbox_move m = in->move[0];

	assert(in->moves > 0);
	in->move[0] = in->move[1];
	in->moves--;
	inbox_state_release(in, in->queue.head, m.count);
	inbox_queue_pop(&in->queue, m.count);
	if (result != INBOX_MOVED_OK && !(MUTANT(failure_counts) && result == INBOX_MOVED_NOT)) {
		not_committed(in, &m, result);
		return;
	}
	committed(in, &m);
	if (in->state == INBOX_PLACING)
		placed(in, &m);
}

/* --- moves --- */

static bool send(struct inbox *in, struct inbox_effect *effect, struct inbox_move m)
{
	assert(in->moves < LIMIT_INBOX_MOVES && m.from == in->sent);
	in->move[in->moves++] = m;
	in->sent = m.to;
	*effect = (struct inbox_effect){ .kind = INBOX_EFFECT_MOVE, .move = m };
	return true;
}

/* The position follows a filter only where no message waits, and no gap lies ahead: a gap is put on record by the move that
 * passes it, whole, and by no other. (The filter is followed again after the next interval.) */
static bool may_follow(const struct inbox *in)
{
	if (inbox_queue_count(&in->queue) > 0 && !MUTANT(follow_over_message))
		return false;
	return in->lost_from == 0 || in->lost_to <= in->place.to || MUTANT(gap_ahead);
}

static bool send_place(struct inbox *in, struct inbox_effect *effect)
{
	struct inbox_move m = in->place;

	in->place_wanted = false;
	if (m.kind != INBOX_MOVE_FOLLOW)
		return send(in, effect, m);
	if (!may_follow(in))
		return false;
	m.gap_from = in->lost_from;
	m.gap_to = in->lost_to;
	in->lost_from = 0;
	return send(in, effect, m);
}

static bool send_batch(struct inbox *in, struct inbox_effect *effect, uint32_t count)
{
	struct inbox_queue *q = &in->queue;
	const struct inbox_item *first = inbox_queue_at(q, q->taken), *last = inbox_queue_at(q, q->taken + count - 1);
	struct inbox_move m = { .kind = INBOX_MOVE_TAKE,
				.from = in->sent,
				.incarnation = in->incarnation,
				.to = last->sequence,
				.time = last->time,
				.slot = inbox_queue_slot(q, q->taken),
				.count = count,
				.gap_from = first->gap_from,
				.gap_to = first->gap_to,
				.dead = in->dead_at != 0 && first->sequence == in->dead_at };

	q->taken += count;
	return send(in, effect, m);
}

/* The first one leaves at once; the second waits until it is worth a statement, or the first one is answered. */
static uint32_t batch(const struct inbox *in)
{
	bool narrow = in->sent < in->narrow_to;
	uint32_t count = inbox_queue_batch(&in->queue, narrow ? 1 : in->s.take_messages, in->s.take_bytes);

	if (in->moves == 0)
		return count;
	if (narrow || (count < (in->s.take_messages + 1) / 2 && in->queue.taken + count == in->queue.checked &&
		       in->state == INBOX_PULLING))
		return 0;
	return count;
}

bool inbox_moving_next(struct inbox *in, struct inbox_effect *effect)
{
	uint32_t count;

	if ((!in->credit && !MUTANT(credit_ignored)) || in->moves == LIMIT_INBOX_MOVES)
		return false;
	if (in->place_wanted && send_place(in, effect))
		return true;
	if (in->stale || (in->state != INBOX_PULLING && in->state != INBOX_SETTLING))
		return false;
	count = batch(in);
	return count > 0 && send_batch(in, effect, count);
}
