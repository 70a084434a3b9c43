#include "run/relay_state.h"

#include <stdlib.h>

enum { IDLE_PAUSE_POLL_MS = 100 };

void relay_step(struct relay *r, struct event ev)
{
	ev.now_ms = loop_now_ms();
	ev.random = (uint32_t)random();
	delivery_step(r->core, &ev);
}

static void refuse_in_batch(struct relay *r, const struct publisher_place *place, uint32_t reason)
{
	struct event ev = { .kind = EVENT_BATCH };

	ev.batch.stream = place->stream;
	ev.batch.batch = place->batch;
	ev.batch.number = place->number;
	ev.batch.what = BATCH_REFUSED;
	ev.batch.reason = reason;
	relay_step(r, ev);
}

void relay_refuse(struct relay *r, uint64_t token, uint32_t reason)
{
	struct event ev = { .kind = EVENT_REFUSED };
	struct publisher_place place;

	if (publisher_place(r->publisher, token, &place)) {
		refuse_in_batch(r, &place, reason);
		return;
	}
	ev.refused.token = token;
	ev.refused.reason = reason;
	relay_step(r, ev);
}

void relay_tell_keyless(struct relay *r, const struct parcel *parcel)
{
	if (parcel == NULL || !parcel->keyless)
		return;
	r->keyless++;
	log_warn(r->log, "a message is sent without its Boxhaul-Key: there is no room for it, or it is no UTF-8",
		 KI("id", parcel->id),
		 KS("do", "who takes it has no order for it: use shorter keys, or a larger outbox.max_message_size"));
}

void relay_ask_stream(struct relay *r, uint16_t stream)
{
	r->asked_ms[stream] = loop_now_ms();
	stream_setup_ask(r->setup, stream);
}

void relay_tell_wires(struct relay *r)
{
	for (uint16_t i = 0; i < r->config->stream_count; i++) {
		struct event ev = { .kind = EVENT_WIRE };
		enum wire_reason reason = stream_setup_wire(r->setup, i);

		if (reason == r->wire[i])
			continue;
		r->wire[i] = reason;
		ev.wire.stream = i;
		ev.wire.reason = reason;
		ev.wire.batches = reason == WIRE_BATCHES;
		relay_step(r, ev);
	}
}

void relay_forget_wires(struct relay *r)
{
	stream_setup_down(r->setup);
	publisher_down(r->publisher);
	for (size_t i = 0; i < LIMIT_STREAMS; i++)
		r->wire[i] = WIRE_UNTOLD;
}

struct delivery_settings relay_core_settings(const struct relay *r)
{
	struct delivery_settings s = r->config->delivery;

	for (size_t i = 0; i < r->config->stream_count; i++)
		s.batch_messages[i] = r->config->streams[i].batch_messages;
	if (!r->has_outbox)
		s.streams = 1; /* a core that is idle wants one all the same */
	if (r->config->wakeup == WAKEUP_POLL) {
		s.sleep_after_ms = SLEEP_NEVER;
		s.idle_pause_ms = IDLE_PAUSE_POLL_MS;
	}
	if (r->cuts.alone)
		s.window_messages = 1;
	return s;
}

void relay_adjust_core(struct relay *r)
{
	struct delivery_settings settings = relay_core_settings(r);

	relay_step(r, (struct event){ .kind = EVENT_SETTINGS, .settings = &settings });
}

void relay_drained(struct relay *r, bool outbox, bool captures)
{
	r->outbox_drained |= outbox;
	r->captures_drained |= captures;
	if (r->outbox_drained && r->captures_drained)
		relay_finish(r, EXIT_OK);
}

void relay_finish(struct relay *r, enum exit_code code)
{
	r->exit = code;
	loop_stop(r->loop);
}
