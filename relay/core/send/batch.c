/* Batches: a whole window in flight on any stream, all keys, each key in order (G3).
 *
 *     NONE --begins--> OPEN --its last message, or its end--> ENDING --all of it is stored--> NONE
 *                        |                                       |
 *                        `-- a gap, an error, a 503 --> BROKEN <-'
 *                              |  the server's word on what it has stored, or a while without it
 *                              v
 *                            NONE, and what was not told to be stored is UNCERTAIN: each goes by itself, in its lane;
 *                            no batch begins before all of them are settled, or parked
 *
 * Why what is stored is a prefix of what was sent. The server counts a batch: a message that is not the next one ends it, and nothing behind
 * that is stored. (That was looked for with care, and holds but for headers which no message of ours has: the names that begin with Nats-
 * are refused before anything is sent.) So of each lane what is stored is a prefix, too, and there may be many of it in flight.
 *
 * Why a batch holds only what was never sent before, by anybody. A cluster takes a message for stored in a batch though a copy of it is only
 * being stored, and may be lost yet; to a message by itself it says that (10158). So what is in doubt, what an earlier leader may have sent,
 * and what was in a batch whose end was unclean go by themselves. Then no message of a batch has a copy, what the server says of it is
 * said of this one, and an ack of number n says that 1 to n are stored.
 *
 * Why the next batch waits for the end of the one before. Two that are open are two sequences: the end of one may be lost, and the
 * other go on. Once all of the first is stored nothing of it is on its way. And if nobody knows, what is left of it is sent by lanes: one of a
 * key, and the next when that is stored. A copy that is still on its way from the batch is stored only if those before it there are: it
 * comes late, but not out of order, as with lanes.
 *
 * Why it waits until nothing is uncertain. Not for the order: a lane goes on when its uncertain message is stored. But what shows that the
 * stream takes messages again is that these are taken. A batch begun in an outage adds a window of uncertain ones, and each of them
 * is sent once more.
 *
 * A clean end is all of it stored; or one message refused by name, everything before it stored, and nothing said that a server would say who
 * has just begun to lead. Then what stands behind the refused one is not stored, and cannot be any more, for the refused one is missing: it
 * counts as never sent. Whatever else ends a batch is unclean. That costs little: what is uncertain is dropped as a duplicate.
 *
 * Blocks, and not one batch for as long as there is work. Only the end says where the stream ends now (the sequence), and the low waters
 * of the books come from there. A batch that ended with its last message is ended on all servers; one that a server has forgotten, or
 * that idles, is not. And the block costs a few parts in a hundred (settings.batch_messages).
 *
 * Many answers say nothing: they are of a batch that is over, or of a former leader. The number tells the batch, and progress is that more is
 * stored, not that somebody answers. */
#include "core/send/batch.h"

#include <assert.h>

#include "core/mutant.h"
#include "core/refusal.h"
#include "core/send/chain.h"
#include "core/send/doubt.h"
#include "core/send/lookback.h"
#include "core/send/memory.h"
#include "core/send/send.h"
#include "core/send/sending.h"

enum {
	LOOK_AHEAD = 64,         /* so far it is looked for a message that goes on with a batch */
	FLOW = 100,              /* messages between two acks; an eighth of the window, at most */
	TAIL_MS = 50,            /* nothing more was sent for so long: the batch is ended */
	PING_MS = 300,           /* nothing more was told to be stored for so long: the server is asked */
	WORD_MS = 1000,          /* so long its word on a broken one is awaited */
	TOO_MANY_MS = 10 * 1000, /* after so long a server has forgotten batches that idle */
};

/* Each at most a part of the time after which silence is a failure. */
static int64_t within(const struct sender *s, int64_t most_ms, uint32_t part)
{
	int64_t ms = s->set->ack_timeout_ms / part;

	return ms < 1 ? 1 : ms < most_ms ? ms : most_ms;
}

static bool is_owned(const struct sender *s, uint16_t stream)
{
	return settings_owns(s->set, stream);
}

/* --- which wire --- */

/* A copy of it may be anywhere: also one in process, which only a message by itself is told of. */
static bool may_have_been_sent(const struct sender *s, const struct message *m)
{
	const struct predecessor *p = &s->predecessor;

	if (m->attempt != 0 || m->copies.low_water != LOW_WATER_NONE || m->turn == TURN_REDRIVEN)
		return true;
	return p->remains && m->ticket <= p->last_ticket && s->lookback[m->stream].inherited != LOW_WATER_NONE &&
	       !MUTANT(batch_inherits);
}

/* m, which is in memory and not in a batch: may it be in one? What probes goes by itself. */
static void judge(struct sender *s, struct message *m)
{
	m->single |= may_have_been_sent(s, m) || block_is_shut(sender_state_stream_block(s, m)) ||
		     block_is_shut(sender_state_lane_block(s, m));
}

/* Until now nobody has looked at what came to memory. */
static void judge_all(struct sender *s, uint16_t stream)
{
	for (struct message *m = s->lanes.oldest; m != NULL; m = m->age_next)
		if (m->stream == stream && m->number == 0)
			judge(s, m);
}

static void set_wire(struct sender *s, uint16_t stream, enum wire_reason reason)
{
	struct batch *b = &s->batch[stream];

	b->wire = reason;
	if (reason == b->said || reason == WIRE_UNTOLD)
		return;
	b->said = reason;
	notes_add(s->notes, (struct note){ .kind = NOTE_WIRE, .stream = stream, .reason = reason });
}

/* A batch may be begun, if nothing is uncertain. */
static void run_if_settled(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->runs || b->wire != WIRE_BATCHES || (b->uncertain > 0 && !MUTANT(batch_unsettled)))
		return;
	b->runs = true;
	if (!is_owned(s, stream))
		lanes_widen(&s->lanes, stream);
}

static void stop_running(struct sender *s, uint16_t stream, const struct message *stays)
{
	struct batch *b = &s->batch[stream];

	if (!b->runs)
		return;
	b->runs = false;
	if (is_owned(s, stream))
		lanes_resume(&s->lanes, stream);
	else
		lanes_narrow(&s->lanes, stream, stays);
}

/* --- what is in it --- */

static void append(struct batch *b, struct message *m)
{
	m->batch_prev = b->last;
	m->batch_next = NULL;
	*(b->last != NULL ? &b->last->batch_next : &b->first) = m;
	b->last = m;
}

static void take_out(struct batch *b, struct message *m)
{
	*(m->batch_prev != NULL ? &m->batch_prev->batch_next : &b->first) = m->batch_next;
	*(m->batch_next != NULL ? &m->batch_next->batch_prev : &b->last) = m->batch_prev;
	m->batch_next = m->batch_prev = NULL;
	m->number = 0;
}

/* Out of the batch, and still in memory. */
static void leaves(struct sender *s, struct message *m, bool uncertain)
{
	struct batch *b = &s->batch[m->stream];

	take_out(b, m);
	/* It is not its failure. */
	m->tries -= m->tries > 0;
	if (!uncertain) {
		doubt_end(m);
		return;
	}
	if (MUTANT(batch_resends))
		return;
	m->single = m->uncertain = true;
	b->uncertain++;
}

/* The batch is over. What is still in flight in it, but for `stays`, is not any more. */
static void disband(struct sender *s, uint16_t stream, bool uncertain, struct message *stays)
{
	struct batch *b = &s->batch[stream];
	struct message *next;

	for (struct message *m = b->first; m != NULL && !is_owned(s, stream); m = m->batch_next)
		if (m != stays)
			memory_grounded(s, m);
	if (!is_owned(s, stream))
		stop_running(s, stream, stays);
	for (struct message *m = b->first; m != NULL; m = next) {
		next = m->batch_next;
		if (m == stays)
			take_out(b, m);
		else
			leaves(s, m, uncertain);
	}
	b->state = BATCH_IS_NONE;
	b->say = SAY_NOTHING;
	if (is_owned(s, stream))
		stop_running(s, stream, NULL);
}

/* Nobody knows what is stored of it. */
static void ends_unclean(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	b->unclean += b->first != NULL;
	disband(s, stream, true, NULL);
	if (is_owned(s, stream))
		chain_batch_failed(s, stream);
	run_if_settled(s, stream);
}

/* All of it is stored. */
static void ends_whole(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	assert(b->first == NULL);
	b->state = BATCH_IS_NONE;
	b->say = SAY_NOTHING;
	if (b->wire == WIRE_BATCHES)
		lanes_resume(&s->lanes, stream);
	else
		stop_running(s, stream, NULL);
}

/* --- what is stored --- */

static void is_stored(struct sender *s, struct message *m)
{
	take_out(&s->batch[m->stream], m);
	if (is_owned(s, m->stream)) {
		/* Each was to stand behind the one before, or not to be stored at all. */
		lookback_acked(s, m, m->attempt, m->due, false);
		chain_acked(s, m, m->attempt, m->due);
	}
	sending_stored(s, m);
}

static void stored_up_to(struct sender *s, uint16_t stream, uint32_t number)
{
	struct batch *b = &s->batch[stream];

	if (number <= b->acked)
		return;
	b->acked = number;
	b->moved_ms = b->progress_ms = s->now_ms;
	while (b->first != NULL && b->first->number <= number)
		is_stored(s, b->first);
	if (b->first == NULL)
		b->until_ms = s->now_ms + within(s, WORD_MS, 2);
	if (is_owned(s, stream))
		chain_changed(s, stream);
}

/* --- answers --- */

static void break_off(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->state == BATCH_IS_BROKEN)
		return;
	b->state = BATCH_IS_BROKEN;
	b->say = SAY_NOTHING;
	b->until_ms = s->now_ms + within(s, WORD_MS, 2);
}

/* Everything before it is stored, it is refused, and what stands behind it is not stored, nor ever will be. Of an owned stream what is in
 * flight is looked for: that costs no more there. */
static void ends_at_the_refused(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];
	struct message *m = b->first;
	uint32_t reason = b->reason, status = b->status;

	disband(s, stream, false, m);
	/* From now on it goes by itself: it would end each batch. And nothing of its lane goes with it. */
	m->single = !MUTANT(batch_refused_again);
	sending_was_refused(s, m, reason, status);
	run_if_settled(s, stream);
}

static void on_end(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->batch.stream;
	struct batch *b = &s->batch[stream];
	uint32_t count = MUTANT(batch_count_is_sent) ? b->sent : ev->batch.number;
	uint64_t sequence = ev->batch.sequence;

	if (MUTANT(batch_counts_by_sequence) && sequence > b->floor)
		count = sequence - b->floor < b->sent ? (uint32_t)(sequence - b->floor) : b->sent;
	if (sequence != 0 && !b->lost && !is_owned(s, stream))
		lookback_batch_stored(s, stream, b->floor, sequence);
	stored_up_to(s, stream, count);
	if (b->first == NULL)
		ends_whole(s, stream);
	else if (b->refused == count + 1 && b->first->number == b->refused && !is_owned(s, stream) &&
		 (!b->disturbed || MUTANT(batch_gap_is_clean)))
		ends_at_the_refused(s, stream);
	else if (MUTANT(batch_gap_is_clean))
		disband(s, stream, false, NULL), run_if_settled(s, stream);
	else
		ends_unclean(s, stream);
}

static void on_error(struct sender *s, const struct event *ev)
{
	struct batch *b = &s->batch[ev->batch.stream];

	if (b->refused == 0) {
		b->refused = ev->batch.number;
		b->reason = ev->batch.reason;
		b->status = ev->batch.status;
	} else {
		b->disturbed = true;
	}
	break_off(s, ev->batch.stream);
}

/* The stream takes no batches, or none now. */
static void turn_off(struct sender *s, uint16_t stream, uint32_t reason)
{
	struct batch *b = &s->batch[stream];

	if (reason == 10211) {
		b->again_ms = s->now_ms + TOO_MANY_MS;
		set_wire(s, stream, WIRE_TOO_MANY);
	} else if (reason == 10205 || reason == 10206) {
		set_wire(s, stream, WIRE_REFUSED);
	}
}

/* Also what a former leader said of a number that is long stored ends it: that says nothing about what is lost. */
static void on_refused(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->batch.stream;
	uint32_t reason = ev->batch.reason;

	if (refusal_means_busy(reason))
		sending_slow_down(s);
	s->batch[stream].disturbed = true;
	turn_off(s, stream, reason);
	/* An unknown batch is told no more about. */
	if (reason == 10208 || s->batch[stream].wire != WIRE_BATCHES)
		ends_unclean(s, stream);
	else
		break_off(s, stream);
}

void batch_answered(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->batch.stream;
	struct batch *b = &s->batch[stream];

	assert(stream < s->set->streams);
	if (b->state == BATCH_IS_NONE || (ev->batch.batch != b->id && !MUTANT(batch_of_another))) {
		s->stats->stale_replies++;
		return;
	}
	/* More than was sent: whoever says that knows nothing. */
	if ((ev->batch.what == BATCH_ACK || ev->batch.what == BATCH_END) && ev->batch.number > b->sent) {
		ends_unclean(s, stream);
		return;
	}
	switch (ev->batch.what) {
	case BATCH_ACK: stored_up_to(s, stream, ev->batch.number); break;
	case BATCH_END: on_end(s, ev); break;
	case BATCH_ERROR: on_error(s, ev); break;
	case BATCH_GAP:
		b->disturbed = true;
		break_off(s, stream);
		break;
	case BATCH_REFUSED: on_refused(s, ev); break;
	case BATCH_NO_RESPONDERS:
		/* That message is lost. When somebody leads again, he is asked, and tells. */
		b->disturbed = true;
		b->pinged_ms = s->now_ms;
		break_off(s, stream);
		break;
	case BATCH_ALONE:
		set_wire(s, stream, WIRE_NO_BATCH);
		ends_unclean(s, stream);
		break;
	}
}

void batch_silent(struct sender *s, const struct message *m)
{
	s->stats->timeouts++;
	ends_unclean(s, m->stream);
}

/* --- what happens --- */

void batch_wire(struct sender *s, const struct event *ev)
{
	uint16_t stream = ev->wire.stream;
	struct batch *b = &s->batch[stream];
	bool batches = ev->wire.batches && s->set->ordering != ORDERING_PIPELINED;

	assert(stream < s->set->streams);
	set_wire(s, stream, batches ? WIRE_BATCHES : ev->wire.batches ? WIRE_ORDERING : ev->wire.reason);
	if (batches && (s->batching >> stream & 1) == 0) {
		s->batching |= UINT64_C(1) << stream;
		judge_all(s, stream);
	}
	if (batches)
		run_if_settled(s, stream);
	else if (b->state == BATCH_IS_NONE)
		stop_running(s, stream, NULL);
	else if (b->state == BATCH_IS_OPEN) /* that one is ended as any other */
		b->moved_ms = s->now_ms - TAIL_MS;
}

void batch_begin(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++) {
		assert(s->batch[i].first == NULL && s->batch[i].uncertain == 0);
		run_if_settled(s, i);
	}
}

void batch_forget(struct sender *s)
{
	for (uint16_t i = 0; i < LIMIT_STREAMS; i++) {
		struct batch *b = &s->batch[i];

		while (b->first != NULL)
			take_out(b, b->first);
		b->state = BATCH_IS_NONE;
		b->say = SAY_NOTHING;
	}
}

void batch_interrupted(struct sender *s)
{
	for (uint16_t i = 0; s->batching != 0 && i < s->set->streams; i++) {
		struct batch *b = &s->batch[i];

		b->wire = WIRE_UNTOLD;
		b->unclean += b->first != NULL;
		disband(s, i, true, NULL);
	}
	s->batching = 0;
}

void batch_called_back(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	assert(is_owned(s, stream));
	if (b->state == BATCH_IS_NONE)
		return;
	b->unclean += b->first != NULL;
	disband(s, stream, true, NULL);
}

void batch_truncated(struct sender *s, uint16_t stream)
{
	s->batch[stream].lost = true;
}

void batch_admitted(struct sender *s, struct message *m)
{
	judge(s, m);
	lanes_join(&s->lanes, m);
}

/* The batch waits for it no more; run_if_settled() is not called here, for its lane may be on its way out. */
void batch_settled(struct sender *s, struct message *m)
{
	struct batch *b = &s->batch[m->stream];

	assert(m->uncertain && b->uncertain > 0);
	m->uncertain = false;
	b->uncertain--;
	b->settled++;
}

/* Its number is given to the next one, and if it was to end the batch, that one does, or what is said when nothing more comes. */
void batch_found(struct sender *s, struct message *m)
{
	struct batch *b = &s->batch[m->stream];
	bool newest = m->number == b->sent;

	take_out(b, m);
	if (!newest || MUTANT(batch_hole))
		return;
	b->sent--;
	if (b->sent == 0)
		ends_whole(s, m->stream);
	else if (b->state == BATCH_IS_ENDING)
		b->state = BATCH_IS_OPEN;
	if (b->state == BATCH_IS_OPEN)
		lanes_resume(&s->lanes, m->stream);
}

/* --- sending --- */

/* m is sent now: what would be next. */
static const struct message *follower(const struct message *m)
{
	const struct message *x = m->next;

	for (int i = 0; x != NULL && i < LOOK_AHEAD; i++, x = x->next)
		if (x->stream == m->stream && !x->single && !x->defect)
			return x;
	return NULL;
}

static uint32_t flow(const struct sender *s)
{
	uint32_t part = s->set->window_messages / 8;

	return part < 1 ? 1 : part < FLOW ? part : FLOW;
}

static uint32_t most(const struct sender *s, uint16_t stream)
{
	return s->set->batch_messages[stream] > 0 ? s->set->batch_messages[stream] : BATCH_MESSAGES;
}

/* From the randomness of all events so far: another process has another one, and so has this one when it starts again. */
static uint64_t new_id(struct sender *s)
{
	uint64_t id = s->batch_random ^ ++s->batches * UINT64_C(0xbf58476d1ce4e5b9);

	if (MUTANT(batch_id_again))
		return 1;
	id = (id ^ id >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	id = (id ^ id >> 27) * UINT64_C(0x94d049bb133111eb);
	id ^= id >> 31;
	return id != 0 ? id : 1;
}

static void begin(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	b->id = new_id(s);
	b->state = BATCH_IS_OPEN;
	b->sent = b->acked = b->refused = 0;
	b->disturbed = b->lost = false;
	b->say = SAY_NOTHING;
	b->floor = lookback_last_known(s, stream);
	b->progress_ms = b->pinged_ms = s->now_ms;
	b->begun++;
}

/* Alone in its lane it may as well go by itself: that takes no longer, and one message is no batch. */
static bool goes_alone(const struct sender *s, const struct message *m, bool goes_on)
{
	const struct batch *b = &s->batch[m->stream];
	bool shut = block_is_shut(&s->blocks.stream[m->stream]);

	if (m->single || !b->runs || shut)
		return true;
	return b->state != BATCH_IS_OPEN && !goes_on && (m->lane == NULL || m->lane->owned || m->lane->active == 1);
}

void batch_sent(struct sender *s, struct message *m, struct effect *f)
{
	struct batch *b = &s->batch[m->stream];
	const struct message *x = follower(m);
	bool goes_on = x != NULL && sending_fits_behind(s, m, x);

	if (goes_alone(s, m, goes_on)) {
		assert(m->lane == NULL || m->lane->owned || m->lane->active == 1 || s->lanes.pipelined ||
		       MUTANT(batch_beside_single) || MUTANT(lane_of_two));
		m->single = true;
		return;
	}
	if (b->state != BATCH_IS_OPEN)
		begin(s, m->stream);
	/* Where the window is full an ack opens it again, if enough is in flight that one must come. */
	if (b->sent + 1 - b->acked >= 2 * flow(s) && x != NULL)
		goes_on = true;
	if (b->sent + 1 >= most(s, m->stream))
		goes_on = false;
	if (b->first == NULL)
		b->progress_ms = s->now_ms;
	b->moved_ms = s->now_ms;
	m->number = ++b->sent;
	append(b, m);
	f->publish.batch = b->id;
	f->publish.number = m->number;
	f->publish.op = !goes_on ? BATCH_ENDS : m->number == 1 ? BATCH_BEGINS : BATCH_GOES_ON;
	f->publish.flow = (uint16_t)flow(s);
	if (!goes_on)
		b->state = BATCH_IS_ENDING;
}

/* --- time --- */

static int64_t ping_at(const struct sender *s, const struct batch *b)
{
	return (b->progress_ms > b->pinged_ms ? b->progress_ms : b->pinged_ms) + within(s, PING_MS, 4);
}

/* What it waits for next, but for silence (sending_timers); NEVER. */
static int64_t due_at(const struct sender *s, const struct batch *b)
{
	int64_t at = b->wire == WIRE_TOO_MANY ? b->again_ms : NEVER;

	if (b->state == BATCH_IS_NONE)
		return at;
	if (b->state == BATCH_IS_OPEN)
		at = sender_state_earlier(at, b->moved_ms + within(s, TAIL_MS, 8));
	else if (b->state == BATCH_IS_BROKEN || b->first == NULL)
		at = sender_state_earlier(at, b->until_ms);
	return b->first != NULL ? sender_state_earlier(at, ping_at(s, b)) : at;
}

/* Nothing more came to be sent, or may be: what is in flight is told of only when the batch ends. */
static void tail(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->first == NULL) {
		ends_whole(s, stream);
	} else if (!MUTANT(batch_left_open)) {
		b->state = BATCH_IS_ENDING;
		b->say = SAY_END;
	} else {
		b->moved_ms = s->now_ms;
	}
}

static void timers(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->wire == WIRE_TOO_MANY && s->now_ms >= b->again_ms)
		set_wire(s, stream, WIRE_BATCHES);
	if (b->state == BATCH_IS_OPEN && s->now_ms >= b->moved_ms + within(s, TAIL_MS, 8))
		tail(s, stream);
	if (b->state == BATCH_IS_ENDING && b->first == NULL && s->now_ms >= b->until_ms)
		ends_whole(s, stream);
	if (b->state == BATCH_IS_BROKEN && s->now_ms >= b->until_ms)
		ends_unclean(s, stream);
	if (b->state != BATCH_IS_NONE && b->first != NULL && s->now_ms >= ping_at(s, b)) {
		b->pinged_ms = s->now_ms;
		if (b->say == SAY_NOTHING)
			b->say = SAY_PING;
	}
	run_if_settled(s, stream);
}

void batch_timers(struct sender *s)
{
	for (uint16_t i = 0; i < s->set->streams; i++)
		if ((s->batching >> i & 1) != 0)
			timers(s, i);
}

int64_t batch_deadline(const struct sender *s)
{
	int64_t at = NEVER;

	for (uint16_t i = 0; i < s->set->streams; i++)
		if ((s->batching >> i & 1) != 0)
			at = sender_state_earlier(at, due_at(s, &s->batch[i]));
	return at;
}

bool batch_next(struct sender *s, struct effect *f)
{
	for (uint16_t i = 0; s->batching != 0 && s->bus_up && i < s->set->streams; i++) {
		struct batch *b = &s->batch[i];
		bool ends = b->say == SAY_END;

		if (b->say == SAY_NOTHING || b->first == NULL)
			continue;
		b->say = SAY_NOTHING;
		f->kind = EFFECT_BATCH;
		f->batch.stream = i;
		f->batch.slot = (uint32_t)(b->last - s->lanes.message);
		f->batch.batch = b->id;
		f->batch.number = b->sent + (ends || MUTANT(batch_ping_beyond));
		f->batch.op = ends ? BATCH_END_ONLY : BATCH_PING;
		f->batch.flow = (uint16_t)flow(s);
		return true;
	}
	return false;
}
