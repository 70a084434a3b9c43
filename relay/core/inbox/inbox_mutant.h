/* Mutants of the inbox: deliberate bugs, to see whether the tests would find a real one. Each stands beside the rule
 * that it breaks:
 *
 *     if (sequence != expected && !MUTANT(hole_ignored))
 *
 * In every build that is shipped MUTANT(name) is the constant false, and nothing is left of it. With -DBOXHAUL_MUTANTS
 * it asks which mutant the test has chosen. Names and meanings: mutants.def. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_MUTANT_H
#define BOXHAUL_CORE_INBOX_INBOX_MUTANT_H

#ifdef BOXHAUL_MUTANTS

enum inbox_mutant {
	INBOX_MUTANT_NONE,
#define M(name, finder, meaning) INBOX_MUTANT_##name,
#include "core/inbox/mutants.def"
#undef M
	INBOX_MUTANTS
};

/* The one that is played. Defined and set by the test program, before the core is created. */
extern enum inbox_mutant inbox_mutant_played;

#define MUTANT(name) (inbox_mutant_played == INBOX_MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
