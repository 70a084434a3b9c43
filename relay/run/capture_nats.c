/* What NATS says to a capture: that it is up, down or well, answers, and how its stream stands. */
#include <stdio.h>
#include <string.h>

#include "base/scrub.h"
#include "core/refusal.h"
#include "run/capture_room_state.h"

static const char *name_of(const struct capture_one *c)
{
	return capture_room_config(c)->name;
}

static void on_nats_up(void *arg, const char *url, int64_t max_payload)
{
	struct capture_one *c = arg;
	char clean[256];

	c->nats_up = true;
	c->nats_up_ms = loop_now_ms();
	c->nats_connects++;
	scrub(url, clean, sizeof clean);
	log_info(c->room->log, "NATS is connected for the capture", KS("capture", name_of(c)), KS("url", clean),
		 KI("max_payload", max_payload));
	stream_setup_ask(c->setup, 0);
	capture_room_step_common(c, &(struct event){ .kind = EVENT_BUS_UP });
}

static void adjust(struct capture_one *c)
{
	struct capture_settings settings = capture_room_settings(c);

	capture_room_step_common(c, &(struct event){ .kind = EVENT_SETTINGS, .settings = &settings.send });
}

/* Before the core takes whatever is under way for unknown: one of them may be known to be the cause (flow/cuts.h). */
static void on_cut(struct capture_one *c, const char *why)
{
	bool was_alone = c->cuts.alone;
	const char *words;
	enum reason reason = cuts_happened(&c->cuts, why, capture_look(c->core)->send->in_flight, &words);
	const struct parcel *parcel = c->sent[c->cuts.token & (CAPTURE_SENT_SLOTS - 1)];

	if (reason != REASON_NONE && parcel != NULL && parcel->id == c->cuts.id) {
		reasons_keep(c->reasons, parcel->id, 0, reason, words);
		capture_room_refuse(c, c->cuts.token, reason);
	}
	if (c->cuts.alone && !was_alone)
		adjust(c);
}

static void on_answered(struct capture_one *c, uint64_t token)
{
	bool was_alone = c->cuts.alone;

	cuts_answered(&c->cuts, token);
	if (was_alone && !c->cuts.alone)
		adjust(c);
}

static void on_nats_down(void *arg, const char *why, bool theirs)
{
	struct capture_one *c = arg;

	scrub(why, c->nats_why, sizeof c->nats_why);
	log_error(c->room->log, "NATS is not connected for the capture", KS("capture", name_of(c)),
		  KS("why", c->nats_why));
	c->nats_up = false;
	if (theirs)
		on_cut(c, c->nats_why);
	stream_scan_stop(c->scan);
	capture_room_step_common(c, &(struct event){ .kind = EVENT_BUS_DOWN });
}

static void on_nats_reply(void *arg, const struct natsio_reply *reply)
{
	struct capture_one *c = arg;
	struct event ev = { .kind = EVENT_TICK };

	if (stream_scan_reply(c->scan, reply) || stored_time_reply(c->stored_time, reply) ||
	    stream_setup_reply(c->setup, reply) || !publisher_reply(c->publisher, reply, &ev))
		return;
	if (ev.kind == EVENT_ACKED)
		stream_setup_stored(c->setup, 0);
	else if (ev.refused.reason == REASON_WRONG_STREAM)
		stream_setup_stored_elsewhere(c->setup, 0);
	capture_room_step_common(c, &ev);
	on_answered(c, reply->token);
}

static void on_nats_complaint(void *arg, const char *text)
{
	struct capture_one *c = arg;
	char message[512];

	snprintf(message, sizeof message, "NATS complains to the capture: %s", text);
	log_error(c->room->log, message, KS("capture", name_of(c)));
	stream_scan_complaint(c->scan, text);
	for (size_t i = 0; i < CAPTURE_SENT_SLOTS; i++)
		if (c->sent[i] != NULL && publisher_denied(c->sent[i], text))
			capture_room_refuse(c, c->sent[i]->token, REASON_NOT_PERMITTED);
}

struct natsio_handlers capture_nats_handlers(struct capture_one *c)
{
	return (struct natsio_handlers){
		.up = on_nats_up, .down = on_nats_down, .reply = on_nats_reply, .complaint = on_nats_complaint, .arg = c
	};
}

/* What was stored and not marked comes out of the log again; where it is not in the stream any more, it is stored once more. */
static void tell_of_end(struct capture_one *c, const struct event *ev)
{
	uint64_t marked = c->end.sequence, last = ev->lookback.last;
	uint64_t below = ev->lookback.first > last ? last + 1 : ev->lookback.first; /* all that stood below is gone */

	c->end.sequence = 0;
	if (marked == 0 || last <= marked)
		return;
	log_info(c->room->log, "the stream has grown since the last mark", KS("capture", name_of(c)),
		 KU("messages", last - marked), KU("gone", below > marked + 1 ? below - 1 - marked : 0));
}

/* A look that an earlier leader may have stored something behind is made again, in an owned stream. */
static void on_looked_back(void *arg, const struct event *ev)
{
	struct capture_one *c = arg;

	if (ev->lookback.ok)
		tell_of_end(c, ev);
	c->looked |= ev->lookback.ok && (capture_room_config(c)->order != CONFIG_ORDER_COMMIT ||
					 ev->lookback.asked_ms >= c->predecessor_until_ms);
	capture_fork_look(c);
	capture_room_step_common(c, ev);
}

struct stream_scan_handlers capture_nats_of_scan(struct capture_one *c)
{
	return (struct stream_scan_handlers){ .answered = on_looked_back, .arg = c };
}

static void on_stored_time(void *arg, uint64_t sequence, int64_t time_ns)
{
	capture_room_step(arg, &(struct capture_event){ .kind = CAPTURE_EVENT_END,
							.end = { .sequence = sequence, .time_ns = time_ns } });
}

struct stored_time_handlers capture_nats_of_time(struct capture_one *c)
{
	return (struct stored_time_handlers){ .told = on_stored_time, .arg = c };
}
