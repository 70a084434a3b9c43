/* Whose turn it is: the lanes of a subscription that have something to hand out, in the order in which they came; and those that are in
 * hand, which have no turn. */
#ifndef BOXHAUL_FLOW_INBOX_TURNS_H
#define BOXHAUL_FLOW_INBOX_TURNS_H

#include <stdbool.h>
#include <stddef.h>

enum { INBOX_TURNS_LANES = 256, INBOX_TURNS_NOBODY = -1 };

/* All zero is empty. */
struct inbox_turns {
	int queue[INBOX_TURNS_LANES]; /* a ring */
	size_t first, queued;
	bool is_queued[INBOX_TURNS_LANES], in_hand[INBOX_TURNS_LANES];
};

/* Once, however often it is added; not at all while it is in hand. */
void inbox_turns_add(struct inbox_turns *t, int lane);

/* The next lane, in hand from now on; INBOX_TURNS_NOBODY: there is none. */
int inbox_turns_take(struct inbox_turns *t);

/* It is in hand no more. */
void inbox_turns_give_back(struct inbox_turns *t, int lane);

/* Nobody waits for a turn any more. */
void inbox_turns_clear(struct inbox_turns *t);

#endif
