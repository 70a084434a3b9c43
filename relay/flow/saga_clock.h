/* The clock of the sagas: whoever takes the answers takes the deadlines too, by calls of boxhaul.saga_tick(). What a saga is, what its
 * deadline means and what comes of it stands in the database (sql/009_saga.sql); here are only calls, and numbers to show.
 *
 *     begun: a session, the settings are told --> while it runs: saga_tick() --ms until the next deadline--> sleep so long, or `tick`
 *                                                    ^                |
 *                                                    |                '-- NULL: no saga is open --> sleep until notified
 *                                                    '--- NOTIFY: the first one was started --------------'
 *
 * Asleep it sends nothing at all, and hears of the first saga all the same, whatever that begins with. saga_start() notifies only a clock
 * that sleeps: a NOTIFY in each would make commits wait for each other. The clock is asleep when saga_tick() says so, and that says so
 * only when no transaction is open that might have started a saga without knowing it; how, stands beside it. A notification that is
 * lost with its session is not missed, for a session begins with a tick.
 *
 * Two clocks do no harm: the row of a saga is locked, and a deadline counts for one attempt, which the first of them raises. */
#ifndef BOXHAUL_FLOW_SAGA_CLOCK_H
#define BOXHAUL_FLOW_SAGA_CLOCK_H

#include <stdbool.h>

#include "base/log.h"
#include "config/config.h"
#include "edge/loop.h"
#include "edge/pg_options.h"
#include "flow/saga_figures.h"
#include "flow/served_session.h"

struct saga_clock;

/* Everything is borrowed; of the settings some may change between two callbacks. It connects to nothing until saga_clock_begin(). NULL when
 * out of memory. */
struct saga_clock *saga_clock_create(struct loop *l, const struct pg_options *login, struct served *served,
				     const struct config *config, struct log *log);
/* NULL is allowed. */
void saga_clock_free(struct saga_clock *c);

/* The answers are taken here from now on, so sagas may be started: the database is told where answers go. Once more: nothing. */
void saga_clock_begin(struct saga_clock *c);
/* They are not taken here any more. */
void saga_clock_end(struct saga_clock *c);

/* Deadlines count from now on, or do not. Once more: nothing. */
void saga_clock_run(struct saga_clock *c, bool runs);

/* Answers were taken: so a saga may be open, or stuck. */
void saga_clock_wake(struct saga_clock *c);

/* The login or the settings have changed. With `why` the session is made anew. */
void saga_clock_use(struct saga_clock *c, const struct pg_options *login, const char *why);

/* --- looking; costs nothing --- */

bool saga_clock_runs(const struct saga_clock *c);
const char *saga_clock_trouble(const struct saga_clock *c); /* why deadlines cannot be taken; "" = they can */
const struct saga_figures *saga_clock_figures(const struct saga_clock *c);

#endif
