/* What is done by the clock, and by whoever leads: looking after lanes that stand, and cleaning up, each in a transaction of its own. An
 * inbox that is idle sends no other query. */
#include <stdio.h>

#include "base/utf8.h"
#include "books/inbox_ledger.h"
#include "run/inbox_room_state.h"

enum {
	WATCH_MIN_MS = 1000,
	WATCH_MAX_MS = 15000,
	CLEAN_MIN_MS = 1000,
	CLEAN_MAX_MS = 60000,
	CLEAN_SAGAS_MS = 600000,
	COUNT_MS = 3000,
	COUNT_IDLE_MS = 30000,
	COUNT_HURRY_MS = 500,
	WELL_MS = 15000, /* longer than a consumer that says nothing is believed in */
	IN_VAIN_MS = 30000
};

static int64_t between(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

/* --- lanes that stand --- */

static void on_watched(void *arg, const struct pg_result *result)
{
	struct inbox_subscription *s = arg;

	s->watching = false;
	if (pg_error(result) == NULL)
		s->standing = (uint32_t)pg_int8(result, 0, 0);
	else
		log_warn(s->room->log, "lanes could not be looked after",
			 KS("subscription", s->room->config->subscriptions[s->index].name),
			 KS("why", pg_error(result)));
}

static void watch(struct inbox_subscription *s, int64_t now)
{
	const struct config_subscription *c = &s->room->config->subscriptions[s->index];

	if (s->watching || now - s->watched_ms < between(c->stuck_after_ms / 4, WATCH_MIN_MS, WATCH_MAX_MS))
		return;
	s->watched_ms = now;
	s->watching = inbox_ledger_watch(s->room->pg, c->name, on_watched, s);
}

/* --- cleaning --- */

static void on_cleaned(void *arg, const struct pg_result *result)
{
	struct inbox_room *r = arg;
	size_t bytes;
	const char *did;

	r->cleaning = false;
	snprintf(r->clean_why, sizeof r->clean_why, "%s", pg_error(result) != NULL ? pg_error(result) : "");
	if (pg_error(result) != NULL) {
		log_warn(r->log, "cleaning up the inbox failed", KS("why", pg_error(result)));
		if (pg_wants_session(result))
			pg_break(r->pg, r->clean_why);
		return;
	}
	did = pg_is_null(result, 0, 0) ? "" : pg_bytes(result, 0, 0, &bytes);
	if (did[0] != '\0')
		log_debug(r->log, "the inbox was cleaned up", KS("did", did));
}

static int64_t clean_pause_ms(const struct inbox_room *r)
{
	int64_t longest = 0;

	for (size_t i = 0; i < r->count; i++)
		if ((int64_t)r->config->subscriptions[i].retention_ms > longest)
			longest = (int64_t)r->config->subscriptions[i].retention_ms;
	return between(longest / 16, CLEAN_MIN_MS, CLEAN_MAX_MS);
}

static void clean(struct inbox_room *r, int64_t now)
{
	if (r->cleaning || now - r->cleaned_ms < clean_pause_ms(r))
		return;
	r->cleaned_ms = now;
	r->cleaning = inbox_ledger_clean(r->pg, on_cleaned, r);
}

/* Also where none are started: what participants remember goes the same way. While there is more of it, once a second. */
static void on_sagas_cleaned(void *arg, const struct pg_result *result)
{
	struct inbox_room *r = arg;

	r->cleaning_sagas = false;
	if (pg_error(result) != NULL)
		log_warn(r->log, "cleaning up sagas failed", KS("why", pg_error(result)));
	else if (pg_int8(result, 0, 0) >= INBOX_CLEAN_SAGAS)
		r->cleaned_sagas_ms = 0;
	/* A clock that sleeps looks now and then: a notification that had no room was left out. */
	if (r->sagas != NULL)
		inbox_sagas_wake(r->sagas);
}

static void clean_sagas(struct inbox_room *r, int64_t now)
{
	int64_t pause = between((int64_t)r->config->sagas.retention_ms / 16, CLEAN_MIN_MS, CLEAN_SAGAS_MS);

	if (r->cleaning_sagas || (r->cleaned_sagas_ms != 0 && now - r->cleaned_sagas_ms < pause))
		return;
	r->cleaned_sagas_ms = now;
	r->cleaning_sagas = inbox_ledger_clean_sagas(r->pg, r->config->sagas.retention_ms, on_sagas_cleaned, r);
}

void inbox_clock_forget(struct inbox_room *r)
{
	r->cleaning = r->cleaning_sagas = false;
	for (size_t i = 0; i < r->count; i++)
		r->subscription[i].watching = r->subscription[i].counting = r->subscription[i].backlog.known = false;
}

/* --- what waits --- */

static void words_of(const struct pg_result *r, int column, char *to, size_t size)
{
	size_t bytes;

	utf8_line(pg_is_null(r, 0, column) ? "" : pg_bytes(r, 0, column, &bytes), to, size);
}

static void on_counted(void *arg, const struct pg_result *r)
{
	struct inbox_subscription *s = arg;
	struct inbox_backlog *b = &s->backlog;

	s->counting = false;
	*b = (struct inbox_backlog){ .known = false };
	if (pg_error(r) != NULL || pg_rows(r) == 0 || pg_is_null(r, 0, 0))
		return; /* asked again before long */
	b->known = true;
	b->waiting = (uint64_t)pg_int8(r, 0, 0);
	b->handled = (uint64_t)pg_int8(r, 0, 1);
	b->oldest_us = pg_is_null(r, 0, 2) ? 0 : pg_int8(r, 0, 2);
	b->parked = (uint64_t)pg_int8(r, 0, 3);
	b->held = (uint64_t)pg_int8(r, 0, 4);
	b->dead_letters = (uint64_t)pg_int8(r, 0, 5);
	b->standing = (uint64_t)pg_int8(r, 0, 6);
	b->blocked_id = pg_is_null(r, 0, 7) ? 0 : pg_int8(r, 0, 7);
	b->blocked_has_key = !pg_is_null(r, 0, 8);
	words_of(r, 8, b->blocked_key, sizeof b->blocked_key);
	words_of(r, 9, b->blocked_state, sizeof b->blocked_state);
	words_of(r, 10, b->blocked_error, sizeof b->blocked_error);
	b->unclocked = pg_is_null(r, 0, 11) ? 0 : (uint64_t)pg_int8(r, 0, 11);
	b->sink = !pg_is_null(r, 0, 12);
	b->applied = b->sink ? (uint64_t)pg_int8(r, 0, 12) : 0;
	b->incomplete = b->sink ? (uint64_t)pg_int8(r, 0, 13) : 0;
	b->missing = b->sink ? (uint64_t)pg_int8(r, 0, 14) : 0;
	b->different = b->sink ? (uint64_t)pg_int8(r, 0, 15) : 0;
	words_of(r, 16, b->different_table, sizeof b->different_table);
	b->unproved = b->sink ? (uint64_t)pg_int8(r, 0, 17) : 0;
	b->proved_us = b->sink && !pg_is_null(r, 0, 18) ? pg_int8(r, 0, 18) : -1;
}

/* Who has an outbox asks with what waits there. */
static bool asks_for_sagas(const struct config *config)
{
	return config->stream_count == 0 && config->sagas.replies == NULL;
}

/* While something comes or waits, every few seconds; else seldom. */
static void count(struct inbox_subscription *s, int64_t now)
{
	const struct config_subscription *c = &s->room->config->subscriptions[s->index];
	bool busy = !s->backlog.known || s->backlog.waiting > 0 || s->rate > 0;

	if (s->counting || now - s->counted_ms < (s->hurry ? COUNT_HURRY_MS : busy ? COUNT_MS : COUNT_IDLE_MS))
		return;
	s->counted_ms = now;
	s->counting = inbox_ledger_figures(s->room->pg, c->name, asks_for_sagas(s->room->config), on_counted, s);
}

/* --- how far behind --- */

/* False: nobody can say how many wait, for no consumer works, or it has not said anything yet. */
static bool nothing_waits(const struct inbox_subscription *s)
{
	const struct inbox_stats *stats = inbox_look(s->core);
	uint64_t pending;

	return stats->state == INBOX_PULLING && inbox_consumer_pending(s->consumer, &pending) && pending == 0 &&
	       stats->queued == 0;
}

/* The last message that was taken was so old then; what waits behind it is younger. While nothing is taken, whatever the reason, the time
 * stands still, and the lag grows: nobody can know whether something came. Somebody else's lead is not ours to tell of. */
static void level(struct inbox_subscription *s, int64_t now)
{
	const struct inbox_books_figures *figures = inbox_books_figures(s->books);
	enum role role = inbox_leader_role(s->room->leader, s->index);
	int64_t taken_ms = now - (figures->lag_us > 0 ? figures->lag_us / 1000 : 0);

	if (role == ROLE_STANDBY)
		s->level_ms = 0;
	else if (role == ROLE_LEADER && (s->level_ms == 0 || nothing_waits(s)))
		s->level_ms = now;
	else if (role == ROLE_LEADER && figures->moves != s->level_moves && taken_ms > s->level_ms)
		s->level_ms = taken_ms;
	s->level_moves = figures->moves;
}

int64_t inbox_clock_lag_us(const struct inbox_subscription *s)
{
	if (s->level_ms == 0)
		return -1;
	return nothing_waits(s) ? 0 : (loop_now_ms() - s->level_ms) * 1000;
}

/* --- once a second --- */

static void measure(struct inbox_subscription *s)
{
	uint64_t taken = inbox_books_figures(s->books)->taken + inbox_books_figures(s->books)->left_out;

	s->rate = taken - s->taken_before;
	s->taken_before = taken;
}

/* A consumer that is refused, gives no answer, or dies each time it was made is made anew for ever: somebody has to be told. One works
 * that has brought something, or has lived for longer than silence is believed in. */
static void judge(struct inbox_subscription *s, int64_t now)
{
	const struct inbox_stats *stats = inbox_look(s->core);
	bool ours = stats->state != INBOX_AWAY && stats->state != INBOX_OFFLINE && stats->state != INBOX_PAUSED &&
		    stats->state != INBOX_STOPPED;
	bool moved = stats->moves != s->moved_before;

	s->moved_before = stats->moves;
	if (stats->state != INBOX_PULLING)
		s->pulling_ms = 0;
	else if (s->pulling_ms == 0)
		s->pulling_ms = now;
	if (!ours || moved || (s->pulling_ms != 0 && now - s->pulling_ms >= WELL_MS))
		s->well_ms = now;
}

bool inbox_clock_in_vain(const struct inbox_subscription *s)
{
	return s->well_ms != 0 && loop_now_ms() - s->well_ms >= IN_VAIN_MS && s->doubt != INBOX_DOUBT_NONE;
}

/* The last subscription is theirs. */
static void tick_sagas(struct inbox_room *r)
{
	struct inbox_subscription *s = &r->subscription[r->count - 1];
	const struct inbox_stats *stats = inbox_look(s->core);
	uint64_t pending;

	inbox_consumer_pending(s->consumer, &pending);
	inbox_sagas_tick(r->sagas, &(struct inbox_sagas_look){
					   .leads = inbox_leader_role(r->leader, s->index) == ROLE_LEADER,
					   .pulls = stats->state == INBOX_PULLING,
					   .pulling_ms = s->pulling_ms,
					   .untaken = pending + stats->queued + stats->in_flight,
					   .counted_ms = s->backlog.known ? s->counted_ms : 0,
					   .unhandled = s->backlog.waiting,
				   });
	s->hurry = inbox_sagas_wants_count(r->sagas);
}

void inbox_clock_tick(struct inbox_room *r)
{
	int64_t now = loop_now_ms();
	bool leads = false;

	inbox_leader_tick(r->leader);
	for (size_t i = 0; i < r->count; i++) {
		measure(&r->subscription[i]);
		judge(&r->subscription[i], now);
		level(&r->subscription[i], now);
		if (inbox_leader_role(r->leader, i) != ROLE_LEADER)
			continue;
		leads = true;
		watch(&r->subscription[i], now);
		count(&r->subscription[i], now);
	}
	if (leads) {
		clean(r, now);
		clean_sagas(r, now);
	}
	if (r->sagas != NULL)
		tick_sagas(r);
}
