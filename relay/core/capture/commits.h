/* Commit boundaries: which position of the log is settled when all up to an ordinal is.
 *
 * A commit is a place where the log can be taken up again; a change is none (its LSN is not unique, and goes backwards). So a mark
 * goes from commit to commit, and only over whole ones. Where there are more commits in memory than are kept apart, two become
 * one: the later one, which is settled later. */
#ifndef BOXHAUL_CORE_CAPTURE_COMMITS_H
#define BOXHAUL_CORE_CAPTURE_COMMITS_H

#include "core/capture/capture_types.h"

struct commit {
	uint64_t end_lsn;
	int64_t time;
	int64_t ordinal; /* of the last message at or below it */
	uint64_t count;  /* how many came with it, since we lead */
};

struct commits {
	struct commit *ring;
	size_t capacity, first, count;
	struct commit settled; /* the last one of which, and of all before, everything is settled */
};

bool commits_create(struct commits *c, size_t capacity);
void commits_destroy(struct commits *c);

/* All is settled up to this one, and nothing else is known. */
void commits_begin(struct commits *c, struct commit settled);

/* The log brought a commit to its end. Ascending in all parts. */
void commits_add(struct commits *c, struct commit commit);

/* All messages up to this ordinal are settled, itself included. */
void commits_settle(struct commits *c, int64_t ordinal);

/* The same; and no transaction is open, so where no commit is to come, what stands behind the last one is of none: it is at or below that, too. */
void commits_reach(struct commits *c, int64_t ordinal);

#endif
