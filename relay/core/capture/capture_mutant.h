/* Mutants of the capture: deliberate bugs, to see whether the tests would find a real one. Each stands beside the rule that it
 * breaks:
 *
 *     return xid < s->xmax && (!is_under_way(s, xid) || MUTANT(xip_ignored));
 *
 * In every build that is shipped MUTANT(name) is the constant false, and nothing is left of it. With -DBOXHAUL_MUTANTS it
 * asks which mutant the test has chosen. Names and meanings: mutants.def. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_MUTANT_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_MUTANT_H

#ifdef BOXHAUL_MUTANTS

enum capture_mutant {
	CAPTURE_MUTANT_NONE,
#define M(name, finder, meaning) CAPTURE_MUTANT_##name,
#include "core/capture/mutants.def"
#undef M
	CAPTURE_MUTANTS
};

/* The one that is played. Defined and set by the test program, before the core is created. */
extern enum capture_mutant capture_mutant_played;

#define MUTANT(name) (capture_mutant_played == CAPTURE_MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
