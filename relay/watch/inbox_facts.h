/* What is known of the inbox at one moment: collected by run/inbox_room.c, read by everything that tells of it. What workers have done stands in
 * the database (boxhaul.inbox_status), not here. */
#ifndef BOXHAUL_WATCH_INBOX_FACTS_H
#define BOXHAUL_WATCH_INBOX_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "core/inbox/inbox_types.h"
#include "flow/inbox_workers.h"
#include "watch/saga_facts.h"

/* What the database said last of the rows, every few seconds, and only to who takes the messages. */
struct inbox_backlog {
	bool known; /* else the rest is 0 */
	uint64_t waiting, handled;
	int64_t oldest_us; /* how long the oldest that is not handled has been here; 0: there is none */
	uint64_t parked, held, dead_letters, standing;
	uint64_t unclocked; /* sagas, as in saga_facts.h; 0, too, where there is an outbox, which asks then */
	int64_t blocked_id; /* of the row to be looked at first; 0: there is none */
	bool blocked_has_key;
	bool sink;                             /* it applies changes to tables: */
	uint64_t applied, incomplete, missing; /* changes; tables that are not complete; updates that found no row */
	uint64_t different, unproved;          /* rows that verify passes found to differ; tables that none proves */
	int64_t proved_us; /* how long ago the oldest of the passes that prove its tables began; negative: not all are proved */
	char different_table[160]; /* one that has such rows, as the source names it; "" */
	char blocked_key[64], blocked_state[16], blocked_error[256];
};

/* Everything is borrowed, until the loop's next callback. No text is NULL. Counters are of this process, and only grow. */
struct inbox_subscription_facts {
	const char *name, *stream;
	const char *role; /* disconnected, starting, standby, leader */
	bool leads, stands_by;
	int64_t epoch;
	const char *trouble; /* why it neither leads nor stands by; "" */
	const char *state;   /* of the core; "away" where we do not lead */
	const struct inbox_stats
		*stats;         /* position, incarnation, stop with from and to, consumers, doubts by kind, ... */
	const char *refused;    /* what the server said last when it refused something; "" = nothing */
	const char *failed;     /* why the last move of the position failed; "" = it did not */
	bool in_vain;           /* consumers are made, one after the other, and none works */
	enum inbox_doubt doubt; /* about the last of them */
	int64_t witness_ms;     /* of loop_now_ms(): the witness agreed with the stream last; INBOX_NEVER: not yet */
	bool lag_known;         /* only who leads knows how many, and not before a consumer has spoken */
	uint64_t lag_messages;  /* in the stream, or on the way, and not taken */
	int64_t lag_us; /* so far behind the stream it may be; 0: nothing waits; negative: only who leads, or led last, knows */
	uint64_t taken, left_out, dead, lost, bytes,
		moves;    /* rows stored, known by their id, dead at once, numbers accepted as lost */
	uint64_t rate;    /* messages taken in the last full second */
	bool has_handler; /* a function in the database, which we call; else `handler` says nothing */
	struct inbox_workers_figures handler;
	uint32_t standing; /* lanes whose first row is handed out again and again, at the last look */
	bool ids, paused;  /* dedupe = "ids"; by an operator */
	const struct inbox_backlog *backlog;
};

struct inbox_facts {
	bool postgres_up, nats_up; /* the inbox has a session and a connection of its own */
	const char *postgres_why, *nats_why;
	uint64_t reconnects_postgres, reconnects_nats;
	int64_t schema; /* inbox_leader_schema() */
	const uint64_t
		*statements;  /* sent to PostgreSQL, by number: PG_STATEMENTS of them; inbox_ledger_statement_name() */
	const char *cleaning; /* why the clean-up fails; "" = it does not */
	struct saga_facts sagas;
	size_t count; /* 0: there is no inbox, and all else is empty */
	struct inbox_subscription_facts subscription[LIMIT_SUBSCRIPTIONS];
};

#endif
