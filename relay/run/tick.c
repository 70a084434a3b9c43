#include "run/tick.h"

#include "base/process.h"
#include "run/events.h"
#include "run/collect.h"
#include "run/turn.h"
#include "watch/verdict.h"

enum { TICK_MS = 1000, ASK_AGAIN_MS = 5000, PAUSE_ASK_MS = 5000, WIRE_ASK_MS = 60000 };

static void ask_about_blocked(struct relay *r, const struct delivery_stats *s, int64_t now)
{
	for (uint16_t i = 0; i < r->config->stream_count; i++)
		if (s->stream[i].blocked && r->nats_up && now - r->asked_ms[i] >= ASK_AGAIN_MS)
			relay_ask_stream(r, i);
}

/* Where messages could go in batches and do not, what stands in the way may be mended at any time: on the next connection, or within this. */
static bool is_wire_due(const struct relay *r, uint16_t stream, int64_t now)
{
	return r->config->streams[stream].send != SEND_SINGLE && r->wire[stream] != WIRE_BATCHES &&
	       now - r->asked_ms[stream] >= WIRE_ASK_MS;
}

static void ask_about_wires(struct relay *r, int64_t now)
{
	for (uint16_t i = 0; i < r->config->stream_count && r->nats_up; i++)
		if (r->wire_doubted[i] || is_wire_due(r, i, now)) {
			r->wire_doubted[i] = false;
			relay_ask_stream(r, i);
		}
}

/* What a burst took would stay with us, and most of all what lay with nats.c, which frees on a thread of its own. So would the ids
 * of very many messages, which are forgotten when nothing much was published, or nothing at all. */
static void give_back(struct relay *r, const struct delivery_stats *s)
{
	if (!s->found_is_sought)
		r->forgot |= stream_scan_forget(r->scan);
	if (s->pace != PACE_ASLEEP ||
	    (!r->forgot && s->bytes_published - r->given_back_at < r->config->delivery.queue_bytes / 4))
		return;
	r->forgot = false;
	r->given_back_at = s->bytes_published;
	process_give_back();
}

static void tick_outbox(struct relay *r, const struct delivery_stats *s, int64_t now)
{
	leader_tick(r->leader);
	if (leader_role(r->leader) == ROLE_STANDBY)
		backlog_watch(r->backlog, s);
	else
		backlog_tick(r->backlog, s);
	progress_tick(r->progress, s, now);
	ask_about_blocked(r, s, now);
	ask_about_wires(r, now);
	/* Paused, it reads nothing, and asks nothing behind it. */
	if (s->paused && now - r->pause_asked_ms >= PAUSE_ASK_MS)
		events_ask_pause(r);
	events_ask_again(r);
}

void tick(void *arg)
{
	struct relay *r = arg;
	const struct delivery_stats *s = delivery_stats(r->core);
	struct facts facts;
	struct verdict verdict;
	int64_t now = loop_now_ms();

	loop_timer_at(r->tick, now + TICK_MS);
	if (r->has_outbox)
		tick_outbox(r, s, now);
	if (r->inbox != NULL)
		inbox_room_tick(r->inbox);
	if (r->captures != NULL)
		capture_room_tick(r->captures);
	collect(r, &facts);
	verdict_of(&facts, &verdict);
	report_tick(r->report, &facts, &verdict);
	service_tick(r->service, &facts, &verdict);
	reload_tick(r->reload);
	log_tick(r->log);
	give_back(r, s);
}