/* The books never say more than the truth (G1): what they call settled is stored, or on record as dead, or can
 * never have existed. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "host.h"
#include "world.h"

void check_dead(struct sim *s, const struct dead_letter *d)
{
	const struct fact *f;

	demand(s, d->id >= 1 && d->id <= s->pg.last_id, "dead letter %lld was never drawn", (long long)d->id);
	f = FACT_OF(s, d->id);
	demand(s, f->fate == FATE_COMMITTED, "dead letter %lld is not committed", (long long)d->id);
	demand(s, f->poison || f->defect != 0 || f->decision != UNDECIDED,
	       "%lld is a dead letter without a cause (reason %u)", (long long)d->id, d->reason);
	demand(s,
	       d->held == (s->plan.settings.poison == POISON_HOLD && s->plan.settings.ordering != ORDERING_NONE &&
			   f->key != NO_KEY),
	       "dead letter %lld: its lane is %sheld", (long long)d->id, d->held ? "" : "not ");
}

void check_undead(struct sim *s, int64_t id)
{
	const struct fact *f = FACT_OF(s, id);

	demand(s, f->given_up || f->copies > 0 || f->deleted,
	       "dead letter %lld is forgotten: neither discarded nor stored", (long long)id);
}

void check_reopened(struct sim *s, const struct exception_row *e)
{
	for (int64_t id = e->lo; id <= e->hi && id <= s->pg.last_id; id++)
		demand(s, !s->pg.settled[id], "mark: %lld was settled and is an exception again", (long long)id);
}

/* Stored, and the leader that settles it was told so. That the stream may have lost it since is not ours to know. */
static bool is_stored(const struct sim *s, const struct fact *f)
{
	return f->copies > 0 && (f->told_by[0] == s->pg.lock_owner || f->told_by[1] == s->pg.lock_owner);
}

static void settle(struct sim *s, int64_t id)
{
	const struct fact *f = FACT_OF(s, id);

	demand(s, id <= s->pg.last_id, "G1: the books settle %lld, which nobody has drawn yet", (long long)id);
	demand(s, f->fate != FATE_OPEN || f->rolled_back,
	       "G1: the books settle %lld while its transaction (xid %llu) still runs", (long long)id,
	       (unsigned long long)s->pg.tx[f->tx].xid);
	demand(s, f->fate != FATE_COMMITTED || is_stored(s, f) || f->dead || f->given_up || f->deleted,
	       "G1: the books settle %lld, which is neither stored nor a dead letter", (long long)id);
	/* (With room for so few notes, it may have been dropped.) */
	demand(s,
	       f->fate != FATE_COMMITTED || is_stored(s, f) || f->dead || f->given_up || s->core->limits->notes < 64 ||
		       f->read_by != s->pg.lock_owner || f->vanished_by == s->pg.lock_owner,
	       "G7: %lld was read and is gone, and the books settle it without a word", (long long)id);
	s->pg.settled[id] = true;
}

/* The row of the ledger says: everything of ours above the position is stored above this sequence. */
static void check_ledger(struct sim *s, const struct sent *sent)
{
	demand(s, sent->stream < s->plan.settings.streams && sent->first <= sent->last && sent->last <= s->pg.last_id,
	       "mark: ledger row %lld..%lld, stream %u", (long long)sent->first, (long long)sent->last, sent->stream);
	demand(s, sent->sequence <= s->js.stream[sent->stream].high, "mark: the ledger knows a sequence of the future");
}

/* Where a stream has lost its end, sequences are given once more: what is stored there stands below floors that were right. That is on
 * record when the leader that has noticed it has written a row of the ledger for that stream. */
static bool is_below_by_loss(const struct sim *s, const struct fact *f)
{
	const struct entry *e = log_at(&s->js.stream[f->stream], f->lowest);

	return e != NULL && e->again && s->pg.floor[f->stream].losses < e->losses;
}

static void check_floor(struct sim *s, int64_t id, uint64_t floor)
{
	const struct fact *f = FACT_OF(s, id);

	/* (A prepared transaction whose commit a failover took back is still to come, and was sent before.) */
	demand(s, f->standing == 0 || f->undone || f->deleted || f->lowest > floor || is_below_by_loss(s, f),
	       "G4: %lld is not settled and stored at %llu, not above %llu as the books say", (long long)id,
	       (unsigned long long)f->lowest, (unsigned long long)floor);
}

/* Who takes the lead now finds everything that is stored and not settled above the floors. */
static void check_floors(struct sim *s)
{
	const struct pg *pg = &s->pg;

	for (int64_t id = pg->position + 1; id <= pg->last_id; id++)
		check_floor(s, id, pg->floor[FACT_OF(s, id)->stream].sequence);
	for (size_t i = 0; i < pg->exceptions; i++)
		for (int64_t id = pg->exception[i].lo; id <= pg->exception[i].hi && id <= pg->last_id; id++) {
			const struct exception_row *e = &pg->exception[i];
			bool own = e->low_water != LOW_WATER_NONE && e->stream == FACT_OF(s, id)->stream;

			check_floor(s, id, own ? e->low_water : pg->floor[FACT_OF(s, id)->stream].sequence);
		}
}

void check_marked(struct sim *s, const struct mark *m, const struct id_range *touched, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (int64_t id = touched[i].lo; id <= touched[i].hi; id++)
			if (!books_unsettled(s, id))
				settle(s, id);
	for (size_t i = 0; i < m->dead_count; i++)
		demand(s, !FACT_OF(s, m->dead[i].id)->held || books_unsettled(s, m->dead[i].id),
		       "held dead letter %lld is settled by the books", (long long)m->dead[i].id);
	for (size_t i = 0; i < m->sent_count; i++) {
		check_ledger(s, &m->sent[i]);
		for (size_t j = 0; j < i; j++) /* it is the key of the table: the mark would fail */
			demand(s,
			       m->sent[i].stream != m->sent[j].stream || m->sent[i].first != m->sent[j].first ||
				       m->sent[i].last != m->sent[j].last,
			       "mark: the ledger row %lld..%lld stands in it twice", (long long)m->sent[i].first,
			       (long long)m->sent[i].last);
	}
	check_floors(s);
	demand(s, s->pg.exceptions <= s->core->limits->exceptions + 8 * s->plan.settings.queue_messages,
	       "%zu exceptions", s->pg.exceptions);
}

void check_truncated(struct sim *s, int64_t id)
{
	const struct fact *f = FACT_OF(s, id);

	demand(s, f->fate != FATE_OPEN || f->rolled_back, "G1: %s is truncated while its transaction runs",
	       told(s, s->pg.row[id]));
	demand(s, f->fate != FATE_COMMITTED || (s->pg.settled[id] && (f->copies > 0 || f->dead || f->given_up)),
	       "G1: %s is truncated and not settled", told(s, s->pg.row[id]));
}

static bool same(const void *a, const void *b, size_t count, size_t size)
{
	return count == 0 || memcmp(a, b, count * size) == 0;
}

void check_mark_unchanged(struct sim *s, const struct mark *then, const struct mark *now)
{
	demand(s,
	       then->position == now->position && then->gone_count == now->gone_count &&
		       then->added_count == now->added_count && then->dead_count == now->dead_count &&
		       then->resolved_count == now->resolved_count && then->sent_count == now->sent_count &&
		       same(then->gone, now->gone, now->gone_count, sizeof *now->gone) &&
		       same(then->added, now->added, now->added_count, sizeof *now->added) &&
		       same(then->dead, now->dead, now->dead_count, sizeof *now->dead) &&
		       same(then->resolved, now->resolved, now->resolved_count, sizeof *now->resolved) &&
		       same(then->sent, now->sent, now->sent_count, sizeof *now->sent),
	       "the mark changes while it is under way");
}

/* Keys that wait for an operator. */
static uint32_t held_keys(const struct sim *s)
{
	uint32_t keys = 0;

	for (int64_t m = 1; m <= s->pg.messages; m++)
		if (s->pg.fact[m].dead && s->pg.fact[m].held && s->pg.fact[m].decision == UNDECIDED)
			keys |= UINT32_C(1) << s->pg.fact[m].key;
	return keys;
}

static int64_t first_unsettled(const struct sim *s, bool but_held)
{
	uint32_t keys = but_held ? held_keys(s) : 0;

	for (int64_t m = 1; m <= s->pg.messages; m++) {
		const struct fact *f = &s->pg.fact[m];

		if (f->fate == FATE_COMMITTED && !f->deleted && !s->pg.settled[f->id] &&
		    (f->key == NO_KEY || (keys >> f->key & 1) == 0))
			return m;
	}
	return 0;
}

/* A held letter stays on record until it is stored or given up, and no longer. */
static int64_t first_held(const struct sim *s)
{
	for (int64_t m = 1; m <= s->pg.messages && s->pg.dead > 0; m++)
		if (s->pg.fact[m].dead && s->pg.fact[m].held)
			return m;
	return 0;
}

bool check_settled(struct sim *s, bool but_held)
{
	return first_unsettled(s, but_held) == 0 && (but_held || (s->pg.exceptions == 0 && first_held(s) == 0));
}

void check_explain(struct sim *s, char *text, size_t size)
{
	int64_t m = first_unsettled(s, s->phase == PHASE_HEAL);
	const struct fact *f = &s->pg.fact[m];

	if (m != 0)
		snprintf(text, size,
			 "%s (key %d, stream %u, copies %u%s%s%s) is not settled; position %lld, %zu exceptions",
			 told(s, m), f->key, f->stream, f->copies, f->poison ? ", poison" : "",
			 f->defect ? ", defect" : "", f->dead ? ", dead" : "", (long long)s->pg.position,
			 s->pg.exceptions);
	else if (s->pg.exceptions == 0)
		snprintf(text, size, "dead letter %s is held and nothing is done about it", told(s, first_held(s)));
	else
		snprintf(text, size, "%zu exceptions are left, the first %lld..%lld, kind %d; position %lld",
			 s->pg.exceptions, (long long)s->pg.exception[0].lo, (long long)s->pg.exception[0].hi,
			 (int)s->pg.exception[0].kind, (long long)s->pg.position);
}
