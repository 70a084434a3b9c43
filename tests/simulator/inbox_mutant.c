/* The mutants that are built in: core/inbox/mutants.def. */
#include "inbox_mutant.h"

#ifdef BOXHAUL_MUTANTS
#include <stdio.h>
#include <string.h>

#include "core/inbox/inbox_mutant.h"

enum inbox_mutant inbox_mutant_played;

static const struct {
	const char *name, *finder, *meaning;
} table[] = {
#define M(name, finder, meaning) [INBOX_MUTANT_##name] = { #name, #finder, meaning },
#include "core/inbox/mutants.def"
#undef M
};

bool inbox_mutant_choose(const char *name)
{
	for (int m = 1; m < INBOX_MUTANTS; m++)
		if (strcmp(table[m].name, name) == 0)
			inbox_mutant_played = (enum inbox_mutant)m;
	return inbox_mutant_played != INBOX_MUTANT_NONE;
}

void inbox_mutant_list(void)
{
	for (int m = 1; m < INBOX_MUTANTS; m++)
		printf("%s|%s|%s\n", table[m].name, table[m].finder, table[m].meaning);
}
#else
bool inbox_mutant_choose(const char *name)
{
	(void)name;
	return false;
}

void inbox_mutant_list(void)
{
}
#endif
