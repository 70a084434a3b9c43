/* What the books of a capture that is live hold, on its way to who leads it; and what a promotion puts into them. */
#ifndef BOXHAUL_FLOW_CAPTURE_UPKEEP_BOOKS_H
#define BOXHAUL_FLOW_CAPTURE_UPKEEP_BOOKS_H

#include "flow/capture_upkeep_steps.h"

/* Nobody else uses the slot: tables, what is carried, and the position are read, in this order; then live() is called. A step. */
void capture_upkeep_books_give(struct capture_upkeep *u);

/* Verify passes were asked for: the tables are read, and verify() is called. A step. */
void capture_upkeep_books_passes(struct capture_upkeep *u);

/* capture_upkeep_forked(). No step: it is told beside one. */
void capture_upkeep_books_forked(struct capture_upkeep *u, uint64_t fork, const char *phantom);

#endif
