#include "mutant.h"

#ifdef BOXHAUL_MUTANTS
#include <stdio.h>
#include <string.h>

#include "core/mutant.h"

enum mutant mutant_played;

static const struct {
	const char *name, *finder, *meaning;
} table[] = {
#define M(name, finder, meaning) [MUTANT_##name] = { #name, #finder, meaning },
#include "core/mutants.def"
#undef M
};

bool mutant_play(const char *name)
{
	for (int m = 1; m < MUTANTS; m++)
		if (strcmp(table[m].name, name) == 0) {
			mutant_played = (enum mutant)m;
			return true;
		}
	return false;
}

void mutant_list(void)
{
	for (int m = 1; m < MUTANTS; m++)
		printf("%s|%s|%s\n", table[m].name, table[m].finder, table[m].meaning);
}

#else

bool mutant_play(const char *name)
{
	(void)name;
	return false;
}

void mutant_list(void)
{
}

#endif
