/* A relay that is awake asks every few seconds, one that sleeps once a minute, and that right behind a fetch: so it costs no
 * wake-up, and next to nothing beside the fetch. */
#include "watch/backlog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "books/codec.h"
#include "books/ledger.h"

enum { MANY = 1000, ASK_SOON_MS = 1000, ASK_MS = 5000, ASK_ASLEEP_MS = 60000, LOOK_US = 250000 };

struct backlog {
	struct pg *pg;
	const struct config *config;
	struct parcel *const *parcels;

	bool asking, heard;
	int64_t asked_ms, asked_us;
	int64_t heard_ms, heard_us; /* what was heard was asked then */
	int64_t moved_ms;           /* the position has certainly been there since */
	struct codec_backlog told;
	uint64_t marks_asked;            /* there had been so many, when it was asked */
	uint64_t rows_asked, rows_heard; /* that had been read, at the same moments; */
	int64_t read_asked, read_heard;  /* and the highest of them */
	uint64_t dead_asked, dead_heard; /* that we made ourselves, when it was asked; when what was heard was asked */

	int64_t looked_us;
	uint64_t looked_dead; /* made by then: another one is told of at once */
	struct backlog_figures figures;
};

struct backlog *backlog_create(struct pg *pg, const struct config *config, struct parcel *const *parcels)
{
	struct backlog *b = calloc(1, sizeof *b);

	if (b != NULL)
		*b = (struct backlog){ .pg = pg, .config = config, .parcels = parcels };
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

static void on_backlog(void *arg, const struct pg_result *r)
{
	struct backlog *b = arg;
	struct codec_backlog told;

	b->asking = false;
	if (pg_error(r) != NULL || pg_rows(r) != 1)
		return; /* whoever cannot be asked this cannot be asked for rows either, and that is told */
	told = codec_backlog(r, b->asked_us);
	/* Nobody can be blamed for standing still while nobody leads, or all are paused. */
	if (!b->heard || told.position != b->told.position || told.holder == 0)
		b->moved_ms = loop_now_ms(); /* until it was answered it may have moved */
	b->heard = true;
	b->heard_ms = b->asked_ms;
	b->heard_us = b->asked_us;
	b->told = told;
	b->dead_heard = b->dead_asked;
	b->rows_heard = b->rows_asked;
	b->read_heard = b->read_asked;
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
	b->marks_asked = s->marks;
	b->rows_asked = s->rows;
	b->read_asked = s->read;
	b->asking = ledger_backlog(b->pg,
				   &(struct ledger_backlog_question){ .above = above,
								      .held = held,
								      .holder = holder,
								      .hot = s->leading && s->resident >= MANY,
								      .missing = s->leading && s->missing > 0,
								      .sagas = b->config->sagas.replies == NULL },
				   on_backlog, b);
}

void backlog_ask(struct backlog *b, const struct delivery_stats *s)
{
	bool quiet = s->pace == PACE_ASLEEP && s->resident + s->parked_ranges == 0 && !s->paused;

	bool surge = s->missing > 0 && s->resident >= MANY; /* it may be of many that have come into view at once */

	ask(b, s, quiet ? ASK_ASLEEP_MS : surge ? ASK_SOON_MS : ASK_MS, s->read, s->parked_ranges > 0, false);
}

void backlog_tick(struct backlog *b, const struct delivery_stats *s)
{
	if (s->leading && (s->resident > 0 || s->paused))
		backlog_ask(b, s);
	else if (s->leading && s->dead > 0 && s->marks != b->marks_asked)
		ask(b, s, ASK_MS, s->read, s->parked_ranges > 0, false);
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

/* Rows among the missing ids that are still to be read: as many as came into view, without those that were read since. Of what was read
 * since then, no more than the ids that were passed can have been above. */
static uint64_t still_missing(const struct backlog *b, const struct delivery_stats *s)
{
	int64_t passed = s->read - b->read_heard, read = (int64_t)(s->rows - b->rows_heard);
	int64_t late = read > passed ? read - passed : 0;

	return s->missing > 0 && b->told.appeared > late ? (uint64_t)(b->told.appeared - late) : 0;
}

const struct backlog_figures *backlog_look(struct backlog *b, const struct delivery_stats *s)
{
	struct backlog_figures *f = &b->figures;
	int64_t now = loop_now_us(), oldest = INT64_MAX, oldest_any = INT64_MAX;

	if (b->looked_us != 0 && now - b->looked_us < LOOK_US && s->dead == b->looked_dead)
		return f;
	b->looked_us = now;
	b->looked_dead = s->dead;
	*f = (struct backlog_figures){ .known = b->heard && s->leading, .hot = "" };
	if (!f->known)
		return f;
	look_at_memory(b, s, &oldest, &oldest_any);
	if (b->told.newest > s->read) {
		f->messages += (uint64_t)(b->told.newest - s->read);
		if (b->told.oldest_us < oldest)
			oldest = b->told.oldest_us;
	}
	if (still_missing(b, s) > 0) {
		f->messages += still_missing(b, s);
		if (b->told.appeared_us < oldest)
			oldest = b->told.appeared_us;
	}
	if (f->messages >= MANY)
		f->hot = b->told.hot;
	if (oldest < oldest_any)
		oldest_any = oldest;
	if (s->parked_ranges > 0 && b->told.held_us < oldest_any)
		oldest_any = b->told.held_us;
	f->oldest_us = oldest != INT64_MAX && oldest < now ? now - oldest : 0;
	f->oldest_any_us = oldest_any != INT64_MAX && oldest_any < now ? now - oldest_any : 0;
	f->dead_letters = b->told.dead_letters + (int64_t)(s->dead - b->dead_heard); /* and those made since */
	f->held_letters = b->told.held_letters;
	f->unclocked = b->told.unclocked;
	return f;
}

const char *backlog_leader(const struct backlog *b)
{
	return b->told.holder != 0 ? b->told.leader : "";
}

/* As it was when it was looked at: of what has happened since nothing is known. */
void backlog_idle_leader(const struct backlog *b, char *out, size_t size)
{
	int64_t stands = b->heard_ms - b->moved_ms, waits = (b->heard_us - b->told.oldest_us) / 1000;
	int64_t patience = b->config->health.stall_after_ms;

	out[0] = '\0';
	if (!b->heard || b->told.holder == 0 || b->told.oldest_us == INT64_MAX || waits <= patience ||
	    stands <= patience)
		return;
	snprintf(out, size,
		 "another relay holds the lead and sends nothing: rows wait for %" PRId64
		 " s, the position has not moved for %" PRId64 " s; the lock is held by PostgreSQL session %" PRId64
		 ", last led by %s: look at its log; if that relay is gone, SELECT pg_terminate_backend(%" PRId64 ")",
		 waits / 1000, stands / 1000, b->told.holder, b->told.leader, b->told.holder);
}
