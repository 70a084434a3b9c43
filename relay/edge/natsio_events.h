/* What nats.c's threads hand over to the loop. For natsio*.c only.
 *
 *     any thread: natsio_events_post() --> queue, ev_async --> loop: deliver()
 *
 * A connection is a member from its making until the last of those threads is done with it: the queue outlives its members. */
#ifndef BOXHAUL_EDGE_NATSIO_EVENTS_H
#define BOXHAUL_EDGE_NATSIO_EVENTS_H

#include <ev.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "edge/loop.h"

struct natsio_link;

enum natsio_event_kind { NATSIO_EVENT_REPLY, NATSIO_EVENT_CLOSED, NATSIO_EVENT_COMPLAINT, NATSIO_EVENT_SERVERS };

struct natsio_event {
	enum natsio_event_kind kind;
	struct natsio_link *link; /* may be gone when it is delivered: to be compared, not to be followed */
	natsMsg *msg;             /* NATSIO_EVENT_REPLY */
	char *text;               /* NATSIO_EVENT_COMPLAINT, NATSIO_EVENT_CLOSED: malloc'ed, or NULL */
};

struct natsio_event_list {
	struct natsio_event *event;
	size_t count, capacity;
};

struct natsio_events {
	struct loop *loop;
	pthread_t thread; /* the loop's */
	ev_async async;
	void (*woken)(void *arg);
	void (*deliver)(void *arg, const struct natsio_event *event);
	void *arg;
	pthread_mutex_t lock;
	struct natsio_event_list in, out; /* in: under the lock; out: the loop's, the two are swapped */
	int members;                      /* under the lock */
	pthread_cond_t no_members;
};

/* On the loop's thread. woken() is called on it after each natsio_events_wake() and natsio_events_post(); then deliver() for every
 * event, whose msg and text are its to free. */
void natsio_events_open(struct natsio_events *e, struct loop *l, void (*woken)(void *arg),
			void (*deliver)(void *arg, const struct natsio_event *event), void *arg);

/* Waits a few seconds for the last member. False: one is left that may still post; nothing was freed then, and nothing may be. */
bool natsio_events_close(struct natsio_events *e);

/* From any thread; takes over msg and text. Out of memory an answer is lost: a message is then sent again after its timeout. */
void natsio_events_post(struct natsio_events *e, struct natsio_event event);

/* From any thread: woken() before long. */
void natsio_events_wake(struct natsio_events *e);

/* Is this the loop's thread? */
bool natsio_events_on_loop(const struct natsio_events *e);

/* A member more; one less, from any thread: it posts nothing after that. */
void natsio_events_join(struct natsio_events *e);
void natsio_events_leave(struct natsio_events *e);

#endif
