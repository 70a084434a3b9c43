/* The look-back: once, in practice (G4).
 *
 * A message may be stored although nobody here knows: an earlier leader sent it and died, or our own publish got no
 * answer. Within its duplicate window the stream drops a repeat. Beyond it, only the stream itself can tell. So nothing is
 * published to a stream before it was read, from the low water that the last mark left. And nothing that may be stored is
 * published again beyond half a window without a fresh look-back. What is found there is acknowledged instead of sent.
 *
 *     READY -- UNKNOWN --> ASKING -- read --> READY -> in flight, or found
 *                                 -- cannot be read --> parked, as for any stream that takes nothing
 *                                                       (after many failures a probe is sent all the same)
 *
 * Why a look-back is enough. Every copy stored before it is seen by it. A copy stored between the look-back and the repeat, or
 * after the repeat, is less than a window away from the repeat, so one of the two is dropped. The exception is a copy that lies
 * in the network for longer than half a window, and nothing can be done about that.
 *
 * Why the look-back after a take-over is late enough. An earlier leader that lives publishes nothing after its lease (G3). If the
 * window is at least twice what is left of that lease, whatever it still stores collides with our own copy inside the window.
 * If not, the look-back is put off until it is.
 *
 * Why there is a last one. A message that waits for long is not protected by the window. So when the lease is over, and what was
 * sent before has had a quarter of a window to arrive, the stream is read once more for what was stored meanwhile. It is
 * not, if nothing is left to be sent of what the earlier leader (or we, when we led before) may have sent. A copy that
 * arrives later is stored less than half a window after our own. And before the last look-back nothing that the earlier
 * leader may have sent is sent later than half a window after the one before it (the process may have stood still): a copy is then
 * stored less than a window before our own. */
#include "core/send/lookback.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/refusal.h"
#include "core/send/doubt.h"
#include "core/send/holding.h"
#include "core/send/lookback_end.h"
#include "core/send/lookback_step.h"
#include "core/send/predecessor.h"
#include "core/send/send.h"

void lookback_begin(struct sender *s, const uint64_t *inherited)
{
	for (uint32_t i = 0; i < s->set->streams; i++)
		s->lookback[i] = (struct lookback){ .question = QUESTION_WANTED, .inherited = inherited[i] };
}

/* A new connection is a good time to look again: the stream may be another one by then. */
void lookback_interrupted(struct sender *s)
{
	for (uint32_t i = 0; i < s->set->streams; i++) {
		struct lookback *l = &s->lookback[i];

		lookback_step(l, LOOKBACK_INTERRUPTED);
		l->failures = l->rounds = 0;
		l->blind_probe = 0;
		lanes_answer(&s->lanes, (uint16_t)i);
	}
	assert(s->lanes.place[PLACE_ASKING].count == 0);
}

/* --- may it be sent? --- */

/* Until the last look-back, a copy of what an earlier leader sent may have been stored since any earlier one. */
static bool predecessor_may_have_sent(const struct sender *s, const struct lookback *l, const struct message *m)
{
	return l->phase != PHASE_OURS && m->ticket <= s->predecessor.last_ticket;
}

/* Is the stream sure to drop a repeat, or did it just say that it holds no copy? */
static bool may_repeat(const struct sender *s, const struct lookback *l, const struct message *m)
{
	/* Blindly there is nobody to ask: waiting for an answer would be for ever. */
	if (l->knowledge == LOOKBACK_BLIND)
		return true;
	if (predecessor_may_have_sent(s, l, m) && s->now_ms != l->heard_ms &&
	    s->now_ms - l->asked_ms >= l->duplicate_window_ms / 2)
		return false;
	if (!doubt_is_open(m) || s->now_ms - m->copies.first_ms < l->duplicate_window_ms / 2)
		return true;
	return (l->asked_ms > m->copies.last_ms || MUTANT(lookback_before_publish)) &&
	       (s->now_ms == l->heard_ms || s->now_ms - l->heard_ms < l->duplicate_window_ms / 2);
}

bool lookback_needed(const struct sender *s, const struct message *m)
{
	const struct lookback *l = &s->lookback[m->stream];

	if (l->blind_probe == m->ticket || MUTANT(lookback_unread))
		return false;
	return l->knowledge < LOOKBACK_KNOWN || !(may_repeat(s, l, m) || MUTANT(lookback_once));
}

/* Its stream is UNKNOWN from now on, so that nothing of its lane passes it meanwhile. */
void lookback_ask(struct sender *s, struct message *m)
{
	assert(m->place == PLACE_READY);
	lookback_step(&s->lookback[m->stream], LOOKBACK_NEEDED);
	assert(s->lookback[m->stream].question != QUESTION_NONE);
	lanes_move(&s->lanes, m, PLACE_ASKING);
}

/* What was decided within half a window is done within another quarter, and has a quarter to arrive. A process may stand still
 * between any two instructions. */
static int64_t write_by(const struct sender *s, const struct lookback *l, const struct message *m)
{
	if (l->duplicate_window_ms == 0 || l->knowledge == LOOKBACK_BLIND ||
	    (!doubt_is_open(m) && l->phase == PHASE_OURS))
		return INT64_MAX;
	return s->now_ms + l->duplicate_window_ms / 4;
}

void lookback_sent(struct sender *s, struct message *m, struct effect *f)
{
	struct lookback *l = &s->lookback[m->stream];

	assert(l->knowledge >= LOOKBACK_KNOWN || l->blind_probe == m->ticket || MUTANT(lookback_unread));
	f->publish.by_ms = write_by(s, l, m);
	f->publish.blind = l->knowledge == LOOKBACK_BLIND;
	if (l->blind_probe == m->ticket) {
		f->publish.blind = true;
		l->blind_probe = 0;
		if (l->phase == PHASE_UNREAD)
			l->phase = PHASE_UNREAD_SENT;
	}
	doubt_begin(m, s->now_ms, lookback_last_known(s, m->stream));
}

void lookback_want(struct sender *s, uint16_t stream)
{
	struct lookback *l = &s->lookback[stream];

	lookback_step(l, LOOKBACK_NEEDED);
	l->question = QUESTION_WANTED;
}

/* --- the question --- */

/* Where the copies of everything in doubt begin that is in memory. */
static uint64_t lowest_in_memory(const struct sender *s, uint16_t stream, uint64_t lowest)
{
	for (const struct message *m = s->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && doubt_is_open(m) && m->copies.low_water < lowest)
			lowest = m->copies.low_water;
	return lowest;
}

/* Nothing is read twice. Once all that is stored is ours, only what is in doubt need be looked for: it was sent since. */
static uint64_t read_above(const struct sender *s, uint16_t stream, uint64_t lowest)
{
	const struct lookback *l = &s->lookback[stream];

	if (l->phase < PHASE_READ)
		return lowest_in_memory(s, stream, lowest < l->inherited ? lowest : l->inherited);
	if (l->phase != PHASE_OURS || l->rounds > 0 || settings_owns(s->set, stream))
		return l->read_up_to;
	lowest = lowest_in_memory(s, stream, lowest);
	return lowest < l->read_up_to ? l->read_up_to : lowest;
}

/* The last look-back is still to come, and no question is under way. */
static bool awaits_last(const struct lookback *l)
{
	return l->phase == PHASE_READ && l->question != QUESTION_ASKED;
}

static bool last_is_due(const struct sender *s, uint16_t stream)
{
	const struct lookback *l = &s->lookback[stream];

	return awaits_last(l) && s->now_ms >= predecessor_end(s, stream) && s->now_ms >= l->again_ms;
}

bool lookback_next(struct sender *s, uint16_t *stream)
{
	if (!s->bus_up)
		return false;
	for (uint16_t i = 0; i < s->set->streams; i++) {
		struct lookback *l = &s->lookback[i];

		if (last_is_due(s, i)) {
			if (s->predecessor.remains)
				l->question = QUESTION_WANTED;
			else
				l->phase = PHASE_OURS;
		}
		/* The first question is asked at once: without its answer the window is not known. */
		if (l->question != QUESTION_WANTED ||
		    (l->heard_ms != 0 && predecessor_must_be_waited_for(s, i, s->now_ms)))
			continue;
		*stream = i;
		return true;
	}
	return false;
}

void lookback_take(struct sender *s, uint16_t stream, uint64_t lowest, struct effect *f)
{
	struct lookback *l = &s->lookback[stream];

	assert(l->question == QUESTION_WANTED);
	l->question = QUESTION_ASKED;
	s->stats->lookbacks++;
	f->kind = EFFECT_LOOKBACK;
	f->lookback.stream = stream;
	f->lookback.above = read_above(s, stream, lowest);
	f->lookback.acked = &l->acked;
	f->lookback.marked = 0; /* a source whose marks name the end of its stream says it */
	f->lookback.truncated = l->truncated;
	l->truncated = false;
	assert(s->bus_up);
	if (settings_owns(s->set, stream))
		chain_look_asked(s, stream);
	f->lookback.known_end = l->asked_end = lookback_known_end(s, stream);
}

bool lookback_is_wanted(const struct sender *s)
{
	for (uint32_t i = 0; s->bus_up && i < s->set->streams; i++)
		if (s->lookback[i].question != QUESTION_NONE)
			return true;
	return false;
}

int64_t lookback_deadline(const struct sender *s)
{
	int64_t at = INT64_MAX;

	for (uint16_t i = 0; i < s->set->streams; i++) {
		const struct lookback *l = &s->lookback[i];

		if (l->question == QUESTION_WANTED && l->heard_ms != 0 &&
		    predecessor_must_be_waited_for(s, i, s->now_ms))
			at = sender_state_earlier(at, predecessor_wait_until(s, i));
		if (!awaits_last(l))
			continue;
		if (s->now_ms < predecessor_end(s, i))
			at = sender_state_earlier(at, predecessor_end(s, i));
		else if (s->now_ms < l->again_ms)
			at = sender_state_earlier(at, l->again_ms);
	}
	return at;
}

/* --- the answer --- */

static uint32_t patience(uint32_t reason)
{
	return reason == REASON_NO_REPLY ? LIMIT_LOOKBACKS_UNANSWERED : LIMIT_LOOKBACKS_REFUSED;
}

/* The message that waits for this stream and is to be held back first: its probe, if that is among them. */
static struct message *first_asking(struct sender *s, uint16_t stream)
{
	const struct block *b = &s->blocks.stream[stream];
	struct message *first = NULL;

	for (struct message *m = s->lanes.place[PLACE_ASKING].first; m != NULL; m = m->next)
		if (m->stream == stream && (first == NULL || block_is_probed_by(b, m->ticket)))
			first = m;
	return first;
}

/* It takes nothing then: what waits for it is held back. Where questions fail again and again, only the stream itself can tell
 * whether it is to be published to (it may be another account's): a probe is sent all the same. Where that one is stored and
 * questions still fail, at least once is what is left, until the next connection. */
static void unreadable(struct sender *s, uint16_t stream, uint32_t reason)
{
	struct lookback *l = &s->lookback[stream];
	struct message *first;

	l->again_ms = sender_state_retry_at(s, l->failures);
	l->failures += l->failures < UINT32_MAX;
	lookback_step(l, LOOKBACK_UNREADABLE);
	if (settings_owns(s->set, stream)) {
		chain_unreadable(s, stream, reason);
		return;
	}
	if (l->knowledge == LOOKBACK_BLIND) {
		notes_add(s->notes, (struct note){ .kind = NOTE_BLIND, .stream = stream });
		lanes_answer(&s->lanes, stream);
		return;
	}
	assert(l->knowledge != LOOKBACK_TAKES);
	first = first_asking(s, stream);
	if (first == NULL)
		return;
	if (l->failures >= patience(reason) && block_is_probed_by(&s->blocks.stream[stream], first->ticket)) {
		l->blind_probe = first->ticket;
		lanes_move(&s->lanes, first, PLACE_READY);
		return;
	}
	holding_block_stream(s, first, reason);
}

/* Nobody has led before: what the stream held when we came is not ours. */
static void tell_first(struct sender *s, uint16_t stream, uint64_t last)
{
	const struct lookback *l = &s->lookback[stream];
	struct outcome *o;

	if (l->inherited != LOW_WATER_NONE || l->phase != PHASE_UNREAD)
		return;
	o = outcomes_add(&s->outcomes, OUTCOME_FIRST);
	o->stream = stream;
	o->sequence = last;
}

/* So long that what was stored meanwhile may be forgotten already. */
static bool took_too_long(const struct sender *s, const struct lookback *l, int64_t asked_ms)
{
	return l->duplicate_window_ms > 0 && s->now_ms - asked_ms >= l->duplicate_window_ms / 2 &&
	       l->rounds < LIMIT_LOOKBACK_ROUNDS;
}

static void read_now(struct sender *s, uint16_t stream, int64_t asked_ms, uint64_t last)
{
	struct lookback *l = &s->lookback[stream];

	l->rounds = 0;
	lookback_step(l, LOOKBACK_READ);
	l->asked_ms = asked_ms;
	if (l->phase != PHASE_OURS && asked_ms >= predecessor_end(s, stream)) {
		l->phase = PHASE_OURS;
		outcomes_add(&s->outcomes, OUTCOME_INHERITED)->stream = stream;
	}
	lanes_answer(&s->lanes, stream);
	assert(l->knowledge == LOOKBACK_KNOWN && l->question == QUESTION_NONE);
	if (settings_owns(s->set, stream))
		chain_looked(s, stream, last);
}

static void readable(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->lookback.stream;
	struct lookback *l = &s->lookback[stream];
	bool ours = l->phase == PHASE_OURS;

	l->failures = 0;
	l->blind_probe = 0;
	l->duplicate_window_ms = ev->lookback.duplicate_window_ms;
	l->heard_ms = s->now_ms;
	lookback_step(l, LOOKBACK_ANSWERED);
	if (ev->lookback.another || ev->lookback.last < l->asked_end)
		lookback_truncated(s, stream, ev->lookback.last);
	if (predecessor_must_be_waited_for(s, stream, ev->lookback.asked_ms)) {
		if (!settings_owns(s->set, stream))
			notes_add(s->notes, (struct note){ .kind = NOTE_PREDECESSOR, .stream = stream });
		lookback_step(l, LOOKBACK_AGAIN);
		return;
	}
	if (ours && l->phase != PHASE_OURS) { /* only what is in doubt was asked for */
		lookback_step(l, LOOKBACK_TRUNCATED);
		return;
	}
	tell_first(s, stream, ev->lookback.last);
	if (l->phase < PHASE_READ)
		l->phase = PHASE_READ;
	if (settings_owns(s->set, stream))
		chain_read(s, stream, ev);
	if (ev->lookback.last > l->read_up_to)
		lookback_advance_to(l, ev->lookback.last);
	if (took_too_long(s, l, ev->lookback.asked_ms)) {
		l->rounds++;
		lookback_step(l, LOOKBACK_AGAIN);
		return;
	}
	read_now(s, stream, ev->lookback.asked_ms, ev->lookback.last);
}

void lookback_answered(struct sender *s, const struct event *ev)
{
	assert(ev->lookback.stream < s->set->streams);
	if (s->lookback[ev->lookback.stream].question != QUESTION_ASKED)
		return;
	if (ev->lookback.ok)
		readable(s, ev);
	else
		unreadable(s, ev->lookback.stream, ev->lookback.reason);
}
