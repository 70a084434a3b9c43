/* What one seed of the inbox's world is about: subscriptions, load, and how badly the world behaves. The shape is
 * plan.h's; the faults are others. */
#ifndef SIM_INBOX_PLAN_H
#define SIM_INBOX_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/inbox/inbox.h"
#include "overrides.h"
#include "prng.h"

/* Every fault there is: name, and the highest rate in a mild seed and in a rough one, as chances per million. */
#define INBOX_CHANCES(X)                       \
	/* what is published */                \
	X(copy_later, 20000, 200000)           \
	X(no_id, 20000, 200000)                \
	X(large, 2000, 30000)                  \
	X(row_refused, 2000, 20000)            \
	X(poison, 2000, 20000)                 \
	/* the way from the broker and back */ \
	X(delivery_lost, 500, 10000)           \
	X(delivery_late, 5000, 50000)          \
	X(heartbeat_late, 20000, 200000)       \
	X(pull_lost, 5000, 50000)              \
	X(answer_lost, 5000, 100000)           \
	X(answer_late, 20000, 200000)          \
	X(make_refused, 10000, 100000)         \
	/* the database */                     \
	X(query_slow, 5000, 50000)             \
	X(query_failed, 2000, 50000)           \
	X(commit_unknown, 1000, 20000)         \
	/* workers */                          \
	X(rolled_back, 10000, 100000)          \
	X(worker_killed, 10000, 100000)        \
	X(handler_failed, 10000, 100000)       \
	X(autocommit, 10000, 100000)           \
	/* the relay: per effect */            \
	X(crash, 200, 2000)                    \
	X(freeze, 200, 2000)

/* These come by themselves, with the shortest mean time between them in ms. */
#define INBOX_INTERVALS(X)       \
	X(session_lost, 300)     \
	X(second_leader, 500)    \
	X(database_crash, 1000)  \
	X(failover, 1000)        \
	X(database_full, 700)    \
	X(bus_lost, 200)         \
	X(consumer_deleted, 300) \
	X(consumer_stuck, 500)   \
	X(consumer_left, 300)    \
	X(node_killed, 300)      \
	X(leader_moved, 400)     \
	X(expiry, 100)           \
	X(purge, 1500)           \
	X(deletion, 300)         \
	X(end_lost, 700)         \
	X(recreated, 1500)       \
	X(kill, 500)             \
	X(operator_pause, 700)   \
	X(operator_decides, 400) \
	X(operator_rewinds, 400) \
	X(credit_closed, 400)    \
	X(reload, 400)

#define AS_FIELD(name, ...) uint32_t name;
#define AS_INTERVAL(name, ...) int64_t name;

struct inbox_chances {
	INBOX_CHANCES(AS_FIELD)
};

/* The mean time between two of a kind; 0 = never. */
struct inbox_intervals {
	INBOX_INTERVALS(AS_INTERVAL)
};

#undef AS_FIELD
#undef AS_INTERVAL

enum inbox_fault {
#define AS_NAME(name, ...) INBOX_FAULT_##name,
	INBOX_CHANCES(AS_NAME) INBOX_INTERVALS(AS_NAME)
#undef AS_NAME
		INBOX_FAULTS,
};

#define INBOX_FIRST_INTERVAL ((enum inbox_fault)(sizeof(struct inbox_chances) / sizeof(uint32_t)))

enum { MAX_SUBSCRIPTIONS = 2, INBOX_HOSTS = 2, INBOX_KEYS = 8, INBOX_LANES = 4, INBOX_CLASSES = 3 };

enum server { SERVER_2_9, SERVER_2_10, SERVER_2_11 };

struct inbox_plan {
	struct inbox_settings settings[MAX_SUBSCRIPTIONS];
	uint32_t classes[MAX_SUBSCRIPTIONS]; /* a bit for each class of subjects that it wants */
	bool holds[MAX_SUBSCRIPTIONS];       /* poison: hold, else skip */
	uint32_t subscriptions, hosts, workers, keys;
	enum server server;
	uint32_t messages, before; /* published; of them before anybody subscribes */
	int64_t load_us, idle_us;
	uint32_t unkeyed; /* per million */
	uint32_t quiet;   /* per million: of a class that few want */
	uint32_t max_attempts;
	int64_t retention_us;  /* of rows and ids; 0: never cleaned */
	int64_t pg_us, bus_us; /* one way, at most */
	int64_t inactive_us;   /* a consumer that is not asked dies */
	bool decides;          /* an operator decides while the load runs */
	struct inbox_chances chance;
	struct inbox_intervals every;
};

void inbox_plan_draw(struct inbox_plan *p, struct prng *dice);
void inbox_plan_shrink(struct inbox_plan *p, const struct overrides *o);

const char *inbox_fault_name(enum inbox_fault f);
bool inbox_plan_has(const struct inbox_plan *p, enum inbox_fault f);

#endif
