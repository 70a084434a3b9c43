/* The core alone, replaying a backlog: replay MESSAGES. For counting, not for timing: one run is the next, instruction by
 * instruction, but for what the C library does at its start.
 *
 * The world is a loop on a virtual clock. Each millisecond the database answers what it was asked in the one before, and
 * the broker acknowledges the 50 messages that were sent first. The settings are the defaults of relay/config/settings.c. The
 * last line counts messages, fetches and marks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/delivery.h"

enum {
	KEYS = 1000,
	ROW_BYTES = 400, /* a payload of 256 bytes, with all that goes along */
	ACKS_A_TURN = 50,
	DUPLICATE_WINDOW_MS = 120000,
	TURNS_MAX = 1000000,
};

static const struct delivery_settings settings = {
	.ordering = ORDERING_STRICT,
	.streams = 1,
	.window_messages = 1024,
	.window_bytes = 8 << 20,
	.queue_messages = 4096,
	.queue_bytes = 16 << 20,
	.ack_timeout_ms = 5000,
	.retry_min_ms = 100,
	.retry_max_ms = 10000,
	.mark_interval_ms = 100,
	.grace_ms = 1000,
	.lease_ms = 5000,
	.sleep_after_ms = 200,
	.safety_poll_ms = 30000,
};

struct world {
	struct delivery *core;
	int64_t now, messages;
	uint64_t xid, sequence;
	/* What was asked, and when. */
	bool fetching, marking;
	int64_t after, asked_ms;
	uint32_t wanted;
	int64_t position;
	uint64_t fetches, marks;
	/* What is in flight, in the order of sending: a ring. */
	uint64_t token[1024];
	size_t first, count;
	struct row row[4096];
};

static void fail(const char *why)
{
	fprintf(stderr, "replay: %s\n", why);
	exit(1);
}

static void step(struct world *w, struct event ev)
{
	ev.now_ms = w->now;
	delivery_step(w->core, &ev);
}

/* --- what the core asks for --- */

static void fetch(struct world *w, const struct effect *e)
{
	if (!e->fetch.forward || e->fetch.wanted_count > 0)
		fail("a fetch that has no reason here");
	w->fetching = true;
	w->asked_ms = w->now;
	w->after = e->fetch.after;
	w->wanted = e->fetch.rows < e->fetch.bytes / ROW_BYTES ? e->fetch.rows : e->fetch.bytes / ROW_BYTES;
	w->fetches++;
}

static void publish(struct world *w, uint64_t token)
{
	if (w->count == settings.window_messages)
		fail("more in flight than the window");
	w->token[(w->first + w->count++) % settings.window_messages] = token;
}

static void mark(struct world *w, const struct mark *m)
{
	w->marking = true;
	w->position = m->position;
	w->marks++;
}

static void listen(struct world *w)
{
	struct effect e;

	while (delivery_next(w->core, &e))
		switch (e.kind) {
		case EFFECT_PUBLISH: publish(w, e.publish.token); break;
		case EFFECT_FETCH: fetch(w, &e); break;
		case EFFECT_MARK: mark(w, e.mark); break;
		case EFFECT_LOOKBACK: /* an empty stream */
			step(w, (struct event){ .kind = EVENT_LOOKBACK,
						.lookback = { .stream = e.lookback.stream,
							      .ok = true,
							      .asked_ms = w->now,
							      .duplicate_window_ms = DUPLICATE_WINDOW_MS } });
			break;
		case EFFECT_RELEASE: break;
		default: fail("nothing else should happen here");
		}
}

/* --- what the world answers --- */

static void rows_arrive(struct world *w)
{
	int64_t id = w->after;
	size_t n = 0;

	while (n < w->wanted && id < w->messages) {
		id++;
		w->row[n++] = (struct row){ .id = id,
					    .keyed = true,
					    .lane = (uint64_t)(id % KEYS + 1) * UINT64_C(0x9e3779b97f4a7c15),
					    .bytes = ROW_BYTES };
	}
	w->fetching = false;
	step(w,
	     (struct event){
		     .kind = EVENT_ROWS,
		     .rows = { .rows = w->row, .count = n, .complete = id == w->messages, .asked_ms = w->asked_ms } });
}

static void acks_arrive(struct world *w)
{
	for (int i = 0; i < ACKS_A_TURN && w->count > 0; i++) {
		uint64_t token = w->token[w->first];

		w->first = (w->first + 1) % settings.window_messages;
		w->count--;
		step(w, (struct event){ .kind = EVENT_ACKED, .acked = { .token = token, .sequence = ++w->sequence } });
	}
}

static void turn(struct world *w)
{
	w->now++;
	if (w->fetching)
		rows_arrive(w);
	if (w->marking) {
		w->marking = false;
		step(w,
		     (struct event){ .kind = EVENT_MARKED, .marked = { .fence = ++w->xid, .asked_ms = w->now - 1 } });
	}
	acks_arrive(w);
	if (delivery_deadline(w->core) <= w->now)
		step(w, (struct event){ .kind = EVENT_TICK });
	listen(w);
}

int main(int argc, char **argv)
{
	static struct world w = { .now = 1000000, .xid = 100 };
	static const uint64_t floors[LIMIT_STREAMS] = { LOW_WATER_NONE };

	w.messages = argc == 2 ? strtoll(argv[1], NULL, 10) : 0;
	if (w.messages <= 0)
		fail("how many messages?");
	w.core = delivery_create(&settings);
	if (w.core == NULL)
		fail("out of memory");
	step(&w, (struct event){ .kind = EVENT_BUS_UP });
	step(&w, (struct event){ .kind = EVENT_LEADING,
				 .leading = { .fence = w.xid, .asked_ms = w.now, .low_water = floors } });
	listen(&w);
	for (int turns = 0; w.position < w.messages || w.marking; turns++) {
		if (turns == TURNS_MAX)
			fail("it does not come to an end");
		turn(&w);
	}
	if (w.sequence != (uint64_t)w.messages)
		fail("not every message was sent exactly once");
	printf("messages=%" PRId64 " fetches=%" PRIu64 " marks=%" PRIu64 "\n", w.messages, w.fetches, w.marks);
	delivery_free(w.core);
	return 0;
}
