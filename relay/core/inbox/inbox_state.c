/* What every part of the machine does with its memory. */
#include "core/inbox/inbox_state.h"

#include <assert.h>

#include "core/inbox/inbox_mutant.h"

void inbox_state_enter(struct inbox *in, enum inbox_state state)
{
	in->state = state;
}

void inbox_state_effect(struct inbox *in, struct inbox_effect effect)
{
	assert(in->effects < LIMIT_INBOX_EFFECTS);
	in->effect[(in->effect_first + in->effects++) % LIMIT_INBOX_EFFECTS] = effect;
}

void inbox_state_note(struct inbox *in, struct inbox_note note)
{
	if (in->effects >= LIMIT_INBOX_NOTES) {
		in->stats.notes_dropped++;
		return;
	}
	inbox_state_effect(in, (struct inbox_effect){ .kind = INBOX_EFFECT_NOTE, .note = note });
}

uint64_t inbox_state_draw(struct inbox *in)
{
	uint64_t x = in->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return x != 0 ? x : 1;
}

static struct inbox_ask ask(struct inbox *in, enum inbox_effect_kind kind, uint64_t sequence)
{
	in->asks += in->asks == UINT32_MAX ? 2 : 1;
	inbox_state_effect(in, (struct inbox_effect){ .kind = kind, .ask = { .ask = in->asks, .sequence = sequence } });
	return (struct inbox_ask){ .number = in->asks, .until_ms = in->now_ms + in->s.answer_timeout_ms };
}

void inbox_state_ask_info(struct inbox *in)
{
	in->info = ask(in, INBOX_EFFECT_INFO, 0);
}

void inbox_state_ask_time(struct inbox *in, enum inbox_why why, struct inbox_mark mark)
{
	in->why = why;
	in->asked = mark;
	in->time = ask(in, INBOX_EFFECT_TIME, mark.sequence);
}

void inbox_state_release(struct inbox *in, uint64_t number, uint32_t count)
{
	while (count > 0) {
		uint32_t slot = inbox_queue_slot(&in->queue, number), n = in->queue.slots - slot;

		n = n < count ? n : count;
		inbox_state_effect(in, (struct inbox_effect){ .kind = INBOX_EFFECT_RELEASE,
							      .release = { .slot = slot, .count = n } });
		number += n;
		count -= n;
	}
}

static void cut_queue(struct inbox *in, uint64_t number)
{
	inbox_state_release(in, number, (uint32_t)(in->queue.tail - number));
	inbox_queue_cut(&in->queue, number);
}

void inbox_state_drop_queue(struct inbox *in)
{
	cut_queue(in, in->queue.taken);
	in->lost_from = 0;
}

static void drop_asks(struct inbox *in)
{
	in->info.number = in->time.number = 0;
}

void inbox_state_drop_consumer(struct inbox *in)
{
	if (in->consumer != 0 && in->bus_up)
		inbox_state_effect(in, (struct inbox_effect){ .kind = INBOX_EFFECT_DELETE,
							      .delete = { .consumer = in->consumer } });
	in->consumer = 0;
	inbox_pulls_clear(&in->pulls);
	drop_asks(in);
	in->large = in->follow_waits = false;
	in->lost_from = 0; /* the next look finds it again: it lies above the position */
	if (MUTANT(question_kept))
		in->queue.checked = in->queue.tail;
	cut_queue(in, in->queue.checked);
}

/* Exponential, capped, and never twice the same: between half of the pause and all of it. */
static int64_t backoff_until(struct inbox *in)
{
	uint64_t pause = in->s.retry_max_ms;

	if (in->failures < 32 && ((uint64_t)in->s.retry_min_ms << in->failures) < pause)
		pause = (uint64_t)in->s.retry_min_ms << in->failures;
	in->failures += in->failures < UINT32_MAX;
	return in->now_ms + (int64_t)(pause / 2 + inbox_state_draw(in) % (pause / 2 + 1));
}

void inbox_state_doubt(struct inbox *in, enum inbox_doubt doubt, uint32_t reason)
{
	inbox_state_drop_consumer(in);
	in->place_wanted = false;
	in->stats.doubts[doubt]++;
	if (doubt != INBOX_DOUBT_NONE) {
		in->retry_ms = MUTANT(no_backoff) ? in->now_ms : backoff_until(in);
		inbox_state_note(in, (struct inbox_note){ .kind = INBOX_NOTE_DOUBT, .doubt = doubt, .reason = reason });
	}
	inbox_state_enter(in, INBOX_SETTLING);
}

static void say_stop(struct inbox *in, enum inbox_stop stop, uint64_t from, uint64_t to, uint32_t reason)
{
	if (in->stop == stop && in->stats.stop_from == from && in->stats.stop_to == to)
		return;
	in->stop = in->stats.stop = stop;
	in->stats.stop_from = from;
	in->stats.stop_to = to;
	inbox_state_effect(in,
			   (struct inbox_effect){ .kind = INBOX_EFFECT_STOP,
						  .stop = { .stop = stop, .from = from, .to = to, .reason = reason } });
	if (stop != INBOX_STOP_NONE)
		inbox_state_note(
			in,
			(struct inbox_note){
				.kind = INBOX_NOTE_STOPPED, .stop = stop, .from = from, .to = to, .reason = reason });
}

/* What is mended at the broker tells nobody here that it is: it is asked again soon, for a stream that is missing may be on its way. */
static bool is_of_broker(enum inbox_stop stop)
{
	return stop == INBOX_STOP_NO_STREAM || stop == INBOX_STOP_KIND || stop == INBOX_STOP_START_AHEAD ||
	       stop == INBOX_STOP_REFUSED;
}

void inbox_state_stop(struct inbox *in, enum inbox_stop stop, uint64_t from, uint64_t to, uint32_t reason)
{
	inbox_state_drop_consumer(in);
	say_stop(in, stop, from, to, reason);
	in->stop_stands = (stop == INBOX_STOP_TRUNCATED || stop == INBOX_STOP_RECREATED) && !MUTANT(stop_forgotten);
	in->stop_ms = is_of_broker(stop) ? backoff_until(in) : in->now_ms + in->s.check_interval_ms;
	inbox_state_enter(in, INBOX_STOPPED);
}

void inbox_state_stop_over(struct inbox *in)
{
	say_stop(in, INBOX_STOP_NONE, 0, 0, 0);
}

void inbox_state_place(struct inbox *in, struct inbox_move place)
{
	in->place = place;
	in->place.from = in->position;
	in->place.incarnation = in->incarnation;
	in->place_wanted = true;
	inbox_state_enter(in, INBOX_PLACING);
}
