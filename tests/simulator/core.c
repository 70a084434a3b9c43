/* Which cores there are. */
#include "core.h"

#include <stddef.h>

extern const struct core_limits core_limits;

const struct core core_as_it_is = {
	.create = delivery_create,
	.free = delivery_free,
	.step = delivery_step,
	.next = delivery_next,
	.send_deadline = delivery_send_deadline,
	.deadline = delivery_deadline,
	.witness = delivery_witness,
	.is_proved = delivery_is_proved,
	.look = delivery_stats,
	.audit = delivery_audit,
	.limits = &core_limits,
};

#define WEAK __attribute__((weak))

WEAK struct delivery *small_delivery_create(const struct delivery_settings *settings);
WEAK void small_delivery_free(struct delivery *d);
WEAK void small_delivery_step(struct delivery *d, const struct event *event);
WEAK bool small_delivery_next(struct delivery *d, struct effect *effect);
WEAK int64_t small_delivery_send_deadline(const struct delivery *d);
WEAK int64_t small_delivery_deadline(const struct delivery *d);
WEAK int32_t small_delivery_witness(const struct delivery *d, uint32_t slot, int32_t after);
WEAK bool small_delivery_is_proved(const struct delivery *d, uint32_t slot, uint32_t witness, uint64_t horizon);
WEAK const struct delivery_stats *small_delivery_stats(struct delivery *d);
WEAK void small_delivery_audit(const struct delivery *d);
WEAK extern const struct core_limits small_core_limits;

const struct core *core_small(void)
{
	static const struct core small = {
		.create = small_delivery_create,
		.free = small_delivery_free,
		.step = small_delivery_step,
		.next = small_delivery_next,
		.send_deadline = small_delivery_send_deadline,
		.deadline = small_delivery_deadline,
		.witness = small_delivery_witness,
		.is_proved = small_delivery_is_proved,
		.look = small_delivery_stats,
		.audit = small_delivery_audit,
		.limits = &small_core_limits,
	};

	return small.create != NULL ? &small : NULL;
}
