#include "bare.h"

#include <nats/nats.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

enum { SILENCE_MS = 30000, REPLY_BYTES = 64 };

struct bare {
	enum bare_mode mode;
	unsigned window, in_flight;
	uint64_t published;
	bool chained;
	uint64_t expected;
	natsConnection *nc;
	natsSubscription *sub;
	char inbox[REPLY_BYTES];
	/* BARE_LOOP: what nats.c wants of its socket. */
	int fd;
	bool want_read, want_write;
};

void bare_die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void check(natsStatus s, const char *what)
{
	if (s != NATS_OK)
		bare_die(what, natsStatus_GetText(s));
}

/* --- nats.c's event loop, as small as it can be --- */

static natsStatus attach(void **data, void *arg, natsConnection *nc, natsSock fd)
{
	struct bare *b = arg;

	(void)nc;
	*data = b;
	b->fd = (int)fd;
	b->want_read = true;
	return NATS_OK;
}

static natsStatus want_read(void *data, bool add)
{
	((struct bare *)data)->want_read = add;
	return NATS_OK;
}

static natsStatus want_write(void *data, bool add)
{
	((struct bare *)data)->want_write = add;
	return NATS_OK;
}

static natsStatus detach(void *data)
{
	((struct bare *)data)->fd = -1;
	return NATS_OK;
}

/* One look at the socket, and at another one (-1: at none). Returns whether there is something to read at that. */
static bool turn(struct bare *b, int other, int timeout_ms)
{
	struct pollfd p[] = { { .fd = b->fd,
				.events = (short)((b->want_read ? POLLIN : 0) | (b->want_write ? POLLOUT : 0)) },
			      { .fd = other, .events = POLLIN } };

	if (poll(p, 2, timeout_ms) < 0)
		bare_die("poll", "failed");
	if ((p[0].revents & POLLOUT) != 0)
		natsConnection_ProcessWriteEvent(b->nc);
	if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
		natsConnection_ProcessReadEvent(b->nc);
	if (natsConnection_IsClosed(b->nc))
		bare_die("nats", "the connection is closed");
	return p[1].revents != 0;
}

/* --- publishing --- */

struct bare *bare_open(const char *url, unsigned window, enum bare_mode mode)
{
	struct bare *b = calloc(1, sizeof *b);
	natsOptions *options = NULL;
	unsigned char r[11];
	char subject[REPLY_BYTES + 2];

	if (b == NULL || getrandom(r, sizeof r, 0) != sizeof r)
		bare_die("start", "no memory or no random numbers");
	b->mode = mode;
	b->window = window;
	check(natsOptions_Create(&options), "options");
	check(natsOptions_SetURL(options, url), "url");
	check(natsOptions_SetAllowReconnect(options, false), "options");
	if (mode == BARE_LOOP) {
		check(natsOptions_SetSendAsap(options, true), "options");
		check(natsOptions_SetEventLoop(options, b, attach, want_read, want_write, detach), "loop");
	}
	check(natsConnection_Connect(&b->nc, options), "connect");
	natsOptions_Destroy(options);
	memcpy(b->inbox, "_INBOX.", 8);
	for (size_t i = 0; i < sizeof r; i++)
		snprintf(b->inbox + 7 + 2 * i, 3, "%02x", r[i]);
	snprintf(subject, sizeof subject, "%s.*", b->inbox);
	check(natsConnection_SubscribeSync(&b->sub, b->nc, subject), "subscribe");
	check(natsSubscription_SetPendingLimits(b->sub, -1, -1), "limits");
	return b;
}

void bare_close(struct bare *b)
{
	natsSubscription_Destroy(b->sub);
	natsConnection_Destroy(b->nc);
	free(b);
}

static void count(struct bare *b, natsMsg *msg)
{
	const char *data = natsMsg_GetData(msg);

	if (natsMsg_IsNoResponders(msg) || strstr(data, "\"error\"") != NULL || strstr(data, "\"duplicate\"") != NULL)
		bare_die("not stored", natsMsg_IsNoResponders(msg) ? "no stream" : data);
	natsMsg_Destroy(msg);
	b->in_flight--;
}

/* Takes the acknowledgements that have come; where none has, waits for one. */
static void take(struct bare *b)
{
	natsMsg *msg = NULL;
	uint64_t queued = 0;

	if (b->mode == BARE_LOOP) {
		check(natsSubscription_QueuedMsgs(b->sub, &queued), "acknowledgements");
		for (; queued == 0; natsSubscription_QueuedMsgs(b->sub, &queued))
			turn(b, -1, SILENCE_MS);
	} else {
		check(natsSubscription_NextMsg(&msg, b->sub, SILENCE_MS), "waiting for an acknowledgement");
		count(b, msg);
		check(natsSubscription_QueuedMsgs(b->sub, &queued), "acknowledgements");
	}
	for (; queued > 0; queued--) {
		check(natsSubscription_NextMsg(&msg, b->sub, SILENCE_MS), "acknowledgement");
		count(b, msg);
	}
}

void bare_wait_for(struct bare *b, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (b->mode == BARE_THREADS) { /* nats.c's own threads write */
		if (poll(&p, 1, -1) < 0)
			bare_die("poll", "failed");
		return;
	}
	while (!turn(b, fd, -1))
		;
}

void bare_publish(struct bare *b, const char *subject, const char *message_id, const char *key, const void *payload,
		  size_t bytes)
{
	char reply[REPLY_BYTES + 24];
	natsMsg *msg = NULL;

	while (b->in_flight >= b->window)
		take(b);
	snprintf(reply, sizeof reply, "%s.%016llx", b->inbox, (unsigned long long)++b->published);
	check(natsMsg_Create(&msg, subject, reply, payload, (int)bytes), "message");
	check(natsMsgHeader_Set(msg, "Nats-Msg-Id", message_id), "header");
	if (key != NULL)
		check(natsMsgHeader_Set(msg, "Boxhaul-Key", key), "header");
	if (b->chained) {
		char expected[24];

		snprintf(expected, sizeof expected, "%llu", (unsigned long long)b->expected++);
		check(natsMsgHeader_Set(msg, "Nats-Expected-Last-Sequence", expected), "header");
	}
	check(natsConnection_PublishMsg(b->nc, msg), "publish");
	natsMsg_Destroy(msg);
	b->in_flight++;
}

void bare_chain(struct bare *b, uint64_t last)
{
	b->chained = true;
	b->expected = last;
}

void bare_settle(struct bare *b)
{
	while (b->in_flight > 0)
		take(b);
}

/* --- the command line, the clocks --- */

const char *bare_word(int argc, char **argv, const char *name, const char *otherwise)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0)
			return argv[i + 1];
	if (otherwise == NULL)
		bare_die("missing option", name);
	return otherwise;
}

long bare_number(int argc, char **argv, const char *name, long otherwise)
{
	char fallback[24];

	snprintf(fallback, sizeof fallback, "%ld", otherwise);
	return strtol(bare_word(argc, argv, name, fallback), NULL, 10);
}

enum bare_mode bare_mode_word(int argc, char **argv)
{
	return strcmp(bare_word(argc, argv, "mode", "loop"), "threads") == 0 ? BARE_THREADS : BARE_LOOP;
}

int64_t bare_cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * (int64_t)1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

int64_t bare_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t)1000000 + t.tv_nsec / 1000;
}
