/* The mutants that are built in: core/capture/mutants.def. */
#include "capture_mutant.h"

#ifdef BOXHAUL_MUTANTS
#include <stdio.h>
#include <string.h>

#include "core/capture/capture_mutant.h"

enum capture_mutant capture_mutant_played;

static const struct {
	const char *name, *finder, *meaning;
} table[] = {
#define M(name, finder, meaning) [CAPTURE_MUTANT_##name] = { #name, #finder, meaning },
#include "core/capture/mutants.def"
#undef M
};

bool capture_mutant_choose(const char *name)
{
	for (int m = 1; m < CAPTURE_MUTANTS; m++)
		if (strcmp(table[m].name, name) == 0)
			capture_mutant_played = (enum capture_mutant)m;
	return capture_mutant_played != CAPTURE_MUTANT_NONE;
}

void capture_mutant_list(void)
{
	for (int m = 1; m < CAPTURE_MUTANTS; m++)
		printf("%s|%s|%s\n", table[m].name, table[m].finder, table[m].meaning);
}
#else
bool capture_mutant_choose(const char *name)
{
	(void)name;
	return false;
}

void capture_mutant_list(void)
{
}
#endif
