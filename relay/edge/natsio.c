/* nats.c on libev.
 *
 *     loop thread                                nats.c's threads (timer, callbacks), our connecting thread
 *     -----------                                ----------------------------------------------------------
 *     natsio_send -> buffer of the connection
 *     socket writable -> ProcessWriteEvent       attach, read, write, detach: only set flags + ev_async
 *     socket readable -> ProcessReadEvent
 *        `-> quick answers -> handlers
 *     ev_async -> mailbox -> handlers  <-------- on_message (careful answers), on_closed, on_error: post to the mailbox
 *
 * nats.c's own reconnect stays off. It would keep 8 MB of our publishes and send them later, behind our back; it
 * keeps half a parsed header line over the break; and it gives up after a second refused login. A closed link is
 * thrown away as a whole and a new one is made, for ever, with every file read again.
 *
 * SendAsap is on: without it a flusher thread would call our adapter concurrently, and hang once in a while.
 * In this mode the socket, and the TLS session on it, is touched by the loop thread alone (nats.c before 3.11 reads
 * and writes one TLS session from two threads otherwise). We poll a dup() of the socket: nats.c may close its own
 * at any time, and the number could be reused under our watcher. */
#include "edge/natsio.h"

#include <ev.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "edge/natsio_login.h"
#include "edge/natsio_servers.h"
#include "edge/natsio_spent.h"
#include "failpoint.h"
#include "hex.h"

enum {
	RECONNECT_MIN_MS = 50,
	RECONNECT_MAX_MS = 3000,
	PING_INTERVAL_MS = 5000,
	PINGS_OUT = 2,
	WRITE_DEADLINE_MS = 2000,
	INBOX_BYTES = 64,
	BUFFERED_MAX_BYTES = 64 * 1024 * 1024,
	QUICK_AFTER_ANSWERS = 1024,
};

/* One connection and everything that dies with it. */
struct link {
	struct natsio *io;
	natsConnection *nc;
	natsSubscription *quick, *careful; /* "_INBOX.<32 hex digits>.q.*", and "c.": see Inboxes */
	char inbox[INBOX_BYTES];           /* up to their letter */
	size_t inbox_bytes;
	uint32_t answers; /* since a 503, or since it is up */
	char *why;        /* why connecting failed */
	struct natsio_options options;
	char **urls;      /* theirs, its own: servers may be learnt and forgotten while it is being made */
	unsigned version; /* of the options */
	_Atomic int fd;   /* our dup, -1 = none */
	atomic_bool want_read, want_write, attached;
	bool up; /* loop thread: handlers were told */
	ev_io readable, writable;
	bool polling;
	bool full;        /* the socket took not all */
	_Atomic int refs; /* everybody who may still call back: see link_ref */
};

enum letter_kind { LETTER_REPLY, LETTER_CLOSED, LETTER_COMPLAINT, LETTER_SERVERS };

struct letter {
	enum letter_kind kind;
	struct link *link;
	natsMsg *msg; /* LETTER_REPLY */
	char *text;   /* LETTER_COMPLAINT, LETTER_CLOSED */
};

struct mailbox {
	struct letter *letter;
	size_t count, capacity;
};

struct natsio {
	struct loop *loop;
	struct natsio_options options;
	struct natsio_servers servers; /* what the cluster behind the options' URLs has announced */
	unsigned version; /* counts those options that what was made before them must not be used any more */
	struct natsio_handlers handlers;
	struct link *link; /* the current one, or NULL */
	struct loop_timer *reconnect;
	int64_t pause_ms, up_ms;
	int jobs; /* connects and closes under way */
	bool connecting;
	bool closing;
	int64_t deadline_ms; /* no message is written from then on */
	bool holds_messages; /* nats.c does, in its buffer: */
	int64_t by_ms;       /* the earliest of theirs */
	struct natsio_spent spent;
	pthread_t thread; /* the loop's */
	ev_async async;
	pthread_mutex_t lock;
	struct mailbox in, out; /* in: under the lock; out: the loop's, the two are swapped */
	int links;              /* links whose closed callback is still to come, under the lock */
	pthread_cond_t no_links;
};

static void holds_nothing(struct natsio *io)
{
	io->holds_messages = false;
	io->by_ms = INT64_MAX;
}

/* --- links --- */

/* One for the loop, one for the closed callback, one from attach to detach, one for the subscription until its last
 * message is through: each of those runs on a thread of nats.c's that nobody joins. */
static void link_ref(struct link *k)
{
	atomic_fetch_add(&k->refs, 1);
}

static void link_unref(struct link *k)
{
	struct natsio *io = k->io;

	if (atomic_fetch_sub(&k->refs, 1) != 1)
		return;
	free(k->why);
	natsio_servers_free_list(k->urls, k->options.url_count);
	free(k);
	pthread_mutex_lock(&io->lock);
	if (--io->links == 0)
		pthread_cond_signal(&io->no_links);
	pthread_mutex_unlock(&io->lock);
}

static void stop_polling(struct link *k)
{
	int fd = atomic_exchange(&k->fd, -1);

	if (k->polling) {
		ev_io_stop(loop_ev(k->io->loop), &k->readable);
		ev_io_stop(loop_ev(k->io->loop), &k->writable);
		k->polling = false;
	}
	if (fd >= 0)
		close(fd);
}

/* Loop thread: what the adapter's flags ask for. */
static void adjust_polling(struct link *k)
{
	struct ev_loop *ev = loop_ev(k->io->loop);
	int fd = atomic_load(&k->fd);

	if (fd < 0 || !atomic_load(&k->attached)) {
		stop_polling(k);
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

static void adjust_soon(struct link *k)
{
	if (pthread_equal(pthread_self(), k->io->thread))
		adjust_polling(k);
	else
		ev_async_send(loop_ev(k->io->loop), &k->io->async);
}

/* The adapter. Called under the connection's lock, from any thread: no nats.c call, no blocking. */

static natsStatus attach(void **user, void *loop, natsConnection *nc, natsSock socket)
{
	struct link *k = loop;
	int fd = dup(socket);

	(void)nc;
	if (fd < 0)
		return NATS_ERR;
	*user = k;
	link_ref(k); /* until detach */
	atomic_store(&k->fd, fd);
	atomic_store(&k->want_read, true);
	atomic_store(&k->attached, true);
	adjust_soon(k);
	return NATS_OK;
}

static natsStatus want_read(void *user, bool add)
{
	struct link *k = user;

	atomic_store(&k->want_read, add);
	adjust_soon(k);
	return NATS_OK;
}

static natsStatus want_write(void *user, bool add)
{
	struct link *k = user;

	if (atomic_exchange(&k->want_write, add) != add)
		adjust_soon(k);
	return NATS_OK;
}

static natsStatus detach(void *user)
{
	struct link *k = user;

	atomic_store(&k->attached, false);
	adjust_soon(k);
	link_unref(k);
	return NATS_OK;
}

/* --- inboxes ---
 *
 * What comes to the quick one waits in nats.c until the loop takes it, on its own thread: half the price of a message. But nats.c
 * keeps a 503 ("nobody listens") for itself there, and tells no more than that there was one. So it is for publishes, and
 * only while all goes well: requests, what is sent again, and whatever is sent on a new connection or after a 503 until so many
 * answers have come without one, expect theirs at the careful one. A message whose 503 was lost counts as not answered. */

static bool is_quick(const struct link *k, const struct natsio_message *m)
{
	return !m->request && !m->careful && k->answers >= QUICK_AFTER_ANSWERS;
}

/* "<inbox>q.<16 hex digits>" */
static void write_reply(char *out, const struct link *k, const struct natsio_message *m)
{
	out = mempcpy(out, k->inbox, k->inbox_bytes);
	out = mempcpy(out, is_quick(k, m) ? "q." : "c.", 2);
	hex_write_number(out, m->token);
}

static bool read_token(const struct link *k, const char *subject, uint64_t *token)
{
	*token = 0;
	if (strncmp(subject, k->inbox, k->inbox_bytes) != 0)
		return false;
	subject += k->inbox_bytes;
	if (strncmp(subject, "q.", 2) != 0 && strncmp(subject, "c.", 2) != 0)
		return false;
	subject += 2;
	for (int i = 0; i < 16; i++, subject++) {
		int digit = hex_digit(*subject);

		if (digit < 0)
			return false;
		*token = *token << 4 | (uint64_t)digit;
	}
	return *subject == '\0';
}

static void hand_over(struct link *k, natsMsg *msg)
{
	struct natsio_reply reply = { .no_responders = natsMsg_IsNoResponders(msg),
				      .data = natsMsg_GetData(msg),
				      .bytes = (size_t)natsMsg_GetDataLength(msg) };

	k->answers = reply.no_responders ? 0 : k->answers < QUICK_AFTER_ANSWERS ? k->answers + 1 : k->answers;
	if (read_token(k, natsMsg_GetSubject(msg), &reply.token))
		k->io->handlers.reply(k->io->handlers.arg, &reply);
}

static void take_answers(struct link *k)
{
	struct natsio *io = k->io;
	uint64_t left = 0;

	if (k->quick == NULL || natsSubscription_QueuedMsgs(k->quick, &left) != NATS_OK)
		return;
	/* A handler may cut the link, and what is left goes with it. */
	for (; left > 0 && io->link == k; left--) {
		natsMsg *msg = NULL;
		natsStatus s = natsSubscription_NextMsg(&msg, k->quick, 0);

		if (s == NATS_NO_RESPONDERS)
			k->answers = 0;
		else if (s != NATS_OK)
			return;
		else
			hand_over(k, msg);
		natsio_spend(&io->spent, msg);
	}
}

/* --- the socket --- */

static void on_readable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct link *k = w->data;

	(void)ev;
	(void)revents;
	if (k->nc == NULL)
		return;
	natsConnection_ProcessReadEvent(k->nc);
	if (k == k->io->link)
		take_answers(k);
}

/* Then the connection goes, with what it holds. */
static bool too_late(struct natsio *io)
{
	int64_t now = loop_now_ms();

	if (!io->holds_messages || (now < io->deadline_ms && now < io->by_ms))
		return false;
	natsio_cut(io, now >= io->deadline_ms
			       ? "no sign of life of the database: what was to be sent may be somebody else's by now"
			       : "a message waited so long to be written that it might be stored twice: asking first");
	return true;
}

static void on_writable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct link *k = w->data;

	(void)ev;
	(void)revents;
	if (k->nc == NULL)
		return;
	if (k == k->io->link && too_late(k->io))
		return;
	natsConnection_ProcessWriteEvent(k->nc);
	k->full = atomic_load(&k->want_write);
	adjust_polling(k);
	if (k == k->io->link && natsConnection_Buffered(k->nc) <= 0)
		holds_nothing(k->io);
	if (k == k->io->link && FAILPOINT(written))
		natsio_cut(k->io, "failpoint");
}

/* --- the mailbox --- */

static void post(struct natsio *io, struct letter letter)
{
	struct mailbox *in = &io->in;

	pthread_mutex_lock(&io->lock);
	if (in->count == in->capacity) {
		size_t capacity = in->capacity > 0 ? 2 * in->capacity : 256;
		struct letter *grown = realloc(in->letter, capacity * sizeof *grown);

		if (grown == NULL) { /* an answer lost: the message is sent again after its timeout */
			pthread_mutex_unlock(&io->lock);
			natsMsg_Destroy(letter.msg);
			free(letter.text);
			return;
		}
		in->letter = grown;
		in->capacity = capacity;
	}
	in->letter[in->count++] = letter;
	if (in->count == 1)
		ev_async_send(loop_ev(io->loop), &io->async);
	pthread_mutex_unlock(&io->lock);
}

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
	struct link *k = closure;

	(void)nc;
	(void)sub;
	post(k->io, (struct letter){ .kind = LETTER_REPLY, .link = k, .msg = msg });
}

static void on_closed(natsConnection *nc, void *closure)
{
	struct link *k = closure;
	struct natsio *io = k->io;
	const char *text = NULL;

	natsConnection_GetLastError(nc, &text);
	post(io, (struct letter){ .kind = LETTER_CLOSED, .link = k, .text = text != NULL ? strdup(text) : NULL });
	link_unref(k);
}

/* The subscription has delivered its last message. */
static void on_complete(void *closure)
{
	link_unref(closure);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *closure)
{
	struct link *k = closure;
	const char *text = nats_GetLastError(NULL); /* of this error: the connection's may be a later one already */

	(void)nc;
	(void)sub;
	post(k->io,
	     (struct letter){ .kind = LETTER_COMPLAINT,
			      .link = k,
			      .text = strdup(text != NULL && text[0] != '\0' ? text : natsStatus_GetText(status)) });
}

/* The cluster announced another one. */
static void on_discovered(natsConnection *nc, void *closure)
{
	struct link *k = closure;

	(void)nc;
	post(k->io, (struct letter){ .kind = LETTER_SERVERS, .link = k });
}

/* --- connecting, on a thread of its own --- */

static natsStatus set_loop(natsOptions *opts, struct link *k)
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

static void connect_work(void *arg)
{
	struct link *k = arg;
	char error[512] = "";
	natsOptions *opts = natsio_login_options(&k->options, error, sizeof error);

	if (opts != NULL && set_loop(opts, k) == NATS_OK)
		k->nc = natsio_login_connect(&k->options, opts, error, sizeof error);
	natsOptions_Destroy(opts);
	if (k->nc == NULL)
		k->why = strdup(error);
}

/* --- the loop's side --- */

static void connect_begins(void *arg);

static void reconnect_later(struct natsio *io)
{
	int64_t jitter = random() % (io->pause_ms / 2 + 1);

	loop_timer_at(io->reconnect, loop_now_ms() + io->pause_ms / 2 + jitter);
	io->pause_ms = io->pause_ms * 2 < RECONNECT_MAX_MS ? io->pause_ms * 2 : RECONNECT_MAX_MS;
}

static void finish_closing(struct natsio *io)
{
	struct timespec until;

	if (!io->closing || io->jobs > 0)
		return;
	/* A closed callback may still be on its way through nats.c's thread. */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 3;
	pthread_mutex_lock(&io->lock);
	while (io->links > 0 && pthread_cond_timedwait(&io->no_links, &io->lock, &until) == 0)
		;
	if (io->links > 0) {
		pthread_mutex_unlock(&io->lock);
		return; /* somebody in there may still call: rather leak it than free it under his feet */
	}
	pthread_mutex_unlock(&io->lock);
	ev_async_stop(loop_ev(io->loop), &io->async);
	for (size_t i = 0; i < io->in.count; i++) {
		natsMsg_Destroy(io->in.letter[i].msg);
		free(io->in.letter[i].text);
	}
	free(io->in.letter);
	free(io->out.letter);
	natsio_spent_clear(&io->spent);
	natsio_servers_forget(&io->servers);
	pthread_mutex_destroy(&io->lock);
	pthread_cond_destroy(&io->no_links);
	free(io);
}

static void destroy_work(void *arg)
{
	struct link *k = arg;

	/* Closing flushes and joins threads: not on the loop. */
	natsConnection_Destroy(k->nc);
	natsSubscription_Destroy(k->quick);
	natsSubscription_Destroy(k->careful);
}

static void destroy_done(void *arg)
{
	struct link *k = arg;
	struct natsio *io = k->io;

	k->nc = NULL;
	io->jobs--;
	link_unref(k);
	finish_closing(io);
}

/* The link leaves the loop; nats.c's part of it is closed on another thread. */
static void discard(struct link *k)
{
	struct natsio *io = k->io;
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	int fd = atomic_load(&k->fd);

	/* Neither what nats.c holds nor what the kernel holds may be sent any more: this resets the connection. */
	if (fd >= 0 && connect(fd, &nowhere, sizeof nowhere) != 0)
		shutdown(fd, SHUT_RDWR);
	stop_polling(k);
	io->jobs++;
	if (!loop_offload(io->loop, destroy_work, destroy_done, k)) {
		destroy_work(k);
		destroy_done(k);
	}
}

static void link_down(struct natsio *io, const char *why)
{
	struct link *k = io->link;

	io->link = NULL;
	holds_nothing(io);
	discard(k);
	/* Only a link that lasted was a success. */
	if (loop_now_ms() - io->up_ms > RECONNECT_MAX_MS)
		io->pause_ms = RECONNECT_MIN_MS;
	reconnect_later(io);
	io->handlers.down(io->handlers.arg, why != NULL && why[0] != '\0' ? why : "connection closed");
}

static bool subscribe_quick(struct link *k)
{
	char subject[INBOX_BYTES + 4];

	snprintf(subject, sizeof subject, "%sq.*", k->inbox);
	return natsConnection_SubscribeSync(&k->quick, k->nc, subject) == NATS_OK &&
	       natsSubscription_SetPendingLimits(k->quick, -1, -1) == NATS_OK;
}

static bool subscribe_careful(struct link *k)
{
	char subject[INBOX_BYTES + 4];

	snprintf(subject, sizeof subject, "%sc.*", k->inbox);
	if (natsConnection_Subscribe(&k->careful, k->nc, subject, on_message, k) != NATS_OK)
		return false;
	link_ref(k); /* until on_complete */
	/* If it is closed already its end cannot be told: the link stays, a few bytes for safety. */
	return natsSubscription_SetOnCompleteCB(k->careful, on_complete, k) == NATS_OK &&
	       natsSubscription_SetPendingLimits(k->careful, -1, -1) == NATS_OK;
}

static bool subscribe(struct link *k)
{
	unsigned char r[16];

	/* Nobody must be able to guess where acknowledgements are expected. */
	if (getrandom(r, sizeof r, 0) != sizeof r)
		return false;
	memcpy(hex_write(mempcpy(k->inbox, "_INBOX.", 7), r, sizeof r), ".", 2);
	k->inbox_bytes = strlen(k->inbox);
	return subscribe_quick(k) && subscribe_careful(k);
}

static void connect_failed(struct link *k)
{
	struct natsio *io = k->io;

	stop_polling(k);
	if (!io->closing) {
		reconnect_later(io);
		io->handlers.down(io->handlers.arg, k->why != NULL ? k->why : "out of memory");
	}
	link_unref(k); /* its closed callback will not come */
	/* NOLINTNEXTLINE: there were two references; the analyzer does not count them */
	link_unref(k);
	finish_closing(io);
}

static void connect_done(void *arg)
{
	struct link *k = arg;
	struct natsio *io = k->io;
	char url[256] = "";

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
	adjust_polling(k);
	/* Closed already: its letter came before it was ours, and was thrown away. */
	if (natsConnection_IsClosed(k->nc)) {
		link_down(io, "connection closed");
		return;
	}
	if (k->version != io->version) {
		link_down(io, "made with settings that have changed since");
		return;
	}
	if (FAILPOINT(bus_connected) || !subscribe(k)) {
		link_down(io, "cannot subscribe to the inbox");
		return;
	}
	io->up_ms = loop_now_ms();
	natsio_servers_learn(&io->servers, k->nc);
	natsConnection_GetConnectedUrl(k->nc, url, sizeof url);
	io->handlers.up(io->handlers.arg, url, natsConnection_GetMaxPayload(k->nc));
}

static void connect_begins(void *arg)
{
	struct natsio *io = arg;
	struct link *k = calloc(1, sizeof *k);
	size_t url_count;
	char **urls = natsio_servers_list(&io->servers, &io->options, &url_count);

	if (k == NULL || urls == NULL) {
		natsio_servers_free_list(urls, url_count);
		free(k);
		reconnect_later(io);
		return;
	}
	k->io = io;
	k->options = io->options;
	k->options.urls = (const char *const *)urls;
	k->options.url_count = url_count;
	k->urls = urls;
	k->version = io->version;
	atomic_store(&k->fd, -1);
	atomic_store(&k->refs, 2);
	ev_init(&k->readable, on_readable);
	ev_init(&k->writable, on_writable);
	k->readable.data = k->writable.data = k;
	pthread_mutex_lock(&io->lock);
	io->links++;
	pthread_mutex_unlock(&io->lock);
	io->jobs++;
	io->connecting = true;
	if (!loop_offload(io->loop, connect_work, connect_done, k)) {
		connect_work(k);
		connect_done(k);
	}
}

static void deliver(struct natsio *io, const struct letter *letter)
{
	if (io->link == NULL || letter->link != io->link)
		return; /* of a link that is gone: whatever it says, everything it held is unknown already */
	switch (letter->kind) {
	case LETTER_REPLY: hand_over(io->link, letter->msg); break;
	case LETTER_CLOSED: link_down(io, letter->text); break;
	case LETTER_SERVERS: natsio_servers_learn(&io->servers, io->link->nc); break;
	case LETTER_COMPLAINT:
		io->handlers.complaint(io->handlers.arg, letter->text != NULL ? letter->text : "unknown error");
		break;
	}
}

static void on_async(struct ev_loop *ev, ev_async *w, int revents)
{
	struct natsio *io = w->data;
	struct mailbox mail;

	(void)ev;
	(void)revents;
	if (io->link != NULL)
		adjust_polling(io->link);
	pthread_mutex_lock(&io->lock);
	mail = io->in;
	io->in = io->out;
	io->in.count = 0;
	pthread_mutex_unlock(&io->lock);
	for (size_t i = 0; i < mail.count; i++) {
		if (!io->closing)
			deliver(io, &mail.letter[i]);
		natsio_spend(&io->spent, mail.letter[i].msg);
		free(mail.letter[i].text);
	}
	io->out = mail;
}

struct natsio *natsio_open(struct loop *l, const struct natsio_options *options, const struct natsio_handlers *handlers)
{
	struct natsio *io = calloc(1, sizeof *io);

	if (io == NULL)
		return NULL;
	io->loop = l;
	io->options = *options;
	io->handlers = *handlers;
	io->pause_ms = RECONNECT_MIN_MS;
	io->deadline_ms = io->by_ms = INT64_MAX;
	io->thread = pthread_self();
	io->reconnect = loop_timer(l, connect_begins, io);
	if (io->reconnect == NULL || nats_Open(-1) != NATS_OK) {
		free(io);
		return NULL;
	}
	pthread_mutex_init(&io->lock, NULL);
	pthread_cond_init(&io->no_links, NULL);
	ev_async_init(&io->async, on_async);
	io->async.data = io;
	ev_async_start(loop_ev(l), &io->async);
	loop_timer_at(io->reconnect, loop_now_ms());
	return io;
}

void natsio_close(struct natsio *io)
{
	if (io == NULL)
		return;
	io->closing = true;
	loop_timer_at(io->reconnect, INT64_MAX);
	if (io->link != NULL) {
		struct link *k = io->link;

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

void natsio_deadline(struct natsio *io, int64_t at_ms)
{
	io->deadline_ms = at_ms;
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

bool natsio_send(struct natsio *io, const struct natsio_message *m)
{
	struct link *k = io->link;
	char reply[INBOX_BYTES + 20];
	natsMsg *msg = NULL;
	natsStatus s;

	/* The core's window bounds what is in flight; this bounds what a stopped server could make us hold. */
	if (k == NULL || natsConnection_Buffered(k->nc) > BUFFERED_MAX_BYTES)
		return false;
	write_reply(reply, k, m);
	s = natsMsg_Create(&msg, m->subject, reply, m->payload, (int)m->bytes);
	for (size_t i = 0; s == NATS_OK && i < m->header_count; i++)
		s = natsMsgHeader_Set(msg, m->headers[i].name, m->headers[i].value);
	if (s == NATS_OK)
		s = natsConnection_PublishMsg(k->nc, msg);
	if (s == NATS_OK && !m->request) {
		io->holds_messages = true;
		io->by_ms = m->by_ms < io->by_ms ? m->by_ms : io->by_ms;
	}
	natsio_spend(&io->spent, msg);
	return s == NATS_OK;
}
