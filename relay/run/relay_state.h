/* What the files of run/ share, and nobody else sees: the relay as a whole.
 *
 * How a module comes by what it needs: at its creation, once, as a plain pointer, and for as long as it lives. So everything is
 * opened from below (loop, edges, flow, watch) and closed before what it stands on is freed; nothing is handed over again
 * with each call, and nobody points into this structure. That edges are opened before those who are called by them is
 * safe, for an edge calls back from the loop only, and the loop runs when all is open. */
#ifndef BOXHAUL_RUN_RELAY_STATE_H
#define BOXHAUL_RUN_RELAY_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/exits.h"
#include "base/log.h"
#include "books/reasons.h"
#include "config/config.h"
#include "config/reload.h"
#include "core/delivery.h"
#include "edge/loop.h"
#include "edge/natsio.h"
#include "edge/pg.h"
#include "flow/leader.h"
#include "flow/cuts.h"
#include "flow/outbox_reader.h"
#include "flow/served.h"
#include "flow/publisher.h"
#include "flow/stream_scan.h"
#include "flow/stream_setup.h"
#include "run/capture_room.h"
#include "run/inbox_room.h"
#include "watch/backlog.h"
#include "watch/health.h"
#include "watch/progress.h"
#include "watch/report.h"
#include "watch/service.h"

/* Cleaning: its pieces are the slots of the ring, and these. */
enum { HOUSEKEEPING_SLOTS = 8, HOUSEKEEPING_SENT = HOUSEKEEPING_SLOTS, HOUSEKEEPING_WAKE, HOUSEKEEPING_PIECES };

/* housekeeping.c */
struct housekeeping {
	int64_t done_ms;
	bool under_way, more;                  /* asked for, and not all of it answered; rows were left */
	unsigned answered;                     /* slots of this round */
	uint8_t failures[HOUSEKEEPING_PIECES]; /* in a row */
	unsigned failing;                      /* the piece that `trouble` is about */
	char trouble[512];                     /* "" = nothing fails */
};

/* What the database is asked when a notification says so. */
struct relay_question {
	bool asked;   /* and not answered: nobody asks twice at a time; */
	bool again;   /* whoever wanted to is served with the answer, or at the next tick */
	uint8_t left; /* so many may be asked before that */
};

struct relay {
	const struct config *config; /* the reload's: its values may change between two callbacks */
	struct log *log;
	bool has_outbox; /* else all that is the outbox's is there, and idle: no session, no connection, no events */
	struct loop *loop;
	struct service *service;
	struct reload *reload;
	struct pg *pg;
	struct natsio *nats;
	struct delivery *core;
	struct parcel **parcels; /* by slot of the core */
	struct reasons *reasons;
	struct served served; /* by any session of this process */
	struct leader *leader;
	struct outbox_reader *reader;
	struct publisher *publisher;
	struct stream_setup *setup;
	struct stream_scan *scan;
	struct backlog *backlog;
	struct progress *progress;
	struct report *report;
	struct health *health;
	struct inbox_room *inbox;       /* NULL: there are no subscriptions */
	struct inbox_facts inbox_facts; /* as they were collected last */
	struct capture_room *captures;  /* NULL: there are none */
	struct capture_facts capture_facts;
	const char *streams[LIMIT_STREAMS];
	struct loop_timer *core_timer, *tick, *drain_timer;
	enum exit_code exit;
	bool stopping, resigning;
	bool outbox_drained, captures_drained; /* while it stops: nothing is waited for any more; there may be none */

	int64_t started_ms;
	char target
		[CONFIG_TARGET_BYTES]; /* what a command's line says to mean this relay's configuration: NAME, or -c FILE */

	/* When the question was sent whose answer is awaited: an answer extends the lease from there. */
	int64_t mark_asked_ms, announce_asked_ms, renew_asked_ms;
	bool announce_asleep;
	struct relay_question decisions, pauses;

	char database[64]; /* as the connection string names it */
	bool postgres_up, nats_up;
	char postgres_why[512], nats_why[512], nats_url[256]; /* why not; "" = nothing has failed yet */
	uint64_t postgres_connects, nats_connects, truncations;
	uint64_t keyless; /* messages that went without their Boxhaul-Key */

	int64_t asked_ms[LIMIT_STREAMS];      /* when a stream was last asked why it takes nothing, or no batches */
	bool wire_doubted[LIMIT_STREAMS];     /* a stream does not take batches as it was said to */
	enum wire_reason wire[LIMIT_STREAMS]; /* what the core was told last on this connection; WIRE_UNTOLD: nothing */
	struct housekeeping housekeeping;

	char paused[512]; /* by whom, since when and why; "" = it is not */
	int64_t pause_asked_ms;

	struct cuts cuts;

	bool forgot;            /* what was found in the streams, and its memory was not given back since */
	uint64_t given_back_at; /* so many bytes had been published when memory was last given back */
};

/* Steps the core with one event; its time and its randomness are added here. */
void relay_step(struct relay *r, struct event ev);

/* Asks the server about a stream: is it there, what does it take, and by which wire? */
void relay_ask_stream(struct relay *r, uint16_t stream);

/* Tells the core by which wire each stream can be sent to, where that has changed. And where it cannot be for long, for nobody is connected. */
void relay_tell_wires(struct relay *r);
void relay_forget_wires(struct relay *r);

/* Says so where a message goes without its Boxhaul-Key. NULL: no memory, so there is none. */
void relay_tell_keyless(struct relay *r, const struct parcel *parcel);

/* A message that was not sent, or that is answered by no reply, is refused. */
void relay_refuse(struct relay *r, uint64_t token, uint32_t reason);

/* The settings of the core that hold now; and they are told to it. */
struct delivery_settings relay_core_settings(const struct relay *r);
void relay_adjust_core(struct relay *r);

/* What was waited for has ended well: the loop ends when nothing else is waited for. */
void relay_drained(struct relay *r, bool outbox, bool captures);

/* Ends the loop; relay_run() returns `code`. */
void relay_finish(struct relay *r, enum exit_code code);

#endif
