/* The face of the reader: events in, and the outcomes of the sender taken into the books. What is decided is decided in reading.c,
 * exceptions.c, marking.c and pace.c. */
#include "core/outbox/outbox.h"

#include <assert.h>
#include <stdlib.h>

#include "core/mutant.h"
#include "core/outbox/exceptions.h"
#include "core/outbox/marking.h"
#include "core/outbox/reader_state.h"
#include "core/outbox/reading.h"

struct reader *reader_create(const struct delivery_settings *set, struct notes *notes, struct delivery_stats *stats,
			     struct sender *send)
{
	struct reader *r = calloc(1, sizeof *r);
	size_t capacity = LIMIT_EXCEPTIONS + 8 * (size_t)set->queue_messages;

	if (r == NULL)
		return NULL;
	r->set = set;
	r->notes = notes;
	r->stats = stats;
	r->send = send;
	r->outcomes = sender_outcomes(send);
	if (!book_create(&r->book, capacity) || !reading_create(r, capacity) || !marking_create(r, capacity)) {
		reader_free(r);
		return NULL;
	}
	pace_reset(&r->pace, set, 0);
	return r;
}

void reader_free(struct reader *r)
{
	if (r == NULL)
		return;
	book_destroy(&r->book);
	reading_destroy(r);
	marking_destroy(r);
	free(r);
}

/* --- what happens --- */

void reader_clock(struct reader *r, int64_t now_ms)
{
	assert(now_ms >= r->now_ms);
	r->now_ms = now_ms;
}

void reader_forget(struct reader *r)
{
	reading_forget(r);
	marking_forget(r);
	exceptions_begin(r);
}

void reader_begin(struct reader *r, const struct event *ev)
{
	assert(r->book.count == 0);
	reading_begin(r, ev->leading.position);
	marking_begin(r, ev->leading.position);
	for (size_t i = 0; i + MUTANT(exceptions_unread) < ev->leading.exception_count; i++)
		exceptions_load(r, &ev->leading.exceptions[i], ev->leading.fence);
	exceptions_inherited(r);
	r->predecessor_is_settled = false;
	sender_dead_credit(r->send, marking_dead_letter_room(r));
}

bool reader_rows(struct reader *r, const struct event *ev)
{
	for (size_t i = 0; i < ev->rows.count; i++)
		ev->rows.rows[i].slot = -1;
	if (!r->reading.fetching)
		return false;
	reading_rows(r, ev);
	return true;
}

bool reader_marked(struct reader *r, const struct event *ev)
{
	if (!r->marking.under_way)
		return false;
	marking_marked(r, ev->marked.fence);
	return true;
}

void reader_announced(struct reader *r, const struct event *ev)
{
	pace_announced(&r->pace, ev->announced.asleep, ev->announced.fence, r->now_ms);
}

void reader_notified(struct reader *r)
{
	pace_notified(&r->pace, r->now_ms);
}

void reader_decided(struct reader *r, const struct event *ev)
{
	if (exceptions_decided(r, ev->decided.id, ev->decided.redrive))
		reading_hurry(r, HASTE_WANTED);
}

void reader_adjust(struct reader *r)
{
	if (r->marking.dirty)
		marking_dirty(r);
	pace_adjust(&r->pace, r->set, r->now_ms);
}

void reader_resume(struct reader *r)
{
	reading_hurry(r, HASTE_WANTED);
}

void reader_choose_probes(struct reader *r)
{
	if (exceptions_choose_probes(r))
		reading_hurry(r, HASTE_WANTED);
	holding_probes_chosen(r->send);
}

/* --- outcomes --- */

static void take(struct reader *r, const struct outcome *o)
{
	switch (o->kind) {
	case OUTCOME_SETTLED: exceptions_settled(r, o); break;
	case OUTCOME_DEAD: exceptions_dead(r, o); break;
	case OUTCOME_HELD: exceptions_held(r, o); break;
	case OUTCOME_PARKED: exceptions_parked(r, o); break;
	case OUTCOME_OPEN:
		/* Rows of the fetch under way may not pass what was parked: they are read once more, too. */
		if (o->parked > 0 || r->reading.fetching)
			reading_hurry(r, HASTE_WANTED);
		break;
	case OUTCOME_TRUNCATED:
		marking_low_water_void(r, o->stream);
		exceptions_truncated(r, o->stream);
		break;
	case OUTCOME_FOREIGN: break; /* the stream is shut, or goes on: no ticket has another fate because of it */
	case OUTCOME_FIRST: marking_low_water_first(r, o->stream, o->sequence); break;
	case OUTCOME_INHERITED: exceptions_looked_for(r, o->stream); break;
	}
}

/* What was there when we took the lead is settled: nothing is left that an earlier leader may have sent. It stays so, for an
 * exception at or below the position is never born. */
static bool predecessor_is_settled(const struct reader *r)
{
	int64_t to = r->reading.caught_up_to;

	return r->reading.caught_up && r->marking.position >= to && (r->book.first == NULL || r->book.first->lo > to);
}

void reader_take_outcomes(struct reader *r)
{
	const struct outcome *o;

	while ((o = outcomes_take(r->outcomes)) != NULL)
		take(r, o);
	if (!r->predecessor_is_settled && predecessor_is_settled(r)) {
		r->predecessor_is_settled = true;
		sender_predecessor_settled(r->send);
	}
}

/* --- effects --- */

bool reader_next_announce(struct reader *r, struct effect *f)
{
	if (!pace_announce(&r->pace, &f->announce.asleep))
		return false;
	f->kind = EFFECT_ANNOUNCE;
	return true;
}

/* --- questions --- */

bool reader_awaits_answer(const struct reader *r)
{
	return r->reading.fetching || r->marking.under_way;
}

bool reader_is_under_way(const struct reader *r)
{
	return r->reading.fetching || (!MUTANT(drained_early) && (r->marking.under_way || r->marking.dirty));
}

int64_t reader_read_deadline(const struct reader *r)
{
	return reading_has_appetite(r) ? pace_deadline(&r->pace) : INT64_MAX;
}

/* Asleep we have read all that was committed, and what nobody has committed yet nobody has sent. So with nothing in memory and no
 * exception, all that may stand in a stream is settled. But a dead letter that is redriven may come as a new row with its old id,
 * which is in no doubt here and not asked about. Where no copy of it can be stored (most are refused at their first attempt)
 * none can have been found; else what was found is kept while we lead, for it alone can tell. Dead letters that were made before we
 * led are not thought of: the next leader would not know of ours either. */
static bool found_is_sought(const struct reader *r)
{
	return r->pace.mode != PACE_ASLEEP ||
	       ((memory_oldest(r->send, NULL) != NULL || r->book.count > 0 || r->fates.unconfirmed_dead_letter) &&
		!MUTANT(found_forgotten));
}

void reader_stats(const struct reader *r)
{
	struct delivery_stats *stats = r->stats;

	stats->pace = r->pace.mode;
	stats->position = r->marking.position;
	stats->read = r->reading.read;
	stats->full = r->reading.full;
	stats->exceptions = (uint32_t)r->book.count;
	stats->missing = (uint32_t)r->book.kinds[EXCEPTION_MISSING];
	stats->parked_ranges = (uint32_t)(r->book.kinds[EXCEPTION_PARKED] + r->book.kinds[EXCEPTION_HELD]);
	stats->found_is_sought = found_is_sought(r);
}

void reader_audit(const struct reader *r)
{
	int64_t position = marking_position(r);

	book_audit(&r->book);
	for (struct message *m = memory_oldest(r->send, NULL); m != NULL; m = memory_oldest(r->send, m)) {
		int64_t id = memory_ticket_of(m);
		const struct exception *e = book_find(&r->book, id);

		assert(memory_turn_of(m) != TURN_REGULAR ? e != NULL && e->kind == EXCEPTION_ACTIVE
							 : e == NULL && id > r->marking.position);
		assert(id <= r->reading.read);
	}
	for (const struct exception *e = r->book.first; e != NULL; e = e->next)
		assert(e->hi <= r->reading.read && (e->lo > position || e->hi <= position));
	assert(book_room(&r->book) >= memory_resident(r->send));
}
