/* Batches: what is sent in one, and when more is said. The picture and the argument stand in batch.c. */
#include <assert.h>

#include "core/mutant.h"
#include "core/send/batch.h"
#include "core/send/batch_end.h"
#include "core/send/lookback.h"
#include "core/send/send.h"

enum {
	LOOK_AHEAD = 64, /* so far it is looked for a message that goes on with a batch */
	FLOW = 100,      /* messages between two acks; an eighth of the window, at most */
	TAIL_MS = 50,    /* nothing more was sent for so long: the batch is ended */
	PING_MS = 300,   /* nothing more was told to be stored for so long: the server is asked */
};

/* Its number is given to the next one, and if it was to end the batch, that one does, or what is said when nothing more comes. */
void batch_found(struct sender *s, struct message *m)
{
	struct batch *b = &s->batch[m->stream];
	bool newest = m->number == b->sent;

	batch_take_out(b, m);
	if (!newest || MUTANT(batch_hole))
		return;
	b->sent--;
	if (b->sent == 0)
		batch_ends_whole(s, m->stream);
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

/* Alone in its lane it may as well go by itself: that takes no longer, and one message is no batch. While a batch ends only such a one gets
 * here (batch_must_wait()). */
static bool goes_alone(const struct sender *s, const struct message *m, bool goes_on)
{
	const struct batch *b = &s->batch[m->stream];
	bool shut = block_is_shut(&s->blocks.stream[m->stream]);

	if (m->single || !b->runs || shut || (b->state == BATCH_IS_ENDING && batch_goes_beside(s, m)))
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
		       MUTANT(batch_beside_single) || MUTANT(batch_beside_its_own) || MUTANT(lane_of_two));
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
	batch_append(b, m);
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
	return (b->progress_ms > b->pinged_ms ? b->progress_ms : b->pinged_ms) + batch_within(s, PING_MS, 4);
}

/* What it waits for next, but for silence (sending_timers); NEVER. */
static int64_t due_at(const struct sender *s, const struct batch *b)
{
	int64_t at = b->wire == WIRE_TOO_MANY ? b->again_ms : NEVER;

	if (b->state == BATCH_IS_NONE)
		return at;
	if (b->state == BATCH_IS_OPEN)
		at = sender_state_earlier(at, b->moved_ms + batch_within(s, TAIL_MS, 8));
	else if (b->state == BATCH_IS_BROKEN || b->first == NULL)
		at = sender_state_earlier(at, b->until_ms);
	return b->first != NULL ? sender_state_earlier(at, ping_at(s, b)) : at;
}

/* Nothing more came to be sent, or may be: what is in flight is told of only when the batch ends. */
static void tail(struct sender *s, uint16_t stream)
{
	struct batch *b = &s->batch[stream];

	if (b->first == NULL) {
		batch_ends_whole(s, stream);
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
		batch_set_wire(s, stream, WIRE_BATCHES);
	if (b->state == BATCH_IS_OPEN && s->now_ms >= b->moved_ms + batch_within(s, TAIL_MS, 8))
		tail(s, stream);
	if (b->state == BATCH_IS_ENDING && b->first == NULL && s->now_ms >= b->until_ms)
		batch_ends_whole(s, stream);
	if (b->state == BATCH_IS_BROKEN && s->now_ms >= b->until_ms)
		batch_ends_unclean(s, stream);
	if (b->state != BATCH_IS_NONE && b->first != NULL && s->now_ms >= ping_at(s, b)) {
		b->pinged_ms = s->now_ms;
		if (b->say == SAY_NOTHING)
			b->say = SAY_PING;
	}
	batch_run_if_settled(s, stream);
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
