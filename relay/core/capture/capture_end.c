#include "core/capture/capture_end.h"

#include "core/capture/capture_mutant.h"

void capture_end_begin(struct capture_end *e, const struct stream_end *books)
{
	*e = (struct capture_end){ .proof = *books };
}

/* --- looks --- */

uint64_t capture_end_looks(struct capture_end *e)
{
	e->sought = e->proof;
	return e->sought.sequence;
}

static bool differ(int64_t a, int64_t b)
{
	return a != 0 && b != 0 && a != b;
}

static enum capture_lost_why lost_why(const struct stream_end *sought, const struct event *ev)
{
	if (sought->sequence == 0)
		return CAPTURE_LOST_UNTOLD;
	if (differ(sought->created_ns, ev->lookback.created_ns) && !MUTANT(end_of_another))
		return CAPTURE_LOST_ANEW;
	if (ev->lookback.last < sought->sequence && !MUTANT(end_below))
		return CAPTURE_LOST_END;
	if (differ(sought->time_ns, ev->lookback.marked_ns) && !MUTANT(end_regrown))
		return CAPTURE_LOST_REGROWN;
	return CAPTURE_LOST_UNTOLD;
}

bool capture_end_looked(struct capture_end *e, const struct event *ev)
{
	enum capture_lost_why why = lost_why(&e->sought, ev);

	e->created_ns = ev->lookback.created_ns;
	if (why == CAPTURE_LOST_UNTOLD)
		return false;
	e->lost = (struct capture_lost){ .why = why, .marked = e->sought.sequence, .last = ev->lookback.last };
	return true;
}

/* --- marks --- */

static void tell(struct capture_end *e, int64_t time_ns)
{
	e->state = END_TOLD;
	e->next.time_ns = time_ns;
	if (time_ns != 0 || e->proof.time_ns == 0)
		e->proof = e->next;
}

/* Before a look, or where nothing was stored since, what is on record is all that is known. */
static bool is_on_record(const struct capture_end *e, uint64_t sequence)
{
	return sequence < e->proof.sequence || (sequence == e->proof.sequence && e->proof.time_ns != 0);
}

bool capture_end_asks(struct capture_end *e, uint64_t sequence, int64_t ask_until_ms)
{
	if (e->state != END_OPEN)
		return false;
	e->state = END_ASKED;
	e->next = (struct stream_end){ .sequence = sequence, .created_ns = e->created_ns };
	e->by_ms = ask_until_ms;
	if (is_on_record(e, sequence)) {
		e->next = e->proof;
		e->state = END_TOLD;
	} else if (sequence == 0 || ask_until_ms == 0) {
		tell(e, 0);
	}
	return e->state == END_ASKED;
}

void capture_end_told(struct capture_end *e, uint64_t sequence, int64_t time_ns)
{
	if (e->state == END_ASKED && sequence == e->next.sequence)
		tell(e, time_ns);
}

void capture_end_interrupted(struct capture_end *e)
{
	if (e->state == END_ASKED)
		tell(e, 0);
}

struct stream_end capture_end_take(struct capture_end *e)
{
	e->state = END_OPEN;
	return e->next;
}
