/* The core as one table of functions. A program may hold two of them: the core as it is, and the same sources with very small
 * limits, so that every "no more room" is met (tests/simulator/build links it in; without it there is one). */
#ifndef SIM_CORE_H
#define SIM_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/delivery.h"

struct core_limits {
	uint32_t exceptions, notes;
};

struct core {
	struct delivery *(*create)(const struct delivery_settings *);
	void (*free)(struct delivery *);
	void (*step)(struct delivery *, const struct event *);
	bool (*next)(struct delivery *, struct effect *);
	int64_t (*send_deadline)(const struct delivery *);
	int64_t (*deadline)(const struct delivery *);
	int32_t (*witness)(const struct delivery *, uint32_t slot, int32_t after);
	bool (*is_proved)(const struct delivery *, uint32_t slot, uint32_t witness, uint64_t horizon);
	const struct delivery_stats *(*look)(struct delivery *);
	void (*audit)(const struct delivery *);
	const struct core_limits *limits;
};

extern const struct core core_as_it_is;
/* NULL where it is not linked in. */
const struct core *core_small(void);

#endif
