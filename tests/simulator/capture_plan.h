/* What one seed of the capture's world is about: tables, load, and how badly the world behaves. The shape is plan.h's; the
 * faults are others. */
#ifndef SIM_CAPTURE_PLAN_H
#define SIM_CAPTURE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/capture/capture.h"
#include "overrides.h"
#include "prng.h"

/* Every fault there is: name, and the highest rate in a mild seed and in a rough one, as chances per million. */
#define CAPTURE_CHANCES(X)                 \
	/* of transactions */              \
	X(limbo_long, 20000, 300000)       \
	X(commit_async, 50000, 400000)     \
	X(roll_back, 50000, 200000)        \
	X(poison, 2000, 20000)             \
	/* the way to the stream */        \
	X(publish_lost, 500, 20000)        \
	X(ack_lost, 500, 30000)            \
	X(ack_late, 5000, 50000)           \
	X(refused, 1000, 20000)            \
	/* the database */                 \
	X(query_slow, 5000, 100000)        \
	X(chunk_failed, 2000, 50000)       \
	X(chunk_refused, 100, 3000)        \
	X(keepalive_late, 20000, 300000)   \
	X(horizon_of_locks, 50000, 500000) \
	/* the relay: per effect */        \
	X(crash, 200, 2000)                \
	X(freeze, 200, 2000)

/* These come by themselves, with the shortest mean time between them in ms. */
#define CAPTURE_INTERVALS(X)   \
	X(session_lost, 300)   \
	X(stream_lost, 150)    \
	X(database_crash, 800) \
	X(failover, 1000)      \
	X(standby_away, 500)   \
	X(bus_lost, 300)       \
	X(stream_full, 400)    \
	X(key_full, 200)       \
	X(kill, 400)           \
	X(end_lost, 2000)      \
	X(expiry, 300)         \
	X(rewrite, 400)        \
	X(add_table, 700)      \
	X(verify, 150)         \
	X(corrupt, 200)        \
	X(operator_pause, 700) \
	X(reading_pause, 700)

#define AS_FIELD(name, ...) uint32_t name;
#define AS_INTERVAL(name, ...) int64_t name;

struct capture_chances {
	CAPTURE_CHANCES(AS_FIELD)
};

/* The mean time between two of a kind; 0 = never. */
struct capture_intervals {
	CAPTURE_INTERVALS(AS_INTERVAL)
};

#undef AS_FIELD
#undef AS_INTERVAL

enum capture_fault {
#define AS_NAME(name, ...) CAPTURE_FAULT_##name,
	CAPTURE_CHANCES(AS_NAME) CAPTURE_INTERVALS(AS_NAME)
#undef AS_NAME
		CAPTURE_FAULTS,
};

#define CAPTURE_FIRST_INTERVAL ((enum capture_fault)(sizeof(struct capture_chances) / sizeof(uint32_t)))

enum { CAPTURE_TABLES = 2, CAPTURE_KEYS = 24, CAPTURE_HOSTS = 2, CAPTURE_WRITERS = 5 };

struct capture_plan {
	struct capture_settings settings;
	uint32_t hosts, tables, keys, writers;
	uint32_t transactions, most_ops;
	int64_t load_us;
	uint64_t first_xid;
	bool version_13; /* what a transaction wrote that was open when its table was added is not decoded, before or after */
	bool whole_messages; /* the end of a chunk is a message outside of transactions, flushed late; else a transaction */
	bool sequence_first; /* the stream looks at the expected sequence before it looks at the id */
	bool late_table;     /* the last table is added under way, by ADD TABLE */
	uint32_t
		whole_table; /* this one has no key: its inserts alone are published, and it is read whole. CAPTURE_TABLES: none */
	bool whole_rows;   /* nothing but whole rows is sent, as to a bucket */
	uint32_t of_keys;  /* per million: updates that change the key */
	uint32_t of_toast; /* per million: updates that leave it as it is */
	uint32_t of_truncate;
	int64_t pg_us, bus_us, flush_us, window_us; /* window: of duplicates */
	struct capture_chances chance;
	struct capture_intervals every;
};

void capture_plan_draw(struct capture_plan *p, struct prng *dice);
void capture_plan_shrink(struct capture_plan *p, const struct overrides *o);

const char *capture_fault_name(enum capture_fault f);

#endif
