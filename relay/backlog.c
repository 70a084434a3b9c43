/* A relay that is awake asks every few seconds, one that sleeps once a minute, and that right behind a fetch: so it costs no
 * wake-up, and next to nothing beside the fetch. */
#include "backlog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ledger.h"

enum { ASK_MS = 5000, ASK_ASLEEP_MS = 60000, LOOK_US = 250000 };

/* The columns of ledger_backlog(). */
enum { POSITION, NEWEST, OLDEST, OLDEST_HELD, NOW, LETTERS, HELD_LETTERS, HOLDER, LEADER };

struct backlog {
	struct pg *const *pg;
	const struct config *config;
	struct parcel *const *parcels;

	bool asking, heard;
	int64_t asked_ms, asked_us;
	int64_t heard_ms, heard_us; /* what was heard was asked then */
	int64_t position, moved_ms; /* the position, and since when it has certainly been there */
	int64_t newest;
	int64_t oldest_us, held_us; /* of loop_now_us(): they are there since; INT64_MAX = none */
	int64_t letters, held_letters;
	uint64_t dead_asked, dead_heard; /* that we made ourselves, when it was asked; when what was heard was asked */
	int64_t holder;                  /* 0 = nobody has the lock */
	char leader[256];

	int64_t looked_us;
	struct backlog_figures figures;
};

struct backlog *backlog_create(struct pg *const *pg, const struct config *config, struct parcel *const *parcels)
{
	struct backlog *b = calloc(1, sizeof *b);

	if (b == NULL)
		return NULL;
	b->pg = pg;
	b->config = config;
	b->parcels = parcels;
	return b;
}

void backlog_free(struct backlog *b)
{
	free(b);
}

void backlog_forget(struct backlog *b)
{
	*b = (struct backlog){ .pg = b->pg, .config = b->config, .parcels = b->parcels };
}

/* --- asking --- */

static int64_t since(const struct backlog *b, const struct pg_result *r, int column)
{
	return pg_is_null(r, 0, column) ? INT64_MAX : ledger_since_us(r, 0, column, NOW, b->asked_us);
}

static int64_t number(const struct pg_result *r, int column)
{
	return pg_is_null(r, 0, column) ? 0 : pg_int8(r, 0, column);
}

static void on_backlog(void *arg, const struct pg_result *r)
{
	struct backlog *b = arg;
	size_t n;

	b->asking = false;
	if (pg_error(r) != NULL || pg_rows(r) != 1)
		return; /* whoever cannot be asked this cannot be asked for rows either, and that is told */
	/* Nobody can be blamed for standing still while nobody leads, or all are paused. */
	if (!b->heard || number(r, POSITION) != b->position || pg_is_null(r, 0, HOLDER))
		b->moved_ms = loop_now_ms(); /* until it was answered it may have moved */
	b->heard = true;
	b->heard_ms = b->asked_ms;
	b->heard_us = b->asked_us;
	b->position = number(r, POSITION);
	b->newest = number(r, NEWEST);
	b->oldest_us = since(b, r, OLDEST);
	b->held_us = since(b, r, OLDEST_HELD);
	b->letters = number(r, LETTERS);
	b->dead_heard = b->dead_asked;
	b->held_letters = number(r, HELD_LETTERS);
	b->holder = number(r, HOLDER);
	snprintf(b->leader, sizeof b->leader, "%s", pg_is_null(r, 0, LEADER) ? "?" : pg_bytes(r, 0, LEADER, &n));
}

static void ask(struct backlog *b, const struct delivery_stats *s, int64_t pause_ms, int64_t above, bool held,
		bool holder)
{
	int64_t now = loop_now_ms();

	if (b->asking || (b->asked_ms != 0 && now - b->asked_ms < pause_ms))
		return;
	b->asked_ms = now;
	b->asked_us = loop_now_us();
	b->dead_asked = s->dead;
	b->asking = ledger_backlog(*b->pg, above, held, holder, on_backlog, b);
}

void backlog_ask(struct backlog *b, const struct delivery_stats *s)
{
	bool quiet = s->pace == PACE_ASLEEP && s->resident + s->parked_ranges == 0;

	ask(b, s, quiet ? ASK_ASLEEP_MS : ASK_MS, s->read, s->parked_ranges > 0, false);
}

void backlog_watch(struct backlog *b, const struct delivery_stats *s)
{
	int64_t pause = b->config->health.stall_after_ms / 4;

	ask(b, s, pause < ASK_MS ? pause : ASK_MS, -1, false, true);
}

/* --- looking --- */

/* A probe of something that is held back, or a latecomer: nobody waits behind it who could go. */
static bool is_aside(const struct parcel *p, const struct delivery_stats *s)
{
	return p->id <= s->position || s->stream[p->stream].blocked;
}

static void look_at_memory(struct backlog *b, const struct delivery_stats *s, int64_t *oldest_us,
			   int64_t *oldest_any_us)
{
	struct backlog_figures *f = &b->figures;

	for (size_t slot = 0; slot < b->config->delivery.queue_messages; slot++) {
		const struct parcel *p = b->parcels[slot];

		if (p == NULL)
			continue;
		if (!s->stream[p->stream].blocked) /* else it is a probe of what is held back */
			f->messages++;
		if (p->born_us < *oldest_us && !is_aside(p, s))
			*oldest_us = p->born_us;
		if (p->born_us < *oldest_any_us)
			*oldest_any_us = p->born_us;
		if (f->stream[p->stream].messages++ == 0 || p->read_ms < f->stream[p->stream].since_ms)
			f->stream[p->stream].since_ms = p->read_ms;
	}
}

const struct backlog_figures *backlog_look(struct backlog *b, const struct delivery_stats *s)
{
	struct backlog_figures *f = &b->figures;
	int64_t now = loop_now_us(), oldest = INT64_MAX, oldest_any = INT64_MAX;

	if (b->looked_us != 0 && now - b->looked_us < LOOK_US)
		return f;
	b->looked_us = now;
	*f = (struct backlog_figures){ .known = b->heard && s->leading };
	if (!f->known)
		return f;
	look_at_memory(b, s, &oldest, &oldest_any);
	if (b->newest > s->read) {
		f->messages += (uint64_t)(b->newest - s->read);
		if (b->oldest_us < oldest)
			oldest = b->oldest_us;
	}
	if (oldest < oldest_any)
		oldest_any = oldest;
	if (s->parked_ranges > 0 && b->held_us < oldest_any)
		oldest_any = b->held_us;
	f->oldest_us = oldest != INT64_MAX && oldest < now ? now - oldest : 0;
	f->oldest_any_us = oldest_any != INT64_MAX && oldest_any < now ? now - oldest_any : 0;
	f->dead_letters = b->letters + (int64_t)(s->dead - b->dead_heard); /* and those made since */
	f->held_letters = b->held_letters;
	return f;
}

/* As it was when it was looked at: of what has happened since nothing is known. */
void backlog_idle_leader(const struct backlog *b, char *out, size_t size)
{
	int64_t stands = b->heard_ms - b->moved_ms, waits = (b->heard_us - b->oldest_us) / 1000;
	int64_t patience = b->config->health.stall_after_ms;

	out[0] = '\0';
	if (!b->heard || b->holder == 0 || b->oldest_us == INT64_MAX || waits <= patience || stands <= patience)
		return;
	snprintf(out, size,
		 "another relay holds the lead and sends nothing: rows wait for %" PRId64
		 " s, the position has not moved for %" PRId64 " s; the lock is held by PostgreSQL session %" PRId64
		 ", last led by %s: look at its log; if that relay is gone, SELECT pg_terminate_backend(%" PRId64 ")",
		 waits / 1000, stands / 1000, b->holder, b->leader, b->holder);
}
