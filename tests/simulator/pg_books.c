/* The books: position, exceptions, dead letters. What sql/004_books.sql does, and nothing cleverer. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "host.h"
#include "world.h"

uint64_t books_lead(struct sim *s)
{
	s->pg.epoch++;
	s->pg.asleep = false;
	return tx_own(s);
}

void books_resign(struct sim *s, uint64_t epoch, int64_t others_ms)
{
	if (epoch == s->pg.epoch)
		s->pg.lease_ms = others_ms;
}

/* The ledger's newest row of each stream, by the ids it covers. */
static void note_floor(struct sim *s, const struct sent *sent, const uint32_t *losses)
{
	if (sent->last < s->pg.floor[sent->stream].last_id)
		return;
	s->pg.floor[sent->stream].losses = losses[sent->stream];
	s->pg.floor[sent->stream].sequence = sent->sequence;
	s->pg.floor[sent->stream].last_id = sent->last;
}

/* The first exception with hi >= id. */
static size_t from(const struct pg *pg, int64_t id)
{
	size_t lo = 0, hi = pg->exceptions;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (pg->exception[mid].hi < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool books_unsettled(const struct sim *s, int64_t id)
{
	size_t at = from(&s->pg, id);

	return id > s->pg.position || (at < s->pg.exceptions && s->pg.exception[at].lo <= id);
}

static void insert(struct sim *s, const struct exception_row *e)
{
	struct pg *pg = &s->pg;
	size_t at = from(pg, e->lo);

	demand(s, e->lo <= e->hi, "mark: exception %lld..%lld is upside down", (long long)e->lo, (long long)e->hi);
	demand(s, e->lo >= 1 && e->hi <= pg->position, "mark: exception %lld..%lld is above the position %lld",
	       (long long)e->lo, (long long)e->hi, (long long)pg->position);
	demand(s, at == pg->exceptions || pg->exception[at].lo > e->hi,
	       "mark: exceptions %lld..%lld and %lld..%lld overlap", (long long)e->lo, (long long)e->hi,
	       (long long)pg->exception[at].lo, (long long)pg->exception[at].hi);
	if (pg->exceptions == pg->exceptions_size) {
		pg->exceptions_size = pg->exceptions_size ? 2 * pg->exceptions_size : 64;
		pg->exception = realloc(pg->exception, pg->exceptions_size * sizeof *pg->exception);
		if (pg->exception == NULL)
			abort();
	}
	memmove(&pg->exception[at + 1], &pg->exception[at], (pg->exceptions - at) * sizeof *pg->exception);
	pg->exception[at] = *e;
	pg->exceptions++;
}

static struct id_range take_out(struct sim *s, int64_t lo)
{
	struct pg *pg = &s->pg;
	size_t at = from(pg, lo);
	struct id_range was;

	demand(s, at < pg->exceptions && pg->exception[at].lo == lo, "mark: there is no exception at %lld to delete",
	       (long long)lo);
	was = (struct id_range){ lo, pg->exception[at].hi };
	memmove(&pg->exception[at], &pg->exception[at + 1], (--pg->exceptions - at) * sizeof *pg->exception);
	return was;
}

static void bury(struct sim *s, const struct dead_letter *d)
{
	struct fact *f = FACT_OF(s, d->id);

	check_dead(s, d);
	s->pg.dead += !f->dead;
	f->dead = f->was_dead = true;
	f->held = d->held;
	f->decision = UNDECIDED;
	if (d->held)
		hosts_ask_operator(s, s->pg.row[d->id]);
}

static void unbury(struct sim *s, int64_t id)
{
	struct fact *f = FACT_OF(s, id);

	check_undead(s, id);
	s->pg.dead -= f->dead;
	f->dead = f->held = false;
}

bool books_mark(struct sim *s, uint64_t epoch, const struct mark *m, const uint32_t *losses)
{
	struct pg *pg = &s->pg;
	struct id_range *touched;
	size_t n = 0;

	if (epoch != pg->epoch)
		return false;
	demand(s, m->from == pg->position, "mark: the position is %lld, not %lld", (long long)pg->position,
	       (long long)m->from);
	demand(s, m->position >= pg->position, "mark: the position goes back from %lld to %lld",
	       (long long)pg->position, (long long)m->position);
	touched = calloc(m->gone_count + 1, sizeof *touched);
	if (touched == NULL)
		abort();
	touched[n++] = (struct id_range){ pg->position + 1, m->position };
	pg->position = m->position;
	for (size_t i = 0; i < m->gone_count; i++)
		touched[n++] = take_out(s, m->gone[i]);
	for (size_t i = 0; i < m->added_count; i++) {
		check_reopened(s, &m->added[i]);
		insert(s, &m->added[i]);
	}
	for (size_t i = 0; i < m->dead_count; i++) {
		for (size_t j = 0; j < i; j++) /* one INSERT ... ON CONFLICT DO UPDATE writes no row twice */
			demand(s, m->dead[j].id != m->dead[i].id, "mark: %lld is a dead letter twice",
			       (long long)m->dead[i].id);
		bury(s, &m->dead[i]);
	}
	for (size_t i = 0; i < m->resolved_count; i++)
		unbury(s, m->resolved[i]);
	for (size_t i = 0; i < m->sent_count; i++)
		note_floor(s, &m->sent[i], losses);
	check_marked(s, m, touched, n);
	free(touched);
	return true;
}

void books_decide(struct sim *s, int64_t message, enum decision what)
{
	struct fact *f = &s->pg.fact[message];

	f->decision = what;
	if (what == DISCARD) {
		f->given_up = f->was_given_up = true;
	} else if (healed(s) || prng_below(&s->dice, 4) != 0) {
		f->poison = false; /* the operator mended what made it poison, or thinks so */
		f->defect = 0;
	}
	trace(s, "pg      operator: %s %s", what == REDRIVE ? "redrive" : "discard", told(s, message));
	hosts_notify(s, NOTIFY_DECIDED);
}

void books_pause(struct sim *s, bool on)
{
	if ((s->pg.pause != 0) == on)
		return;
	s->pg.pause = on ? ++s->pg.pauses : 0;
	s->pg.quiet = false;
	trace(s, "pg      operator: %s", on ? "pause" : "resume");
	hosts_notify(s, NOTIFY_PAUSED);
}

void books_quiet(struct sim *s, uint64_t epoch, uint64_t pause)
{
	if (epoch == s->pg.epoch && pause == s->pg.pause)
		s->pg.quiet = true;
}
