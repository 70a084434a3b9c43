/* The event loop: timers, signals, work on other threads. One thread owns everything that decides; what other
 * threads produce reaches it at the end of loop_offload(), or by an ev_async of the edge that owns it. */
#ifndef BOXHAUL_EDGE_LOOP_H
#define BOXHAUL_EDGE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct ev_loop; /* for the other files of edge/ */

/* NULL when out of memory or descriptors. */
struct loop *loop_create(void);

/* Waits for offloaded work that is still under way, then frees. */
void loop_free(struct loop *l);

/* Runs until loop_stop(), which is called on the loop's thread. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* CLOCK_BOOTTIME: monotonic, and it counts suspension. */
int64_t loop_now_ms(void);
int64_t loop_now_us(void); /* the same, for what is shorter than a millisecond */

/* Called at the end of each turn, after everything that was ready has been read and before the loop sleeps. */
void loop_before_sleep(struct loop *l, void (*fn)(void *arg), void *arg);

/* Called on the loop's thread, some time after the signal has come. */
void loop_on_signal(struct loop *l, int signal, void (*fn)(void *arg), void *arg);

/* A one-shot timer, stopped. It belongs to the loop and dies with it. NULL when out of memory. */
struct loop_timer *loop_timer(struct loop *l, void (*fn)(void *arg), void *arg);
/* Fires at `at_ms` (of loop_now_ms; the past means at once); INT64_MAX stops it. */
void loop_timer_at(struct loop_timer *t, int64_t at_ms);

/* Runs work(arg) on a thread of its own, then done(arg) on the loop's thread. False when no thread can be
 * had: nothing is called then. */
bool loop_offload(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* Is there such work that is not done()? */
bool loop_is_busy(const struct loop *l);

/* libev's own, for the edges. */
struct ev_loop *loop_ev(struct loop *l);

#endif
