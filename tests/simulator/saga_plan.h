/* What one seed of the sagas' world is about: definitions, load, and how badly the world behaves. The shape is plan.h's. */
#ifndef SIM_SAGA_PLAN_H
#define SIM_SAGA_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "overrides.h"
#include "prng.h"
#include "saga_table.h"

enum {
	SAGA_SERVICES = 4, /* 0 is the initiator */
	SAGA_STEPS = 6,
	SAGA_DEFINITIONS = 3, /* versions, one after the other */
	MAX_SAGAS = 48,
	SAGA_LOCKS = 8, /* resources; a saga's are a set of bits */
};

/* Every fault there is: name, and the highest rate in a mild seed and in a rough one, as chances per million. */
#define SAGA_CHANCES(X)                                   \
	/* participants, and those who decide for them */ \
	X(refuses, 50000, 400000)                         \
	X(silent, 10000, 100000)                          \
	X(later, 50000, 300000)                           \
	X(slow, 50000, 300000)                            \
	X(error, 20000, 300000)                           \
	X(refuses_undo, 10000, 200000)                    \
	X(refuses_retriable, 5000, 50000)                 \
	X(part_rolled_back, 20000, 300000)                \
	/* streams and relays */                          \
	X(publish_late, 20000, 300000)                    \
	X(published_twice, 20000, 300000)                 \
	/* the initiator */                               \
	X(start_aborts, 20000, 300000)                    \
	X(rolled_back, 20000, 200000)                     \
	X(commit_slow, 10000, 100000)                     \
	X(function_raises, 20000, 300000)                 \
	X(raises_late, 20000, 300000)

/* These come by themselves, with the shortest mean time between them in ms. */
#define SAGA_INTERVALS(X)       \
	X(cancel, 30)           \
	X(retry, 30)            \
	X(undo, 50)             \
	X(resolve, 100)         \
	X(clock_jump, 100)      \
	X(desk_crash, 150)      \
	X(desk_failover, 200)   \
	X(part_failover, 100)   \
	X(part_down, 200)       \
	X(stream_lags, 50)      \
	X(stream_end_lost, 150) \
	X(replayed, 50)

#define AS_FIELD(name, ...) uint32_t name;
#define AS_INTERVAL(name, ...) int64_t name;

struct saga_chances {
	SAGA_CHANCES(AS_FIELD)
};

/* The mean time between two of a kind; 0 = never. */
struct saga_intervals {
	SAGA_INTERVALS(AS_INTERVAL)
};

#undef AS_FIELD
#undef AS_INTERVAL

enum saga_fault {
#define AS_NAME(name, ...) SAGA_FAULT_##name,
	SAGA_CHANCES(AS_NAME) SAGA_INTERVALS(AS_NAME)
#undef AS_NAME
		SAGA_FAULTS,
};

#define SAGA_FIRST_INTERVAL ((enum saga_fault)(sizeof(struct saga_chances) / sizeof(uint32_t)))

struct saga_step {
	enum saga_kind kind;
	uint8_t service;     /* 0: a local step, in the transaction of the initiator */
	bool has_undo;       /* an undoable one without was declared harmless */
	bool payload;        /* a function makes its command */
	int32_t moves;       /* so much money, into the service that does it; all of a definition together move none */
	int64_t deadline_us; /* of the first attempt */
	uint16_t retries;
};

struct saga_definition {
	uint8_t steps;
	struct saga_step step[SAGA_STEPS];
};

struct saga_plan {
	struct saga_definition definition[SAGA_DEFINITIONS];
	uint32_t definitions, sagas, clocks;
	bool two_streams;     /* commands and undos of a service travel in streams of their own */
	bool poison;          /* the function of one saga raises for ever */
	uint32_t locked;      /* per million: a saga wants locks */
	int64_t retention_us; /* of participants' rows; 0: never cleaned */
	int64_t load_us, tick_us, wire_us, pg_us, decide_us;
	struct saga_chances chance;
	struct saga_intervals every;
};

void saga_plan_draw(struct saga_plan *p, struct prng *dice);
void saga_plan_shrink(struct saga_plan *p, const struct overrides *o);

const char *saga_fault_name(enum saga_fault f);
bool saga_plan_has(const struct saga_plan *p, enum saga_fault f);

#endif
