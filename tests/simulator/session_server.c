/* What the server does with the queries of a session: the horizon, the rows, the lead, the mark. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static bool wanted(const struct query *q, int64_t id, size_t *range)
{
	while (*range < q->wanted_count && q->wanted[*range].hi < id)
		++*range;
	return (q->forward && id > q->after) || (*range < q->wanted_count && q->wanted[*range].lo <= id);
}

static void row_of(const struct sim *s, const struct fact *f, int64_t id, struct row *r)
{
	*r = (struct row){
		.id = id,
		.xid = s->pg.tx[f->tx].xid,
		.lane = f->key == NO_KEY ? 0 : UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(f->key + 1),
		.bytes = f->bytes,
		.stream = f->stream,
		.defect = f->defect,
		.keyed = f->key != NO_KEY,
		.slot = -1,
	};
}

static bool is_beyond(const struct sim *s, const struct session *x, const struct query *q, int64_t id)
{
	return q->kept && id > q->after && !pg_visible_then(s, s->pg.row[id], x->kept) &&
	       s->flaw != FLAW_kept_reads_now;
}

static void *room_for(size_t rows, size_t size)
{
	void *room = malloc(rows * size);

	if (room == NULL)
		abort();
	return room;
}

static void take_row(struct sim *s, struct session *x, struct query *q, int64_t id)
{
	struct fact *f = FACT_OF(s, id);

	q->message[q->rows] = s->pg.row[id];
	row_of(s, f, id, &q->row[q->rows++]);
	f->read_by = x->serial;
	if (f->first_read == 0)
		f->first_read = q->kept ? x->kept : s->pg.ended;
	if (q->safety_poll)
		check_safety_poll(s, s->pg.row[id]);
}

/* One snapshot: now. Where that is asked for, it ends before the first row that was not in the kept one. It is cut off by rows, by
 * bytes, or sooner. */
static void select_rows(struct sim *s, struct session *x, struct query *q)
{
	uint32_t share = x->shares ? q->limit_bytes / q->limit_rows : UINT32_MAX;
	bool cut = !x->shares && mishap(s, s->plan.chance.fetch_cut);
	uint64_t sooner = cut ? prng_below(&s->dice, q->limit_rows) : q->limit_rows, bytes = 0;
	int64_t id = q->wanted_count > 0 ? q->wanted[0].lo : q->after + 1;
	size_t range = 0;

	if (q->forward && q->after + 1 < id)
		id = q->after + 1;
	q->complete = true;
	q->xmin = q->kept ? x->kept_xmin : pg_xmin(s);
	q->row = room_for(q->limit_rows + 1, sizeof *q->row);
	q->message = room_for(q->limit_rows + 1, sizeof *q->message);
	for (; id <= s->pg.last_id; id++) {
		const struct fact *f = FACT_OF(s, id);

		if (!wanted(q, id, &range) || !pg_visible(s, s->pg.row[id]))
			continue;
		q->beyond = q->rows < sooner && is_beyond(s, x, q, id);
		if (q->beyond || q->rows == sooner || f->bytes > share ||
		    (q->rows > 0 && bytes + f->bytes > q->limit_bytes)) {
			q->complete = s->flaw == FLAW_cut_is_complete && !q->beyond && q->rows < q->limit_rows;
			break;
		}
		bytes += f->bytes;
		take_row(s, x, q, id);
	}
	x->shares = !x->shares && !q->complete;
	/* A LIMIT that is just reached cannot know that there is nothing more. */
	if (q->rows == q->limit_rows && prng_below(&s->dice, 2) == 0)
		q->complete = false;
}

/* The statement that looks at the horizon, before the one that reads. */
static void look_at_horizon(struct sim *s, struct session *x, struct query *q)
{
	if (q->horizon_wanted) {
		bool failed = mishap(s, s->plan.chance.fetch_failed);

		q->horizon = failed ? 0 : pg_xmin(s);
		x->keeps = true;
		x->kept = failed ? 0 : s->pg.ended;
		x->kept_xmin = q->horizon;
	}
	if (q->evidence_wanted && pg_outbox_xmin(s) > q->horizon)
		q->horizon = pg_outbox_xmin(s);
}

static void take_lead(struct sim *s, struct session *x, struct query *q)
{
	if (s->pg.lock_owner != 0)
		return;
	s->pg.lock_owner = x->serial;
	q->leads = true;
	for (int i = 0; i < MAX_STREAMS; i++)
		q->floors[i] = s->pg.epoch == 0 && s->pg.timeline == 0 ? LOW_WATER_NONE : s->pg.floor[i].sequence;
	/* Who led before and is the same process knows that it has stopped. On another timeline somebody else may have led
	 * since. */
	q->others_ms = s->pg.led_on != s->pg.timeline                   ? s->plan.settings.lease_ms
		       : s->pg.leader_life == host_identity(s, x->host) ? 0
									: s->pg.lease_ms;
	if (s->flaw == FLAW_lease_unseen)
		q->others_ms = 0;
	for (size_t i = 0; i < s->pg.exceptions && s->pg.led_on != s->pg.timeline; i++)
		s->pg.exception[i].doubted |= s->pg.exception[i].low_water == LOW_WATER_NONE;
	s->pg.led_on = q->timeline = s->pg.timeline;
	s->pg.leader_life = host_identity(s, x->host);
	s->pg.lease_ms = s->plan.settings.lease_ms;
	q->fence = books_lead(s);
	x->epoch = s->pg.epoch;
	q->position = s->pg.position;
	q->pause = s->pg.pause;
	q->exception = COPY(s->pg.exception, s->pg.exceptions);
	q->exceptions = s->pg.exceptions;
	for (size_t i = 0; i < q->exceptions; i++)
		q->exception[i].decided = FACT_OF(s, q->exception[i].lo)->decision != UNDECIDED;
	trace(s, "pg      session %llu (host %u) takes the lead, position %lld, %zu exceptions",
	      (unsigned long long)x->serial, x->host, (long long)s->pg.position, s->pg.exceptions);
}

void execute_mark(struct sim *s, struct session *x, struct query *q)
{
	if (x->client && q->original != NULL)
		check_mark_unchanged(s, &q->mark, q->original);
	trace(s, "pg      host %u marks position %lld, %zu gone, %zu new, %zu dead, %zu undead", x->host,
	      (long long)q->mark.position, q->mark.gone_count, q->mark.added_count, q->mark.dead_count,
	      q->mark.resolved_count);
	q->fence = s->flaw == FLAW_xmax ? pg_xmax(s) : 0;
	q->failed = !books_mark(s, x->epoch, &q->mark, q->losses);
	if (q->fence == 0)
		q->fence = tx_own(s);
}

/* First steps; false: there is a second one. */
bool execute_first(struct sim *s, struct session *x, struct query *q)
{
	switch (q->kind) {
	case QUERY_LEAD: take_lead(s, x, q); return true;
	case QUERY_FETCH: look_at_horizon(s, x, q); return false;
	case QUERY_MARK: execute_mark(s, x, q); return true;
	case QUERY_ANNOUNCE: s->pg.asleep = q->asleep; return !q->asleep;
	case QUERY_RESIGN: books_resign(s, x->epoch, q->others_ms); return true;
	case QUERY_PAUSE: q->pause = s->pg.pause; return true;
	case QUERY_QUIET: books_quiet(s, x->epoch, q->pause); return true;
	case QUERY_RENEW:
	case QUERY_DECISIONS: return true;
	}
	return true;
}

void execute_second(struct sim *s, struct session *x, struct query *q)
{
	if (q->kind == QUERY_ANNOUNCE)
		q->fence = tx_own(s);
	else if (mishap(s, s->plan.chance.fetch_failed))
		q->failed = true;
	else
		select_rows(s, x, q);
}
