/* What one seed is about: the relay's settings, the load, and how badly the world behaves. */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/delivery.h"
#include "overrides.h"
#include "prng.h"

/* Every fault there is, in one table: name, and the highest rate in a mild seed and in a rough one.
 *
 * These strike a single message, query or step, as chances per million. */
#define CHANCES(X)                           \
	/* producers */                      \
	X(abort, 50000, 300000)              \
	X(savepoint, 50000, 200000)          \
	X(prepare, 5000, 30000)              \
	X(slow_step, 20000, 100000)          \
	X(long_tx, 10000, 50000)             \
	X(big_tx, 2000, 10000)               \
	X(poison, 5000, 50000)               \
	X(defect, 5000, 50000)               \
	/* the way to the stream and back */ \
	X(publish_lost, 5000, 100000)        \
	X(publish_late, 5000, 100000)        \
	X(proposal_lost, 5000, 100000)       \
	X(ack_lost, 5000, 100000)            \
	X(ack_late, 5000, 100000)            \
	X(ack_twice, 5000, 100000)           \
	X(garbage, 2000, 20000)              \
	X(proposal_slow, 5000, 100000)       \
	X(stranger, 20000, 600000)           \
	X(foreign, 500, 10000)               \
	X(lookback_slow, 50000, 950000)      \
	/* the database */                   \
	X(query_slow, 1000, 10000)           \
	X(fetch_failed, 2000, 50000)         \
	X(fetch_cut, 10000, 200000)          \
	X(notify_lost, 100000, 500000)       \
	X(mind_changed, 200000, 900000)      \
	/* the relay: per effect */          \
	X(crash, 300, 3000)                  \
	X(freeze, 300, 3000)

/* These come by themselves, with the shortest mean time between them in ms (four times that in a mild seed). */
#define INTERVALS(X)              \
	X(session_lost, 300)      \
	X(database_crash, 1500)   \
	X(failover, 1500)         \
	X(switchover, 1500)       \
	X(horizon_held, 300)      \
	X(database_clock, 400)    \
	X(bus_lost, 200)          \
	X(socket_full, 400)       \
	X(pause, 500)             \
	X(kill, 500)              \
	X(election, 400)          \
	X(server_restart, 1000)   \
	X(server_clock, 400)      \
	X(stream_down, 500)       \
	X(stream_full, 500)       \
	X(stream_silent, 500)     \
	X(stream_busy, 300)       \
	X(stream_truncated, 700)  \
	X(stream_recreated, 1500) \
	X(stream_purged, 700)     \
	X(stream_deleted, 300)    \
	X(stream_consumed, 200)   \
	X(stream_replaced, 200)   \
	X(rows_deleted, 200)      \
	X(lookback_refused, 400)  \
	X(drain, 700)             \
	X(lane_refused, 300)      \
	X(reload, 200)            \
	X(batches_off, 700)       \
	X(batches_crowded, 500)   \
	X(operator_pause, 1500)

#define AS_FIELD(name, ...) uint32_t name;
#define AS_INTERVAL(name, ...) int64_t name;

struct chances {
	CHANCES(AS_FIELD)
};

/* The mean time between two of a kind; 0 = never. */
struct intervals {
	INTERVALS(AS_INTERVAL)
};

#undef AS_FIELD
#undef AS_INTERVAL

enum fault {
#define AS_NAME(name, ...) FAULT_##name,
	CHANCES(AS_NAME) INTERVALS(AS_NAME)
#undef AS_NAME
		FAULTS,
};

#define FIRST_INTERVAL ((enum fault)(sizeof(struct chances) / sizeof(uint32_t)))

struct plan {
	struct delivery_settings settings;
	uint32_t batches;      /* a bit for each stream that may be sent to by batches */
	int64_t batch_idle_us; /* one that idles for so long is forgotten */
	uint32_t hosts, keys, producers;
	uint32_t rows;         /* the load ends when so many messages are written, */
	int64_t load_us;       /* or this time is over */
	int64_t idle_us;       /* between two transactions of a producer, at most */
	uint32_t unkeyed;      /* chance per million of a row without a key */
	bool key_picks_stream; /* else the rows of one key go to several streams */
	bool overlaps;     /* nobody locks a key: rows of one key may be committed in any order, and none is promised */
	bool decides;      /* an operator decides while the load runs; else only at the end */
	bool audits;       /* delivery_audit() after every step */
	bool small;        /* the core with very small limits */
	bool mark_apart;   /* marks and fetches may overtake each other */
	bool clustered;    /* proposals that may get lost, duplicates with sequence 0 */
	bool order_first;  /* looks at the expected sequence before it looks for a duplicate */
	bool in_process;   /* answers 10158 where others answer sequence 0 */
	bool taps;         /* somebody subscribes to everything: a missing stream is silent */
	bool long_window;  /* longer than every outage: no duplicate may be stored */
	bool forgets;      /* messages leave the stream, and a restarted server does not know them any more */
	int64_t window_us; /* of deduplication */
	int64_t retention_us, slot_us; /* 0 = nothing is ever truncated */
	int64_t pg_us, bus_us;         /* one way, at most */
	struct chances chance;
	struct intervals every;
};

void plan_draw(struct plan *p, struct prng *dice);
void plan_shrink(struct plan *p, const struct overrides *o);

const char *fault_name(enum fault f);

/* Is the fault drawn at all? */
bool plan_has(const struct plan *p, enum fault f);

#endif
