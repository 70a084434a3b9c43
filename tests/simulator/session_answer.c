/* What a host hears of its questions. */
#include "session.h"

static void answer_lead(struct sim *s, struct host *h, struct query *q)
{
	struct event e = { .kind = EVENT_LEADING };

	if (!q->leads) {
		host_stands_by(s, h);
		return;
	}
	h->timeline = q->timeline;
	e.leading.position = q->position;
	e.leading.fence = q->fence;
	e.leading.asked_ms = q->asked_ms;
	e.leading.exceptions = q->exception;
	e.leading.exception_count = q->exceptions;
	e.leading.low_water = q->floors;
	/* (Whoever led before the one before may still live, too.) */
	if (now_ms(s) + q->others_ms > h->predecessor_until_ms && q->others_ms > 0)
		h->predecessor_until_ms = now_ms(s) + q->others_ms;
	e.leading.predecessor_until_ms = h->predecessor_until_ms;
	e.leading.operator_pause = q->pause;
	host_step(s, h, &e);
}

static void answer_fetch(struct sim *s, struct host *h, struct query *q)
{
	struct event e = { .kind = q->failed ? EVENT_FETCH_FAILED : EVENT_ROWS };

	if (!q->failed) {
		e.rows.rows = q->row;
		e.rows.count = q->rows;
		e.rows.complete = q->complete;
		e.rows.beyond = q->beyond;
		e.rows.horizon = q->horizon;
		e.rows.asked_ms = q->asked_ms;
	}
	host_rows(s, h, &e, q->message, q->xmin);
}

/* Every dead letter somebody has decided about, whatever became of it since. */
static void answer_decisions(struct sim *s, struct host *h)
{
	uint64_t life = h->life;

	for (int64_t id = 1; id <= s->pg.last_id && s->pg.dead > 0; id++) {
		const struct fact *f = FACT_OF(s, id);
		struct event e = { .kind = EVENT_DECIDED };

		if (!f->dead || !f->held || f->decision == UNDECIDED)
			continue;
		e.decided.id = id;
		e.decided.redrive = f->decision == REDRIVE;
		host_step(s, h, &e);
		if (h->life != life || !h->leading || host_is_away(s, h))
			return; /* asked again soon */
	}
}

void session_answer(struct sim *s, struct host *h, struct query *q)
{
	struct event e = { .kind = EVENT_RENEWED };

	switch (q->kind) {
	case QUERY_LEAD: answer_lead(s, h, q); return;
	case QUERY_FETCH: answer_fetch(s, h, q); return;
	case QUERY_MARK:
		if (q->failed) {
			host_session_lost(s, h);
			return;
		}
		e.kind = EVENT_MARKED;
		e.marked.fence = q->fence;
		e.marked.asked_ms = q->asked_ms;
		break;
	case QUERY_ANNOUNCE:
		e.kind = EVENT_ANNOUNCED;
		e.announced.asleep = q->asleep;
		e.announced.fence = q->fence;
		e.announced.asked_ms = q->asked_ms;
		break;
	case QUERY_RENEW: e.renewed.asked_ms = q->asked_ms; break;
	case QUERY_PAUSE:
		if (!h->leading)
			return;
		e.kind = EVENT_PAUSED;
		e.paused.operator_pause = q->pause;
		break;
	case QUERY_QUIET:
	case QUERY_RESIGN: return;
	case QUERY_DECISIONS: answer_decisions(s, h); return;
	}
	host_step(s, h, &e);
}
