/* The trail: an array of marks, which is thinned out when it is full. */
#include "core/inbox/inbox_trail.h"

#include <assert.h>
#include <string.h>

enum { NEWEST = LIMIT_INBOX_TRAIL / 2 }; /* of these all are kept */

static const int64_t MINUTE_NS = 60000000000;

static const struct inbox_mark *newest(const struct inbox_trail *t, uint32_t back)
{
	return &t->mark[t->kept - 1 - back];
}

void inbox_trail_clear(struct inbox_trail *t)
{
	t->kept = 0;
}

/* Where that gains too little, the oldest quarter goes. */
static void thin_out(struct inbox_trail *t)
{
	uint32_t to = 1, drop = LIMIT_INBOX_TRAIL / 4;

	for (uint32_t i = 1; i < t->kept; i++)
		if (t->kept - i <= NEWEST || t->mark[i].time / MINUTE_NS != t->mark[to - 1].time / MINUTE_NS)
			t->mark[to++] = t->mark[i];
	t->kept = to;
	if (t->kept <= LIMIT_INBOX_TRAIL - drop)
		return;
	t->kept -= drop;
	memmove(t->mark, t->mark + drop, t->kept * sizeof t->mark[0]);
}

void inbox_trail_add(struct inbox_trail *t, struct inbox_mark mark)
{
	if (mark.time == 0 || mark.sequence == 0)
		return;
	assert(t->kept == 0 || newest(t, 0)->sequence < mark.sequence);
	if (t->kept == LIMIT_INBOX_TRAIL)
		thin_out(t);
	t->mark[t->kept++] = mark;
}

void inbox_trail_cut(struct inbox_trail *t, uint64_t sequence)
{
	while (t->kept > 0 && newest(t, 0)->sequence > sequence)
		t->kept--;
}

/* It ascends: halve it. */
struct inbox_mark inbox_trail_below(const struct inbox_trail *t, uint64_t sequence)
{
	uint32_t lo = 0, hi = t->kept;

	while (lo < hi) {
		uint32_t back = lo + (hi - lo) / 2;

		if (newest(t, back)->sequence < sequence)
			hi = back;
		else
			lo = back + 1;
	}
	return lo < t->kept ? *newest(t, lo) : (struct inbox_mark){ 0 };
}

void inbox_trail_audit(const struct inbox_trail *t, uint64_t position)
{
	uint64_t above = position + 1;

	for (uint32_t back = 0; back < t->kept; back++) {
		assert(newest(t, back)->sequence < above && newest(t, back)->time != 0);
		above = newest(t, back)->sequence;
	}
}
