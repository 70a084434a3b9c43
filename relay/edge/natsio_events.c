#include "edge/natsio_events.h"

#include <stdlib.h>
#include <time.h>

enum { CLOSE_PATIENCE_S = 3, FIRST_CAPACITY = 256 };

static void on_async(struct ev_loop *ev, ev_async *w, int revents)
{
	struct natsio_events *e = w->data;
	struct natsio_event_list list;

	(void)ev;
	(void)revents;
	e->woken(e->arg);
	pthread_mutex_lock(&e->lock);
	list = e->in;
	e->in = e->out;
	e->in.count = 0;
	pthread_mutex_unlock(&e->lock);
	for (size_t i = 0; i < list.count; i++)
		e->deliver(e->arg, &list.event[i]);
	e->out = list;
}

void natsio_events_open(struct natsio_events *e, struct loop *l, void (*woken)(void *arg),
			void (*deliver)(void *arg, const struct natsio_event *event), void *arg)
{
	*e = (struct natsio_events){
		.loop = l, .thread = pthread_self(), .woken = woken, .deliver = deliver, .arg = arg
	};
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->no_members, NULL);
	ev_async_init(&e->async, on_async);
	e->async.data = e;
	ev_async_start(loop_ev(l), &e->async);
}

static bool wait_for_members(struct natsio_events *e)
{
	struct timespec until;
	bool none;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSE_PATIENCE_S;
	pthread_mutex_lock(&e->lock);
	while (e->members > 0 && pthread_cond_timedwait(&e->no_members, &e->lock, &until) == 0)
		;
	none = e->members == 0;
	pthread_mutex_unlock(&e->lock);
	return none;
}

bool natsio_events_close(struct natsio_events *e)
{
	if (!wait_for_members(e))
		return false;
	ev_async_stop(loop_ev(e->loop), &e->async);
	for (size_t i = 0; i < e->in.count; i++) {
		natsMsg_Destroy(e->in.event[i].msg);
		free(e->in.event[i].text);
	}
	free(e->in.event);
	free(e->out.event);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->no_members);
	return true;
}

/* Under the lock: room for one more. */
static bool make_room(struct natsio_event_list *in)
{
	size_t capacity = in->capacity > 0 ? 2 * in->capacity : FIRST_CAPACITY;
	struct natsio_event *grown;

	if (in->count < in->capacity)
		return true;
	grown = realloc(in->event, capacity * sizeof *grown);
	if (grown == NULL)
		return false;
	in->event = grown;
	in->capacity = capacity;
	return true;
}

void natsio_events_post(struct natsio_events *e, struct natsio_event event)
{
	bool ok;

	pthread_mutex_lock(&e->lock);
	ok = make_room(&e->in);
	if (ok)
		e->in.event[e->in.count++] = event;
	if (ok && e->in.count == 1)
		ev_async_send(loop_ev(e->loop), &e->async);
	pthread_mutex_unlock(&e->lock);
	if (!ok) {
		natsMsg_Destroy(event.msg);
		free(event.text);
	}
}

void natsio_events_wake(struct natsio_events *e)
{
	ev_async_send(loop_ev(e->loop), &e->async);
}

bool natsio_events_on_loop(const struct natsio_events *e)
{
	return pthread_equal(pthread_self(), e->thread) != 0;
}

void natsio_events_join(struct natsio_events *e)
{
	pthread_mutex_lock(&e->lock);
	e->members++;
	pthread_mutex_unlock(&e->lock);
}

void natsio_events_leave(struct natsio_events *e)
{
	pthread_mutex_lock(&e->lock);
	if (--e->members == 0)
		pthread_cond_signal(&e->no_members);
	pthread_mutex_unlock(&e->lock);
}
