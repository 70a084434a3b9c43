/* The state machine: the lead, the sender and the reader of the outbox, wired together.
 *
 *     event --> lead      what it changes of what we may do
 *           --> reader    rows, marks, decisions          --offer--> sender
 *           --> sender    acks, refusals, look-backs, bus --outcomes--> reader
 *
 *     effects <-- sender, reader: as far as the lead allows them
 *
 * Nothing is decided here but who is told what, and in which order. */
#include "core/delivery.h"

#include <assert.h>
#include <stdlib.h>

#include "core/lead.h"
#include "core/mutant.h"
#include "core/notes.h"
#include "core/outbox/outbox.h"
#include "core/send/send.h"

struct delivery {
	struct delivery_settings set;
	struct lead lead;
	struct sender *send;
	struct reader *outbox;
	struct outcomes *outcomes; /* the sender's */
	bool batches;              /* some stream may have been sent to by batches */
	bool only_publish;         /* in this step there is nothing else to do any more */
	struct notes notes;
	int64_t now_ms;
	struct delivery_stats stats; /* counters as they are; all else when they are asked for */
};

struct delivery *delivery_create(const struct delivery_settings *s)
{
	struct delivery *d = calloc(1, sizeof *d);

	assert(s->streams >= 1 && s->streams <= LIMIT_STREAMS && s->queue_messages <= 65536 && s->window_messages >= 1);
	assert(s->owned == 0 || s->ordering == ORDERING_STRICT);
	if (d == NULL)
		return NULL;
	d->set = *s;
	lead_create(&d->lead, s->lease_ms);
	d->send = sender_create(&d->set, &d->notes, &d->stats);
	d->outbox = d->send != NULL ? reader_create(&d->set, &d->notes, &d->stats, d->send) : NULL;
	if (d->outbox == NULL) {
		delivery_free(d);
		return NULL;
	}
	d->outcomes = sender_outcomes(d->send);
	return d;
}

void delivery_free(struct delivery *d)
{
	if (d == NULL)
		return;
	reader_free(d->outbox);
	sender_free(d->send);
	free(d);
}

/* --- events --- */

static void forget_everything(struct delivery *d)
{
	lead_lost(&d->lead);
	sender_forget(d->send);
	reader_forget(d->outbox);
}

static void leading(struct delivery *d, const struct event *ev)
{
	int64_t until_ms = ev->leading.predecessor_until_ms > d->now_ms ? ev->leading.predecessor_until_ms : d->now_ms;

	forget_everything(d);
	lead_taken(&d->lead, ev->leading.asked_ms, ev->leading.operator_pause, until_ms);
	sender_begin(d->send, ev->leading.low_water, until_ms);
	reader_begin(d->outbox, ev);
}

static void rows(struct delivery *d, const struct event *ev)
{
	if (reader_rows(d->outbox, ev))
		lead_alive(&d->lead, MUTANT(lease_from_answer) ? d->now_ms : ev->rows.asked_ms);
}

static void marked(struct delivery *d, const struct event *ev)
{
	if (reader_marked(d->outbox, ev))
		lead_alive(&d->lead, ev->marked.asked_ms);
}

/* All of them are compared with something whenever there is something to decide: what was decided stays. */
static void adjust(struct delivery *d, const struct delivery_settings *s)
{
	assert(s->ordering == d->set.ordering && s->streams == d->set.streams && s->lease_ms == d->set.lease_ms &&
	       s->queue_messages == d->set.queue_messages && s->window_messages >= 1 && s->owned == d->set.owned &&
	       s->owned_stays == d->set.owned_stays);
	d->set = *s;
	sending_adjust(d->send);
	reader_adjust(d->outbox);
}

/* An operator has seen what there is to see, also that a stream was stopped. */
static void resume(struct delivery *d)
{
	for (uint32_t i = 0; i < d->set.streams; i++)
		chain_go_on(d->send, (uint16_t)i);
	reader_resume(d->outbox);
}

static void handle(struct delivery *d, const struct event *ev)
{
	switch (ev->kind) {
	case EVENT_TICK: break;
	case EVENT_LEADING: leading(d, ev); break;
	case EVENT_DEPOSED:
		if (!MUTANT(lead_ignored))
			forget_everything(d);
		break;
	case EVENT_BUS_UP: sender_bus_up(d->send); break;
	case EVENT_BUS_DOWN: sender_bus_down(d->send); break;
	case EVENT_ROWS: rows(d, ev); break;
	case EVENT_FETCH_FAILED: reading_failed(d->outbox); break;
	case EVENT_ACKED:
		if (lead_is_held(&d->lead))
			sending_acked(d->send, ev);
		break;
	case EVENT_REFUSED:
		if (lead_is_held(&d->lead))
			sending_refused(d->send, ev);
		break;
	case EVENT_LOOKBACK:
		if (lead_is_held(&d->lead))
			lookback_answered(d->send, ev);
		break;
	case EVENT_MARKED: marked(d, ev); break;
	case EVENT_ANNOUNCED:
		lead_alive(&d->lead, ev->announced.asked_ms);
		reader_announced(d->outbox, ev);
		break;
	case EVENT_RENEWED: lead_renewed(&d->lead, ev->renewed.asked_ms); break;
	case EVENT_NOTIFIED:
		d->stats.notifications++;
		reader_notified(d->outbox);
		break;
	case EVENT_DECIDED:
		if (lead_is_held(&d->lead))
			reader_decided(d->outbox, ev);
		break;
	case EVENT_PAUSED:
		if (lead_pause(&d->lead, ev->paused.operator_pause))
			resume(d);
		break;
	case EVENT_DRAIN: lead_drain(&d->lead); break;
	case EVENT_SETTINGS: adjust(d, ev->settings); break;
	case EVENT_WIRE:
		d->batches |= ev->wire.batches;
		batch_wire(d->send, ev);
		break;
	case EVENT_BATCH:
		if (lead_is_held(&d->lead))
			batch_answered(d->send, ev);
		break;
	}
}

/* What is overdue. Probes are chosen among what is parked, so after the outcomes of silence. */
static void timers(struct delivery *d)
{
	sending_timers(d->send);
	if (outcomes_wait(d->outcomes))
		reader_take_outcomes(d->outbox);
	if (!lead_is_held(&d->lead))
		return;
	if (holding_is_due(d->send)) {
		reader_choose_probes(d->outbox);
		reader_take_outcomes(d->outbox);
	}
	if (lead_is_draining(&d->lead) && memory_in_flight(d->send) == 0)
		marking_leave_behind(d->outbox);
}

void delivery_step(struct delivery *d, const struct event *ev)
{
	if (ev->now_ms > d->now_ms)
		d->now_ms = ev->now_ms;
	sender_clock(d->send, d->now_ms, ev->random);
	reader_clock(d->outbox, d->now_ms);
	d->only_publish = false;
	handle(d, ev);
	reader_take_outcomes(d->outbox);
	timers(d);
}

/* --- effects --- */

static bool next_note(struct delivery *d, struct effect *f)
{
	if (!notes_wait(&d->notes))
		return false;
	f->kind = EFFECT_NOTE;
	f->note = notes_take(&d->notes);
	return true;
}

static bool next_mark(struct delivery *d, struct effect *f)
{
	return marking_next(d->outbox, lead_is_draining(&d->lead), f);
}

static bool next_announce(struct delivery *d, struct effect *f)
{
	if (!reader_next_announce(d->outbox, f))
		return false;
	d->stats.announcements++;
	return true;
}

static bool next_fetch(struct delivery *d, struct effect *f)
{
	return lead_may_read(&d->lead) && reading_next(d->outbox, f);
}

/* A sign of life of the database is wanted only where there is work, and nothing is under way that will be one. */
static int64_t renew_at(const struct delivery *d)
{
	return memory_has_work(d->send) && !reader_awaits_answer(d->outbox) ? lead_renew_at(&d->lead) : INT64_MAX;
}

static bool next_renew(struct delivery *d, struct effect *f)
{
	if (d->now_ms < lead_renew_at(&d->lead) || d->now_ms < renew_at(d))
		return false;
	lead_renewing(&d->lead);
	f->kind = EFFECT_RENEW;
	return true;
}

static bool next_lookback(struct delivery *d, struct effect *f)
{
	uint16_t stream;

	if (!lead_may_look(&d->lead, d->now_ms) || !lookback_next(d->send, &stream))
		return false;
	lookback_take(d->send, stream, exceptions_lowest(d->outbox, stream), f);
	return true;
}

/* Whether there is something to mark, to read or to ask depends on the step, on outcomes, and on what next_publish() finds on its
 * way. It is not tried again for each message that is published. */
static bool next_but_publish(struct delivery *d, struct effect *f)
{
	if (d->only_publish)
		return false;
	if (next_mark(d, f) || next_announce(d, f) || next_fetch(d, f) || next_renew(d, f) || next_lookback(d, f) ||
	    (d->batches && lead_may_say(&d->lead, d->now_ms) && batch_next(d->send, f)))
		return true;
	d->only_publish = true;
	return false;
}

static bool next_publish(struct delivery *d, struct effect *f)
{
	bool asks = false, found;

	if (!lead_may_publish(&d->lead, d->now_ms))
		return false;
	found = sending_next(d->send, f, &asks);
	if (!asks && !outcomes_wait(d->outcomes))
		return found;
	/* It found messages about which a stream must be asked first; or dead letters. */
	d->only_publish = false;
	reader_take_outcomes(d->outbox);
	return found || next_lookback(d, f) || memory_next_release(d->send, f) || next_note(d, f) || next_mark(d, f);
}

static bool is_under_way(const struct delivery *d)
{
	return lead_is_held(&d->lead) &&
	       ((memory_in_flight(d->send) > 0 && !MUTANT(drained_early)) || reader_is_under_way(d->outbox));
}

static bool next_quiet(struct delivery *d, struct effect *f)
{
	if (!lead_may_be_quiet(&d->lead, d->now_ms) || (is_under_way(d) && !MUTANT(quiet_early)))
		return false;
	f->kind = EFFECT_QUIET;
	f->quiet.operator_pause = d->lead.operator_pause;
	lead_said_quiet(&d->lead);
	return true;
}

static bool next_drained(struct delivery *d, struct effect *f)
{
	if (!lead_may_be_drained(&d->lead) || is_under_way(d))
		return false;
	f->kind = EFFECT_DRAINED;
	lead_said_drained(&d->lead);
	return true;
}

bool delivery_next(struct delivery *d, struct effect *f)
{
	return memory_next_release(d->send, f) || next_note(d, f) ||
	       (lead_is_held(&d->lead) && (next_but_publish(d, f) || next_publish(d, f))) || next_quiet(d, f) ||
	       next_drained(d, f);
}

/* --- questions --- */

int64_t delivery_send_deadline(const struct delivery *d)
{
	if (MUTANT(send_deadline_in_flight) && memory_in_flight(d->send) == 0)
		return INT64_MAX;
	return lead_send_deadline(&d->lead, d->now_ms);
}

int32_t delivery_witness(const struct delivery *d, uint32_t slot, int32_t after)
{
	return proof_witness(d->send, slot, after);
}

bool delivery_is_proved(const struct delivery *d, uint32_t slot, uint32_t witness, uint64_t horizon)
{
	return proof_holds(d->send, slot, witness, horizon);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t delivery_deadline(const struct delivery *d)
{
	int64_t at;

	if (!lead_is_held(&d->lead))
		return INT64_MAX;
	at = earlier(sender_deadline(d->send), marking_deadline(d->outbox));
	if (lead_may_read(&d->lead))
		at = earlier(at, reader_read_deadline(d->outbox));
	at = earlier(at, lead_quiet_at(&d->lead, d->now_ms));
	return earlier(at, renew_at(d));
}

bool delivery_is_missing(const struct delivery *d, int64_t id)
{
	return exceptions_has_missing(d->outbox, id);
}

const struct delivery_stats *delivery_stats(struct delivery *d)
{
	d->stats.leading = lead_is_held(&d->lead);
	d->stats.draining = lead_is_draining(&d->lead);
	d->stats.paused = d->lead.operator_pause != 0;
	d->stats.notes_dropped = d->notes.dropped;
	sender_stats(d->send);
	reader_stats(d->outbox);
	return &d->stats;
}

void delivery_audit(const struct delivery *d)
{
	sender_audit(d->send);
	reader_audit(d->outbox);
}
