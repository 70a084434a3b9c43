/* The machine of a capture: the lead, the log, the reading of rows, the sender and the marks, wired together.
 *
 *     log, chunks --> rows in memory --offer--> sender --outcomes--> rows --settled prefix--> marks --> confirmed
 *
 * Nothing is decided here but who is told what, and in which order. */
#include "core/capture/capture.h"

#include <assert.h>
#include <stdlib.h>

#include "core/capture/capture_carried.h"
#include "core/capture/capture_effects.h"
#include "core/capture/capture_log.h"
#include "core/capture/capture_mutant.h"
#include "core/capture/capture_piece.h"
#include "core/capture/capture_questions.h"
#include "core/capture/capture_reading.h"
#include "core/capture/capture_sending.h"
#include "core/capture/capture_walks.h"

enum {
	CHUNKS_IN_MEMORY = 2, /* one that is open, one that is being stored */
	OF_A_WALK = 2,        /* its cursor, its top */
};

static uint32_t slots_of_chunks(const struct capture_settings *s)
{
	return s->tables == 0 ? 0
			      : CHUNKS_IN_MEMORY * capture_reading_slots_of_chunk(s) + OF_A_WALK * s->tables +
					2 * LIMIT_CAPTURE_STEPS;
}

uint32_t capture_slots(const struct capture_settings *s)
{
	return s->send.queue_messages + slots_of_chunks(s) + LIMIT_CAPTURE_FETCH;
}

/* In commit order the stream is owned: one sequence, each message chained to the one before. The log cannot be asked for a single
 * message again, so what a stream does not take stays in memory. */
static void take_settings(struct capture *c, const struct capture_settings *s)
{
	c->set = *s;
	c->set.send.owned = s->in_commit_order;
	c->set.send.owned_stays = s->in_commit_order;
	c->set.send.foreign_passes = 0;
}

struct capture *capture_create(const struct capture_settings *s)
{
	struct capture *c = calloc(1, sizeof *c);

	assert(s->send.streams == 1 && !(s->in_commit_order && s->send.poison == POISON_HOLD) &&
	       s->send.ordering == ORDERING_STRICT && s->tables <= LIMIT_CAPTURE_TABLES && s->chunk_rows >= 1 &&
	       s->chunk_rows <= LIMIT_CAPTURE_CHUNK_ROWS && s->chunk_share >= 1 && s->chunk_share <= 100);
	if (c == NULL)
		return NULL;
	take_settings(c, s);
	lead_create(&c->lead, s->send.lease_ms);
	c->slot_of = calloc(s->send.queue_messages, sizeof *c->slot_of);
	c->send = sender_create(&c->set.send, &c->notes, &c->send_stats);
	if (!capture_rows_create(&c->rows, s->send.queue_messages, slots_of_chunks(s), LIMIT_CAPTURE_FETCH) ||
	    !capture_carried_create(&c->carried, &c->set, &c->rows) ||
	    !capture_reading_create(&c->reading, &c->set, &c->rows, &c->stats) ||
	    !capture_marking_create(&c->marking, &c->set, &c->rows, &c->reading, &c->carried) || c->slot_of == NULL ||
	    c->send == NULL) {
		capture_free(c);
		return NULL;
	}
	c->outcomes = sender_outcomes(c->send);
	return c;
}

void capture_free(struct capture *c)
{
	if (c == NULL)
		return;
	sender_free(c->send);
	capture_rows_destroy(&c->rows);
	capture_reading_destroy(&c->reading);
	capture_marking_destroy(&c->marking);
	capture_carried_destroy(&c->carried);
	free(c->slot_of);
	free(c);
}

/* --- events --- */

static void forget_everything(struct capture *c)
{
	lead_lost(&c->lead);
	sender_forget(c->send);
	capture_reading_forget(&c->reading);
	capture_marking_forget(&c->marking);
	capture_carried_forget(&c->carried);
	capture_rows_begin(&c->rows, c->rows.next - 1);
	capture_log_forget(c);
	c->lost_end = c->lost_end_told = false;
}

/* Whoever led before, ourselves included, may have sent rows of a chunk until then: behind changes that we have sent by the time that they arrive they
 * would be older than what is stored. An owned stream refuses them, for its chain has gone on; a shared one does not. (Changes are
 * the same for both, and known by their ids.) */
static int64_t first_publish(const struct capture *c, int64_t predecessor_until_ms)
{
	int64_t arrived_ms = predecessor_until_ms + c->set.send.ack_timeout_ms;
	bool may_come = predecessor_until_ms > 0 && arrived_ms > c->now_ms && !c->set.in_commit_order &&
			capture_walks_unfinished(&c->reading) && !MUTANT(rows_of_predecessor);

	return may_come ? arrived_ms : c->now_ms;
}

static void leading(struct capture *c, const struct capture_event *ev)
{
	int64_t now = c->now_ms;
	int64_t until_ms = ev->leading.predecessor_until_ms > now ? ev->leading.predecessor_until_ms : now;
	struct commit books = { ev->leading.end_lsn, ev->leading.commit_time, ev->leading.ordinal, 0 };
	uint64_t low_water[LIMIT_STREAMS] = { ev->leading.low_water };
	struct level first;

	forget_everything(c);
	lead_taken(&c->lead, ev->leading.asked_ms, ev->leading.operator_pause, until_ms);
	sender_begin(c->send, low_water, until_ms);
	capture_carried_begin(&c->carried, c->send, ev->leading.carried, ev->leading.carried_count);
	capture_rows_begin(&c->rows, ev->leading.ordinal);
	capture_reading_begin(&c->reading, ev);
	capture_log_begin(c, ev);
	capture_sending_begin(c, ev);
	c->publish_at = first_publish(c, ev->leading.predecessor_until_ms);
	first = capture_sending_level(c);
	capture_marking_begin(&c->marking, books, ev->leading.behind, &ev->leading.end, &first);
}

static void marked(struct capture *c, const struct capture_event *ev)
{
	size_t letters = lead_is_held(&c->lead) ? capture_marking_marked(&c->marking, ev->marked.behind) : SIZE_MAX;

	if (letters == SIZE_MAX)
		return;
	c->stats.marks++;
	lead_alive(&c->lead, ev->marked.asked_ms);
	capture_sending_on_record(c, letters);
}

static void adjust(struct capture *c, const struct delivery_settings *s)
{
	struct capture_settings set = c->set;

	assert(s->streams == 1 && s->lease_ms == c->set.send.lease_ms && s->ordering == ORDERING_STRICT &&
	       !(c->set.in_commit_order && s->poison == POISON_HOLD) &&
	       s->queue_messages == c->set.send.queue_messages && s->window_messages >= 1);
	set.send = *s;
	take_settings(c, &set);
	sending_adjust(c->send);
	/* Whoever changes the configuration has looked at what somebody else has put into the stream. */
	if (c->set.in_commit_order && !c->lost_end)
		chain_go_on(c->send, 0);
}

static void bus(struct capture *c, bool up)
{
	if (up) {
		sender_bus_up(c->send);
		return;
	}
	sender_bus_down(c->send);
	capture_end_interrupted(&c->marking.end);
}

/* The sender compares a stream with what it was since we lead; the books remember longer. */
static void looked(struct capture *c, struct event ev)
{
	if (c->set.in_commit_order && ev.lookback.ok && capture_end_looked(&c->marking.end, &ev))
		ev.lookback.another = true;
	lookback_answered(c->send, &ev);
}

static void common(struct capture *c, const struct event *ev)
{
	bool held = lead_is_held(&c->lead);

	switch (ev->kind) {
	case EVENT_DEPOSED:
		if (!MUTANT(deposed_goes_on))
			forget_everything(c);
		break;
	case EVENT_BUS_UP:
	case EVENT_BUS_DOWN: bus(c, ev->kind == EVENT_BUS_UP); break;
	case EVENT_ACKED:
		if (held)
			sending_acked(c->send, ev);
		break;
	case EVENT_REFUSED:
		if (held)
			sending_refused(c->send, ev);
		break;
	case EVENT_LOOKBACK:
		if (held)
			looked(c, *ev);
		break;
	case EVENT_RENEWED: lead_renewed(&c->lead, ev->renewed.asked_ms); break;
	case EVENT_PAUSED:
		/* Whoever resumes it has seen that its stream was stopped. What has lost its end is a gap, and needs another word. */
		if (lead_pause(&c->lead, ev->paused.operator_pause) && c->set.in_commit_order && !c->lost_end)
			chain_go_on(c->send, 0);
		break;
	case EVENT_DRAIN: lead_drain(&c->lead); break;
	case EVENT_SETTINGS: adjust(c, ev->settings); break;
	default: break; /* a tick; or what only an outbox is told */
	}
}

static void answer(struct capture *c, struct capture_event *ev)
{
	struct capture_reading *r = &c->reading;

	switch (ev->kind) {
	case CAPTURE_EVENT_DRAWN: capture_reading_drawn(r, ev->drawn.xid); break;
	case CAPTURE_EVENT_HORIZON: capture_reading_horizon(r, ev); break;
	case CAPTURE_EVENT_CHUNK: capture_reading_chunk(r, ev); break;
	case CAPTURE_EVENT_CHUNK_FAILED: capture_reading_failed(r, ev->chunk_failed.reason); break;
	case CAPTURE_EVENT_CHUNK_END: capture_reading_end(r, ev->chunk_end.lsn); break;
	case CAPTURE_EVENT_WINDOW: capture_reading_window(r, ev); break;
	default: capture_reading_control(r, ev); break;
	}
}

bool capture_may_verify(const struct capture *c, uint32_t table, uint64_t pass)
{
	const struct capture_table *t = &c->reading.table[table];

	return lead_is_held(&c->lead) && pass > t->pass && !capture_reading_state_is_unfinished(t);
}

static void handle(struct capture *c, struct capture_event *ev)
{
	switch (ev->kind) {
	case CAPTURE_EVENT_LEADING: leading(c, ev); break;
	case CAPTURE_EVENT_STREAM_UP: capture_log_up(c); break;
	case CAPTURE_EVENT_STREAM_DOWN: capture_log_down(c); break;
	case CAPTURE_EVENT_BEGIN:
	case CAPTURE_EVENT_CHANGE:
	case CAPTURE_EVENT_COMMIT:
	case CAPTURE_EVENT_POSITION: capture_log_event(c, ev); break;
	case CAPTURE_EVENT_DRAWN:
	case CAPTURE_EVENT_HORIZON:
	case CAPTURE_EVENT_CHUNK:
	case CAPTURE_EVENT_CHUNK_FAILED:
	case CAPTURE_EVENT_CHUNK_END:
	case CAPTURE_EVENT_WINDOW:
	case CAPTURE_EVENT_CONTROL: answer(c, ev); break;
	case CAPTURE_EVENT_CARRIED: capture_sending_fetched(c, ev); break;
	case CAPTURE_EVENT_MARKED: marked(c, ev); break;
	case CAPTURE_EVENT_VERIFY:
		if (capture_may_verify(c, ev->verify.table, ev->verify.now.pass))
			capture_reading_verify(&c->reading, ev);
		break;
	case CAPTURE_EVENT_END: capture_end_told(&c->marking.end, ev->end.sequence, ev->end.time_ns); break;
	case CAPTURE_EVENT_READING: capture_reading_pause(&c->reading, ev->reading.paused); break;
	case CAPTURE_EVENT_COMMON: common(c, ev->common); break;
	}
}

/* What is overdue; and what became possible. */
static void go_on(struct capture *c)
{
	sending_timers(c->send);
	capture_sending_outcomes(c);
	if (!lead_is_held(&c->lead))
		return;
	if (holding_is_due(c->send))
		capture_sending_probes(c);
	capture_sending_offer(c);
	capture_sending_heritage(c);
	/* No transaction of ours stays open as long as it pleases somebody. */
	if (!lead_may_read(&c->lead) || c->lost_end)
		capture_piece_break(&c->reading, CAPTURE_AGAIN_PIECE);
	capture_marking_settle(&c->marking);
	if (!c->log.open)
		capture_marking_reach(&c->marking);
	capture_piece_settled(&c->reading, c->log.end_lsn, c->marking.commits.settled.end_lsn);
	capture_marking_came(&c->marking, c->log.idle_lsn);
	/* A keepalive is confirmed only when nothing is left that came before it. */
	if (capture_log_is_idle(c) || (MUTANT(confirm_in_flight) && !c->log.open))
		capture_marking_idle(&c->marking, c->log.idle_lsn);
}

void capture_step(struct capture *c, struct capture_event *ev)
{
	if (ev->now_ms > c->now_ms)
		c->now_ms = ev->now_ms;
	sender_clock(c->send, c->now_ms, ev->random);
	capture_reading_clock(&c->reading, c->now_ms);
	handle(c, ev);
	capture_sending_outcomes(c);
	go_on(c);
}

/* --- effects, looks --- */

bool capture_next(struct capture *c, struct capture_effect *f)
{
	return capture_effects_next(c, f);
}

bool capture_takes(const struct capture *c)
{
	return capture_log_takes(c);
}

bool capture_lets_go(const struct capture *c, uint32_t table)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	ev.change.kind = CAPTURE_CHANGE_ROW;
	ev.change.table = table;
	return c->log.open && capture_piece_lets_go(&c->reading, c->log.xid, &ev);
}

int64_t capture_send_deadline(const struct capture *c)
{
	return lead_send_deadline(&c->lead, c->now_ms);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t capture_deadline(const struct capture *c)
{
	int64_t at;

	if (!lead_is_held(&c->lead))
		return INT64_MAX;
	at = earlier(sender_deadline(c->send), capture_marking_deadline(&c->marking));
	if (lead_may_read(&c->lead))
		at = earlier(at, capture_questions_deadline(&c->reading));
	at = earlier(at, lead_quiet_at(&c->lead, c->now_ms));
	if (c->now_ms < c->publish_at)
		at = earlier(at, c->publish_at);
	return earlier(at, capture_effects_renew_at(c));
}

static void commit_stats(struct capture *c, struct capture_stats *s)
{
	s->received_lsn = c->log.idle_lsn;
	s->received_time = c->log.time;
	s->settled_lsn = c->marking.commits.settled.end_lsn;
	s->settled_time = c->marking.commits.settled.time;
	s->commits = c->log.commits;
	s->commits_settled = c->marking.commits.settled.count;
	s->open_commits = (uint32_t)(s->commits - s->commits_settled);
	s->marked_lsn = c->marking.marked.end_lsn;
	s->marked_time = c->marking.marked.time;
	s->confirmed_lsn = c->marking.told;
	s->ordinal = c->rows.next - 1;
	s->marked_ordinal = c->marking.marked.ordinal;
	s->unsettled = (uint64_t)(c->rows.next - c->rows.oldest);
	s->carried = (uint32_t)(c->carried.count - c->carried.done);
	s->held = (uint32_t)c->carried.held;
	s->carried_full = c->carried.count >= c->carried.most;
}

const struct capture_stats *capture_look(struct capture *c)
{
	c->send_stats.leading = lead_is_held(&c->lead);
	c->send_stats.draining = lead_is_draining(&c->lead);
	c->send_stats.paused = c->lead.operator_pause != 0;
	c->send_stats.notes_dropped = c->notes.dropped;
	c->send_stats.found_is_sought = capture_sending_seeks(c);
	sender_stats(c->send);
	c->stats.send = &c->send_stats;
	c->stats.lost_end = c->lost_end;
	commit_stats(c, &c->stats);
	capture_questions_stats(&c->reading, &c->stats);
	return &c->stats;
}

const struct capture_table *capture_table_at(const struct capture *c, uint32_t table)
{
	assert(table < c->set.tables);
	return &c->reading.table[table];
}

const char *capture_reader_name(enum capture_reader_state state)
{
	static const char *const names[] = {
		[CAPTURE_READER_IDLE] = "idle",       [CAPTURE_READER_PAUSED] = "paused",
		[CAPTURE_READER_BARRIER] = "barrier", [CAPTURE_READER_RESTING] = "resting",
		[CAPTURE_READER_ROOM] = "room",       [CAPTURE_READER_LIMBO] = "limbo",
		[CAPTURE_READER_READING] = "reading", [CAPTURE_READER_WINDOW] = "window",
	};

	return names[state];
}

void capture_audit(const struct capture *c)
{
	sender_audit(c->send);
	capture_rows_audit(&c->rows);
	capture_carried_audit(&c->carried);
	assert(c->marking.told <= c->marking.confirmed);
	assert(c->marking.marked.ordinal <= capture_rows_settled(&c->rows) || !lead_is_held(&c->lead));
	assert(c->reading.chunk.left <= c->reading.chunk.count);
}
