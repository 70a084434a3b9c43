/* The shell.
 *
 *     pg, nats, signals, timers --callbacks--> events -> core
 *                                                         |
 *     pg, nats, log <------ calls, one flush per turn --- effects
 *
 * Callbacks only step the core; the effects are carried out once, before the loop sleeps. So everything that was
 * readable has been read before anything is sent: a relay that was stopped for a while learns first that its session is
 * gone, and the lease in the core covers what it cannot learn. */
#include "relay.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backlog.h"
#include "core/delivery.h"
#include "core/refusal.h"
#include "edge/loop.h"
#include "edge/natsio.h"
#include "edge/pg.h"
#include "failpoint.h"
#include "health.h"
#include "leader.h"
#include "ledger.h"
#include "note.h"
#include "process.h"
#include "progress.h"
#include "publisher.h"
#include "reload.h"
#include "servers.h"
#include "service.h"
#include "source.h"
#include "tail.h"

enum {
	TICK_MS = 1000,
	ASK_AGAIN_MS = 5000,
	PAUSE_ASK_MS = 5000,
	OWN_BYTES = 64,   /* the header with the message id */
	DESCRIPTORS = 24, /* servers, files, the port with a few guests: with fewer it would never work */
	MAINTENANCE_MAX_MS = 60000,
	MAINTENANCE_MIN_MS = 1000,
	IDLE_PAUSE_POLL_MS = 100
};

struct relay {
	const struct config *config; /* the reload's: its values may change between two callbacks */
	struct log *log;
	struct loop *loop;
	struct service *service;
	struct reload *reload;
	struct delivery *core;
	struct pg *pg;
	struct leader *leader;
	struct source *source;
	struct natsio *nats;
	struct publisher *publisher;
	struct tails *tails;
	struct backlog *backlog;
	struct progress *progress;
	struct health *health;
	struct parcel **parcels; /* by slot of the core */
	const char *streams[LIMIT_STREAMS];
	struct loop_timer *core_timer, *tick, *drain_timer;
	enum exit_code exit;
	bool stopping, resigning;

	int64_t started_ms;
	int64_t mark_asked_ms, announce_asked_ms, renew_asked_ms;
	bool announce_asleep;

	bool postgres_up, nats_up;
	char postgres_why[512], nats_why[512], nats_url[256];
	uint64_t postgres_connects, nats_connects, truncations;
	int64_t max_payload;

	int64_t asked_ms[LIMIT_STREAMS]; /* when a stream was last asked why it takes nothing */
	int64_t maintained_ms;

	char paused[512]; /* by whom; "" = it is not */
	int64_t pause_asked_ms;

	bool forgot;            /* what was found in the streams, and its memory was not given back since */
	uint64_t given_back_at; /* so many bytes had been published when memory was last given back */
};

/* --- events --- */

static void step(struct relay *r, struct event ev)
{
	ev.now_ms = loop_now_ms();
	ev.random = (uint32_t)random();
	delivery_step(r->core, &ev);
}

static void on_rows(void *arg, struct event ev)
{
	struct relay *r = arg;

	progress_fetched(r->progress);
	step(r, ev);
	for (size_t i = 0; i < ev.rows.count; i++)
		if (ev.rows.rows[i].slot >= 0) /* free: the core takes a slot again only after its release */
			r->parcels[ev.rows.rows[i].slot] = source_parcel(r->source, i);
}

static void on_fetch_failed(void *arg, const char *why, const char *sqlstate)
{
	struct relay *r = arg;

	log_warn(r->log, "reading the outbox failed", KS("why", why), KS("sqlstate", sqlstate));
	/* The prepared statement is of no use any more, in this session. */
	if (strcmp(sqlstate, "0A000") == 0 || strcmp(sqlstate, "26000") == 0)
		pg_break(r->pg, "a prepared statement is stale");
	progress_fetch_failed(r->progress, why, loop_now_ms());
	step(r, (struct event){ .kind = EVENT_FETCH_FAILED });
}

static void on_postgres_up(void *arg)
{
	struct relay *r = arg;

	r->postgres_up = true;
	r->postgres_connects++;
	log_info(r->log, "PostgreSQL is connected", KU("connects", r->postgres_connects));
	leader_session_up(r->leader);
}

static void finish(struct relay *r, enum exit_code code)
{
	r->exit = code;
	loop_stop(r->loop);
}

/* The session carries the lead. Whatever was not answered is left to the next leader, and what the connection to
 * NATS still holds must not be sent any more: it goes with the connection. */
static void on_postgres_down(void *arg, const char *why)
{
	struct relay *r = arg;
	bool led = leader_role(r->leader) == ROLE_LEADER;

	log_scrub(why, r->postgres_why, sizeof r->postgres_why);
	log_error(r->log, "PostgreSQL is not connected", KS("why", r->postgres_why));
	r->postgres_up = false;
	progress_fetched(r->progress);
	if (r->resigning) /* there is nothing more to do, and nobody to tell */
		finish(r, EXIT_OK);
	leader_session_down(r->leader);
	backlog_forget(r->backlog);
	source_reset(r->source);
	tails_stop(r->tails);
	step(r, (struct event){ .kind = EVENT_DEPOSED });
	if (led)
		natsio_cut(r->nats, "the lead is gone");
}

static void on_decisions(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	for (int i = 0; pg_error(result) == NULL && i < pg_rows(result); i++) {
		struct event ev = { .kind = EVENT_DECIDED };

		ev.decided.id = pg_int8(result, i, 0);
		ev.decided.redrive = pg_int8(result, i, 1) != 0;
		step(r, ev);
	}
}

static void on_pause(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_PAUSED };
	bool was = r->paused[0] != '\0', is = pg_error(result) == NULL && pg_rows(result) > 0;
	size_t bytes;

	if (pg_error(result) != NULL)
		return; /* asked again before long */
	if (is)
		ev.paused.pause = (uint64_t)pg_int8(result, 0, 0);
	snprintf(r->paused, sizeof r->paused, "%s", is ? pg_bytes(result, 0, 1, &bytes) : "");
	if (is && !was)
		log_warn(r->log, "paused: sending nothing until `boxhaul resume`", KS("who", r->paused));
	else if (was && !is)
		log_info(r->log, "resumed");
	step(r, ev);
}

static void ask_about_pause(struct relay *r)
{
	r->pause_asked_ms = loop_now_ms();
	ledger_pause(r->pg, on_pause, r);
}

/* What was decided while nobody led has been notified to nobody. */
static void on_leading(void *arg, const struct event *ev)
{
	struct relay *r = arg;

	r->forgot |= tails_forget(r->tails);
	step(r, *ev);
	ledger_decisions(r->pg, on_decisions, r);
	ask_about_pause(r);
}

static void on_notified(void *arg, const char *payload)
{
	struct relay *r = arg;

	if (leader_role(r->leader) != ROLE_LEADER)
		return;
	if (strcmp(payload, "decided") == 0)
		ledger_decisions(r->pg, on_decisions, r);
	else if (strcmp(payload, "paused") == 0)
		ask_about_pause(r);
	else
		step(r, (struct event){ .kind = EVENT_NOTIFIED });
}

static void on_nats_up(void *arg, const char *url, int64_t max_payload)
{
	struct relay *r = arg;

	r->nats_up = true;
	r->nats_connects++;
	r->max_payload = max_payload;
	log_scrub(url, r->nats_url, sizeof r->nats_url);
	log_info(r->log, "NATS is connected", KS("url", r->nats_url), KI("max_payload", max_payload));
	source_set_max_payload(r->source, max_payload);
	for (uint16_t i = 0; i < r->config->stream_count; i++)
		publisher_ask(r->publisher, r->nats, i);
	step(r, (struct event){ .kind = EVENT_BUS_UP });
}

static void on_nats_down(void *arg, const char *why)
{
	struct relay *r = arg;

	log_scrub(why, r->nats_why, sizeof r->nats_why);
	log_error(r->log, "NATS is not connected", KS("why", r->nats_why));
	r->nats_up = false;
	tails_stop(r->tails);
	step(r, (struct event){ .kind = EVENT_BUS_DOWN });
}

static void on_nats_reply(void *arg, const struct natsio_reply *reply)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_TICK };

	if (!tails_reply(r->tails, reply) && publisher_reply(r->publisher, r->nats, reply, &ev) &&
	    !FAILPOINT(ack_received))
		step(r, ev);
}

/* A publish that is not permitted gets no reply of its own, only a complaint that names the subject. */
static void on_nats_complaint(void *arg, const char *text)
{
	struct relay *r = arg;
	char message[512];

	/* In the message, not beside it: two complaints are the same only if they say the same. */
	snprintf(message, sizeof message, "NATS complains: %s", text);
	log_error(r->log, message);
	tails_complaint(r->tails, text);
	for (size_t slot = 0; slot < r->config->delivery.queue_messages; slot++) {
		const struct parcel *parcel = r->parcels[slot];
		struct event ev = { .kind = EVENT_REFUSED };

		if (parcel == NULL || parcel->token == 0 || !publisher_denied(parcel, text))
			continue;
		ev.refused.token = parcel->token;
		ev.refused.reason = REASON_NOT_PERMITTED;
		step(r, ev);
	}
}

/* --- effects --- */

static void on_marked(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;
	struct event ev = { .kind = EVENT_MARKED };

	if (pg_error(result) != NULL || FAILPOINT(mark_answered)) {
		/* Not ours to repair: begin again from what the database holds. */
		log_error(r->log, "marking failed", KS("why", pg_error(result)), KS("sqlstate", pg_sqlstate(result)));
		pg_break(r->pg, "marking failed");
		return;
	}
	ev.marked.fence = (uint64_t)pg_int8(result, 0, 0);
	ev.marked.asked_ms = r->mark_asked_ms;
	step(r, ev);
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
	step(r, ev);
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
	step(r, ev);
}

/* The server may have been told to take less than when we connected. */
static void refuse_oversize(struct relay *r, const struct parcel *parcel)
{
	struct event ev = { .kind = EVENT_REFUSED };
	int64_t most = natsio_max_payload(r->nats);

	if (parcel == NULL || most <= 0 || (int64_t)parcel->wire_bytes + OWN_BYTES <= most)
		return;
	source_set_max_payload(r->source, most);
	ev.refused.token = parcel->token;
	ev.refused.reason = DEFECT_MESSAGE_LONG;
	step(r, ev);
}

/* An earlier leader stored it, or we did and were not told: acknowledged by the stream's own record. */
static void found(struct relay *r, const struct effect *f, uint64_t sequence)
{
	struct event ev = { .kind = EVENT_ACKED };

	ev.acked.token = f->publish.token;
	ev.acked.sequence = sequence;
	ev.acked.duplicate = true;
	step(r, ev);
}

static void on_tail(void *arg, const struct event *ev)
{
	struct event told = *ev;

	if (FAILPOINT(tail_told)) {
		told.tail.ok = false;
		told.tail.reason = REASON_NO_REPLY;
	}
	step(arg, told);
}

static void publish(struct relay *r, const struct effect *f)
{
	struct parcel *parcel = r->parcels[f->publish.slot];
	bool ok = parcel != NULL && parcel->id == f->publish.id;
	uint64_t sequence = ok ? tails_take(r->tails, parcel->stream, parcel->message_id) : 0;

	if (sequence > 0) {
		found(r, f, sequence);
		return;
	}
	if (ok) {
		parcel->token = f->publish.token;
		ok = publisher_send(r->publisher, r->nats, parcel, f);
	}
	/* What cannot be sent counts as sent and lost: its ack timeout brings it back. */
	if (!ok) {
		log_debug(r->log, "could not send", KI("id", f->publish.id));
		refuse_oversize(r, parcel);
	}
}

static void ask_about(struct relay *r, uint16_t stream)
{
	r->asked_ms[stream] = loop_now_ms();
	publisher_ask(r->publisher, r->nats, stream);
}

static void tell(struct relay *r, const struct note *n)
{
	note_tell(r->log, n, r->streams[n->stream], publisher_detail(r->publisher, n->stream));
	if (n->kind == NOTE_STREAM_BLOCKED)
		ask_about(r, n->stream);
}

static void on_cleaned(void *arg, const struct pg_result *result)
{
	struct relay *r = arg;

	if (pg_error(result) != NULL)
		log_warn(r->log, "cleaning up failed", KS("why", pg_error(result)));
	else
		r->truncations += (uint64_t)pg_int8(result, 0, 0);
	if (r->truncations > 0 && FAILPOINT(slot_emptied))
		pg_break(r->pg, "failpoint");
}

static int64_t maintenance_pause(const struct relay *r)
{
	int64_t pause = (int64_t)r->config->retention_ms / 8;

	return pause > MAINTENANCE_MAX_MS   ? MAINTENANCE_MAX_MS
	       : pause < MAINTENANCE_MIN_MS ? MAINTENANCE_MIN_MS
					    : pause;
}

/* Slots of the ring, and decisions and pauses whose notification was lost. Right behind a fetch, and never else: a sleeping relay
 * asks the database nothing between two safety polls. */
static void maintain(struct relay *r)
{
	int64_t now = loop_now_ms();

	if (now - r->maintained_ms < maintenance_pause(r))
		return;
	r->maintained_ms = now;
	ledger_clean(r->pg, leader_epoch(r->leader), r->config->retention_ms, on_cleaned, r);
	if (FAILPOINT(clean_sent))
		pg_break(r->pg, "failpoint");
	if (delivery_look(r->core)->blocked_lanes > 0)
		ledger_decisions(r->pg, on_decisions, r);
	ask_about_pause(r);
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
	finish(r, FAILPOINT(resigned) ? EXIT_UNDRAINED : EXIT_OK);
}

static bool drained(struct relay *r)
{
	if (leader_role(r->leader) != ROLE_LEADER) {
		log_info(r->log, "drained: not leading, nothing in flight");
		finish(r, EXIT_OK);
		return true;
	}
	log_info(r->log, "drained: everything in flight is answered and marked");
	r->resigning = true;
	return !FAILPOINT(drained) &&
	       ledger_resign(r->pg, leader_epoch(r->leader), leader_others_ms(r->leader), on_resigned, r);
}

static void carry_out(struct relay *r, const struct effect *f)
{
	bool ok = true;

	switch (f->kind) {
	case EFFECT_PUBLISH: publish(r, f); break;
	case EFFECT_FETCH:
		ok = source_fetch(r->source, r->pg, f) && !FAILPOINT(fetch_sent);
		maintain(r);
		backlog_ask(r->backlog, delivery_look(r->core));
		break;
	case EFFECT_MARK:
		r->mark_asked_ms = loop_now_ms();
		ok = !FAILPOINT(marking) &&
		     ledger_mark(r->pg, leader_epoch(r->leader), f->mark, r->streams, on_marked, r) &&
		     !FAILPOINT(mark_sent);
		break;
	case EFFECT_ANNOUNCE:
		r->announce_asleep = f->announce.asleep;
		r->announce_asked_ms = loop_now_ms();
		/* Asleep: the answer that counts is that of the fence, drawn after the flag was set. */
		ok = ledger_announce(r->pg, f->announce.asleep, f->announce.asleep ? on_flag_set : on_announced, r) &&
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
	case EFFECT_TAIL:
		tails_ask(r->tails, f);
		if (FAILPOINT(tail_asked))
			natsio_cut(r->nats, "failpoint");
		break;
	case EFFECT_QUIET:
		log_info(r->log, "paused: everything that was in flight is answered and marked");
		ok = ledger_quiet(r->pg, leader_epoch(r->leader), f->quiet.pause, on_quiet, r);
		break;
	case EFFECT_DRAINED: ok = drained(r); break;
	}
	/* The core waits for an answer that will not come: begin again from what the database holds. */
	if (!ok)
		pg_break(r->pg, "a statement could not be sent");
}

static void turn(void *arg)
{
	struct relay *r = arg;
	struct effect f;

	step(r, (struct event){ .kind = EVENT_TICK });
	while (delivery_next(r->core, &f))
		carry_out(r, &f);
	/* What was handed over is written later: not after the lease. */
	natsio_deadline(r->nats, delivery_send_deadline(r->core));
	loop_timer_at(r->core_timer, delivery_deadline(r->core));
}

static void wake(void *arg)
{
	(void)arg; /* the turn does the work */
}

/* --- how it goes --- */

static void collect(void *arg, struct health_facts *f)
{
	struct relay *r = arg;
	const struct delivery_stats *s = delivery_look(r->core);

	*f = (struct health_facts){
		.instance = r->config->name,
		.now_ms = loop_now_ms(),
		.started_ms = r->started_ms,
		.stats = s,
		.backlog = backlog_look(r->backlog, s),
		.publisher = publisher_look(r->publisher),
		.statements = pg_sent(r->pg),
		.role = leader_role_text(r->leader),
		.leads = leader_role(r->leader) == ROLE_LEADER,
		.stands_by = leader_role(r->leader) == ROLE_STANDBY,
		.epoch = leader_epoch(r->leader),
		.trouble = leader_trouble(r->leader),
		.postgres_up = r->postgres_up,
		.nats_up = r->nats_up,
		.postgres_why = r->postgres_why,
		.nats_why = r->nats_why,
		.nats_url = r->nats_url,
		.paused = s->paused ? r->paused : "",
		.stream_count = r->config->stream_count,
		.found = tails_found(r->tails),
		.truncations = r->truncations,
		.reconnects_postgres = r->postgres_connects,
		.reconnects_nats = r->nats_connects,
		.reloads = reload_count(r->reload),
		.reload_failed = reload_failed(r->reload),
		.reload_ms = reload_at_ms(r->reload),
	};
	progress_stall(r->progress, s, f->now_ms, f->stall, sizeof f->stall);
	for (uint16_t i = 0; i < r->config->stream_count; i++) {
		f->stream[i].name = r->streams[i];
		f->stream[i].reason = refusal_text(s->stream[i].reason);
		f->stream[i].detail = publisher_detail(r->publisher, i);
	}
}

static void ask_about_blocked(struct relay *r, const struct delivery_stats *s, int64_t now)
{
	for (uint16_t i = 0; i < r->config->stream_count; i++)
		if (s->stream[i].blocked && r->nats_up && now - r->asked_ms[i] >= ASK_AGAIN_MS)
			ask_about(r, i);
}

/* What a burst took would stay with us, and most of all what lay with nats.c, which frees on a thread of its own. So would the ids
 * of very many messages, which are forgotten when nothing much was published, or nothing at all. */
static void give_back(struct relay *r, const struct delivery_stats *s)
{
	if (!s->sought)
		r->forgot |= tails_forget(r->tails);
	if (s->pace != PACE_ASLEEP ||
	    (!r->forgot && s->bytes_published - r->given_back_at < r->config->delivery.queue_bytes / 4))
		return;
	r->forgot = false;
	r->given_back_at = s->bytes_published;
	process_give_back();
}

static void on_tick(void *arg)
{
	struct relay *r = arg;
	const struct delivery_stats *s = delivery_look(r->core);
	struct health_facts facts = { .instance = NULL };
	int64_t now = loop_now_ms();

	loop_timer_at(r->tick, now + TICK_MS);
	if (leader_role(r->leader) == ROLE_STANDBY)
		backlog_watch(r->backlog, s);
	else if (s->leading && (s->resident > 0 || s->paused)) /* no fetch, to ask behind, comes while memory is full */
		backlog_ask(r->backlog, s);
	progress_tick(r->progress, s, leader_role_text(r->leader), now);
	ask_about_blocked(r, s, now);
	/* Paused, it reads nothing, and asks nothing behind it. */
	if (s->paused && now - r->pause_asked_ms >= PAUSE_ASK_MS)
		ask_about_pause(r);
	collect(r, &facts);
	service_tick(r->service, &facts);
	reload_tick(r->reload);
	log_tick(r->log);
	give_back(r, s);
}

/* --- settings --- */

static struct delivery_settings core_settings(const struct config *c)
{
	struct delivery_settings s = c->delivery;

	if (c->wakeup == WAKEUP_POLL) {
		s.sleep_after_ms = SLEEP_NEVER;
		s.idle_pause_ms = IDLE_PAUSE_POLL_MS;
	}
	return s;
}

/* A new session is a new lead, and a new connection makes everything in flight unknown: only where it has to be, and not
 * while we wait for what is in flight. */
static void on_reloaded(void *arg, const struct reload_changes *changes)
{
	struct relay *r = arg;
	struct pg_options pg = servers_postgres(r->config, "boxhaul");
	struct natsio_options nats = servers_nats(r->config, "boxhaul");
	struct delivery_settings settings = core_settings(r->config);
	const char *why = r->stopping ? NULL : "its settings were reloaded, connecting anew";
	struct event ev = { .kind = EVENT_SETTINGS, .settings = &settings };

	if (changes->ok) {
		log_set(r->log, r->config->log.level, r->config->log.format);
		step(r, ev);
		natsio_use(r->nats, &nats, changes->nats ? why : NULL);
		pg_use(r->pg, &pg, changes->postgres ? why : NULL);
	}
	service_ready(r->service);
}

/* --- signals --- */

static void drain_timed_out(void *arg)
{
	struct relay *r = arg;

	log_warn(r->log, "not everything in flight was answered in time; it will be sent again under the same ids",
		 KU("in_flight", delivery_look(r->core)->in_flight));
	finish(r, EXIT_UNDRAINED);
}

static void on_stop_signal(void *arg)
{
	struct relay *r = arg;

	if (r->stopping) {
		log_warn(r->log, "stopping at once; what is in flight will be sent again under the same ids");
		_exit(EXIT_UNDRAINED);
	}
	r->stopping = true;
	service_stopping(r->service, r->config->drain_timeout_ms);
	log_info(r->log, "stopping: waiting for what is in flight", KU("in_flight", delivery_look(r->core)->in_flight));
	loop_timer_at(r->drain_timer, loop_now_ms() + r->config->drain_timeout_ms);
	step(r, (struct event){ .kind = EVENT_DRAIN });
}

static void on_hangup(void *arg)
{
	struct relay *r = arg;

	if (r->stopping) {
		log_warn(r->log, "not reloading: stopping");
		return;
	}
	service_reloading(r->service);
	reload_begin(r->reload);
}

#ifndef __has_feature /* clang's word for what gcc has a macro for */
#define __has_feature(what) 0
#endif

static void be_careful(void)
{
	struct rlimit none = { 0, 0 };

	/* A core file would hold passwords. A sanitizer's leak check needs a process it can look into. */
	setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)
	prctl(PR_SET_DUMPABLE, 0);
#endif
	/* A log pipe without a reader, a socket without a peer: errors, not the end. */
	signal(SIGPIPE, SIG_IGN);
}

/* --- from start to end --- */

/* What everything else stands on. */
static bool open_ground(struct relay *r, const struct config *config)
{
	r->loop = loop_create();
	if (r->loop == NULL)
		return false;
	r->service = service_create(r->loop, r->log);
	r->reload = reload_create(r->loop, config, r->log, &(struct reload_handlers){ on_reloaded, r });
	if (r->service == NULL || r->reload == NULL)
		return false;
	r->config = reload_config(r->reload);
	return true;
}

static bool open_edges(struct relay *r)
{
	struct pg_options pg = servers_postgres(r->config, "boxhaul");
	struct natsio_options nats = servers_nats(r->config, "boxhaul");

	r->pg = pg_open(r->loop, &pg, &(struct pg_handlers){ on_postgres_up, on_postgres_down, on_notified, r });
	r->nats =
		natsio_open(r->loop, &nats,
			    &(struct natsio_handlers){ on_nats_up, on_nats_down, on_nats_reply, on_nats_complaint, r });
	return r->pg != NULL && r->nats != NULL;
}

static bool open_floors(struct relay *r)
{
	const struct config *c = r->config;
	struct delivery_settings settings = core_settings(c);

	r->core = delivery_create(&settings);
	r->parcels = calloc(c->delivery.queue_messages, sizeof *r->parcels);
	if (r->core == NULL || r->parcels == NULL)
		return false;
	r->source = source_create(c, &(struct source_handlers){ on_rows, on_fetch_failed, r });
	r->publisher = publisher_create(c, r->log, r->parcels);
	r->backlog = backlog_create(&r->pg, c, r->parcels);
	if (r->publisher != NULL && r->backlog != NULL)
		r->progress = progress_create(c, r->log, r->publisher, r->backlog);
	r->tails = tails_create(r->loop, &r->nats, c, r->log, &(struct tails_handlers){ on_tail, r });
	r->leader = leader_create(r->loop, &r->pg, c, r->log, &(struct leader_handlers){ on_leading, r });
	r->core_timer = loop_timer(r->loop, wake, r);
	r->tick = loop_timer(r->loop, on_tick, r);
	r->drain_timer = loop_timer(r->loop, drain_timed_out, r);
	return r->source != NULL && r->publisher != NULL && r->progress != NULL && r->tails != NULL &&
	       r->leader != NULL && r->core_timer != NULL && r->tick != NULL && r->drain_timer != NULL;
}

/* After a start that failed, too: then some of it was never there. */
static void close_all(struct relay *r)
{
	struct loop_timer *timers[] = { r->tick, r->core_timer, r->drain_timer };

	/* From here on no timer may find what is about to go. */
	for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++)
		if (timers[i] != NULL)
			loop_timer_at(timers[i], INT64_MAX);
	if (r->loop != NULL)
		loop_before_sleep(r->loop, NULL, NULL);
	reload_close(r->reload);
	if (r->leader != NULL)
		leader_session_down(r->leader);
	health_close(r->health);
	natsio_close(r->nats);
	pg_close(r->pg);
	loop_free(r->loop); /* waits for what is still done on other threads */
	leader_free(r->leader);
	progress_free(r->progress);
	backlog_free(r->backlog);
	publisher_free(r->publisher);
	tails_free(r->tails);
	source_free(r->source);
	delivery_free(r->core);
	for (size_t i = 0; r->parcels != NULL && i < r->config->delivery.queue_messages; i++)
		free(r->parcels[i]);
	free(r->parcels);
	service_free(r->service);
	reload_free(r->reload);
	natsio_shutdown();
}

static void seed_randomness(void)
{
	unsigned seed = 0;

	if (getrandom(&seed, sizeof seed, 0) == sizeof seed)
		srandom(seed);
}

enum exit_code relay_run(const struct config *config, struct log *log)
{
	struct relay r = { .log = log, .exit = EXIT_FAILED };
	char error[256] = "out of memory";

	be_careful();
	if (!process_can_open(DESCRIPTORS)) {
		log_error(log, "cannot start: too few file descriptors are left", KU("needed", DESCRIPTORS),
			  KS("do", "allow more: LimitNOFILE= in the unit, `ulimit -n` in a shell"));
		return EXIT_FAILED;
	}
	seed_randomness();
	r.started_ms = loop_now_ms();
	for (size_t i = 0; i < config->stream_count; i++)
		r.streams[i] = config->streams[i].name;
	snprintf(r.postgres_why, sizeof r.postgres_why, "connecting");
	snprintf(r.nats_why, sizeof r.nats_why, "connecting");
	if (!open_ground(&r, config) || !open_floors(&r) || !open_edges(&r)) {
		log_error(log, "cannot start: out of memory or descriptors");
		close_all(&r);
		return EXIT_FAILED;
	}
	if (config->health.port != 0) {
		r.health = health_open(r.loop, config->health.address, config->health.port, collect, &r, error,
				       sizeof error);
		if (r.health == NULL) {
			log_error(log, "no health port", KS("why", error),
				  KS("do", "change health.listen, or stop what listens there"));
			close_all(&r);
			return EXIT_CONFIG;
		}
	}
	log_info(log, "starting", KS("version", PACKAGE_VERSION), KS("instance", config->name),
		 KU("streams", config->stream_count));
	loop_on_signal(r.loop, SIGTERM, on_stop_signal, &r);
	loop_on_signal(r.loop, SIGINT, on_stop_signal, &r);
	loop_on_signal(r.loop, SIGHUP, on_hangup, &r);
	loop_before_sleep(r.loop, turn, &r);
	loop_timer_at(r.tick, r.started_ms + TICK_MS);
	service_ready(r.service);
	loop_run(r.loop);
	close_all(&r);
	log_info(log, "stopped");
	return r.exit;
}
