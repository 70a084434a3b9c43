/* Mutants: deliberate bugs, to see whether the tests would find a real one. Each stands beside the rule that it breaks:
 *
 *     if (e->fence <= horizon || MUTANT(no_fence))
 *
 * In every build that is shipped MUTANT(name) is the constant false, and nothing is left of it. With -DBOXHAUL_MUTANTS it
 * asks which mutant the test has chosen, so that one program holds them all (tests/mutants). Names and meanings: mutants.def. */
#ifndef BOXHAUL_CORE_MUTANT_H
#define BOXHAUL_CORE_MUTANT_H

#ifdef BOXHAUL_MUTANTS

enum mutant {
	MUTANT_NONE,
#define M(name, finder, meaning) MUTANT_##name,
#include "core/mutants.def"
#undef M
	MUTANTS
};

/* The one that is played. Defined and set by the test program, before the core is created. */
extern enum mutant mutant_played;

#define MUTANT(name) (mutant_played == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
