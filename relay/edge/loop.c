/* libev, with the one habit this program needs: read all, then step, then flush once before sleeping. */
#include "edge/loop.h"

#include <ev.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { SIGNALS = 4 };

struct loop_timer {
	ev_timer watcher;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	int64_t at_ms;
	struct loop_timer *next;
};

struct handler {
	void (*fn)(void *arg);
	void *arg;
};

struct job {
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
	struct loop *loop;
	pthread_t thread;
	struct job *next;
};

struct loop {
	struct ev_loop *ev;
	ev_prepare prepare;
	struct handler before_sleep;
	ev_signal signal[SIGNALS];
	struct handler on_signal[SIGNALS];
	int signals;
	struct loop_timer *timers;
	ev_async async;
	pthread_mutex_t lock;
	struct job *finished; /* under the lock */
	int jobs;             /* not reaped yet */
};

int64_t loop_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t loop_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void prepared(struct ev_loop *ev, ev_prepare *w, int revents)
{
	struct loop *l = w->data;

	(void)ev;
	(void)revents;
	if (l->before_sleep.fn != NULL)
		l->before_sleep.fn(l->before_sleep.arg);
}

static void reap(struct ev_loop *ev, ev_async *w, int revents)
{
	struct loop *l = w->data;
	struct job *job, *next;

	(void)ev;
	(void)revents;
	pthread_mutex_lock(&l->lock);
	job = l->finished;
	l->finished = NULL;
	pthread_mutex_unlock(&l->lock);
	for (; job != NULL; job = next) {
		next = job->next;
		pthread_join(job->thread, NULL);
		l->jobs--;
		job->done(job->arg);
		free(job);
	}
}

struct loop *loop_create(void)
{
	struct loop *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	l->ev = ev_loop_new(EVFLAG_AUTO);
	if (l->ev == NULL || pthread_mutex_init(&l->lock, NULL) != 0) {
		free(l);
		return NULL;
	}
	ev_prepare_init(&l->prepare, prepared);
	l->prepare.data = l;
	ev_prepare_start(l->ev, &l->prepare);
	ev_async_init(&l->async, reap);
	l->async.data = l;
	ev_async_start(l->ev, &l->async);
	return l;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	l->before_sleep.fn = NULL;
	while (l->jobs > 0)
		ev_run(l->ev, EVRUN_ONCE);
	ev_prepare_stop(l->ev, &l->prepare);
	ev_async_stop(l->ev, &l->async);
	for (int i = 0; i < l->signals; i++)
		ev_signal_stop(l->ev, &l->signal[i]);
	while (l->timers != NULL) {
		struct loop_timer *t = l->timers;

		l->timers = t->next;
		ev_timer_stop(l->ev, &t->watcher);
		free(t);
	}
	ev_loop_destroy(l->ev);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void loop_run(struct loop *l)
{
	ev_run(l->ev, 0);
}

void loop_stop(struct loop *l)
{
	ev_break(l->ev, EVBREAK_ALL);
}

void loop_before_sleep(struct loop *l, void (*fn)(void *arg), void *arg)
{
	l->before_sleep = (struct handler){ .fn = fn, .arg = arg };
}

static void signalled(struct ev_loop *ev, ev_signal *w, int revents)
{
	const struct handler *h = w->data;

	(void)ev;
	(void)revents;
	h->fn(h->arg);
}

void loop_on_signal(struct loop *l, int signal, void (*fn)(void *arg), void *arg)
{
	ev_signal *w = &l->signal[l->signals];

	l->on_signal[l->signals] = (struct handler){ .fn = fn, .arg = arg };
	ev_signal_init(w, signalled, signal);
	w->data = &l->on_signal[l->signals++];
	ev_signal_start(l->ev, w);
}

static void timer_fired(struct ev_loop *ev, ev_timer *w, int revents)
{
	struct loop_timer *t = w->data;

	(void)ev;
	(void)revents;
	t->at_ms = INT64_MAX;
	t->fn(t->arg);
}

struct loop_timer *loop_timer(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct loop_timer *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->loop = l;
	t->fn = fn;
	t->arg = arg;
	t->at_ms = INT64_MAX;
	ev_timer_init(&t->watcher, timer_fired, 0., 0.);
	t->watcher.data = t;
	t->next = l->timers;
	l->timers = t;
	return t;
}

void loop_timer_at(struct loop_timer *t, int64_t at_ms)
{
	int64_t wait_ms = at_ms - loop_now_ms();

	if (at_ms == t->at_ms)
		return;
	t->at_ms = at_ms;
	ev_timer_stop(t->loop->ev, &t->watcher);
	if (at_ms == INT64_MAX)
		return;
	/* libev counts from the beginning of its turn: without this a long turn would shorten the wait. */
	ev_now_update(t->loop->ev);
	ev_timer_set(&t->watcher, wait_ms > 0 ? (double)wait_ms / 1000. : 0., 0.);
	ev_timer_start(t->loop->ev, &t->watcher);
}

static void *run_job(void *arg)
{
	struct job *job = arg;
	struct loop *l = job->loop;

	job->work(job->arg);
	pthread_mutex_lock(&l->lock);
	job->next = l->finished;
	l->finished = job;
	ev_async_send(l->ev, &l->async);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

bool loop_offload(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	struct job *job = calloc(1, sizeof *job);

	if (job == NULL)
		return false;
	*job = (struct job){ .work = work, .done = done, .arg = arg, .loop = l };
	/* The new thread may be reaped before pthread_create() has stored its name: hold the lock over it. */
	pthread_mutex_lock(&l->lock);
	if (pthread_create(&job->thread, NULL, run_job, job) != 0) {
		pthread_mutex_unlock(&l->lock);
		free(job);
		return false;
	}
	pthread_mutex_unlock(&l->lock);
	l->jobs++;
	return true;
}

bool loop_is_busy(const struct loop *l)
{
	return l->jobs > 0;
}

struct ev_loop *loop_ev(struct loop *l)
{
	return l->ev;
}
