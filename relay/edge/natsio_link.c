/* The adapter between nats.c and libev.
 *
 *     loop thread                                nats.c's threads (timer, callbacks), our connecting thread
 *     -----------                                ----------------------------------------------------------
 *     socket writable -> ProcessWriteEvent       attach, read, write, detach: only set flags, and wake the loop
 *     socket readable -> ProcessReadEvent        on_message (careful answers), on_closed, on_error, on_discovered:
 *                                                post an event
 *
 * SendAsap is on: without it a flusher thread would call our adapter concurrently, and hang once in a while.
 * In this mode the socket, and the TLS session on it, is touched by the loop thread alone (nats.c before 3.11 reads
 * and writes one TLS session from two threads otherwise). We poll a dup() of the socket: nats.c may close its own
 * at any time, and the number could be reused under our watcher. */
#include "edge/natsio_link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edge/natsio_login.h"
#include "edge/natsio_servers.h"

enum { PING_INTERVAL_MS = 5000, PINGS_OUT = 2, WRITE_DEADLINE_MS = 2000 };

/* --- references: one for the loop, one for the closed callback, one from attach to detach, one for the subscription until its
 * last message is through. Each of those runs on a thread of nats.c's that nobody joins. --- */

static void ref(struct natsio_link *k)
{
	atomic_fetch_add(&k->refs, 1);
}

void natsio_link_unref(struct natsio_link *k)
{
	struct natsio_events *events = k->events;

	if (atomic_fetch_sub(&k->refs, 1) != 1)
		return;
	free(k->why);
	natsio_servers_free_list(k->urls, k->options.url_count);
	free(k);
	natsio_events_leave(events);
}

/* --- polling --- */

static void on_readable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct natsio_link *k = w->data;

	(void)ev;
	(void)revents;
	if (k->nc == NULL)
		return;
	natsConnection_ProcessReadEvent(k->nc);
	k->handlers->was_read(k->handlers->arg, k);
}

static void write_held(struct natsio_link *k)
{
	natsConnection_ProcessWriteEvent(k->nc);
	k->full = atomic_load(&k->want_write);
	natsio_link_poll(k);
}

void natsio_link_write(struct natsio_link *k)
{
	if (!k->full && atomic_load(&k->want_write))
		write_held(k);
}

static void on_writable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct natsio_link *k = w->data;

	(void)ev;
	(void)revents;
	if (k->nc == NULL || !k->handlers->may_write(k->handlers->arg, k))
		return;
	write_held(k);
	k->handlers->was_written(k->handlers->arg, k);
}

void natsio_link_stop_polling(struct natsio_link *k)
{
	int fd = atomic_exchange(&k->fd, -1);

	if (k->polling) {
		ev_io_stop(loop_ev(k->loop), &k->readable);
		ev_io_stop(loop_ev(k->loop), &k->writable);
		k->polling = false;
	}
	if (fd >= 0)
		close(fd);
}

void natsio_link_poll(struct natsio_link *k)
{
	struct ev_loop *ev = loop_ev(k->loop);
	int fd = atomic_load(&k->fd);

	if (fd < 0 || !atomic_load(&k->attached)) {
		natsio_link_stop_polling(k);
		return;
	}
	if (!k->polling) {
		ev_io_set(&k->readable, fd, EV_READ);
		ev_io_set(&k->writable, fd, EV_WRITE);
		k->polling = true;
	}
	if (atomic_load(&k->want_read))
		ev_io_start(ev, &k->readable);
	else
		ev_io_stop(ev, &k->readable);
	/* Nearly always there is room: one try, before the loop sleeps, is cheaper than to ask first. */
	if (!atomic_load(&k->want_write))
		ev_io_stop(ev, &k->writable);
	else if (k->full)
		ev_io_start(ev, &k->writable);
	else
		ev_feed_event(ev, &k->writable, EV_WRITE);
}

static void poll_soon(struct natsio_link *k)
{
	if (natsio_events_on_loop(k->events))
		natsio_link_poll(k);
	else
		natsio_events_wake(k->events);
}

/* --- the adapter. Called under the connection's lock, from any thread: no nats.c call, no blocking. --- */

static natsStatus attach(void **user, void *loop, natsConnection *nc, natsSock socket)
{
	struct natsio_link *k = loop;
	int fd = dup(socket);

	(void)nc;
	if (fd < 0)
		return NATS_ERR;
	*user = k;
	ref(k); /* until detach */
	atomic_store(&k->fd, fd);
	atomic_store(&k->want_read, true);
	atomic_store(&k->attached, true);
	poll_soon(k);
	return NATS_OK;
}

static natsStatus want_read(void *user, bool add)
{
	struct natsio_link *k = user;

	atomic_store(&k->want_read, add);
	poll_soon(k);
	return NATS_OK;
}

static natsStatus want_write(void *user, bool add)
{
	struct natsio_link *k = user;

	if (atomic_exchange(&k->want_write, add) != add)
		poll_soon(k);
	return NATS_OK;
}

static natsStatus detach(void *user)
{
	struct natsio_link *k = user;

	atomic_store(&k->attached, false);
	poll_soon(k);
	natsio_link_unref(k);
	return NATS_OK;
}

/* --- what nats.c's threads say --- */

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
	struct natsio_link *k = closure;

	(void)nc;
	(void)sub;
	natsio_events_post(k->events, (struct natsio_event){ .kind = NATSIO_EVENT_REPLY, .link = k, .msg = msg });
}

static void on_closed(natsConnection *nc, void *closure)
{
	struct natsio_link *k = closure;
	const char *text = NULL;

	natsConnection_GetLastError(nc, &text);
	natsio_events_post(k->events, (struct natsio_event){ .kind = NATSIO_EVENT_CLOSED,
							     .link = k,
							     .text = text != NULL ? strdup(text) : NULL });
	natsio_link_unref(k);
}

/* The subscription has delivered its last message. */
static void on_complete(void *closure)
{
	natsio_link_unref(closure);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *closure)
{
	struct natsio_link *k = closure;
	const char *text = nats_GetLastError(NULL); /* of this error: the connection's may be a later one already */

	(void)nc;
	(void)sub;
	if (text == NULL || text[0] == '\0')
		text = natsStatus_GetText(status);
	natsio_events_post(k->events,
			   (struct natsio_event){ .kind = NATSIO_EVENT_COMPLAINT, .link = k, .text = strdup(text) });
}

/* The cluster announced another server. */
static void on_discovered(natsConnection *nc, void *closure)
{
	struct natsio_link *k = closure;

	(void)nc;
	natsio_events_post(k->events, (struct natsio_event){ .kind = NATSIO_EVENT_SERVERS, .link = k });
}

/* --- from its making to its end --- */

struct natsio_link *natsio_link_create(struct loop *l, struct natsio_events *events,
				       const struct natsio_options *options, char **urls, size_t url_count,
				       unsigned version, const struct natsio_link_handlers *handlers)
{
	struct natsio_link *k = calloc(1, sizeof *k);

	if (k == NULL)
		return NULL;
	k->loop = l;
	k->events = events;
	k->handlers = handlers;
	k->options = *options;
	k->options.urls = (const char *const *)urls;
	k->options.url_count = url_count;
	snprintf(k->inbox_prefix, sizeof k->inbox_prefix, "%s", natsio_inbox_prefix(options));
	k->urls = urls;
	k->version = version;
	atomic_store(&k->fd, -1);
	atomic_store(&k->refs, 2);
	ev_init(&k->readable, on_readable);
	ev_init(&k->writable, on_writable);
	k->readable.data = k->writable.data = k;
	natsio_events_join(events);
	return k;
}

static natsStatus set_loop(natsOptions *opts, struct natsio_link *k)
{
	natsStatus s = natsOptions_SetEventLoop(opts, k, attach, want_read, want_write, detach);

	if (s == NATS_OK)
		s = natsOptions_SetSendAsap(opts, true);
	if (s == NATS_OK)
		s = natsOptions_SetPingInterval(opts, PING_INTERVAL_MS);
	if (s == NATS_OK)
		s = natsOptions_SetMaxPingsOut(opts, PINGS_OUT);
	if (s == NATS_OK)
		s = natsOptions_SetWriteDeadline(opts, WRITE_DEADLINE_MS);
	if (s == NATS_OK)
		s = natsOptions_SetClosedCB(opts, on_closed, k);
	if (s == NATS_OK)
		s = natsOptions_SetErrorHandler(opts, on_error, k);
	if (s == NATS_OK)
		s = natsOptions_SetDiscoveredServersCB(opts, on_discovered, k);
	return s;
}

void natsio_link_connect(struct natsio_link *k)
{
	char error[512] = "";
	natsOptions *opts = natsio_login_options(&k->options, error, sizeof error);

	if (opts != NULL && set_loop(opts, k) == NATS_OK)
		k->nc = natsio_login_connect(&k->options, opts, error, sizeof error);
	natsOptions_Destroy(opts);
	if (k->nc == NULL)
		k->why = strdup(error);
}

bool natsio_link_subscribe(struct natsio_link *k)
{
	bool begun, ok;

	/* Until on_complete. If the subscription is closed already its end is never reported: the link stays, a few bytes for
	 * safety. */
	ref(k);
	ok = natsio_inbox_open(&k->inbox, k->nc, k->inbox_prefix, on_message, on_complete, k, &begun);
	if (!begun) {
		natsio_link_unref(k);
		return false;
	}
	return ok && natsio_lanes_open(&k->lanes, k->nc, k->inbox.prefix, k->options.lanes);
}

void natsio_link_abort(struct natsio_link *k)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	int fd = atomic_load(&k->fd);

	/* Neither what nats.c holds nor what the kernel holds may be sent any more: this resets the connection. */
	if (fd >= 0 && connect(fd, &nowhere, sizeof nowhere) != 0)
		shutdown(fd, SHUT_RDWR);
	natsio_link_stop_polling(k);
}

void natsio_link_destroy(struct natsio_link *k)
{
	natsConnection_Destroy(k->nc);
	natsio_inbox_close(&k->inbox);
	natsio_lanes_close(&k->lanes);
	natsio_batches_close(&k->batches);
}
