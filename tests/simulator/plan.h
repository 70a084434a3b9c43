/* What one seed is about: the relay's settings, the load, and how badly the world behaves. */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/delivery.h"
#include "prng.h"

/* Faults of single messages and queries, in chances per million. */
struct chances {
	/* producers */
	uint32_t abort, savepoint, prepare, slow_step, long_tx, big_tx, poison, defect;
	/* the way to the stream and back */
	uint32_t publish_lost, publish_late, proposal_lost, ack_lost, ack_late, ack_twice, garbage;
	/* the database */
	uint32_t query_slow, fetch_failed, notify_lost;
	/* the relay: per effect */
	uint32_t crash;
};

/* Faults that come by themselves, as the mean time between them; 0 = never. */
struct intervals {
	int64_t session_lost, database_crash, horizon_held, bus_lost, pause, kill;
	int64_t stream_down, stream_full, stream_silent, stream_busy, lane_refused;
};

struct plan {
	struct delivery_settings settings;
	uint32_t hosts, keys, producers;
	uint32_t rows;         /* the load ends when so many ids are drawn, */
	int64_t load_us;       /* or this time is over */
	int64_t idle_us;       /* between two transactions of a producer, at most */
	uint32_t unkeyed;      /* chance per million of a row without a key */
	bool key_picks_stream; /* else the rows of one key go to several streams */
	bool decides;          /* an operator decides while the load runs; else only at the end */
	bool audits;           /* delivery_audit() after every step */
	bool clustered;        /* proposals that may get lost, duplicates with sequence 0 */
	bool in_process;       /* answers 10158 where others answer sequence 0 */
	bool taps;             /* somebody subscribes to everything: a missing stream is silent */
	bool long_window;      /* longer than every outage: no duplicate may be stored */
	int64_t window_us;     /* of deduplication */
	int64_t retention_us;
	int64_t pg_us, bus_us; /* one way, at most */
	struct chances chance;
	struct intervals every;
};

void plan_draw(struct plan *p, struct prng *dice);

#endif
