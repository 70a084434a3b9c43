#include "flow/inbox_turns.h"

void inbox_turns_add(struct inbox_turns *t, int lane)
{
	if (lane < 0 || lane >= INBOX_TURNS_LANES || t->is_queued[lane] || t->in_hand[lane])
		return;
	t->queue[(t->first + t->queued++) % INBOX_TURNS_LANES] = lane;
	t->is_queued[lane] = true;
}

static int dequeue(struct inbox_turns *t)
{
	int lane = t->queue[t->first];

	t->first = (t->first + 1) % INBOX_TURNS_LANES;
	t->queued--;
	t->is_queued[lane] = false;
	return lane;
}

int inbox_turns_take(struct inbox_turns *t)
{
	int lane = t->queued > 0 ? dequeue(t) : INBOX_TURNS_NOBODY;

	if (lane != INBOX_TURNS_NOBODY)
		t->in_hand[lane] = true;
	return lane;
}

void inbox_turns_give_back(struct inbox_turns *t, int lane)
{
	t->in_hand[lane] = false;
}

void inbox_turns_clear(struct inbox_turns *t)
{
	while (t->queued > 0)
		dequeue(t);
}
