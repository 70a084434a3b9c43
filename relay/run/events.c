/* Callbacks only step the core: what is to be done is done once, at the end of the turn (turn.c). So everything that was
 * readable has been read before anything is sent: a relay that was stopped for a while learns first that its session is
 * gone, and the lease in the core covers what it cannot learn. */
#include "run/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/scrub.h"
#include "books/ledger.h"
#include "core/refusal.h"
#include "run/housekeeping.h"

/* Questions of a kind between two ticks. */
enum { QUESTIONS_MAX = 4 };

static void on_rows(void *arg, struct event ev)
{
	struct relay *r = arg;

	progress_fetched(r->progress);
	if (ev.rows.count > 0)
		leader_seen(r->leader, ev.rows.rows[ev.rows.count - 1].id);
	relay_step(r, ev);
	for (size_t i = 0; i < ev.rows.count; i++)
		if (ev.rows.rows[i].slot >= 0) /* free: the core takes a slot again only after its release */
			relay_tell_keyless(r, r->parcels[ev.rows.rows[i].slot] = outbox_reader_parcel(r->reader, i));
}

/* It becomes a dead letter, which says why. */
static void on_unreadable(void *arg, int64_t id, const char *why)
{
	struct relay *r = arg;

	reasons_keep_row(r->reasons, id, DEFECT_UNREADABLE, why);
}

static void on_fetch_failed(void *arg, const char *why, const char *sqlstate)
{
	struct relay *r = arg;

	log_warn(r->log, "reading the outbox failed", KS("why", why), KS("sqlstate", sqlstate));
	/* The prepared statement is of no use any more, in this session. */
	if (strcmp(sqlstate, "0A000") == 0 || strcmp(sqlstate, "26000") == 0)
		pg_break(r->pg, "a prepared statement is stale");
	progress_fetch_failed(r->progress, why, loop_now_ms());
	relay_step(r, (struct event){ .kind = EVENT_FETCH_FAILED });
}

static void on_books_differ(void *arg, const char *why)
{
	struct relay *r = arg;

	leader_books_differ(r->leader, why);
}

static bool is_missing(void *arg, int64_t id)
{
	struct relay *r = arg;

	return delivery_is_missing(r->core, id);
}

static void on_postgres_up(void *arg)
{
	struct relay *r = arg;

	r->postgres_up = true;
	r->postgres_connects++;
	log_info(r->log, "PostgreSQL is connected", KU("connects", r->postgres_connects));
	leader_session_up(r->leader);
}

/* The session carries the lead. Whatever was not answered is left to the next leader, and what the connection to
 * NATS still holds must not be sent any more: it goes with the connection. */
static void on_postgres_down(void *arg, const char *why)
{
	struct relay *r = arg;
	bool led = leader_role(r->leader) == ROLE_LEADER;

	scrub(why, r->postgres_why, sizeof r->postgres_why);
	log_error(r->log, "PostgreSQL is not connected", KS("why", r->postgres_why));
	r->postgres_up = false;
	progress_fetched(r->progress);
	if (r->resigning) /* there is nothing more to do, and nobody to tell */
		relay_drained(r, true, false);
	leader_session_down(r->leader);
	backlog_forget(r->backlog);
	outbox_reader_reset(r->reader);
	housekeeping_forget(r);
	r->decisions = r->pauses = (struct relay_question){ .left = 0 };
	stream_scan_stop(r->scan);
	relay_step(r, (struct event){ .kind = EVENT_DEPOSED });
	if (led)
		natsio_cut(r->nats, "the lead is gone");
}

static void on_decisions(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	r->decisions.asked = false;
	for (int i = 0; pg_error(result) == NULL && i < pg_rows(result); i++) {
		struct event ev = { .kind = EVENT_DECIDED };

		ev.decided.id = pg_int8(result, i, 0);
		ev.decided.redrive = pg_int8(result, i, 1) != 0;
		relay_step(r, ev);
	}
	if (r->decisions.again)
		r->decisions.again = !events_ask_decisions(r);
}

static void on_pause(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_PAUSED };
	bool was = r->paused[0] != '\0', is = pg_error(result) == NULL && pg_rows(result) > 0;
	char command[sizeof r->target + 32];
	size_t bytes;

	r->pauses.asked = false;
	if (pg_error(result) != NULL)
		return; /* asked again before long */
	if (is)
		ev.paused.operator_pause = (uint64_t)pg_int8(result, 0, 0);
	snprintf(r->paused, sizeof r->paused, "%s", is ? pg_bytes(result, 0, 1, &bytes) : "");
	snprintf(command, sizeof command, "boxhaul resume %s", r->target);
	if (is && !was)
		log_warn(r->log, "paused: sending nothing until somebody resumes", KS("who", r->paused),
			 KS("do", command));
	else if (was && !is)
		log_info(r->log, "resumed");
	relay_step(r, ev);
	if (r->pauses.again)
		r->pauses.again = !events_ask_pause(r);
}

static bool take_question(struct relay_question *q)
{
	if (q->asked || q->left == 0)
		return false;
	q->left--;
	return true;
}

bool events_ask_pause(struct relay *r)
{
	if (!take_question(&r->pauses))
		return false;
	r->pause_asked_ms = loop_now_ms();
	r->pauses.asked = ledger_pause(r->pg, on_pause, r);
	return true;
}

bool events_ask_decisions(struct relay *r)
{
	if (!take_question(&r->decisions))
		return false;
	r->decisions.asked = ledger_decisions(r->pg, on_decisions, r);
	return true;
}

void events_ask_again(struct relay *r)
{
	r->decisions.left = r->pauses.left = QUESTIONS_MAX;
	if (r->decisions.again)
		r->decisions.again = !events_ask_decisions(r);
	if (r->pauses.again)
		r->pauses.again = !events_ask_pause(r);
}

/* What was decided while nobody led has been notified to nobody. */
static void on_leading(void *arg, const struct event *ev)
{
	struct relay *r = arg;

	r->forgot |= stream_scan_forget(r->scan);
	r->decisions.left = r->pauses.left = QUESTIONS_MAX;
	relay_step(r, *ev);
	events_ask_decisions(r);
	events_ask_pause(r);
}

static void on_notified(void *arg, const char *payload)
{
	struct relay *r = arg;

	if (leader_role(r->leader) != ROLE_LEADER)
		return;
	if (strcmp(payload, "decided") == 0)
		r->decisions.again = !events_ask_decisions(r);
	else if (strcmp(payload, "paused") == 0)
		r->pauses.again = !events_ask_pause(r);
	else
		relay_step(r, (struct event){ .kind = EVENT_NOTIFIED });
}

static void on_nats_up(void *arg, const char *url, int64_t max_payload)
{
	struct relay *r = arg;

	r->nats_up = true;
	r->nats_connects++;
	scrub(url, r->nats_url, sizeof r->nats_url);
	log_info(r->log, "NATS is connected", KS("url", r->nats_url), KI("max_payload", max_payload));
	outbox_reader_set_max_payload(r->reader, max_payload);
	for (uint16_t i = 0; i < r->config->stream_count; i++)
		relay_ask_stream(r, i);
	relay_step(r, (struct event){ .kind = EVENT_BUS_UP });
}

/* Before the core takes whatever is under way for unknown: one of them may be known to be the cause. */
static void on_cut(struct relay *r, const char *why)
{
	bool was_alone = r->cuts.alone;
	const char *words;
	enum reason reason = cuts_happened(&r->cuts, why, delivery_stats(r->core)->in_flight, &words);
	const struct parcel *parcel = r->parcels[r->cuts.token & 0xffff];

	if (reason != REASON_NONE && parcel != NULL && parcel->id == r->cuts.id) {
		reasons_keep(r->reasons, parcel->id, parcel->stream, reason, words);
		relay_refuse(r, r->cuts.token, reason);
	}
	if (r->cuts.alone && !was_alone) {
		log_warn(r->log, "the connection ended while messages were on their way: sending them one at a time",
			 KU("messages", r->cuts.left));
		relay_adjust_core(r);
	}
}

static void on_answered(struct relay *r, uint64_t token)
{
	bool was_alone = r->cuts.alone;

	cuts_answered(&r->cuts, token);
	if (was_alone && !r->cuts.alone)
		relay_adjust_core(r);
}

static void on_nats_down(void *arg, const char *why, bool theirs)
{
	struct relay *r = arg;

	scrub(why, r->nats_why, sizeof r->nats_why);
	log_error(r->log, "NATS is not connected", KS("why", r->nats_why));
	r->nats_up = false;
	if (theirs)
		on_cut(r, r->nats_why);
	stream_scan_stop(r->scan);
	relay_forget_wires(r);
	relay_step(r, (struct event){ .kind = EVENT_BUS_DOWN });
}

static void on_answered_in_batch(void *arg, uint64_t token)
{
	on_answered(arg, token);
}

/* What the stream or its server may have become: it is looked at again, by the next tick. */
static bool doubts_wire(const struct event *ev)
{
	switch (ev->batch.what) {
	case BATCH_REFUSED:
		return refusal_means_no_batches(ev->batch.reason) || ev->batch.reason == REASON_WRONG_STREAM;
	case BATCH_NO_RESPONDERS:
	case BATCH_ALONE: return true;
	default: return false;
	}
}

static void on_batch_reply(struct relay *r, const struct natsio_reply *reply)
{
	struct event ev;

	if (!publisher_batch_reply(r->publisher, reply, &ev, on_answered_in_batch, r) || FAILPOINT(ack_received))
		return;
	if (ev.batch.what == BATCH_END)
		stream_setup_stored(r->setup, ev.batch.stream);
	if (ev.batch.what == BATCH_REFUSED && ev.batch.reason == REASON_WRONG_STREAM)
		stream_setup_stored_elsewhere(r->setup, ev.batch.stream);
	r->wire_doubted[ev.batch.stream] |= doubts_wire(&ev);
	relay_step(r, ev);
}

static void on_nats_reply(void *arg, const struct natsio_reply *reply)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_TICK };
	uint16_t stream;

	if (reply->of_batch) {
		on_batch_reply(r, reply);
		return;
	}
	if (stream_setup_reply(r->setup, reply)) {
		relay_tell_wires(r);
		return;
	}
	if (stream_scan_reply(r->scan, reply) || !publisher_reply(r->publisher, reply, &ev) || FAILPOINT(ack_received))
		return;
	stream = r->parcels[reply->token & 0xffff]->stream;
	if (ev.kind == EVENT_ACKED)
		stream_setup_stored(r->setup, stream);
	else if (ev.refused.reason == REASON_WRONG_STREAM)
		stream_setup_stored_elsewhere(r->setup, stream);
	relay_step(r, ev);
	on_answered(r, reply->token);
}

/* A publish that is not permitted gets no reply of its own, only a complaint that names the subject. */
static void on_nats_complaint(void *arg, const char *text)
{
	struct relay *r = arg;
	char message[512];

	/* In the message, not beside it: two complaints are the same only if they say the same. */
	snprintf(message, sizeof message, "NATS complains: %s", text);
	log_error(r->log, message);
	stream_scan_complaint(r->scan, text);
	relay_tell_wires(r); /* it may be about what is answered to batches */
	for (size_t slot = 0; slot < r->config->delivery.queue_messages; slot++) {
		const struct parcel *parcel = r->parcels[slot];

		if (parcel != NULL && parcel->token != 0 && publisher_denied(parcel, text))
			relay_refuse(r, parcel->token, REASON_NOT_PERMITTED);
	}
}

static void on_looked_back(void *arg, const struct event *ev)
{
	struct event told = *ev;

	if (FAILPOINT(lookback_answered)) {
		told.lookback.ok = false;
		told.lookback.reason = REASON_NO_REPLY;
	}
	relay_step(arg, told);
}

/* --- who calls which --- */

struct pg_handlers events_of_postgres(struct relay *r)
{
	return (struct pg_handlers){
		.up = on_postgres_up, .down = on_postgres_down, .notified = on_notified, .arg = r
	};
}

struct natsio_handlers events_of_nats(struct relay *r)
{
	return (struct natsio_handlers){
		.up = on_nats_up, .down = on_nats_down, .reply = on_nats_reply, .complaint = on_nats_complaint, .arg = r
	};
}

struct leader_handlers events_of_leader(struct relay *r)
{
	return (struct leader_handlers){ .leading = on_leading, .arg = r };
}

struct outbox_reader_handlers events_of_reader(struct relay *r)
{
	return (struct outbox_reader_handlers){ .rows = on_rows,
						.failed = on_fetch_failed,
						.unreadable = on_unreadable,
						.books_differ = on_books_differ,
						.is_missing = is_missing,
						.arg = r };
}

struct stream_scan_handlers events_of_scan(struct relay *r)
{
	return (struct stream_scan_handlers){ .answered = on_looked_back, .arg = r };
}
