/* What the streams already hold: once, in practice (G4).
 *
 * A message may be stored although nobody here knows: an earlier leader sent it and died, or our own publish got no
 * answer. Within its duplicate window the stream drops a repeat; beyond, only the stream itself can tell. So nothing
 * is published to a stream before its tail was read, from the floor the last mark left; and nothing that may be
 * stored is published again beyond half a window without a fresh look. What is found there is acknowledged instead of sent.
 *
 *     READY -- tail not known --> ASKING -- read --> READY -> in flight, or found
 *                                        -- cannot be read --> parked, as for any stream that takes nothing
 *                                                              (after many looks in vain a probe is sent all the same)
 *
 * Why a look is enough. Every copy stored before the look is seen by it. A copy stored between the look and the repeat, or
 * after the repeat, is less than a window away from it, and so one of the two is dropped; but for one that lies
 * in the network for longer than half a window, and nothing can be done about that.
 *
 * Why the look after a take-over is late enough. An earlier leader that lives publishes nothing after its lease (G3). If the
 * window is at least twice what is left of that, whatever it still stores collides with our own copy inside the window.
 * If not, the look is put off until it is. When the lease is over, and what was sent before has had time to arrive, it is looked
 * once more for what was stored meanwhile, if anything that he (or we, when we led before) may have sent is left to be sent:
 * a message that waits for long is not protected by the window. A quarter of the window is that time: a copy is then stored
 * less than half a window after our own. And before that last look nothing that he may have sent is sent half a window after the
 * look before it (the process may have stood still): a copy is then stored less than a window before our own. */
#include "core/machine.h"

#include <assert.h>

#include "core/refusal.h"

/* We lead: nothing is known. */
void tails_unknown(struct delivery *d, const uint64_t *inherited)
{
	for (uint32_t s = 0; s < d->s.streams; s++)
		d->tail[s] = (struct tail){ .wanted = true, .inherited = inherited[s] };
}

/* No answer will come; and a new connection is a good time to look again: the stream may be another one by then. */
void tails_interrupted(struct delivery *d)
{
	for (uint32_t s = 0; s < d->s.streams; s++) {
		d->tail[s].known = d->tail[s].asking = false;
		d->tail[s].wanted = true;
		d->tail[s].failures = d->tail[s].rounds = 0;
		d->tail[s].blind_id = 0;
		d->tail[s].taken = d->tail[s].blind = false;
		lanes_answer(&d->lanes, (uint16_t)s);
	}
}

/* --- doubt --- */

/* Whatever is sent from now on is stored above this. */
uint64_t stream_top(const struct delivery *d, uint16_t stream)
{
	uint64_t acked = d->stats.stream[stream].sequence, seen = d->tail[stream].upto;

	return acked > seen ? acked : seen;
}

static void advance_to(struct tail *t, uint64_t sequence)
{
	t->upto = sequences_skip(&t->acked, sequence + 1) - 1;
	sequences_forget(&t->acked, t->upto);
}

static bool others_remain(const struct delivery *d)
{
	return !d->caught_up || d->position < d->others_to ||
	       (d->book.first != NULL && d->book.first->lo <= d->others_to);
}

/* The stream is another one, or has lost its end, nobody knows how much of it; now it ends at `last` at least. What was sent
 * and is in doubt may stand anywhere, and so may what the next marks do not settle: the floors are not known, until they are
 * taken anew. What was found of others is void, so they are looked for again. */
static void lost_end(struct delivery *d, uint16_t stream, uint64_t last)
{
	struct tail *t = &d->tail[stream];
	uint64_t *top = &d->stats.stream[stream].sequence;

	t->upto = t->acked.count = 0;
	t->ours &= !others_remain(d);
	*top = *top < last ? *top : last;
	d->floor.sequence[stream] = d->next_floor.sequence[stream] = FLOOR_UNKNOWN;
	if (t->inherited != FLOOR_NONE)
		t->inherited = FLOOR_UNKNOWN;
	for (struct message *m = d->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && m->floor != FLOOR_NONE)
			m->floor = FLOOR_UNKNOWN;
	for (struct exception *e = d->book.first; e != NULL; e = e->next)
		if (e->doubt.stream == stream && e->doubt.floor != FLOOR_NONE)
			e->doubt.floor = FLOOR_UNKNOWN;
}

/* An answer that is awaited may be of the stream as it was: nobody waits for it any more. */
static void look_anew(struct tail *t)
{
	if (t->blind)
		return;
	t->known = t->asking = false;
	t->wanted = true;
}

/* It stored m, which is settled with this: nobody need look for it there. (Acks come in any order, and between two of ours may
 * stand what others store.) But a sequence is given once, and above everything that was there when m was sent first: else the
 * stream has lost its end, and what stands there now is not what we knew. (Whoever is asked next may not see that: by then it may have
 * grown beyond.) */
void tail_grows(struct delivery *d, const struct message *m, uint64_t sequence, bool duplicate)
{
	struct tail *t = &d->tail[m->stream];
	bool again = sequence > t->upto && sequences_skip(&t->acked, sequence) != sequence,
	     below = m->floor != FLOOR_NONE && sequence <= m->floor;

	if (!duplicate && (again || below)) {
		lost_end(d, m->stream, sequence);
		look_anew(t);
		t->anew = true;
	}
	if (!t->looked || sequence <= t->upto)
		return;
	if (sequence == t->upto + 1 && t->acked.count == 0)
		t->upto = sequence;
	else if (sequences_add(&t->acked, sequence))
		advance_to(t, t->upto);
}

/* Where it ends at least, if it has not lost its end. */
static uint64_t known_end(const struct delivery *d, uint16_t stream)
{
	const struct tail *t = &d->tail[stream];
	uint64_t top = stream_top(d, stream);

	if (t->acked.count > 0 && top < t->acked.range[t->acked.count - 1].hi)
		top = t->acked.range[t->acked.count - 1].hi;
	return t->inherited != FLOOR_NONE && top < t->inherited ? t->inherited : top;
}

/* m is about to be sent, perhaps not for the first time: what was decided within half a window is done within another quarter, and
 * has a quarter to arrive. A process may stand still between any two instructions. */
int64_t write_by(const struct delivery *d, const struct message *m)
{
	const struct tail *t = &d->tail[m->stream];

	if (t->window_ms == 0 || t->blind || (m->doubt_ms == NEVER && t->ours))
		return INT64_MAX;
	return d->now + t->window_ms / 4;
}

/* m is being sent. */
void doubt_begins(struct delivery *d, struct message *m)
{
	uint64_t top = stream_top(d, m->stream);

	m->sent_ms = d->now;
	if (m->doubts < UINT16_MAX)
		m->doubts++;
	if (m->doubt_ms == NEVER)
		m->doubt_ms = d->now;
	if (m->floor > top)
		m->floor = top;
}

/* The publish in flight was refused: it is not stored. */
void doubt_ends(struct message *m)
{
	if (m->doubts == UINT16_MAX || --m->doubts > 0)
		return;
	m->doubt_ms = NEVER;
	m->floor = FLOOR_NONE;
}

struct doubt doubt_of(const struct message *m)
{
	return (struct doubt){
		.sent_ms = m->doubt_ms != NEVER ? m->sent_ms : NEVER,
		.floor = m->floor,
		.stream = m->floor != FLOOR_NONE ? m->stream : 0,
	};
}

void doubt_returns(struct message *m, struct doubt doubt)
{
	m->floor = doubt.floor;
	m->doubts = doubt.floor != FLOOR_NONE;
	m->sent_ms = doubt.sent_ms;
	m->doubt_ms = doubt.sent_ms != NEVER ? INT64_MIN / 2 : NEVER; /* longer ago than any window */
}

/* What is known of a row that was just read: while we have not caught up, an earlier leader may have sent it. (What the
 * stream held when we took the lead is known, or asked for: this is for the leader after us.) */
struct doubt doubt_of_row(const struct delivery *d, const struct row *row, const struct exception *e)
{
	struct doubt doubt = e != NULL ? e->doubt : NO_DOUBT;
	uint64_t inherited = d->tail[row->stream].inherited;

	if ((e == NULL && !d->caught_up) || (e != NULL && e->inherited != OURS)) {
		doubt.floor = doubt.floor < inherited ? doubt.floor : inherited;
		doubt.stream = doubt.floor != FLOOR_NONE ? row->stream : 0;
	}
	return doubt;
}

/* Until the last look for what others sent, a copy of theirs may have been stored since any earlier one. */
static bool others_may_have_sent(const struct delivery *d, const struct tail *t, const struct message *m)
{
	return !t->ours && (!d->caught_up || m->id <= d->others_to);
}

/* Is the stream sure to drop a repeat, or did it just say that it holds no copy? */
static bool may_repeat(const struct delivery *d, const struct message *m)
{
	const struct tail *t = &d->tail[m->stream];

	/* Blindly there is nobody to ask: waiting for an answer would be for ever. */
	if (t->blind)
		return true;
	if (others_may_have_sent(d, t, m) && d->now != t->heard_ms && d->now - t->asked_ms >= t->window_ms / 2)
		return false;
	if (m->doubt_ms == NEVER || d->now - m->doubt_ms < t->window_ms / 2)
		return true;
	return t->asked_ms > m->sent_ms && (d->now == t->heard_ms || d->now - t->heard_ms < t->window_ms / 2);
}

/* True: m waits until its stream has been asked. */
bool must_ask(struct delivery *d, struct message *m)
{
	struct tail *t = &d->tail[m->stream];

	if (t->blind_id == m->id) {
		t->blind_id = 0;
		t->sent_blindly = true;
		return false;
	}
	if (t->known && may_repeat(d, m))
		return false;
	t->known = false; /* so that nothing of its lane passes it meanwhile */
	t->wanted = !t->asking;
	message_move(&d->lanes, m, PLACE_ASKING);
	return true;
}

/* Asleep we have read all that was committed, and what nobody has committed yet nobody has sent: with nothing in memory and no
 * exception, all that may stand in a stream is settled. But a letter that is redriven may come as a new row with its old id,
 * which is in no doubt here and not asked about. Where no copy of it can be stored (most are refused at their first attempt)
 * none can have been found; else what was found is kept while we lead, for it alone can tell. Letters that were made before we
 * led are not thought of: who leads next would not know of ours either. */
bool found_is_sought(const struct delivery *d)
{
	return d->pace.mode != PACE_ASLEEP || d->lanes.oldest != NULL || d->book.count > 0 || d->letter_in_doubt;
}

/* --- question and answer --- */

/* Where the copies of everything in doubt begin. */
static uint64_t lowest_floor(const struct delivery *d, uint16_t stream, uint64_t lowest)
{
	for (const struct message *m = d->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && m->doubt_ms != NEVER && m->floor < lowest)
			lowest = m->floor;
	for (const struct exception *e = d->book.first; e != NULL; e = e->next)
		if (e->doubt.stream == stream && e->doubt.sent_ms != NEVER && e->doubt.floor < lowest)
			lowest = e->doubt.floor;
	return lowest;
}

/* Nothing is read twice. Once all that is stored is ours, only what is in doubt need be looked for: it was sent since. */
static uint64_t look_above(const struct delivery *d, uint16_t stream)
{
	const struct tail *t = &d->tail[stream];
	uint64_t lowest;

	if (!t->looked)
		return lowest_floor(d, stream, t->inherited);
	if (!t->ours || t->rounds > 0)
		return t->upto;
	lowest = lowest_floor(d, stream, FLOOR_NONE);
	return lowest < t->upto ? t->upto : lowest;
}

static bool must_wait_for_others(const struct delivery *d, const struct tail *t, int64_t asked_ms)
{
	return asked_ms < d->others_until && t->window_ms / 2 < d->others_until - asked_ms;
}

/* The first question is asked at once: without its answer the window is not known. */
static bool is_due(const struct delivery *d, const struct tail *t)
{
	return t->wanted && !t->asking && (t->heard_ms == 0 || !must_wait_for_others(d, t, d->now));
}

/* From then on nothing is stored that was sent before we led. (Before the first leader nothing was.) */
static int64_t others_end(const struct delivery *d, const struct tail *t)
{
	return t->inherited == FLOOR_NONE ? d->others_until : d->others_until + t->window_ms / 4;
}

/* What was stored since the first look of what was sent before we led is looked for, if any of it is left to be sent. */
static void look_for_the_last_of_others(struct delivery *d)
{
	for (uint32_t s = 0; s < d->s.streams; s++) {
		struct tail *t = &d->tail[s];

		if (!t->looked || t->ours || t->asking || d->now < others_end(d, t) || d->now < t->again_ms)
			continue;
		if (others_remain(d))
			t->wanted = true;
		else
			t->ours = true;
	}
}

bool next_tail(struct delivery *d, struct effect *f)
{
	if (!d->leading || !d->bus_up || d->draining || d->now >= d->lease_until)
		return false;
	look_for_the_last_of_others(d);
	for (uint32_t s = 0; s < d->s.streams; s++) {
		struct tail *t = &d->tail[s];

		if (!is_due(d, t))
			continue;
		t->wanted = false;
		t->asking = true;
		d->stats.tails++;
		f->kind = EFFECT_TAIL;
		f->tail.stream = (uint16_t)s;
		f->tail.above = look_above(d, (uint16_t)s);
		f->tail.acked = &t->acked;
		f->tail.anew = t->anew;
		t->anew = false;
		f->tail.top = t->asked_top = known_end(d, (uint16_t)s);
		return true;
	}
	return false;
}

int64_t tails_deadline(const struct delivery *d)
{
	int64_t at = INT64_MAX;

	for (uint32_t s = 0; s < d->s.streams; s++) {
		const struct tail *t = &d->tail[s];

		if (t->wanted && t->heard_ms != 0 && must_wait_for_others(d, t, d->now))
			at = earlier(at, d->others_until - t->window_ms / 2);
		if (t->looked && !t->ours && !t->asking && d->now < others_end(d, t))
			at = earlier(at, others_end(d, t));
		else if (t->looked && !t->ours && !t->asking && d->now < t->again_ms)
			at = earlier(at, t->again_ms);
	}
	return at;
}

static uint32_t patience(uint32_t reason)
{
	return reason == REASON_NO_REPLY ? LIMIT_LOOKS_UNANSWERED : LIMIT_LOOKS_REFUSED;
}

static void open_blindly(struct delivery *d, uint16_t stream)
{
	d->tail[stream].known = d->tail[stream].blind = true;
	take_note(d, (struct note){ .kind = NOTE_BLIND, .stream = stream });
	lanes_answer(&d->lanes, stream);
}

/* It takes nothing then: whoever asked is the first to wait, its probe if it is one. Where looks fail again and again, only
 * the stream itself can tell whether it is to be published to (it may be another account's): a probe is sent all the same.
 * Where that one is stored and looks still fail, at least once is what is left, until the next connection. */
static void unreadable(struct delivery *d, const struct event *ev)
{
	struct tail *t = &d->tail[ev->tail.stream];
	struct message *first = NULL;

	t->again_ms = backoff(d, t->failures);
	t->failures += t->failures < UINT32_MAX;
	if (t->taken) {
		open_blindly(d, ev->tail.stream);
		return;
	}
	for (struct message *m = d->lanes.place[PLACE_ASKING].first; m != NULL; m = m->next)
		if (m->stream == ev->tail.stream && (first == NULL || is_probe_of(stream_block(d, m), m->id)))
			first = m;
	if (first == NULL)
		return;
	if (t->failures >= patience(ev->tail.reason) && is_probe_of(stream_block(d, first), first->id)) {
		t->blind_id = first->id;
		message_move(&d->lanes, first, PLACE_READY);
		return;
	}
	block_stream(d, first, ev->tail.reason);
}

/* It took a message: a good time to look again. */
void tail_taken(struct delivery *d, uint16_t stream)
{
	struct tail *t = &d->tail[stream];

	if (t->known || t->failures < LIMIT_LOOKS_REFUSED)
		return;
	t->taken = true;
	t->wanted = !t->asking;
}

/* Nobody has led before: what the stream held when we came is not ours. */
static void begin_floors(struct delivery *d, uint16_t stream, uint64_t last)
{
	const struct tail *t = &d->tail[stream];

	if (t->inherited != FLOOR_NONE || t->looked || t->sent_blindly)
		return;
	d->floor.sequence[stream] = d->next_floor.sequence[stream] = last;
}

/* What earlier leaders left in doubt is not in doubt any more: it was found, or it is not there. */
static void resolve_inherited(struct delivery *d, uint16_t stream)
{
	for (struct exception *e = d->book.first; e != NULL; e = e->next)
		if (e->doubt.stream == stream && e->doubt.sent_ms == SENT_BY_OTHERS)
			e->doubt.sent_ms = NEVER;
}

/* A look that took so long that what was stored meanwhile may be forgotten already. */
static bool took_too_long(const struct delivery *d, const struct tail *t, int64_t asked_ms)
{
	return t->window_ms > 0 && d->now - asked_ms >= t->window_ms / 2 && t->rounds < LIMIT_LOOK_ROUNDS;
}

void tail_told(struct delivery *d, const struct event *ev)
{
	struct tail *t = &d->tail[ev->tail.stream];
	bool ours = t->ours;

	if (!d->leading || !t->asking)
		return;
	t->asking = false;
	if (!ev->tail.ok) {
		unreadable(d, ev);
		return;
	}
	t->failures = 0;
	t->blind_id = 0;
	t->taken = t->blind = false;
	t->window_ms = ev->tail.window_ms;
	t->heard_ms = d->now;
	if (ev->tail.another || ev->tail.last < t->asked_top)
		lost_end(d, ev->tail.stream, ev->tail.last);
	if (must_wait_for_others(d, t, ev->tail.asked_ms)) {
		take_note(d, (struct note){ .kind = NOTE_OTHERS, .stream = ev->tail.stream });
		t->wanted = true;
		return;
	}
	if (ours && !t->ours) { /* only what is in doubt was asked for */
		look_anew(t);
		return;
	}
	begin_floors(d, ev->tail.stream, ev->tail.last);
	t->looked = true;
	if (ev->tail.last > t->upto)
		advance_to(t, ev->tail.last);
	if (took_too_long(d, t, ev->tail.asked_ms)) {
		t->rounds++;
		t->wanted = true;
		return;
	}
	t->rounds = 0;
	t->known = true;
	t->asked_ms = ev->tail.asked_ms;
	if (!t->ours && ev->tail.asked_ms >= others_end(d, t)) {
		t->ours = true;
		resolve_inherited(d, ev->tail.stream);
	}
	lanes_answer(&d->lanes, ev->tail.stream);
}
