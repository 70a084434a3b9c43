#include "run/inbox_room_state.h"

#include <stdlib.h>

enum {
	TAKE_MESSAGES = 1000, /* of one statement at most */
	TAKE_BYTES = 4 << 20, /* a server's memory for one statement */
	LARGE_SPARE_BYTES =
		8192, /* what the largest message needs beside what the server takes: subject, reply, headers */
	LARGE_BYTES = 1 << 20, /* before a server has said what it takes */
	HEARTBEAT_MS = 5000,
	EXPIRES_MS = 30000,
	ANSWER_TIMEOUT_MS = 5000,
	RETRY_MIN_MS = 100,
	RETRY_MAX_MS = 10000,
	CHECK_INTERVAL_MS = 60000,
	FOLLOW_INTERVAL_MS = 10000,
};

void inbox_room_step(struct inbox_subscription *s, struct inbox_event *ev)
{
	ev->now_ms = loop_now_ms();
	ev->random = (uint32_t)random();
	inbox_step(s->core, ev);
}

static uint32_t smaller(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

struct inbox_settings inbox_room_settings(const struct inbox_room *r, size_t index)
{
	const struct config_subscription *c = &r->config->subscriptions[index];
	int64_t max_payload = r->nats != NULL ? natsio_max_payload(r->nats) : 0;

	return (struct inbox_settings){
		.dedupe = c->dedupe,
		.on_gap = c->on_gap,
		.on_recreated = c->on_recreated,
		.start = c->start,
		.start_sequence = c->start_sequence,
		.queue_messages = c->queue_messages,
		.queue_bytes = c->queue_bytes,
		.take_messages = smaller(TAKE_MESSAGES, c->queue_messages / 4),
		.take_bytes = smaller(TAKE_BYTES, c->queue_bytes / 2),
		.large_bytes = (max_payload > 0 ? smaller((uint64_t)max_payload, INT32_MAX / 2) : LARGE_BYTES) +
			       LARGE_SPARE_BYTES,
		.heartbeat_ms = HEARTBEAT_MS,
		.expires_ms = EXPIRES_MS,
		.answer_timeout_ms = ANSWER_TIMEOUT_MS,
		.retry_min_ms = RETRY_MIN_MS,
		.retry_max_ms = RETRY_MAX_MS,
		.check_interval_ms = CHECK_INTERVAL_MS,
		.follow_interval_ms = FOLLOW_INTERVAL_MS,
	};
}
