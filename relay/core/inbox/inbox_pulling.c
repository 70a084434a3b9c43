/* What the consumer sends.
 *
 *      position         sure            heard
 *         |   received    |  in question  |
 *
 * Why the consumer's sequence tells that nothing was lost on the way (I2). A consumer numbers what it sends, 1, 2, 3.
 * It asks for no acknowledgement, so it sends nothing twice. A number that is left out is a message that was sent and
 * did not come. The stream's sequence tells nothing of the kind: filters, purges and deletions leave holes in it.
 *
 * Why it does not tell that nothing was lost in the stream (I12). What leaves the stream at its front before the
 * consumer comes by is passed over, and no number is left out. But then there is a hole in the stream's sequence, and
 * the stream's first sequence has passed the beginning of that hole. So whatever lies behind a hole is in question
 * until the stream was asked for its first sequence, later than the message behind the hole came: first <= the
 * beginning of the hole, and nothing had left it when the consumer came by. One question answers for all that came
 * before it was asked.
 *
 * Why a heartbeat counts only with our number. It says: of this consumer so many messages were sent, and the stream
 * was passed up to there. With the number that we have, nothing that matched lies between our last message and there.
 * With a higher one, a message was lost; with a lower one it is an old heartbeat. */
#include "core/inbox/inbox_pulling.h"

#include <assert.h>

#include "core/inbox/inbox_mutant.h"

/* The witness of a place to follow to was asked of the stream, not of the consumer, and nobody knows in which order
 * the two spoke. Had the stream lost its end and grown again before it answered, the consumer would be dead, and the
 * witness one of messages that we never took. So the move waits until the consumer answers to a request that was made
 * after the witness came: it lives, and all that was said before is of one history. */
static void follow_confirmed(struct inbox *in, uint32_t pull)
{
	bool later = pull != 0 && pull - in->follow_after - 1 < UINT32_MAX / 2;

	if (!in->follow_waits || !later)
		return;
	in->follow_waits = false;
	in->place_wanted = inbox_queue_count(&in->queue) == 0 && in->moves == 0 && in->place.from == in->position;
}

static bool is_ours(struct inbox *in, uint64_t consumer, uint32_t pull)
{
	if (consumer != in->consumer && !MUTANT(any_consumer)) {
		in->stats.ignored++;
		return false;
	}
	in->sign_ms = in->now_ms;
	follow_confirmed(in, pull);
	return true;
}

/* --- holes in the stream's sequence --- */

/* One question at a time; what comes meanwhile waits for the next one. */
static void ask_about_hole(struct inbox *in)
{
	if (in->sure == in->heard || in->info.number != 0)
		return;
	in->look.heard = in->heard;
	in->look.queue = in->queue.tail;
	in->look.check = false;
	inbox_state_ask_info(in);
}

static void passed(struct inbox *in, uint64_t to)
{
	in->sure = to;
}

/* Numbers from `from` to `to` left the stream, and what is behind them is not taken before that is on record. */
static bool gap_is_said(struct inbox *in, uint64_t from, uint64_t to)
{
	if (in->s.on_gap == INBOX_ON_STOP && !MUTANT(hole_unsaid)) {
		inbox_state_doubt(in, INBOX_DOUBT_GAP, 0);
		return false;
	}
	if (MUTANT(hole_unsaid))
		return true;
	inbox_state_note(in, (struct inbox_note){ .kind = INBOX_NOTE_GAP, .from = from, .to = to });
	if (in->lost_from == 0)
		in->lost_from = from;
	in->lost_to = to;
	return true;
}

/* The stream begins at `first`: was anything lost between `sure` and what comes next, at `next`? */
static bool hole_is_closed(struct inbox *in, uint64_t first, uint64_t next)
{
	if (first <= in->sure + 1 || next == in->sure + 1)
		return true;
	return gap_is_said(in, in->sure + 1, first <= next ? first - 1 : next - 1);
}

static void item_is_sure(struct inbox *in, struct inbox_item *item)
{
	item->gap_from = in->lost_from;
	item->gap_to = in->lost_to;
	in->lost_from = 0;
	in->queue.checked++;
	passed(in, item->sequence);
}

/* All that had come when the question was asked. */
static void holes_answered(struct inbox *in, uint64_t first)
{
	uint64_t heard = MUTANT(answer_counts_for_all) ? in->heard : in->look.heard,
		 queue = MUTANT(answer_counts_for_all) ? in->queue.tail : in->look.queue;

	while (in->queue.checked < queue) {
		struct inbox_item *item = inbox_queue_at(&in->queue, in->queue.checked);

		if (!hole_is_closed(in, first, item->sequence))
			return;
		item_is_sure(in, item);
	}
	if (heard > in->sure) {
		if (!hole_is_closed(in, first, heard + 1))
			return;
		passed(in, heard);
	}
	ask_about_hole(in);
}

/* --- messages --- */

void inbox_pulling_message(struct inbox *in, struct inbox_event *ev)
{
	uint64_t sequence = ev->message.sequence;
	bool at_once = in->sure == in->heard && (sequence == in->heard + 1 || MUTANT(hole_taken));

	if (!is_ours(in, ev->message.consumer, ev->message.pull))
		return;
	inbox_pulls_got(&in->pulls, ev->message.pull, ev->message.bytes);
	if (ev->message.consumer_sequence != in->consumer_sequence + 1 && !MUTANT(lost_message)) {
		inbox_state_doubt(in, INBOX_DOUBT_HOLE, 0);
		return;
	}
	if (sequence <= in->heard && !MUTANT(order_unread)) {
		inbox_state_doubt(in, INBOX_DOUBT_ORDER, 0);
		return;
	}
	ev->message.slot = inbox_queue_push(&in->queue, sequence, ev->message.time, ev->message.bytes);
	if (ev->message.slot < 0) {
		inbox_state_doubt(in, INBOX_DOUBT_OVERRUN, 0);
		return;
	}
	in->consumer_sequence = ev->message.consumer_sequence;
	in->heard = sequence;
	in->large = false;
	if (at_once)
		item_is_sure(in, inbox_queue_at(&in->queue, in->queue.checked));
	else
		ask_about_hole(in);
}

/* --- heartbeats --- */

void inbox_pulling_heartbeat(struct inbox *in, const struct inbox_event *ev)
{
	if (!is_ours(in, ev->heartbeat.consumer, ev->heartbeat.pull))
		return;
	if (ev->heartbeat.consumer_sequence > in->consumer_sequence && !MUTANT(heartbeat_of_any)) {
		inbox_state_doubt(in, INBOX_DOUBT_HEARTBEAT, 0);
		return;
	}
	in->stuck_beats += in->stuck_beats < UINT32_MAX;
	if (ev->heartbeat.consumer_sequence < in->consumer_sequence || ev->heartbeat.sequence <= in->heard)
		return;
	in->heard = ev->heartbeat.sequence;
	ask_about_hole(in);
}

/* --- statuses --- */

/* A message that is larger than a usual request is asked for alone, with room for the largest there can be; asked for
 * in the same way it would be refused for ever. */
static void too_small(struct inbox *in, uint32_t pull)
{
	bool brought = inbox_pulls_ended(&in->pulls, pull);

	if (brought || in->large || MUTANT(size_again))
		return;
	in->large = true;
	in->stats.large++;
	inbox_state_note(in, (struct inbox_note){ .kind = INBOX_NOTE_LARGE, .from = in->heard });
}

void inbox_pulling_status(struct inbox *in, const struct inbox_event *ev)
{
	if (!is_ours(in, ev->status.consumer, ev->status.pull))
		return;
	switch (ev->status.status) {
	case INBOX_STATUS_ENDED: (void)inbox_pulls_ended(&in->pulls, ev->status.pull); break;
	case INBOX_STATUS_SIZE: too_small(in, ev->status.pull); break;
	case INBOX_STATUS_BUSY:
	case INBOX_STATUS_GONE:
		if (!MUTANT(status_ignored))
			inbox_state_doubt(in, INBOX_DOUBT_STATUS, 0);
		break;
	}
}

/* --- the stream's state --- */

/* Once in a check interval. A heartbeat says that there is nothing to send. A consumer that says so again and again,
 * and neither brings nor passes what the stream held a whole interval ago, is stuck: there are such, and nothing else
 * would tell. */
static void check_stuck(struct inbox *in, uint64_t last)
{
	bool stands = in->stuck_last > in->heard && in->stuck_heard == in->heard && !MUTANT(stuck_trusted);

	if (stands && in->stuck_beats >= 2)
		inbox_state_doubt(in, INBOX_DOUBT_STUCK, 0);
	if (stands)
		return;
	in->stuck_last = last;
	in->stuck_heard = in->heard;
	in->stuck_beats = 0;
	in->failures = 0;
}

void inbox_pulling_info(struct inbox *in, const struct inbox_event *ev)
{
	if (ev->info.answer == INBOX_ANSWER_NONE) {
		inbox_state_doubt(in, INBOX_DOUBT_UNANSWERED, 0);
		return;
	}
	if (ev->info.answer == INBOX_ANSWER_MISSING || !ev->info.usable || ev->info.created != in->created ||
	    ev->info.last < in->look.heard) {
		inbox_state_doubt(in, INBOX_DOUBT_STREAM, 0);
		return;
	}
	if (in->look.check)
		check_stuck(in, ev->info.last);
	if (in->state == INBOX_PULLING)
		holes_answered(in, ev->info.first);
}

/* --- the time of a message --- */

/* Nothing matched up to there. The witness goes with the position: with a position above its witness, a stream that
 * was put back to between the two, and has grown again, would agree, and what it has there now would never be taken.
 * So without an answer there is no move, and none where there is no message any more. */
static void follow(struct inbox *in, enum inbox_answer answer, int64_t time)
{
	uint64_t to = in->asked.sequence;

	if (answer != INBOX_ANSWER_FOUND && !MUTANT(follow_unwitnessed))
		return;
	if (MUTANT(witness_behind))
		time = 0;
	if (inbox_queue_count(&in->queue) > 0 || in->moves > 0 || to <= in->position)
		return;
	in->follow_waits = !MUTANT(follow_unconfirmed);
	in->place_wanted = MUTANT(follow_unconfirmed);
	in->follow_after = in->pulls.drawn;
	in->place = (struct inbox_move){
		.kind = INBOX_MOVE_FOLLOW, .from = in->position, .incarnation = in->incarnation, .to = to, .time = time
	};
}

void inbox_pulling_time(struct inbox *in, enum inbox_answer answer, int64_t time)
{
	if (in->why == INBOX_WHY_FOLLOW)
		follow(in, answer, time);
	else if (answer == INBOX_ANSWER_FOUND && time != in->asked.time)
		inbox_state_doubt(in, INBOX_DOUBT_WITNESS, 0);
	else if (answer == INBOX_ANSWER_FOUND)
		in->stats.checked_ms = in->now_ms;
}

/* --- the clock --- */

static int64_t silence_ms(const struct inbox *in)
{
	if (inbox_pulls_count(&in->pulls) == 0 || MUTANT(silence_trusted))
		return INBOX_NEVER;
	return in->sign_ms + 2 * (int64_t)in->s.heartbeat_ms + in->s.heartbeat_ms / 4;
}

static bool may_follow(const struct inbox *in)
{
	return in->sure > in->position && in->time.number == 0 && in->moves == 0 && !in->place_wanted &&
	       !in->follow_waits && inbox_queue_count(&in->queue) == 0;
}

static void ask_to_follow(struct inbox *in)
{
	in->follow_ms = in->now_ms + in->s.follow_interval_ms;
	inbox_state_ask_time(in, INBOX_WHY_FOLLOW, (struct inbox_mark){ .sequence = in->sure });
}

static void check(struct inbox *in)
{
	in->check_ms = in->now_ms + in->s.check_interval_ms;
	if (in->info.number == 0) {
		in->look.heard = in->heard;
		in->look.queue = in->queue.tail;
		in->look.check = true;
		inbox_state_ask_info(in);
	}
	if (in->witness_time != 0 && in->time.number == 0)
		inbox_state_ask_time(in, INBOX_WHY_CHECK,
				     (struct inbox_mark){ .sequence = in->position, .time = in->witness_time });
}

void inbox_pulling_timers(struct inbox *in)
{
	inbox_pulls_expire(&in->pulls, in->now_ms);
	if (in->now_ms >= silence_ms(in)) {
		inbox_state_doubt(in, INBOX_DOUBT_SILENCE, 0);
		return;
	}
	if (in->now_ms >= in->check_ms)
		check(in);
	if (in->now_ms >= in->follow_ms && may_follow(in))
		ask_to_follow(in);
}

int64_t inbox_pulling_deadline(const struct inbox *in)
{
	int64_t at = silence_ms(in), pulls = inbox_pulls_deadline(&in->pulls);

	at = pulls < at ? pulls : at;
	at = in->check_ms < at ? in->check_ms : at;
	return may_follow(in) && in->follow_ms < at ? in->follow_ms : at;
}

/* --- requests --- */

static uint32_t at_least_one(uint32_t n)
{
	return n > 0 ? n : 1;
}

/* A quarter of the queue each: two are outstanding, so that the consumer never waits for us, and half of the queue is
 * on its way to the database. What they may bring has its room before they are asked. */
static bool has_room(const struct inbox *in, uint32_t messages, uint32_t bytes)
{
	return inbox_queue_count(&in->queue) + inbox_pulls_messages(&in->pulls) + messages <= in->queue.slots &&
	       in->queue.bytes + inbox_pulls_bytes(&in->pulls) + bytes <= in->s.queue_bytes;
}

static bool pull(struct inbox *in, struct inbox_effect *effect, uint32_t messages, uint32_t bytes)
{
	int64_t until_ms = in->now_ms + in->s.expires_ms + in->s.heartbeat_ms;

	if (inbox_pulls_count(&in->pulls) == 0)
		in->sign_ms = in->now_ms;
	in->stats.pulls++;
	*effect = (struct inbox_effect){ .kind = INBOX_EFFECT_PULL,
					 .pull = { .consumer = in->consumer,
						   .pull = inbox_pulls_add(&in->pulls, messages, bytes, until_ms),
						   .messages = messages,
						   .bytes = bytes,
						   .expires_ms = in->s.expires_ms,
						   .heartbeat_ms = in->s.heartbeat_ms } };
	return true;
}

bool inbox_pulling_next(struct inbox *in, struct inbox_effect *effect)
{
	uint32_t messages = at_least_one(in->queue.slots / 4), bytes = at_least_one(in->s.queue_bytes / 4);

	if (in->state != INBOX_PULLING || (!in->credit && !MUTANT(credit_ignored)) ||
	    inbox_pulls_count(&in->pulls) == LIMIT_INBOX_PULLS)
		return false;
	if (in->large)
		return inbox_queue_count(&in->queue) == 0 && inbox_pulls_count(&in->pulls) == 0 &&
		       pull(in, effect, 1, in->s.large_bytes);
	return (has_room(in, messages, bytes) || MUTANT(room_ignored)) && pull(in, effect, messages, bytes);
}
