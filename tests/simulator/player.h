/* A program that plays seeds, each a world of its own: its command line, the seeds one after the other, and what is told of one
 * that fails. It is played again and again with less of everything, as long as it fails in the same way; then its story is told.
 *
 *     --seeds N [--from S] [--verbose]        N seeds, one line at the end; --verbose: the faults by kind before it
 *     --seed S [--trace]                      one seed, its whole story
 *     --as-it-is                              a violation is told without a try to make it smaller
 *
 * Smaller (what a failing seed was shrunk to):
 *     --only KIND,...  --without KIND,...     these kinds of faults, or all but these; "none" is none
 *     --faults-until N                        only the first N faults
 *     --rows N, ...                           at most so many; which, each world knows
 *     --dice N                                the same plan with other dice
 *
 * A flawed world, in which some seed must find out what the design warns of:
 *     --flaw NAME; --flaws lists them
 * A flawed core, where the program was built with -DBOXHAUL_MUTANTS:
 *     --mutant NAME; --mutants lists them
 */
#ifndef SIM_PLAYER_H
#define SIM_PLAYER_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "overrides.h"

/* Something of which a seed may have less. */
struct player_size {
	const char *option;  /* "--rows"; the last one has none */
	size_t offset;       /* in struct overrides */
	const uint32_t *now; /* how many the seed that was run last has */
};

/* What it knows of its world. */
struct player {
	const char *program; /* "tests/sim" */
	bool can_be_tight;   /* --tight: the core with very small limits in every seed */
	const struct player_size *sizes;
	int faults, flaws; /* 64 at most */
	const char *(*fault_name)(int fault);
	const char *const *flaw_name, *const *flaw_meaning; /* from 1 on */
	/* NULL: there is no core that could have one. */
	bool (*mutant_play)(const char *name);
	void (*mutant_list)(void);

	/* Plays a seed; flaw 0 is none. False: a promise was broken. */
	bool (*run)(uint64_t seed, const struct overrides *o, int flaw, bool tracing, bool loud);
	/* Of the seed that was run last: its plan is told; what the world counts, but for its faults, is added to the sum. Then that is
	 * told. */
	void (*tell_plan)(void);
	void (*add_up)(void);
	void (*tell_sum)(void);

	/* The same seed: what it did, which promise it broke, and where that leads. */
	const uint64_t *seed, *steps, *faults_done, *of_kind;
	char *violation;
	size_t violation_bytes;
	jmp_buf *violated;
};

/* The whole program: its exit status. */
int player_main(const struct player *p, int argc, char **argv);

#endif
