/* What the files of run/capture*.c share, and nobody else sees. */
#ifndef BOXHAUL_RUN_CAPTURE_ROOM_STATE_H
#define BOXHAUL_RUN_CAPTURE_ROOM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/capture_ledger.h"
#include "books/reasons.h"
#include "config/config.h"
#include "core/capture/capture.h"
#include "edge/loop.h"
#include "edge/natsio.h"
#include "edge/pg.h"
#include "edge/pg_walsender.h"
#include "flow/capture_chunk.h"
#include "flow/capture_leader.h"
#include "flow/capture_maker.h"
#include "flow/capture_parcel.h"
#include "flow/capture_relations.h"
#include "flow/capture_stream.h"
#include "flow/cuts.h"
#include "flow/publisher.h"
#include "flow/stored_time.h"
#include "flow/stream_scan.h"
#include "flow/stream_setup.h"
#include "format/sql_name.h"
#include "watch/capture_facts.h"

enum {
	/* The publisher's table of messages under way: tokens name so many. (The core's slots are others: those of its sender.) */
	CAPTURE_SENT_SLOTS = 65536,
};

/* A table, as the books have it. */
struct capture_room_table {
	char snapshot_id[CAPTURE_LEDGER_ID_BYTES], history[CAPTURE_LEDGER_ID_BYTES];
	void *cursor; /* owned; NULL: there is none. As it was when the lead was taken: the core names later ones by their slot */
	size_t cursor_bytes;
	void *top; /* the key at which its walk ends; likewise */
	size_t top_bytes;
	char *columns; /* that consumers are told of, and that the books do not have yet: owned. NULL: they have */
	int64_t told_ordinal; /* of the message that told it; 0: it has none yet */
	int64_t estimate;
	bool unproved;
	uint64_t
		piece; /* where it is read whole: what its rows and messages are told from others by; 0: not in this lead */
	uint64_t rows_before;            /* stored when the rate was taken last */
	double rate;                     /* of them a second since the time before; negative: not known */
	struct capture_ledger_pass pass; /* its columns are owned */
};

struct capture_room_reading {
	uint32_t table, number;
	uint64_t nth; /* of its first row, where the table is read whole; else 0 */
};

struct capture_one {
	struct capture_room *room;
	size_t index;
	char *client; /* "boxhaul-" and its name: kept for good, for threads may read it while it begins anew */
	/* The configuration as those see it who know a list of streams and a queue: one stream, which is the capture's. */
	struct config view;
	char database[64]; /* as the connection string names it */
	struct capture *core;
	uint32_t slots;
	struct capture_parcel **parcels; /* by slot of the core */
	struct parcel **sent;            /* by the slot in a token */
	struct reasons *reasons;
	struct pg *pg, *reader;
	struct natsio *nats;
	struct publisher *publisher;
	struct stream_setup *setup;
	struct stream_scan *scan;
	struct stored_time *stored_time;
	struct stream_end end; /* of the books, until the stream was looked at under this lead */
	struct capture_leader *leader;
	struct capture_chunk *chunk;
	struct pg_walsender *walsender;
	struct capture_relations *relations;
	struct capture_maker *maker;
	struct capture_stream *stream;
	struct loop_timer *timer;
	struct cuts cuts;
	struct capture_room_table *tables;
	size_t table_count;

	bool postgres_up, nats_up, led, streams, wants_stream, draining, drained, drain_asked, forgot;
	char postgres_why[512], nats_why[512], stream_why[512], mark_why[512];
	uint64_t postgres_connects, nats_connects;
	uint64_t system;             /* of the server of the books */
	uint32_t former_timeline;    /* 0; or a server was promoted, and it is looked what that one lacks: */
	bool looked, forked;         /* the stream was looked at; it is known from where the log goes on */
	uint64_t fork_lsn, slot_lsn; /* slot_lsn: where the slot stood when the lead was taken */
	uint32_t incarnation;
	char slot[CAPTURE_LEDGER_SLOT_BYTES];
	uint64_t from_lsn;            /* wants_stream: where */
	uint64_t confirmed_lsn;       /* in this lead */
	int64_t predecessor_until_ms; /* who led before a lead sends nothing since; 0: nobody did */
	int64_t start_at_ms;          /* not before that */
	uint32_t start_pause_ms;
	int64_t stream_since_ms, nats_up_ms;
	int64_t reader_wanted_ms, second_ms, waits_since_ms;
	struct capture_room_reading reading; /* of the chunk that was asked for last */
	struct {
		uint32_t table, reading;
		bool end;
	} control;                /* the message that is to be made, or was last */
	struct sql_name verified; /* of the pass whose end is told */
	struct capture_shape nameless;
	bool mark_is_copied; /* the mark under way: to standbys that have the slot */
	int64_t mark_asked_ms, mark_ordinal, renew_asked_ms, asked_ms;
	uint64_t acked_before, rate;
	int64_t tables_ms;      /* when the rates of the tables were taken */
	uint64_t given_back_at; /* so many bytes had been published when memory was last given back */
	int64_t blocked_ms;     /* since when the stream takes nothing; 0: it does */

	/* As they were collected last. */
	struct capture_table_facts *table_facts;
	char blocked_why[512], waits_for[256], detail[1024];
};

struct capture_room {
	struct loop *loop;
	const struct config *config;
	struct log *log;
	struct served *served;
	void (*drained)(void *arg); /* capture_room.h */
	void *arg;
	bool draining, told_drained;
	struct capture_one_facts *facts;
	size_t count;
	struct capture_one capture[];
};

static inline const struct config_capture *capture_room_config(const struct capture_one *c)
{
	return &c->room->config->captures[c->index];
}

/* Steps a core with an event, whose time and randomness it fills in. */
void capture_room_step(struct capture_one *c, struct capture_event *ev);
void capture_room_step_common(struct capture_one *c, const struct event *ev);

/* A message that was not sent, or that is answered by no reply, is refused. */
void capture_room_refuse(struct capture_one *c, uint64_t token, uint32_t reason);

/* The core took a parcel into this slot; or CAPTURE_NO_SLOT: it does not want it. */
void capture_room_keep(struct capture_one *c, uint32_t slot, struct capture_parcel *p);

/* The settings of a core; from its configuration. */
struct capture_settings capture_room_settings(const struct capture_one *c);

/* capture_turn.c: carries out what the core wants, until it wants nothing. */
void capture_turn_effects(struct capture_one *c);
/* Gives what waits for the core, and reads the walsender or does not. */
void capture_turn_go_on(struct capture_one *c);
void capture_turn(struct capture_one *c);

/* The message that the core wants about the rows of a table (c->control). shape: NULL where nobody knows it. */
void capture_turn_control(struct capture_one *c, const struct capture_shape *shape);

/* The stream is not to run, for now or for good: it is ended. */
void capture_room_end_stream(struct capture_one *c);

/* capture_passes.c: the messages of verify passes. The pass over a table as what is written; shape: what the table looks like. */
struct capture_verify capture_verify_of(struct capture_one *c, uint32_t table, uint64_t reading,
					const struct capture_shape *shape);

/* capture_marks.c: puts a mark on record, with the core's answer. False: it could not be sent. */
bool capture_marks_make(struct capture_one *c, const struct capture_mark *m);
/* Consumers are told of columns by this message: from its mark on the books have them. */
void capture_marks_told(struct capture_one *c, const struct capture_parcel *p, int64_t ordinal);

/* capture_windows.c: the messages for the rows of a window, and the core's answer. */
void capture_windows_make(struct capture_one *c, const struct capture_effect *f);

/* capture_events.c */
struct pg_handlers capture_events_of_control(struct capture_one *c);
struct capture_leader_handlers capture_events_of_leader(struct capture_one *c);
struct pg_walsender_handlers capture_events_of_walsender(struct capture_one *c);
struct capture_stream_handlers capture_events_of_stream(struct capture_one *c);

/* capture_reader_events.c */
struct pg_handlers capture_reader_events_of_session(struct capture_one *c);
struct capture_chunk_handlers capture_reader_events_of_chunk(struct capture_one *c);

/* capture_nats.c */
struct natsio_handlers capture_nats_handlers(struct capture_one *c);
struct stream_scan_handlers capture_nats_of_scan(struct capture_one *c);
struct stored_time_handlers capture_nats_of_time(struct capture_one *c);

/* capture_fork.c: to be called when the stream is up, and when it was looked at what JetStream holds: says what a promotion has lost as soon as both are known. */
void capture_fork_look(struct capture_one *c);

/* capture_fetched.c: brings what the core wants out of the books. False: it could not be asked. */
bool capture_room_fetch(struct capture_one *c, const struct capture_effect *f);

/* capture_collect.c */
void capture_collect_tick(struct capture_one *c, int64_t now);
void capture_collect(struct capture_one *c, struct capture_one_facts *f);

#endif
