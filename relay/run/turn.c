/* Effects become calls, and the answers of the database to them events. Decides nothing. */
#include "run/turn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "books/ledger.h"
#include "core/refusal.h"
#include "run/events.h"
#include "run/housekeeping.h"
#include "watch/note.h"

enum {
	OWN_BYTES = 192,            /* the headers with the message id, the snapshot and the expected sequence */
	ASLEEP_MARGIN_SECONDS = 60, /* so much longer than two safety polls is a sleeping relay notified */
};

static void on_marked(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_MARKED };
	char why[256];

	if (pg_error(result) != NULL || FAILPOINT(mark_answered)) {
		/* Not ours to repair: begin again from what the database holds. */
		log_error(r->log, "marking failed", KS("why", pg_error(result)), KS("sqlstate", pg_sqlstate(result)));
		snprintf(why, sizeof why, "marking failed: %s",
			 pg_error(result) != NULL ? pg_error(result) : "failpoint");
		pg_break(r->pg, why);
		return;
	}
	ev.marked.fence = (uint64_t)pg_int8(result, 0, 0);
	ev.marked.asked_ms = r->mark_asked_ms;
	relay_step(r, ev);
}

static void on_flag_set(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	if (pg_error(result) != NULL || FAILPOINT(sleep_flagged))
		pg_break(r->pg, "announcing sleep failed");
}

static void on_announced(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_ANNOUNCED };

	if (pg_error(result) != NULL || (r->announce_asleep && FAILPOINT(sleep_fenced))) {
		log_error(r->log, "announcing sleep failed", KS("why", pg_error(result)));
		pg_break(r->pg, "announcing sleep failed");
		return;
	}
	ev.announced.asleep = r->announce_asleep;
	ev.announced.fence = r->announce_asleep ? (uint64_t)pg_int8(result, 0, 0) : 0;
	ev.announced.asked_ms = r->announce_asked_ms;
	relay_step(r, ev);
}

static void on_renewed(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_RENEWED };

	if (pg_error(result) != NULL || FAILPOINT(lease_renewed)) {
		pg_break(r->pg, "renewing the lease failed");
		return;
	}
	ev.renewed.asked_ms = r->renew_asked_ms;
	relay_step(r, ev);
}

/* The server may have been told to take less than when we connected. */
static void refuse_oversize(struct relay *r, struct parcel *parcel)
{
	int64_t most = natsio_max_payload(r->nats);

	if (parcel == NULL || most <= 0 || (int64_t)parcel->wire_bytes + OWN_BYTES <= most)
		return;
	outbox_reader_set_max_payload(r->reader, most);
	if (publisher_drop_key(parcel, most - OWN_BYTES)) { /* sent again when it was not acknowledged in time */
		relay_tell_keyless(r, parcel);
		return;
	}
	relay_refuse(r, parcel->token, DEFECT_MESSAGE_LONG);
}

/* An earlier leader stored it, or we did and were not told: acknowledged by what the stream holds. */
static void found(struct relay *r, const struct effect *f, uint64_t sequence)
{
	struct event ev = { .kind = EVENT_ACKED };

	ev.acked.token = f->publish.token;
	ev.acked.sequence = sequence;
	ev.acked.duplicate = true;
	relay_step(r, ev);
}

static uint64_t check_of(const struct relay *r, const struct parcel *parcel)
{
	return witness_check(leader_history(r->leader), parcel->id, parcel->xid);
}

/* It may have gone from the stream, consumed or replaced. The sequence of a later one that proves it was stored, or 0. */
static uint64_t proof(struct relay *r, const struct effect *f)
{
	uint32_t slot = f->publish.slot;

	for (int32_t at = -1; stream_scan_found(r->scan) > 0 && (at = delivery_witness(r->core, slot, at)) >= 0;) {
		const struct parcel *later = r->parcels[at];
		struct witness w;
		uint64_t sequence =
			later != NULL ? stream_scan_witness(r->scan, later->stream, later->message_id, &w) : 0;

		if (sequence > 0 && w.check == check_of(r, later) &&
		    delivery_is_proved(r->core, slot, (uint32_t)at, w.xmin))
			return sequence;
	}
	return 0;
}

static bool send_parcel(struct relay *r, struct parcel *parcel, const struct effect *f)
{
	bool tells = f->publish.evident && stream_scan_loses(r->scan, parcel->stream);
	struct witness w = { .xmin = parcel->xmin };

	if (tells)
		w.check = check_of(r, parcel);
	parcel->token = f->publish.token;
	if (!publisher_send(r->publisher, parcel, f, tells ? &w : NULL))
		return false;
	cuts_sent(&r->cuts, parcel->id, f->publish.token);
	return true;
}

static void publish(struct relay *r, const struct effect *f)
{
	struct parcel *parcel = r->parcels[f->publish.slot];
	bool ok = parcel != NULL && parcel->id == f->publish.id;
	uint64_t sequence = ok ? stream_scan_take(r->scan, parcel->stream, parcel->message_id) : 0;

	if (ok && sequence == 0)
		sequence = proof(r, f);
	if (sequence > 0) {
		found(r, f, sequence);
		return;
	}
	if (ok && stream_setup_is_elsewhere(r->setup, parcel->stream)) {
		publisher_leave_out(r->publisher, parcel, f);
		relay_refuse(r, f->publish.token, REASON_WRONG_STREAM);
		return;
	}
	/* What cannot be sent counts as sent and lost: its ack timeout brings it back. */
	if (!ok || !send_parcel(r, parcel, f)) {
		log_debug(r->log, "could not send", KI("id", f->publish.id));
		refuse_oversize(r, parcel);
	}
}

/* Silence is the same as that it was not written: the core has an end for it. */
static void about_batch(struct relay *r, const struct effect *f)
{
	if (!publisher_about_batch(r->publisher, r->parcels[f->batch.slot], f))
		log_debug(r->log, "could not send what is said of a batch", KS("stream", r->streams[f->batch.stream]));
}

static void tell_wire(struct relay *r, const struct note *n)
{
	note_tell_wire(r->log, (enum wire_reason)n->reason, r->streams[n->stream],
		       r->config->streams[n->stream].send == SEND_BATCH);
}

static void tell(struct relay *r, const struct note *n)
{
	if (n->kind == NOTE_WIRE) {
		tell_wire(r, n);
		return;
	}
	note_tell(r->log, n, r->reasons, r->streams[n->stream], stream_setup_detail(r->setup, n->stream), r->target);
	if (n->kind == NOTE_STREAM_BLOCKED)
		relay_ask_stream(r, n->stream);
}

static void on_quiet(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	/* `boxhaul pause` waits for it. */
	if (pg_error(result) != NULL)
		pg_break(r->pg, "saying that all is quiet failed");
}

static void on_resigned(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	/* Without it the next leader only takes a little longer. */
	if (pg_error(result) != NULL)
		log_warn(r->log, "could not resign the lead", KS("why", pg_error(result)));
	if (FAILPOINT(resigned))
		relay_finish(r, EXIT_UNDRAINED);
	else
		relay_drained(r, true, false);
}

static bool end_drained(struct relay *r)
{
	if (leader_role(r->leader) != ROLE_LEADER) {
		log_info(r->log, "drained: not leading, nothing in flight");
		relay_drained(r, true, false);
		return true;
	}
	log_info(r->log, "drained: everything in flight is answered and marked");
	r->resigning = true;
	return !FAILPOINT(drained) &&
	       ledger_resign(r->pg, leader_epoch(r->leader), leader_others_ms(r->leader), on_resigned, r);
}

/* Decisions and pauses whose notification was lost. */
static void ask_what_was_missed(struct relay *r)
{
	if (delivery_stats(r->core)->blocked_lanes > 0)
		events_ask_decisions(r);
	events_ask_pause(r);
	if (!leader_check_ids(r->leader))
		pg_break(r->pg, "a statement could not be sent");
}

/* For how long a relay that sleeps is to be notified. Two safety polls and a margin: each of them says so again. */
static uint32_t asleep_seconds(const struct relay *r)
{
	return r->config->delivery.safety_poll_ms / 500 + ASLEEP_MARGIN_SECONDS;
}

/* The flag runs out where nobody sets it again, so that producers do not notify a dead relay for ever: that is dear. */
static bool stay_asleep(struct relay *r)
{
	return delivery_stats(r->core)->pace != PACE_ASLEEP ||
	       ledger_announce(r->pg, asleep_seconds(r), on_flag_set, r);
}

static void carry_out(struct relay *r, const struct effect *f)
{
	bool ok = true;

	switch (f->kind) {
	case EFFECT_PUBLISH: publish(r, f); break;
	case EFFECT_FETCH:
		ok = outbox_reader_fetch(r->reader, f, leader_books(r->leader), leader_since(r->leader)) &&
		     stay_asleep(r) && !FAILPOINT(fetch_sent);
		if (housekeeping_behind_fetch(r))
			ask_what_was_missed(r);
		backlog_ask(r->backlog, delivery_stats(r->core));
		break;
	case EFFECT_MARK:
		r->mark_asked_ms = loop_now_ms();
		leader_marking(r->leader, f->mark->position);
		ok = !FAILPOINT(marking) &&
		     ledger_mark(r->pg, leader_epoch(r->leader), f->mark, r->streams, r->reasons, on_marked, r) &&
		     !FAILPOINT(mark_sent);
		break;
	case EFFECT_ANNOUNCE:
		r->announce_asleep = f->announce.asleep;
		r->announce_asked_ms = loop_now_ms();
		/* Asleep: the answer that counts is that of the fence, drawn after the flag was set. */
		ok = ledger_announce(r->pg, f->announce.asleep ? asleep_seconds(r) : 0,
				     f->announce.asleep ? on_flag_set : on_announced, r) &&
		     (!f->announce.asleep || ledger_fence(r->pg, on_announced, r));
		break;
	case EFFECT_RENEW:
		r->renew_asked_ms = loop_now_ms();
		ok = ledger_renew(r->pg, on_renewed, r);
		break;
	case EFFECT_RELEASE:
		free(r->parcels[f->release.slot]);
		r->parcels[f->release.slot] = NULL;
		break;
	case EFFECT_NOTE: tell(r, &f->note); break;
	case EFFECT_BATCH: about_batch(r, f); break;
	case EFFECT_LOOKBACK:
		stream_scan_ask(r->scan, f);
		if (FAILPOINT(lookback_asked))
			natsio_cut(r->nats, "failpoint");
		break;
	case EFFECT_QUIET:
		log_info(r->log, "paused: everything that was in flight is answered and marked");
		ok = ledger_quiet(r->pg, leader_epoch(r->leader), f->quiet.operator_pause, on_quiet, r);
		break;
	case EFFECT_DRAINED: ok = end_drained(r); break;
	}
	/* The core waits for an answer that will not come: begin again from what the database holds. */
	if (!ok)
		pg_break(r->pg, "a statement could not be sent");
}

static void turn_outbox(struct relay *r)
{
	struct effect f;

	relay_step(r, (struct event){ .kind = EVENT_TICK });
	/* What is handed over is written meanwhile, or later: not after the lease. */
	natsio_deadline(r->nats, delivery_send_deadline(r->core));
	while (delivery_next(r->core, &f))
		carry_out(r, &f);
	natsio_deadline(r->nats, delivery_send_deadline(r->core));
	loop_timer_at(r->core_timer, delivery_deadline(r->core));
}

void turn(void *arg)
{
	struct relay *r = arg;

	if (r->has_outbox)
		turn_outbox(r);
	if (r->inbox != NULL)
		inbox_room_turn(r->inbox);
	if (r->captures != NULL)
		capture_room_turn(r->captures);
}
