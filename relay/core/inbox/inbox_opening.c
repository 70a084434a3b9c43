/* From the books to the first request.
 *
 *     no books:  OPENING -- info, time --> PLACING (begin)
 *     books:     MAKING -- made --> LOOKING -- info --> VERIFYING -- time ... --> PULLING
 *                                      |                   |   \
 *                                      |                   |    gap: PLACING (skip), or stop
 *                                 another stream:      truncated: older marks, until one agrees,
 *                                 PLACING (restart),       PLACING (rewind), or stop
 *                                 or stop
 *
 * Why the consumer is made before anybody looks. A consumer belongs to the stream that was there when it was made, and
 * dies with it; one that stands in a stream which then loses its end dies with the server that lost it. So whatever
 * comes from this consumer comes from the history that was looked at after it was made. The other way round, the
 * stream could become another one between the look and the making, and its messages would be taken for those of the
 * old one. (I9)
 *
 * Why a time is a witness. `created` is the same in a store that was put back to an older state, and sequences are
 * given again. The time of the message at the position is not: in another history another message stands there. What
 * does not stand there any more (expired, purged) says nothing, neither for nor against: then the newest mark of the
 * trail that is still there speaks for all up to it. */
#include "core/inbox/inbox_opening.h"

#include "core/inbox/inbox_mutant.h"

void inbox_opening_begin(struct inbox *in)
{
	inbox_state_enter(in, INBOX_OPENING);
	in->unwitnessed = 0;
	inbox_state_ask_info(in);
}

void inbox_opening_make(struct inbox *in)
{
	uint64_t after = MUTANT(made_from_memory) && in->heard > in->position ? in->heard : in->position;

	inbox_state_enter(in, INBOX_MAKING);
	in->consumer = inbox_state_draw(in);
	in->stats.consumers++;
	in->made_until_ms = in->now_ms + in->s.answer_timeout_ms;
	inbox_state_effect(in, (struct inbox_effect){ .kind = INBOX_EFFECT_MAKE,
						      .make = { .consumer = in->consumer, .start = after + 1 } });
}

void inbox_opening_made(struct inbox *in, const struct inbox_event *ev)
{
	if (ev->made.consumer != in->consumer)
		return;
	in->consumer_sequence = 0;
	inbox_state_enter(in, INBOX_LOOKING);
	if (MUTANT(look_skipped))
		inbox_opening_pull(in);
	else
		inbox_state_ask_info(in);
}

void inbox_opening_refused(struct inbox *in, const struct inbox_event *ev)
{
	if (ev->refused.consumer != in->consumer)
		return;
	if (ev->refused.hopeless)
		inbox_state_stop(in, INBOX_STOP_REFUSED, 0, 0, ev->refused.reason);
	else
		inbox_state_doubt(in, ev->refused.reason != 0 ? INBOX_DOUBT_REFUSED : INBOX_DOUBT_UNANSWERED,
				  ev->refused.reason);
}

/* --- a new subscription --- */

static void begin_at(struct inbox *in, uint64_t position, int64_t time)
{
	inbox_state_place(
		in, (struct inbox_move){
			    .kind = INBOX_MOVE_BEGIN, .to = position, .time = time, .created = in->place.created });
}

/* There were books, and there are none any more: the database is an older one. It began once, and all that came since is to be taken, for
 * no row of it is there; "new" would mean the end of today. Another stream is all of it new. (I2) */
static uint64_t begin_again(const struct inbox *in, const struct inbox_event *ev)
{
	if (in->began_created != ev->info.created)
		return ev->info.first > 0 ? ev->info.first - 1 : 0;
	return in->began < ev->info.last ? in->began : ev->info.last;
}

/* A start in the future is refused: up to nats-server 2.10 it would be moved to the end, and later ones would send
 * nothing, nobody knows for how long. */
static void opening_info(struct inbox *in, const struct inbox_event *ev)
{
	uint64_t first = ev->info.first, last = ev->info.last, position = last;

	if (in->s.start == INBOX_START_ALL)
		position = first > 0 ? first - 1 : 0;
	else if (in->s.start == INBOX_START_SEQUENCE)
		position = in->s.start_sequence - 1;
	if (in->began_created != 0 && !MUTANT(begun_forgotten))
		position = begin_again(in, ev);
	if (position > last) {
		inbox_state_stop(in, INBOX_STOP_START_AHEAD, in->s.start_sequence, last, 0);
		return;
	}
	in->place.created = ev->info.created;
	if (position > 0 && position >= first && position != in->unwitnessed)
		inbox_state_ask_time(in, INBOX_WHY_BEGIN, (struct inbox_mark){ .sequence = position });
	else
		begin_at(in, position, 0);
}

/* --- is it the stream that we know? --- */

static void rewind_to(struct inbox *in, struct inbox_mark mark)
{
	inbox_state_note(in,
			 (struct inbox_note){ .kind = INBOX_NOTE_REWOUND, .from = in->position, .to = mark.sequence });
	inbox_state_place(in, (struct inbox_move){ .kind = INBOX_MOVE_REWIND, .to = mark.sequence, .time = mark.time });
}

/* Behind the position lie messages that we never took, or the next ones will be given sequences that we count as
 * taken. With ids one can go back: what comes again is left out. Without them only a person can say what to do. */
static bool may_rewind(struct inbox *in, uint64_t from)
{
	in->rewinding = true;
	if (in->s.dedupe == INBOX_DEDUPE_IDS || MUTANT(rewind_without_ids))
		return true;
	inbox_state_stop(in, INBOX_STOP_TRUNCATED, from, in->look_last, 0);
	return false;
}

/* The stream is ours. What left it above the position was never taken. */
static void agreed(struct inbox *in)
{
	uint64_t first = in->look_first;

	in->stats.checked_ms = in->now_ms;
	if (first <= in->position + 1 || MUTANT(gap_unseen)) {
		inbox_opening_pull(in);
	} else if (in->s.on_gap == INBOX_ON_STOP) {
		inbox_state_stop(in, INBOX_STOP_GAP, in->position + 1, first - 1, 0);
	} else {
		inbox_state_note(
			in, (struct inbox_note){ .kind = INBOX_NOTE_GAP, .from = in->position + 1, .to = first - 1 });
		inbox_state_place(in, (struct inbox_move){ .kind = INBOX_MOVE_SKIP,
							   .to = first - 1,
							   .gap_from = MUTANT(gap_unsaid) ? 0 : in->position + 1,
							   .gap_to = first - 1 });
	}
}

/* No mark agrees. A subscription that wanted all of the stream reads again all that is there. (What left the stream by
 * then counts as a gap: nobody knows of which history it was.) One that began in the middle cannot tell where in this
 * history that was: its sequences were given again. */
static void rewind_to_start(struct inbox *in)
{
	if (in->s.start == INBOX_START_ALL || MUTANT(start_again))
		rewind_to(in, (struct inbox_mark){
				      .sequence = in->s.start == INBOX_START_SEQUENCE ? in->s.start_sequence - 1 : 0 });
	else
		inbox_state_stop(in, INBOX_STOP_TRUNCATED, in->position, in->look_last, 0);
}

/* The next older mark that may be there: one above the end is not, and below the first one none is. With no mark left,
 * and nothing that spoke against it, it is the stream that we know. */
static void ask_older(struct inbox *in, uint64_t below)
{
	struct inbox_mark mark = inbox_trail_below(&in->trail, below);

	if (mark.sequence > in->look_last)
		mark = inbox_trail_below(&in->trail, in->look_last + 1);
	if (mark.sequence != 0 && mark.sequence >= in->look_first)
		inbox_state_ask_time(in, INBOX_WHY_WITNESS, mark);
	else if (in->rewinding)
		rewind_to_start(in);
	else
		agreed(in);
}

static void verify(struct inbox *in)
{
	inbox_state_enter(in, INBOX_VERIFYING);
	in->rewinding = false;
	if (MUTANT(witness_unread))
		agreed(in);
	else if (in->look_last < in->position && !MUTANT(end_unread)) {
		if (may_rewind(in, in->look_last + 1))
			ask_older(in, in->look_last + 1);
	} else if (in->witness_time != 0 && in->position >= in->look_first && in->position > 0)
		inbox_state_ask_time(in, INBOX_WHY_WITNESS,
				     (struct inbox_mark){ .sequence = in->position, .time = in->witness_time });
	else
		ask_older(in, in->position);
}

static void verifying_time(struct inbox *in, enum inbox_answer answer, int64_t time)
{
	bool agrees = answer == INBOX_ANSWER_FOUND && (time == in->asked.time || MUTANT(any_time_agrees));

	if (answer == INBOX_ANSWER_FOUND && !agrees && !in->rewinding && !may_rewind(in, in->asked.sequence))
		return;
	if (answer == INBOX_ANSWER_MISSING && MUTANT(missing_disagrees) && !in->rewinding &&
	    !may_rewind(in, in->asked.sequence))
		return;
	if (!agrees && !(MUTANT(rewind_to_newest) && in->rewinding))
		ask_older(in, in->asked.sequence);
	else if (in->rewinding)
		rewind_to(in, in->asked);
	else
		agreed(in);
}

/* Another stream of the same name. With ids it may be read from its beginning: what is known already is left out. */
static void recreated(struct inbox *in, int64_t created)
{
	if (in->s.on_recreated == INBOX_ON_STOP || in->s.dedupe == INBOX_DEDUPE_POSITION) {
		inbox_state_stop(in, INBOX_STOP_RECREATED, in->position, in->look_last, 0);
		return;
	}
	inbox_state_note(in, (struct inbox_note){ .kind = INBOX_NOTE_RECREATED, .from = in->position });
	inbox_state_place(in, (struct inbox_move){ .kind = INBOX_MOVE_RESTART,
						   .to = MUTANT(restart_at_position) ? in->position : 0,
						   .created = created });
}

static void looking_info(struct inbox *in, const struct inbox_event *ev)
{
	in->look_first = ev->info.first;
	in->look_last = ev->info.last;
	if (ev->info.created != in->created && !MUTANT(created_unread))
		recreated(in, ev->info.created);
	else
		verify(in);
}

/* --- answers --- */

void inbox_opening_info(struct inbox *in, const struct inbox_event *ev)
{
	if (ev->info.answer == INBOX_ANSWER_NONE)
		inbox_state_doubt(in, INBOX_DOUBT_UNANSWERED, 0);
	else if (ev->info.answer == INBOX_ANSWER_MISSING)
		inbox_state_stop(in, INBOX_STOP_NO_STREAM, 0, 0, 0);
	else if (!ev->info.usable)
		inbox_state_stop(in, INBOX_STOP_KIND, 0, 0, 0);
	else if (in->state == INBOX_OPENING)
		opening_info(in, ev);
	else
		looking_info(in, ev);
}

/* No message where the position will stand: deleted by hand, or the stream has just lost its end. It is asked where it
 * ends once more; if that is still not below, it was the former, and there is no witness to be had. */
static void opening_time(struct inbox *in, enum inbox_answer answer, int64_t time)
{
	if (answer == INBOX_ANSWER_FOUND) {
		begin_at(in, in->asked.sequence, time);
		return;
	}
	in->unwitnessed = in->asked.sequence;
	inbox_state_ask_info(in);
}

void inbox_opening_time(struct inbox *in, enum inbox_answer answer, int64_t time)
{
	if (answer == INBOX_ANSWER_NONE)
		inbox_state_doubt(in, INBOX_DOUBT_UNANSWERED, 0);
	else if (in->state == INBOX_OPENING)
		opening_time(in, answer, time);
	else
		verifying_time(in, answer, time);
}

void inbox_opening_pull(struct inbox *in)
{
	inbox_state_stop_over(in);
	inbox_state_enter(in, INBOX_PULLING);
	in->heard = in->sure = in->position;
	in->stuck_last = in->stuck_beats = 0;
	in->check_ms = in->now_ms + in->s.check_interval_ms;
	in->follow_ms = in->now_ms + in->s.follow_interval_ms;
}
