/* The life of the connection, as the loop sees it: made, up, down, made anew.
 *
 * nats.c's own reconnect stays off. It would keep 8 MB of our publishes and send them later, behind our back; it
 * keeps half a parsed header line over the break; and it gives up after a second refused login. A closed link is
 * thrown away as a whole and a new one is made, for ever, with every file read again. */
#include "edge/natsio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "edge/natsio_held.h"
#include "edge/natsio_link.h"
#include "edge/natsio_servers.h"
#include "edge/natsio_silence.h"
#include "edge/natsio_spent.h"

enum {
	RECONNECT_MIN_MS = 50,
	RECONNECT_MAX_MS = 3000,
	BUFFERED_MAX_BYTES = 64 * 1024 * 1024,
	PROBATION_MS = 1000,
};

struct natsio {
	struct loop *loop;
	struct natsio_options options;
	struct natsio_servers servers; /* what the cluster behind the options' URLs has announced */
	unsigned version; /* counts those options that what was made before them must not be used any more */
	struct natsio_handlers handlers;
	struct natsio_events events;
	struct natsio_link_handlers link_handlers;
	struct natsio_link *link; /* the current one, or NULL */
	struct loop_timer *reconnect;
	struct loop_timer *probation; /* the link is there, and not said to be up yet: */
	bool denied;                  /* the server forbade the inbox of the one before */
	int64_t pause_ms, up_ms;
	int jobs; /* connects and closes under way */
	bool connecting;
	bool closing;
	struct natsio_held held;
	struct natsio_silence silence;
	struct natsio_spent spent;
};

static struct natsio *owner(const struct natsio_link *k)
{
	return k->handlers->arg;
}

static void on_silence(void *arg)
{
	natsio_cut(arg, "nothing that was sent is answered: connecting anew, and subscribing to the inbox");
}

static void was_heard(struct natsio *io)
{
	natsio_silence_heard(&io->silence);
	io->pause_ms = RECONNECT_MIN_MS; /* it was a success, however it ends */
}

/* --- what comes in --- */

static void hand_over(struct natsio *io, natsMsg *msg)
{
	struct natsio_reply reply;

	was_heard(io);
	if (natsio_inbox_read(&io->link->inbox, msg, &reply))
		io->handlers.reply(io->handlers.arg, &reply);
}

/* One of a pair's two that wait. */
static int first_of(struct natsio *io, const struct natsio_reply reply[2], const bool waits[2])
{
	if (!waits[0] || !waits[1])
		return waits[0] ? 0 : 1;
	return io->handlers.order(io->handlers.arg, &reply[1]) < io->handlers.order(io->handlers.arg, &reply[0]);
}

static void read_pair(struct natsio *io, struct natsio_link *k, unsigned lane)
{
	natsMsg *msg[2] = { NULL, NULL };
	struct natsio_reply reply[2];
	bool waits[2] = { false, false };

	while (k == io->link) {
		int first;

		for (unsigned i = 0; i < 2; i++)
			if (!waits[i] && (waits[i] = natsio_lanes_next(&k->lanes, lane + i, &msg[i])))
				natsio_lanes_read(k->inbox.prefix, lane + i, msg[i], &reply[i]);
		if (!waits[0] && !waits[1])
			break;
		first = first_of(io, reply, waits);
		was_heard(io);
		io->handlers.reply(io->handlers.arg, &reply[first]);
		natsio_spend(&io->spent, msg[first]);
		msg[first] = NULL;
		waits[first] = false;
	}
	natsio_spend(&io->spent, msg[0]);
	natsio_spend(&io->spent, msg[1]);
}

static void read_batches(struct natsio *io, struct natsio_link *k, unsigned stream)
{
	natsMsg *msg;

	/* A handler may cut the link, and what is left goes with it. */
	while (k == io->link && natsio_batches_next(&k->batches, stream, &msg)) {
		struct natsio_reply reply;

		was_heard(io);
		if (natsio_batches_read(k->inbox.prefix, stream, msg, &reply))
			io->handlers.reply(io->handlers.arg, &reply);
		natsio_spend(&io->spent, msg);
	}
}

static void was_read(void *arg, struct natsio_link *k)
{
	struct natsio *io = arg;
	uint32_t batches = k == io->link ? k->batches.open : 0;

	for (unsigned stream = 0; batches != 0; batches >>= 1, stream++)
		if ((batches & 1) != 0)
			read_batches(io, k, stream);
	for (unsigned lane = 1; k == io->link && lane < k->lanes.count; lane += 2)
		read_pair(io, k, lane);
	/* A handler may cut the link, and what is left goes with it. */
	for (uint64_t left = k == io->link ? natsio_inbox_waiting(&k->inbox) : 0; left > 0 && k == io->link; left--) {
		natsMsg *msg;

		if (!natsio_inbox_next(&k->inbox, &msg))
			return;
		if (msg != NULL)
			hand_over(io, msg);
		natsio_spend(&io->spent, msg);
	}
}

/* --- what goes out --- */

/* Then the connection goes, with what it holds. */
static bool may_write(void *arg, struct natsio_link *k)
{
	struct natsio *io = arg;
	const char *why = k == io->link ? natsio_held_why_not(&io->held, loop_now_ms()) : NULL;

	if (why != NULL)
		natsio_cut(io, why);
	return why == NULL;
}

static void was_written(void *arg, struct natsio_link *k)
{
	struct natsio *io = arg;

	if (k == io->link && natsConnection_Buffered(k->nc) <= 0)
		natsio_held_nothing(&io->held);
	if (k == io->link && FAILPOINT(written))
		natsio_cut(io, "failpoint");
}

bool natsio_send(struct natsio *io, const struct natsio_message *m)
{
	struct natsio_link *k = io->link;
	int held = k != NULL ? natsConnection_Buffered(k->nc) : 0;
	char reply[NATSIO_INBOX_REPLY_BYTES];
	natsMsg *msg = NULL;
	natsStatus s;

	/* The core's window bounds what is in flight; this bounds what a stopped server could make us hold. */
	if (k == NULL || held > BUFFERED_MAX_BYTES)
		return false;
	natsio_held_write(&io->held, k, held);
	natsio_inbox_write(&k->inbox, m, reply);
	s = natsMsg_Create(&msg, m->subject, reply, m->payload, (int)m->bytes);
	for (size_t i = 0; s == NATS_OK && i < m->header_count; i++)
		s = natsMsgHeader_Set(msg, m->headers[i].name, m->headers[i].value);
	if (s == NATS_OK)
		s = natsConnection_PublishMsg(k->nc, msg);
	if (s == NATS_OK && !m->request)
		natsio_held_message(&io->held, m->by_ms);
	natsio_silence_asked(&io->silence);
	natsio_spend(&io->spent, msg);
	return s == NATS_OK;
}

/* --- the end of a link --- */

static void reconnect_later(struct natsio *io)
{
	int64_t jitter = random() % (io->pause_ms / 2 + 1);

	loop_timer_at(io->reconnect, loop_now_ms() + io->pause_ms / 2 + jitter);
	io->pause_ms = io->pause_ms * 2 < RECONNECT_MAX_MS ? io->pause_ms * 2 : RECONNECT_MAX_MS;
}

static void finish_closing(struct natsio *io)
{
	if (!io->closing || io->jobs > 0)
		return;
	/* A closed callback may still be on its way through nats.c's thread: then rather leak all this than free it while it is
	 * used. */
	if (!natsio_events_close(&io->events))
		return;
	natsio_spent_clear(&io->spent);
	natsio_servers_forget(&io->servers);
	free(io);
}

/* Closing flushes and joins threads: not on the loop. */
static void destroy_work(void *arg)
{
	natsio_link_destroy(arg);
}

static void destroy_done(void *arg)
{
	struct natsio_link *k = arg;
	struct natsio *io = owner(k);

	k->nc = NULL;
	io->jobs--;
	natsio_link_unref(k);
	finish_closing(io);
}

/* The link leaves the loop; nats.c's part of it is closed on another thread. */
static void discard(struct natsio_link *k)
{
	struct natsio *io = owner(k);

	natsio_link_abort(k);
	io->jobs++;
	if (!loop_offload(io->loop, destroy_work, destroy_done, k)) {
		destroy_work(k);
		destroy_done(k);
	}
}

static void link_ends(struct natsio *io, const char *why, bool theirs)
{
	struct natsio_link *k = io->link;

	io->link = NULL;
	loop_timer_at(io->probation, INT64_MAX);
	natsio_held_nothing(&io->held);
	natsio_silence_anew(&io->silence);
	discard(k);
	/* Only a link that lasted was a success. */
	if (loop_now_ms() - io->up_ms > RECONNECT_MAX_MS)
		io->pause_ms = RECONNECT_MIN_MS;
	reconnect_later(io);
	io->handlers.down(io->handlers.arg, why != NULL && why[0] != '\0' ? why : "connection closed", theirs);
}

static void link_down(struct natsio *io, const char *why)
{
	link_ends(io, why, false);
}

/* --- its beginning --- */

static void connect_failed(struct natsio_link *k)
{
	struct natsio *io = owner(k);

	natsio_link_stop_polling(k);
	if (!io->closing) {
		reconnect_later(io);
		io->handlers.down(io->handlers.arg, k->why != NULL ? k->why : "out of memory", true);
	}
	natsio_link_unref(k); /* its closed callback will not come */
	/* NOLINTNEXTLINE: there were two references; the analyzer does not count them */
	natsio_link_unref(k);
	finish_closing(io);
}

static void link_up(void *arg)
{
	struct natsio *io = arg;
	struct natsio_link *k = io->link;
	char url[256] = "";

	io->denied = false;
	natsio_servers_learn(&io->servers, k->nc);
	natsConnection_GetConnectedUrl(k->nc, url, sizeof url);
	io->handlers.up(io->handlers.arg, url, natsConnection_GetMaxPayload(k->nc));
}

/* The server says a moment later that the inbox is forbidden: it would be up for that moment, again and again. */
static void link_made(struct natsio *io)
{
	io->up_ms = loop_now_ms();
	if (io->denied)
		loop_timer_at(io->probation, io->up_ms + PROBATION_MS);
	else
		link_up(io);
}

static void connect_work(void *arg)
{
	natsio_link_connect(arg);
}

static void connect_done(void *arg)
{
	struct natsio_link *k = arg;
	struct natsio *io = owner(k);

	io->jobs--;
	io->connecting = false;
	if (k->nc == NULL) {
		connect_failed(k);
		return;
	}
	if (io->closing) {
		discard(k);
		return;
	}
	io->link = k;
	natsio_link_poll(k);
	/* Closed already: its event came before it was ours, and was thrown away. */
	if (natsConnection_IsClosed(k->nc))
		link_down(io, "connection closed");
	else if (k->version != io->version)
		link_down(io, "made with settings that have changed since");
	else if (FAILPOINT(bus_connected) || !natsio_link_subscribe(k))
		link_down(io, "cannot subscribe to the inbox");
	else
		link_made(io);
}

static void connect_begins(void *arg)
{
	struct natsio *io = arg;
	size_t url_count;
	char **urls = natsio_servers_list(&io->servers, &io->options, &url_count);
	struct natsio_link *k = urls != NULL ? natsio_link_create(io->loop, &io->events, &io->options, urls, url_count,
								  io->version, &io->link_handlers)
					     : NULL;

	if (k == NULL) {
		natsio_servers_free_list(urls, url_count);
		reconnect_later(io);
		return;
	}
	io->jobs++;
	io->connecting = true;
	if (!loop_offload(io->loop, connect_work, connect_done, k)) {
		connect_work(k);
		connect_done(k);
	}
}

/* --- what the library's threads say --- */

static void woken(void *arg)
{
	struct natsio *io = arg;

	if (io->link != NULL)
		natsio_link_poll(io->link);
}

/* May not subscribe, or may no longer: then the server has dropped the subscription. */
static void complain(struct natsio *io, const char *text)
{
	char why[512];
	bool of_batches;

	/* What may not be asked is answered by this, and by nothing else. */
	if (strcasestr(text, "Permissions Violation for Publish") != NULL)
		natsio_silence_heard(&io->silence);
	/* Without these there are no batches; without the others nothing can be known to be stored. */
	of_batches = io->link != NULL && natsio_batches_denied(&io->link->batches, io->link->inbox.prefix, text);
	io->handlers.complaint(io->handlers.arg, text);
	if (of_batches || io->link == NULL || !natsio_inbox_is_denied(&io->link->inbox, text))
		return;
	snprintf(why, sizeof why, "no answer can reach us: let this login subscribe to %s.> (%s)",
		 io->link->inbox_prefix, text);
	io->denied = true;
	natsio_cut(io, why);
}

static void deliver(struct natsio *io, const struct natsio_event *event)
{
	switch (event->kind) {
	case NATSIO_EVENT_REPLY: hand_over(io, event->msg); break;
	case NATSIO_EVENT_CLOSED: link_ends(io, event->text, true); break;
	case NATSIO_EVENT_SERVERS: natsio_servers_learn(&io->servers, io->link->nc); break;
	case NATSIO_EVENT_COMPLAINT: complain(io, event->text != NULL ? event->text : "unknown error"); break;
	}
}

/* Of a link that is gone nothing is delivered: whatever it says, everything it held is unknown already. */
static void on_event(void *arg, const struct natsio_event *event)
{
	struct natsio *io = arg;

	if (!io->closing && io->link != NULL && event->link == io->link)
		deliver(io, event);
	natsio_spend(&io->spent, event->msg);
	free(event->text);
}

/* --- from start to end --- */

struct natsio *natsio_open(struct loop *l, const struct natsio_options *options, const struct natsio_handlers *handlers)
{
	struct natsio *io = calloc(1, sizeof *io);

	if (io == NULL)
		return NULL;
	io->loop = l;
	io->options = *options;
	io->handlers = *handlers;
	io->link_handlers = (struct natsio_link_handlers){
		.was_read = was_read, .may_write = may_write, .was_written = was_written, .arg = io
	};
	io->pause_ms = RECONNECT_MIN_MS;
	natsio_held_begin(&io->held);
	io->reconnect = loop_timer(l, connect_begins, io);
	io->probation = loop_timer(l, link_up, io);
	if (io->reconnect == NULL || io->probation == NULL || !natsio_silence_open(&io->silence, l, on_silence, io) ||
	    nats_Open(-1) != NATS_OK) {
		free(io);
		return NULL;
	}
	natsio_events_open(&io->events, l, woken, on_event, io);
	loop_timer_at(io->reconnect, loop_now_ms());
	return io;
}

void natsio_close(struct natsio *io)
{
	if (io == NULL)
		return;
	io->closing = true;
	loop_timer_at(io->reconnect, INT64_MAX);
	natsio_silence_anew(&io->silence);
	loop_timer_at(io->probation, INT64_MAX);
	if (io->link != NULL) {
		struct natsio_link *k = io->link;

		io->link = NULL;
		discard(k);
	}
	finish_closing(io);
}

void natsio_use(struct natsio *io, const struct natsio_options *options, const char *why)
{
	/* What was announced is of the cluster behind the URLs, whatever else has changed. */
	if (!natsio_servers_same(&io->options, options))
		natsio_servers_forget(&io->servers);
	io->options = *options;
	if (why == NULL)
		return;
	io->version++;
	io->pause_ms = RECONNECT_MIN_MS;
	if (io->link != NULL)
		link_down(io, why);
	else if (!io->connecting)
		loop_timer_at(io->reconnect, loop_now_ms());
}

bool natsio_batches(struct natsio *io, uint16_t stream)
{
	struct natsio_link *k = io->link;

	return k != NULL && natsio_batches_open(&k->batches, k->nc, k->inbox.prefix, stream);
}

void natsio_deadline(struct natsio *io, int64_t at_ms)
{
	io->held.deadline_ms = at_ms;
}

int64_t natsio_max_payload(struct natsio *io)
{
	return io->link != NULL ? natsConnection_GetMaxPayload(io->link->nc) : 0;
}

void natsio_cut(struct natsio *io, const char *why)
{
	if (io->link != NULL)
		link_down(io, why);
}
