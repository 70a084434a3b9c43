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
#include "core/send/predecessor.h"
#include "core/send/send.h"

/* --- states --- */

enum happening {
	NEEDED,     /* a message may be stored, and what is known does not say */
	ANSWERED,   /* it could be read; whether that counts is decided next */
	AGAIN,      /* it must be read once more */
	READ,       /* that counted: all that was stored before the question is known */
	UNREADABLE, /* it could not be read */
	TAKEN,      /* it stored a message while it could not be read */
	TRUNCATED, /* it has lost its end: what is known of it, and an answer under way, may be of the stream as it was */
	INTERRUPTED, /* the connection is gone */
	HAPPENINGS
};

static void take_step(struct lookback *l, enum happening happening)
{
	enum { N = QUESTION_NONE, W = QUESTION_WANTED, SAME = 10 };
	enum { U = LOOKBACK_UNKNOWN, T = LOOKBACK_TAKES, K = LOOKBACK_KNOWN, B = LOOKBACK_BLIND, NEVER_SO = 20 };
	/* BLIND needs no look-back, so it is never NEEDED there. Where a question is WANTED it is asked once more only if none is
	 * under way, but for TRUNCATED and INTERRUPTED: the answer to that one is not awaited any more. */
	static const struct {
		int knowledge[4]; /* from UNKNOWN, TAKES, KNOWN, BLIND */
		int question[4];
	} table[HAPPENINGS] = {
		[NEEDED] = { { U, T, U, NEVER_SO }, { W, W, W, NEVER_SO } },
		[ANSWERED] = { { U, U, K, K }, { N, N, N, N } },
		[AGAIN] = { { U, NEVER_SO, K, NEVER_SO }, { W, NEVER_SO, W, NEVER_SO } },
		[READ] = { { K, NEVER_SO, K, NEVER_SO }, { N, NEVER_SO, N, NEVER_SO } },
		[UNREADABLE] = { { U, B, K, B }, { N, N, N, N } },
		[TAKEN] = { { T, T, K, B }, { W, W, SAME, SAME } },
		[TRUNCATED] = { { U, T, U, B }, { W, W, W, SAME } },
		[INTERRUPTED] = { { U, U, U, U }, { W, W, W, W } },
	};
	int knowledge = table[happening].knowledge[l->knowledge], question = table[happening].question[l->knowledge];

	assert(knowledge != NEVER_SO && question != NEVER_SO);
	if (l->question == QUESTION_ASKED && (happening == NEEDED || happening == TAKEN))
		question = SAME;
	l->knowledge = (enum knowledge)knowledge;
	if (question != SAME)
		l->question = (enum question)question;
}

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

		take_step(l, INTERRUPTED);
		l->failures = l->rounds = 0;
		l->blind_probe = 0;
		lanes_answer(&s->lanes, (uint16_t)i);
	}
	assert(s->lanes.place[PLACE_ASKING].count == 0);
}

/* --- what the stream holds --- */

uint64_t lookback_last_known(const struct sender *s, uint16_t stream)
{
	uint64_t acked = s->acked[stream].highest, seen = s->lookback[stream].read_up_to;

	return acked > seen ? acked : seen;
}

bool lookback_is_known(const struct sender *s, uint16_t stream)
{
	const struct lookback *l = &s->lookback[stream];

	return s->bus_up && l->knowledge == LOOKBACK_KNOWN && l->question == QUESTION_NONE;
}

uint64_t lookback_inherited(const struct sender *s, uint16_t stream)
{
	return s->lookback[stream].inherited;
}

static void advance_to(struct lookback *l, uint64_t sequence)
{
	l->read_up_to = sequences_skip(&l->acked, sequence + 1) - 1;
	sequences_forget(&l->acked, l->read_up_to);
	assert(l->read_up_to >= sequence && (l->acked.count == 0 || l->acked.range[0].lo > l->read_up_to + 1));
}

/* The stream is another one, or has lost its end, nobody knows how much of it; now it ends at `last` at least. What was sent
 * and is in doubt may stand anywhere: low waters are void until they are taken anew. What was found of earlier leaders is
 * void, so it is looked for again. */
static void truncated(struct sender *s, uint16_t stream, uint64_t last)
{
	struct lookback *l = &s->lookback[stream];
	uint64_t *highest = &s->acked[stream].highest;

	l->read_up_to = l->acked.count = 0;
	if (l->phase == PHASE_OURS && s->predecessor.remains)
		l->phase = PHASE_READ;
	*highest = *highest < last ? *highest : last;
	if (l->inherited != LOW_WATER_NONE)
		l->inherited = LOW_WATER_UNKNOWN;
	for (struct message *m = s->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream) {
			doubt_anywhere(m);
			m->lost_attempt = m->attempt;
		}
	assert(lookback_last_known(s, stream) <= last);
	outcomes_add(&s->outcomes, OUTCOME_TRUNCATED)->stream = stream;
	batch_truncated(s, stream);
	if (settings_owns(s->set, stream))
		chain_truncated(s, stream);
}

/* A sequence is given once, and above everything that was there when m was sent first. Else the stream has lost its end, and
 * what stands there now is not what we knew. (The next question may not show that: by then it may have grown beyond.) */
static bool tells_of_truncation(const struct lookback *l, const struct message *m, uint64_t sequence)
{
	bool again = l->acked.count > 0 && sequence > l->read_up_to && sequences_skip(&l->acked, sequence) != sequence;
	bool below = m->copies.low_water != LOW_WATER_NONE && sequence <= m->copies.low_water;

	return again || below;
}

/* What was sent before it was seen that the stream is another one, or has lost its end, may have been stored before that, and its ack
 * comes late: its sequence does not stand there any more. Taken for the end, the books would say that whatever comes is stored
 * above it. */
static bool tells_the_end(const struct message *m, uint16_t attempt)
{
	return attempt > m->lost_attempt || MUTANT(acked_by_lost);
}

/* m is settled with this, so nobody need look for it there. Acks come in any order, and between two of ours may stand what
 * others store. */
void lookback_acked(struct sender *s, const struct message *m, uint16_t attempt, uint64_t sequence, bool duplicate)
{
	struct lookback *l = &s->lookback[m->stream];
	uint64_t *highest = &s->acked[m->stream].highest;
	bool counts = tells_the_end(m, attempt);

	if (counts && sequence > *highest)
		*highest = sequence;
	if (!duplicate && tells_of_truncation(l, m, sequence)) {
		truncated(s, m->stream, sequence);
		take_step(l, TRUNCATED);
		l->truncated = true;
	}
	if (counts && l->phase >= PHASE_READ && sequence > l->read_up_to) {
		if ((sequence == l->read_up_to + 1 && l->acked.count == 0) || MUTANT(own_over_gaps))
			l->read_up_to = sequence;
		else if (sequences_add(&l->acked, sequence))
			advance_to(l, l->read_up_to);
	}
	/* It took a message though it could not be read: a good time to ask again. */
	if (l->knowledge != LOOKBACK_KNOWN && l->failures >= LIMIT_LOOKBACKS_REFUSED &&
	    !settings_owns(s->set, m->stream))
		take_step(l, TAKEN);
}

/* Others may have stored between ours, so what is known is the end, and no range. */
void lookback_batch_stored(struct sender *s, uint16_t stream, uint64_t floor, uint64_t sequence)
{
	if (sequence <= floor) {
		truncated(s, stream, sequence);
		take_step(&s->lookback[stream], TRUNCATED);
		s->lookback[stream].truncated = true;
	} else if (sequence > s->acked[stream].highest) {
		s->acked[stream].highest = sequence;
	}
}

/* Where it ends at least, if it has not lost its end. */
static uint64_t known_end(const struct sender *s, uint16_t stream)
{
	const struct lookback *l = &s->lookback[stream];
	uint64_t top = lookback_last_known(s, stream);

	if (l->acked.count > 0 && top < l->acked.range[l->acked.count - 1].hi)
		top = l->acked.range[l->acked.count - 1].hi;
	return l->inherited != LOW_WATER_NONE && top < l->inherited ? l->inherited : top;
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
	take_step(&s->lookback[m->stream], NEEDED);
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

	take_step(l, NEEDED);
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
	f->lookback.known_end = l->asked_end = known_end(s, stream);
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
	take_step(l, UNREADABLE);
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
	take_step(l, READ);
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
	take_step(l, ANSWERED);
	if (ev->lookback.another || ev->lookback.last < l->asked_end)
		truncated(s, stream, ev->lookback.last);
	if (predecessor_must_be_waited_for(s, stream, ev->lookback.asked_ms)) {
		if (!settings_owns(s->set, stream))
			notes_add(s->notes, (struct note){ .kind = NOTE_PREDECESSOR, .stream = stream });
		take_step(l, AGAIN);
		return;
	}
	if (ours && l->phase != PHASE_OURS) { /* only what is in doubt was asked for */
		take_step(l, TRUNCATED);
		return;
	}
	tell_first(s, stream, ev->lookback.last);
	if (l->phase < PHASE_READ)
		l->phase = PHASE_READ;
	if (settings_owns(s->set, stream))
		chain_read(s, stream, ev);
	if (ev->lookback.last > l->read_up_to)
		advance_to(l, ev->lookback.last);
	if (took_too_long(s, l, ev->lookback.asked_ms)) {
		l->rounds++;
		take_step(l, AGAIN);
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
