/* The entry point: which event means what in which state, and where to go from a state that has nothing left to wait
 * for.
 *
 *             LEADING                     .------------- PLACING <------------.
 *     AWAY ----------> (rest) --> OPENING -'                                  |
 *                       ^  ^ \--> MAKING --> LOOKING --> VERIFYING --> PULLING
 *                       |  |                    \            \            |
 *                       |  '---- STOPPED <-------'------------'           | doubt
 *                       '------------------------------ SETTLING <--------'
 *
 * (rest) is READING when the books may be stale, else PAUSED, OFFLINE, WAITING, or on the way. DEPOSED leads to AWAY
 * from everywhere. There is one way to take up messages: by the books, with a consumer of its own, behind a stream
 * that was looked at. So whatever happens, the cure is the same. */
#include "core/inbox/inbox.h"

#include <assert.h>
#include <stdlib.h>

#include "core/inbox/inbox_moving.h"
#include "core/inbox/inbox_opening.h"
#include "core/inbox/inbox_pulling.h"
#include "core/inbox/inbox_state.h"
#include "core/inbox/inbox_mutant.h"

/* --- which event means what --- */

enum meaning {
	X, /* cannot be: somebody broke the contract */
	I, /* ignored on purpose: it is about something that is over */
	A, /* acted on */
};

/* Answers of the broker may come late, in any state. So may what an old consumer still sends. The columns are in the
 * order of the enum: tick, leading, deposed, books, books failed, changed; bus up, bus down; made, refused, info, time;
 * message, heartbeat, status; moved, credit, settings, paused. */
static const unsigned char meaning_of[INBOX_STATES][INBOX_EVENTS] = {
	[INBOX_AWAY] = { A, A, I, I, I, I, A, A, A, I, I, I, I, I, I, I, A, A, I },
	[INBOX_READING] = { A, X, A, A, A, A, A, A, A, I, I, I, I, I, I, X, A, A, A },
	[INBOX_OFFLINE] = { A, X, A, X, X, A, A, X, I, I, I, I, I, I, I, X, A, A, A },
	[INBOX_PAUSED] = { A, X, A, X, X, A, A, A, A, I, I, I, I, I, I, X, A, A, A },
	[INBOX_STOPPED] = { A, X, A, X, X, A, A, A, A, I, I, I, I, I, I, X, A, A, A },
	[INBOX_WAITING] = { A, X, A, X, X, A, A, A, A, I, I, I, I, I, I, X, A, A, A },
	[INBOX_OPENING] = { A, X, A, X, X, A, X, A, A, I, A, A, I, I, I, X, A, A, A },
	[INBOX_MAKING] = { A, X, A, X, X, A, X, A, A, A, I, I, I, I, I, X, A, A, A },
	[INBOX_LOOKING] = { A, X, A, X, X, A, X, A, A, I, A, I, I, I, I, X, A, A, A },
	[INBOX_VERIFYING] = { A, X, A, X, X, A, X, A, A, I, I, A, I, I, I, X, A, A, A },
	[INBOX_PLACING] = { A, X, A, X, X, A, A, A, A, I, I, I, I, I, I, A, A, A, A },
	[INBOX_PULLING] = { A, X, A, X, X, A, X, A, A, I, A, A, A, A, A, A, A, A, A },
	[INBOX_SETTLING] = { A, X, A, X, X, A, A, A, A, I, I, I, I, I, I, A, A, A, A },
};

static const char *const name_of[INBOX_STATES] = {
	[INBOX_AWAY] = "away",           [INBOX_READING] = "reading", [INBOX_OFFLINE] = "offline",
	[INBOX_PAUSED] = "paused",       [INBOX_STOPPED] = "stopped", [INBOX_WAITING] = "waiting",
	[INBOX_OPENING] = "opening",     [INBOX_MAKING] = "making",   [INBOX_LOOKING] = "looking",
	[INBOX_VERIFYING] = "verifying", [INBOX_PLACING] = "placing", [INBOX_PULLING] = "pulling",
	[INBOX_SETTLING] = "settling",
};

const char *inbox_state_name(enum inbox_state state)
{
	return name_of[state];
}

/* --- life --- */

static void assert_settings(const struct inbox_settings *s)
{
	assert(s->queue_messages > 0 && s->queue_messages <= 65536 && s->queue_bytes > 0);
	assert(s->take_messages > 0 && s->take_bytes > 0 && s->large_bytes > 0);
	assert(s->heartbeat_ms > 0 && s->expires_ms / 2 >= s->heartbeat_ms && s->answer_timeout_ms > 0);
	assert(s->retry_min_ms > 0 && s->retry_min_ms <= s->retry_max_ms);
	assert(s->check_interval_ms > 0 && s->follow_interval_ms > 0);
	assert(s->start != INBOX_START_SEQUENCE || s->start_sequence > 0);
	assert(s->dedupe == INBOX_DEDUPE_IDS || s->on_recreated == INBOX_ON_STOP);
}

struct inbox *inbox_create(const struct inbox_settings *settings)
{
	struct inbox *in = calloc(1, sizeof *in);

	assert_settings(settings);
	if (in == NULL)
		return NULL;
	in->s = *settings;
	in->credit = true;
	in->stats.checked_ms = INBOX_NEVER;
	if (!inbox_queue_create(&in->queue, settings->queue_messages)) {
		free(in);
		return NULL;
	}
	return in;
}

void inbox_free(struct inbox *in)
{
	if (in == NULL)
		return;
	inbox_queue_destroy(&in->queue);
	free(in);
}

/* --- where to go --- */

/* Nothing is in flight, nothing is in memory, there is no consumer. A stream that lost its end, or was made anew, is not
 * looked at again until somebody has decided: once it has grown beyond the position it may look well. */
static void rest(struct inbox *in)
{
	assert((in->moves == 0 && inbox_queue_count(&in->queue) == 0) || MUTANT(unsettled));
	if (in->consumer != 0)
		inbox_state_drop_consumer(in);
	if (in->now_ms < in->retry_ms && (in->stale || (in->bus_up && !in->paused))) {
		inbox_state_enter(in, INBOX_WAITING);
	} else if (in->stale) {
		in->changed = false;
		inbox_state_enter(in, INBOX_READING);
		inbox_state_effect(in, (struct inbox_effect){ .kind = INBOX_EFFECT_BOOKS });
	} else if (in->paused) {
		inbox_state_enter(in, INBOX_PAUSED);
	} else if (in->stop_stands) {
		in->stop_ms = INBOX_NEVER;
		inbox_state_enter(in, INBOX_STOPPED);
	} else if (!in->bus_up) {
		inbox_state_enter(in, INBOX_OFFLINE);
	} else if (in->created == 0) {
		inbox_opening_begin(in);
	} else {
		inbox_opening_make(in);
	}
}

static bool has_settled(const struct inbox *in)
{
	return in->moves == 0 && inbox_queue_count(&in->queue) == 0 && !in->place_wanted;
}

/* Over what is lost with the consumer that was made; else from the beginning. */
static void placed(struct inbox *in)
{
	if (in->consumer != 0 && !in->paused && !in->stale)
		inbox_opening_pull(in);
	else
		rest(in);
}

static void go_on(struct inbox *in)
{
	if (in->state == INBOX_PLACING && has_settled(in))
		placed(in);
	if (in->state == INBOX_SETTLING && (has_settled(in) || MUTANT(unsettled)))
		rest(in);
}

/* --- what comes from the database --- */

static void leading(struct inbox *in, const struct inbox_event *ev)
{
	in->stale = in->changed = false;
	in->retry_ms = in->now_ms;
	inbox_moving_books(in, &ev->books);
	rest(in);
}

static void deposed(struct inbox *in)
{
	struct inbox_queue *q = &in->queue;

	inbox_state_drop_consumer(in);
	inbox_state_release(in, q->head, inbox_queue_count(q));
	q->head = q->taken = q->checked = q->tail;
	q->bytes = 0;
	in->moves = 0;
	in->sent = in->position;
	in->place_wanted = false;
	in->narrow_to = in->dead_at = 0;
	in->stop = in->stats.stop = INBOX_STOP_NONE;
	in->stats.stop_from = in->stats.stop_to = 0;
	in->failures = 0;
	inbox_state_enter(in, INBOX_AWAY);
}

static void books_read(struct inbox *in, const struct inbox_event *ev)
{
	inbox_moving_books(in, &ev->books);
	in->stale = in->changed;
	rest(in);
}

static void books_failed(struct inbox *in)
{
	inbox_state_doubt(in, INBOX_DOUBT_MOVE, 0);
}

static bool is_on_the_way(const struct inbox *in)
{
	return in->state >= INBOX_OPENING && in->state <= INBOX_VERIFYING;
}

static bool is_at_rest(const struct inbox *in)
{
	return in->state >= INBOX_OFFLINE && in->state <= INBOX_WAITING;
}

/* Whatever stands in the way of messages: the consumer is given up without a failure, or it is seen where to go from
 * here. */
static void reconsider(struct inbox *in)
{
	if (in->state == INBOX_PULLING || is_on_the_way(in))
		inbox_state_doubt(in, INBOX_DOUBT_NONE, 0);
	else if (is_at_rest(in))
		rest(in);
}

static void changed(struct inbox *in)
{
	in->stale = in->changed = true;
	if (in->state != INBOX_READING)
		inbox_state_drop_queue(in);
	reconsider(in);
}

static void paused(struct inbox *in, bool on)
{
	if (on == in->paused)
		return;
	in->paused = on;
	if (!MUTANT(pause_ignored))
		reconsider(in);
}

static void adjust(struct inbox *in, const struct inbox_settings *settings)
{
	assert_settings(settings);
	assert(settings->queue_messages == in->s.queue_messages);
	in->s = *settings;
	if (in->state == INBOX_STOPPED)
		rest(in);
}

/* --- what comes from the broker --- */

static void bus_up(struct inbox *in)
{
	assert(!in->bus_up);
	in->bus_up = true;
	if (is_at_rest(in))
		rest(in);
}

/* The consumer may live on, for as long as it is not asked for anything; nobody will. */
static void bus_down(struct inbox *in)
{
	assert(in->bus_up);
	in->bus_up = false;
	if (in->state == INBOX_PLACING)
		inbox_state_drop_consumer(in);
	else
		reconsider(in);
}

/* One that we gave up before it was there. */
static void made(struct inbox *in, const struct inbox_event *ev)
{
	if (in->state == INBOX_MAKING && ev->made.consumer == in->consumer)
		inbox_opening_made(in, ev);
	else if (in->bus_up && ev->made.consumer != in->consumer)
		inbox_state_effect(in, (struct inbox_effect){ .kind = INBOX_EFFECT_DELETE,
							      .delete = { .consumer = ev->made.consumer } });
}

static void info(struct inbox *in, const struct inbox_event *ev)
{
	if ((ev->info.ask != in->info.number && !MUTANT(any_answer)) || in->info.number == 0) {
		in->stats.ignored++;
		return;
	}
	in->info.number = 0;
	if (ev->info.answer == INBOX_ANSWER_FOUND)
		in->stats.last = ev->info.last;
	if (in->state == INBOX_PULLING)
		inbox_pulling_info(in, ev);
	else
		inbox_opening_info(in, ev);
}

static void message_time(struct inbox *in, const struct inbox_event *ev)
{
	if ((ev->time.ask != in->time.number && !MUTANT(any_answer)) || in->time.number == 0) {
		in->stats.ignored++;
		return;
	}
	in->time.number = 0;
	if (in->state == INBOX_PULLING)
		inbox_pulling_time(in, ev->time.answer, ev->time.time);
	else
		inbox_opening_time(in, ev->time.answer, ev->time.time);
}

/* --- the clock --- */

/* A question without an answer in time has the answer "none". */
static void questions_due(struct inbox *in)
{
	struct inbox_event none = { .kind = INBOX_EVENT_TICK };

	if (in->info.number != 0 && in->now_ms >= in->info.until_ms) {
		none.info.ask = in->info.number;
		none.info.answer = INBOX_ANSWER_NONE;
		info(in, &none);
	}
	if (in->time.number != 0 && in->now_ms >= in->time.until_ms) {
		none.time.ask = in->time.number;
		none.time.answer = INBOX_ANSWER_NONE;
		message_time(in, &none);
	}
	if (in->state == INBOX_MAKING && in->now_ms >= in->made_until_ms)
		inbox_state_doubt(in, INBOX_DOUBT_UNANSWERED, 0);
}

static void timers(struct inbox *in)
{
	questions_due(in);
	if (in->state == INBOX_PULLING)
		inbox_pulling_timers(in);
	else if ((in->state == INBOX_WAITING && in->now_ms >= in->retry_ms) ||
		 (in->state == INBOX_STOPPED && in->now_ms >= in->stop_ms))
		rest(in);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t inbox_deadline(const struct inbox *in)
{
	int64_t at = INBOX_NEVER;

	if (in->info.number != 0)
		at = earlier(at, in->info.until_ms);
	if (in->time.number != 0)
		at = earlier(at, in->time.until_ms);
	switch (in->state) {
	case INBOX_MAKING: return earlier(at, in->made_until_ms);
	case INBOX_WAITING: return earlier(at, in->retry_ms);
	case INBOX_STOPPED: return earlier(at, in->stop_ms);
	case INBOX_PULLING: return earlier(at, inbox_pulling_deadline(in));
	default: return at;
	}
}

/* --- step --- */

static void act_on_database(struct inbox *in, const struct inbox_event *ev)
{
	switch (ev->kind) {
	case INBOX_EVENT_LEADING: leading(in, ev); break;
	case INBOX_EVENT_DEPOSED: deposed(in); break;
	case INBOX_EVENT_BOOKS: books_read(in, ev); break;
	case INBOX_EVENT_BOOKS_FAILED: books_failed(in); break;
	case INBOX_EVENT_CHANGED: changed(in); break;
	case INBOX_EVENT_MOVED: inbox_moving_answered(in, ev->moved.result); break;
	case INBOX_EVENT_CREDIT: in->credit = ev->credit.open; break;
	case INBOX_EVENT_SETTINGS: adjust(in, ev->settings); break;
	case INBOX_EVENT_PAUSED: paused(in, ev->paused.paused); break;
	default: break;
	}
}

static void act_on_broker(struct inbox *in, struct inbox_event *ev)
{
	switch (ev->kind) {
	case INBOX_EVENT_BUS_UP: bus_up(in); break;
	case INBOX_EVENT_BUS_DOWN: bus_down(in); break;
	case INBOX_EVENT_MADE: made(in, ev); break;
	case INBOX_EVENT_REFUSED: inbox_opening_refused(in, ev); break;
	case INBOX_EVENT_INFO: info(in, ev); break;
	case INBOX_EVENT_TIME: message_time(in, ev); break;
	case INBOX_EVENT_MESSAGE: inbox_pulling_message(in, ev); break;
	case INBOX_EVENT_HEARTBEAT: inbox_pulling_heartbeat(in, ev); break;
	case INBOX_EVENT_STATUS: inbox_pulling_status(in, ev); break;
	default: break;
	}
}

void inbox_step(struct inbox *in, struct inbox_event *ev)
{
	enum meaning meaning = meaning_of[in->state][ev->kind];

	assert(meaning != X);
	if (ev->now_ms > in->now_ms)
		in->now_ms = ev->now_ms;
	in->random ^= (uint64_t)ev->random << 16;
	if (ev->kind == INBOX_EVENT_MESSAGE)
		ev->message.slot = -1;
	if (meaning == I) {
		in->stats.ignored++;
	} else {
		act_on_database(in, ev);
		act_on_broker(in, ev);
	}
	go_on(in);
	timers(in);
	go_on(in);
}

bool inbox_next(struct inbox *in, struct inbox_effect *effect)
{
	if (in->effects > 0) {
		*effect = in->effect[in->effect_first];
		in->effect_first = (in->effect_first + 1) % LIMIT_INBOX_EFFECTS;
		in->effects--;
		return true;
	}
	return inbox_moving_next(in, effect) || inbox_pulling_next(in, effect);
}

/* --- looking inside --- */

const struct inbox_stats *inbox_look(struct inbox *in)
{
	in->stats.state = in->state;
	in->stats.position = in->position;
	in->stats.incarnation = in->incarnation;
	in->stats.queued = inbox_queue_count(&in->queue);
	in->stats.in_flight = (uint32_t)(in->queue.taken - in->queue.head);
	in->stats.queued_bytes = (uint32_t)in->queue.bytes;
	return &in->stats;
}

void inbox_audit(const struct inbox *in)
{
	uint64_t at = in->position;

	inbox_queue_audit(&in->queue);
	inbox_trail_audit(&in->trail, in->position);
	for (uint32_t i = 0; i < in->moves && !in->stale; i++) {
		assert(in->move[i].from == at);
		at = in->move[i].to;
	}
	assert(in->stale || at == in->sent);
	if (in->state == INBOX_PULLING) {
		assert(in->consumer != 0 && in->bus_up && !in->stale && !in->paused);
		assert(in->sure <= in->heard && in->position <= in->sure);
	} else {
		assert(inbox_pulls_count(&in->pulls) == 0 && in->queue.checked == in->queue.tail);
	}
	assert(!is_at_rest(in) || (in->consumer == 0 && has_settled(in)));
	assert(in->queue.bytes <= in->s.queue_bytes || inbox_queue_count(&in->queue) == 1 ||
	       in->queue.bytes <= in->s.large_bytes);
}
