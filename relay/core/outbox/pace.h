/* When to look for rows: busy polling while there are rows, an announced sleep when there are none.
 *
 *     AWAKE --nothing for a while: announce--> DROWSY --all who could not know have ended--> ASLEEP
 *       ^                                        |                                             |
 *       +---------- many rows ------------------+---------------- many wake-ups -------------+
 *
 * AWAKE   producers do not notify; polls with a growing pause. Sleeps sooner where rows come one by one.
 * DROWSY  producers that begin now notify; earlier ones may not: polls until all of them have ended.
 * ASLEEP  every commit notifies; no query but the safety poll, which finds everything alone.
 */
#ifndef BOXHAUL_CORE_OUTBOX_PACE_H
#define BOXHAUL_CORE_OUTBOX_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vocabulary.h"

struct pace {
	enum pace_mode mode;
	uint32_t sleep_after_ms, safety_poll_ms, idle_pause_ms;
	int64_t next_ms; /* the next poll */
	uint32_t pause_ms;
	int64_t row_ms;         /* the last row */
	uint32_t close_fetches; /* in a row, with rows, each close behind the one before */
	int64_t crowd_ms;       /* when many producers were last at work at once */
	int64_t wake_ms;        /* the last notification */
	bool notified;          /* since the last fetch was sent */
	enum { ANNOUNCEMENT_NONE, ANNOUNCEMENT_WANTED, ANNOUNCEMENT_UNDER_WAY } announcement;
	bool announce_asleep; /* what it says */
	uint64_t fence;       /* DROWSY: whoever draws an xid from this on has seen the flag */
	bool fenced_fetch;    /* the fetch under way was sent after the fence was known */
};

/* We lead: awake, and the next poll is now. */
void pace_reset(struct pace *p, const struct delivery_settings *s, int64_t now_ms);

/* The settings are others. */
void pace_adjust(struct pace *p, const struct delivery_settings *s, int64_t now_ms);

/* Is it time for a poll; and when will it be? INT64_MIN: at once. */
bool pace_due(const struct pace *p, int64_t now_ms);
int64_t pace_deadline(const struct pace *p);

/* Must a fetch bring a horizon, so that we can fall asleep? */
bool pace_wants_horizon(const struct pace *p);

/* A fetch is sent; forward: also for what is new. */
void pace_fetching(struct pace *p, bool forward);

/* The answer to a fetch: `rows` new ones; `many`: likely more behind them; `missing`: some ids still are. */
void pace_rows(struct pace *p, uint32_t rows, bool complete, bool many, bool missing, uint64_t horizon, int64_t now_ms);

/* A poll that took long and brought nothing: rest for twice as long. Many missing ids make a poll costly, and a
 * transaction that stays open for hours must not keep the database busy. */
void pace_rest(struct pace *p, uint32_t rows, int64_t took_ms, int64_t now_ms);

/* A fetch failed, or there was nothing to ask for: the next one after this pause. */
void pace_failed(struct pace *p, uint32_t pause_ms, int64_t now_ms);

/* The database says that there may be rows. */
void pace_notified(struct pace *p, int64_t now_ms);

/* Is there something to announce? Then it is under way. */
bool pace_announce(struct pace *p, bool *asleep);

/* It came through. */
void pace_announced(struct pace *p, bool asleep, uint64_t fence, int64_t now_ms);

#endif
