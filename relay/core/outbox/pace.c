/* The pace of reading. See pace.h for the picture.
 *
 * Why nothing committed waits for the safety poll once we sleep: a producer reads the flag after it owns an
 * xid (the trigger runs after the row, the row's first default draws the xid). The fence is an xid drawn
 * after the flag was set. So a producer at or above the fence has seen the flag and notifies at commit;
 * one below it may not have, but when the horizon has reached the fence all of those have ended, and the
 * poll whose snapshot follows that horizon sees every row they left. Notifications can still be lost (a
 * broken session is noticed; a full queue is not): that is what the safety poll is for. */
#include "core/outbox/pace.h"

#include <assert.h>

#include "core/mutant.h"

enum {
	PAUSE_MIN_MS = 1, /* between polls that found a few rows */
	PAUSE_AWAKE_MAX_MS = 16,
	PAUSE_DROWSY_MAX_MS = 250,
	PAUSE_ASLEEP_MIN_MS = 50, /* while ids are missing */
	WAKE_GAP_MS = 10,         /* two notifications closer than this: polling is cheaper for everybody */
	LONE_SLEEP_MS = 12,       /* a little more than that, so that it does not wake and sleep in turns */
	CROWD_FETCHES = 4,        /* so many with rows, each so close behind the last: many producers at once */
};

static void take_settings(struct pace *p, const struct delivery_settings *s)
{
	p->sleep_after_ms = s->sleep_after_ms;
	p->safety_poll_ms = s->safety_poll_ms;
	p->idle_pause_ms = s->idle_pause_ms > 0 ? s->idle_pause_ms : PAUSE_AWAKE_MAX_MS;
}

void pace_reset(struct pace *p, const struct delivery_settings *s, int64_t now_ms)
{
	*p = (struct pace){
		.mode = PACE_AWAKE,
		.next_ms = now_ms,
		.pause_ms = PAUSE_MIN_MS,
		.row_ms = now_ms,
		.crowd_ms = now_ms,
		.wake_ms = now_ms - 1000,
	};
	take_settings(p, s);
}

void pace_adjust(struct pace *p, const struct delivery_settings *s, int64_t now_ms)
{
	take_settings(p, s);
	/* The poll that is awaited was put off by the old ones. */
	if (p->next_ms > now_ms + p->safety_poll_ms)
		p->next_ms = now_ms + p->safety_poll_ms;
}

bool pace_due(const struct pace *p, int64_t now_ms)
{
	return p->notified || now_ms >= p->next_ms;
}

int64_t pace_deadline(const struct pace *p)
{
	return p->notified ? INT64_MIN : p->next_ms;
}

bool pace_wants_horizon(const struct pace *p)
{
	return p->mode == PACE_DROWSY;
}

void pace_fetching(struct pace *p, bool forward)
{
	p->notified = false;
	p->fenced_fetch = p->mode == PACE_DROWSY && forward;
}

static void announce(struct pace *p, bool asleep)
{
	assert(p->announcement != ANNOUNCEMENT_UNDER_WAY);
	p->announcement = ANNOUNCEMENT_WANTED;
	p->announce_asleep = asleep;
}

static void wake_up(struct pace *p)
{
	if (p->mode == PACE_AWAKE)
		return;
	p->mode = PACE_AWAKE;
	p->fence = 0;
	announce(p, false);
}

static uint32_t grow(uint32_t pause_ms, uint32_t max_ms)
{
	return pause_ms * 2 < max_ms ? pause_ms * 2 : max_ms;
}

/* Rows that come one by one are found at once by their notification, and late by a poll whose pause has grown. But notifying
 * producers commit one after the other: where many were at work at once, they may come back. */
static bool may_sleep(const struct pace *p, int64_t now_ms)
{
	int64_t quiet_ms = now_ms - p->row_ms;

	if (p->sleep_after_ms == SLEEP_NEVER)
		return false;
	return quiet_ms >= p->sleep_after_ms ||
	       (quiet_ms >= LONE_SLEEP_MS && now_ms - p->crowd_ms >= p->sleep_after_ms);
}

static void count_crowd(struct pace *p, bool more, int64_t now_ms)
{
	p->close_fetches = now_ms - p->row_ms < WAKE_GAP_MS ? p->close_fetches + 1 : 0;
	if (more || p->close_fetches >= CROWD_FETCHES)
		p->crowd_ms = now_ms;
}

static void rows_awake(struct pace *p, uint32_t rows, bool more, int64_t now_ms)
{
	p->pause_ms = rows > 0 ? PAUSE_MIN_MS : grow(p->pause_ms, p->idle_pause_ms);
	p->next_ms = more ? now_ms : now_ms + p->pause_ms;
	if (rows == 0 && !more && may_sleep(p, now_ms) && p->announcement != ANNOUNCEMENT_UNDER_WAY)
		announce(p, true);
}

/* Ids that are missing will show up with a notification, or never: the few polls that find out that they never will come
 * at twice the pause each, so that they end at the safety poll even if a transaction stays open for hours. */
static void rows_asleep(struct pace *p, uint32_t rows, bool more, bool missing, int64_t now_ms)
{
	if (more) {
		wake_up(p);
		p->next_ms = now_ms;
		return;
	}
	p->pause_ms = rows > 0 ? PAUSE_ASLEEP_MIN_MS : grow(p->pause_ms, p->safety_poll_ms);
	p->next_ms = now_ms + (missing ? p->pause_ms : p->safety_poll_ms);
}

static void rows_drowsy(struct pace *p, uint32_t rows, bool more, bool missing, uint64_t horizon, int64_t now_ms)
{
	if (more) {
		wake_up(p);
		p->next_ms = now_ms;
		return;
	}
	if ((p->fenced_fetch && horizon >= p->fence) || (MUTANT(drowsy_cut_short) && horizon != 0)) {
		p->mode = PACE_ASLEEP;
		rows_asleep(p, rows, more, missing, now_ms);
		return;
	}
	p->pause_ms = rows > 0 ? PAUSE_MIN_MS : grow(p->pause_ms, PAUSE_DROWSY_MAX_MS);
	p->next_ms = now_ms + p->pause_ms;
}

void pace_rows(struct pace *p, uint32_t rows, bool complete, bool many, bool missing, uint64_t horizon, int64_t now_ms)
{
	bool more = !complete || many;

	assert(p->pause_ms > 0);
	if (rows > 0) {
		count_crowd(p, more, now_ms);
		p->row_ms = now_ms;
	}
	switch (p->mode) {
	case PACE_AWAKE: rows_awake(p, rows, more, now_ms); break;
	case PACE_DROWSY: rows_drowsy(p, rows, more, missing, horizon, now_ms); break;
	case PACE_ASLEEP: rows_asleep(p, rows, more, missing, now_ms); break;
	}
}

void pace_rest(struct pace *p, uint32_t rows, int64_t took_ms, int64_t now_ms)
{
	int64_t rest = took_ms < p->sleep_after_ms ? took_ms : p->sleep_after_ms;

	if (rows == 0 && p->mode != PACE_ASLEEP && p->next_ms < now_ms + 2 * rest)
		p->next_ms = now_ms + 2 * rest;
}

void pace_failed(struct pace *p, uint32_t pause_ms, int64_t now_ms)
{
	p->notified = false;
	p->next_ms = now_ms + pause_ms;
}

void pace_notified(struct pace *p, int64_t now_ms)
{
	p->notified = !MUTANT(deaf);
	/* Notifications make producers queue for one lock at commit: not many in a row. */
	if (now_ms - p->wake_ms < WAKE_GAP_MS) {
		wake_up(p);
		p->next_ms = now_ms;
		p->row_ms = now_ms;
	}
	p->wake_ms = now_ms;
}

bool pace_announce(struct pace *p, bool *asleep)
{
	if (p->announcement != ANNOUNCEMENT_WANTED)
		return false;
	p->announcement = ANNOUNCEMENT_UNDER_WAY;
	*asleep = p->announce_asleep;
	return true;
}

void pace_announced(struct pace *p, bool asleep, uint64_t fence, int64_t now_ms)
{
	p->announcement = ANNOUNCEMENT_NONE;
	if ((!asleep && !MUTANT(sleeps_though_awake)) || p->mode != PACE_AWAKE)
		return;
	p->mode = MUTANT(asleep_at_once) ? PACE_ASLEEP : PACE_DROWSY;
	assert(p->announcement == ANNOUNCEMENT_NONE);
	p->fence = fence;
	p->pause_ms = PAUSE_MIN_MS;
	p->next_ms = now_ms;
}
